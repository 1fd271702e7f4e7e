"""Real shells complete by the scripts that `omni-relay completion` prints."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli.main import commands

_BASH = """\
source "$0"; COMP_WORDS=(omni-relay send --format ''); COMP_CWORD=3
_omni_relay_completion omni-relay; printf '%s\\n' "${COMPREPLY[@]}"
"""
ASK = {"bash": _BASH, "fish": "source $argv[1]; complete -C 'omni-relay send --format '"}
"""How a shell shows what it would complete; the script's file is an argument."""


@pytest.mark.parametrize("shell", ASK)
def test_a_shell_completes_by_the_script(shell: str, tmp_path: Path) -> None:
    """Of zsh, whose completion needs a terminal, only the syntax is tested above."""
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(CliRunner().invoke(commands, ["completion", shell]).output)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    asked = subprocess.run(
        [program, "-c", ASK[shell], script], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert set(asked.stdout.split()) == {"csv", "json", "xml"}, asked.stderr
