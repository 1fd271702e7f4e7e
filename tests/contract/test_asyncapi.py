"""AsyncAPI's own parser reads the contract.

The parser is there if `deploy/bootstrap --rabbitmq` found npm; elsewhere its test is skipped as not run.
"""

import json
import shutil
import subprocess
from typing import Final

import pytest

from tests.support.documents import ROOT

PARSER: Final = ROOT / ".tools/schemas/node_modules/@asyncapi/parser"


@pytest.mark.skipif(not PARSER.exists(), reason="not run: npm was not there when this was installed")
def test_asyncapis_own_parser_finds_nothing() -> None:
    node = shutil.which("node")
    assert node is not None
    script = ROOT / ".tools/schemas/asyncapi.cjs"
    done = subprocess.run([node, script, ROOT / "deploy/contract/asyncapi.json"], capture_output=True, check=True)
    assert json.loads(done.stdout) == {"read": True, "found": []}
