"""The files of the contract are what the command prints, and AsyncAPI's own parser reads them.

The parser is there if `deploy/bootstrap --rabbitmq` found npm; elsewhere its test is skipped as not run.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping
from typing import Final, get_args

import pytest

from service.cli.schema import Format, contract
from tests.support.documents import ROOT

FOLDER: Final = ROOT / "deploy/contract"
FILES: Final[Mapping[Format, str]] = {
    "asyncapi": "asyncapi.json",
    "request": "send-request.schema.json",
    "event": "status-event.schema.json",
}
PARSER: Final = ROOT / ".tools/schemas/node_modules/@asyncapi/parser"


@pytest.mark.parametrize("format_", get_args(Format))
def test_the_committed_file_is_what_the_command_prints(format_: Format) -> None:
    committed = (FOLDER / FILES[format_]).read_text(encoding="utf-8")
    assert committed == contract(format_), (
        f"run omni-relay schema --format {format_} > deploy/contract/{FILES[format_]}"
    )


@pytest.mark.skipif(not PARSER.exists(), reason="not run: npm was not there when this was installed")
def test_asyncapis_own_parser_finds_nothing() -> None:
    node = shutil.which("node")
    assert node is not None
    script = ROOT / ".tools/schemas/asyncapi.cjs"
    done = subprocess.run([node, script, FOLDER / FILES["asyncapi"]], capture_output=True, check=True)
    assert json.loads(done.stdout) == {"read": True, "found": []}
