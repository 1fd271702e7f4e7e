"""`deploy/sandbox.md` and `omni-relay sandbox --help` list what the code has."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli.main import commands
from service.sandbox import create_app
from service.sandbox.fault.fault import Fault, Kind
from service.sandbox.fault.number import TABLE
from service.sandbox.options import Options

PAGE = (Path(__file__).parents[3] / "deploy" / "sandbox.md").read_text()
HELP = CliRunner().invoke(commands, ["sandbox", "--help"]).output
CODES = {(first, last) for first, last, _ in TABLE}
ENDPOINTS = {
    (method, route.path)  # type: ignore[attr-defined]  # all are routes, as starlette's type does not say
    for route in create_app().routes
    for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]  # the same
    if route.path.startswith("/sandbox/")  # type: ignore[attr-defined]  # the same
}


def ranges(found: list[tuple[str, str]]) -> set[tuple[int, int]]:
    return {(int(first), int(last or first)) for first, last in found}


def test_the_page_lists_the_codes_of_phone_numbers() -> None:
    assert ranges(re.findall(r"^\| `(\d{3})`(?: to `(\d{3})`)? \|", PAGE, re.MULTILINE)) == CODES


def test_the_help_lists_the_codes_of_phone_numbers() -> None:
    assert ranges(re.findall(r"^ +(\d{3})(?:-(\d{3}))?  ", HELP, re.MULTILINE)) == CODES


def test_the_page_lists_the_kinds_of_faults_and_their_options() -> None:
    section = PAGE.partition("## Faults")[2].partition("## Control")[0]

    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(Kind)
    assert all(f"`{name}`" in section for name in Fault(Kind.HANG).document().keys() - {"kind"})


def test_the_help_lists_the_kinds_of_faults() -> None:
    assert f"kinds: {' '.join(Kind)}\n" in HELP


def test_the_page_lists_the_control_endpoints() -> None:
    assert set(re.findall(r"^\| `([A-Z]+) (/sandbox/\w+)` \|", PAGE, re.MULTILINE)) == ENDPOINTS


def test_the_help_lists_the_control_endpoints() -> None:
    listed = re.findall(r"^ +((?:[A-Z]+ )+) *(/sandbox/\w+)", HELP, re.MULTILINE)

    assert {(method, path) for methods, path in listed for method in methods.split()} == ENDPOINTS


@pytest.mark.parametrize(("name", "default"), Options().document().items())
def test_the_page_lists_the_options_with_their_defaults(name: str, default: object) -> None:
    assert f"| `{name}` | `{json.dumps(default)}` |" in PAGE
