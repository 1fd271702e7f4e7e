"""The files of the contract are what the command prints."""

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


@pytest.mark.parametrize("format_", get_args(Format))
def test_the_committed_file_is_what_the_command_prints(format_: Format) -> None:
    committed = (FOLDER / FILES[format_]).read_text(encoding="utf-8")
    assert committed == contract(format_), (
        f"run omni-relay schema --format {format_} > deploy/contract/{FILES[format_]}"
    )
