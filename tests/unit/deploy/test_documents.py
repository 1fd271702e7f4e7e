"""The documents: commands, paths, links, settings, metrics, events, queues and alerts that they name exist."""

import ast
import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

import click
import pytest
import yaml
from pydantic import SecretStr

from service.adapters.settings import ENV_FILE, SECRETS, Settings
from service.cli.main import commands
from service.core import topology
from service.core.attempt.retry import RetryPolicy
from service.core.result.delivery_report import ReportEventType
from service.core.result.event import EventType
from tests.support.documents import PAGES, ROOT, blocks, commands_of, inline, text_of
from tests.unit.deploy.test_alerts import NAMES as ALERTS
from tests.unit.deploy.test_alerts import known_metrics
from tests.unit.deploy.test_log import calls

RELAY: Final = ".venv/bin/omni-relay"
NOTES: Final = {
    "apt-get": "debian",
    "docker": "docker",
    "kubectl": "cluster",
    "rabbitmqctl": "node of the broker",
    "rabbitmq-diagnostics": "node of the broker",
}
"""Programs that are not ours, and the words that must stand beside a command: it works only there."""
SHELL: Final = frozenset({"curl", "echo", "export", "grep", "jq", "kill", "sleep", "unshare"})
FORMER: Final = frozenset({"omni.requests.died"})
"""Names that a page mentions because they are gone."""


def shell_lines() -> Iterator[tuple[str, str, str, list[str]]]:
    """Give page, note, line and command of everything in blocks; a note is the line and the paragraph before."""
    for page in PAGES:
        for block, before in blocks(page):
            for line in block.replace("\\\n", " ").splitlines():
                for command in commands_of(line):
                    if command:
                        yield str(page.relative_to(ROOT)), f"{before}\n{line}", line, command


LINES: Final = list(shell_lines())


def relay_commands() -> Iterator[tuple[str, ...]]:
    """Find the arguments of each `omni-relay` command, in blocks and within lines."""
    for _, _, _, command in LINES:
        yield from _relay_arguments(command)
        if command[0] == "./deploy/demo":
            yield "demo", *command[1:]
    for page in PAGES:
        for code in inline(page):
            if "omni-relay" in code and "…" not in code and code.count("'") % 2 == 0:
                for command in commands_of(code.translate({ord("["): None, ord("]"): None})):
                    yield from _relay_arguments(command)
        for line in re.findall(r"^\$ (.*)$", text_of(page), re.MULTILINE):
            yield from _relay_arguments(line.split())


def _relay_arguments(command: list[str]) -> Iterator[tuple[str, ...]]:
    if "--" in command and command[0] == "kubectl":
        command = command[command.index("--") + 1 :]
    if command and command[0].rpartition("/")[2] == "omni-relay":
        yield tuple(command[1:])


@pytest.mark.parametrize("arguments", sorted(set(relay_commands())), ids=" ".join)
def test_each_command_of_ours_is_understood(arguments: tuple[str, ...], tmp_path: Path) -> None:
    command: click.Command = commands
    rest = [argument for argument in arguments if argument != "--version"]
    while isinstance(command, click.Group) and rest:
        found = command.get_command(click.Context(command), rest.pop(0))
        assert found is not None
        command = found
    if isinstance(command, click.Group):
        return
    with contextlib.chdir(tmp_path):
        for name in rest:
            if not name.startswith("-") and "/" not in name:
                Path(name).touch()  # a file that the reader has
        with contextlib.suppress(click.exceptions.Exit):  # --help
            command.make_context("omni-relay", rest)


@pytest.mark.parametrize(
    ("page", "note", "line", "command"), LINES, ids=[f"{page}: {line}" for page, _, line, _ in LINES]
)
def test_each_program_is_there_or_a_note_says_where(page: str, note: str, line: str, command: list[str]) -> None:
    del page, line
    program = command[0]
    if program.startswith("./"):
        options = [option for option in command[1:] if option.startswith("--") and option != "--"]
        script = text_of(ROOT / program)
        assert program == "./deploy/demo" or [option for option in options if option not in script] == []
    elif program.startswith(".venv/bin/"):
        assert program == RELAY or (Path(sys.executable).parent / program.rpartition("/")[2]).exists()
    elif program in NOTES:
        assert NOTES[program] in note.lower()
    else:
        assert program in SHELL


def modules() -> dict[str, set[str]]:
    """Find the options of each module that is run by hand."""
    found: dict[str, set[str]] = {}
    for _, _, _, command in LINES:
        if command[:2] == [".venv/bin/python", "-m"]:
            found.setdefault(command[2], set()).update(part for part in command[3:] if part.startswith("--"))
    return found


@pytest.mark.parametrize(("module", "options"), modules().items())
def test_each_option_of_a_program_run_by_hand_is_one(module: str, options: set[str]) -> None:
    path = ROOT / module.replace(".", "/")
    source = text_of(path / "__main__.py" if path.is_dir() else path.with_suffix(".py"))
    assert {option for option in options if f'"{option}"' not in source} == set()


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page as GitHub makes them."""
    plain = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_and_path_leads_somewhere(page: Path) -> None:
    plain = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", plain):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link
    for code in inline(page):
        if re.fullmatch(r"(\./)?(deploy|service|tests|\.github|\.ci)/[\w./-]+", code):
            assert (ROOT / code).exists(), code


METRICS: Final = known_metrics()
BASES: Final = {re.sub(r"_(bucket|count|sum)$", "", name) for name in METRICS if not name.endswith("_created")}
EVENTS: Final = {event for event, _ in calls()}
SETTINGS: Final = {f"RELAY_{name}".upper() for name in Settings.model_fields} | {SECRETS, ENV_FILE}
QUEUES: Final = (
    {value for value in vars(topology).values() if isinstance(value, str)}
    | {lane.requests for lane in topology.LANES}
    | {lane.delay_queue(seconds) for lane in topology.LANES for seconds in RetryPolicy().delays}
    | {f"omni.{type_}" for type_ in (*get_args(EventType), *get_args(ReportEventType))}
    | {*get_args(EventType), *get_args(ReportEventType)}
    | FORMER
    | {f"{lane.requests}.delay.<seconds>" for lane in topology.LANES}
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_name_exists(page: Path) -> None:
    text, codes = text_of(page), inline(page)
    by_tests = {name for name in re.findall(r"\bRELAY_TEST_[A-Z_]+", text) if _is_read_by_tests(name)}
    assert set(re.findall(r"\bRELAY_[A-Z_]*[A-Z]\b", text)) - SETTINGS - by_tests == set()

    assert set(re.findall(r"\bomni_relay_[a-z_]+[a-z]\b(?!:)", text)) - METRICS - BASES == set()

    kinds = {event.partition(".")[0] for event in EVENTS}
    named = {code for code in codes if re.fullmatch(r"[a-z_]+\.[a-z_]+", code) and code.partition(".")[0] in kinds}
    assert named - EVENTS - QUEUES == set()

    assert set(re.findall(r"\bOmniRelay[A-Z]\w+", text)) - set(ALERTS) == set()
    assert {code for code in codes if re.fullmatch(r"omni\.[a-z.<>]+", code)} - QUEUES == set()


def _is_read_by_tests(name: str) -> bool:
    return any(name in file.read_text() for file in (*(ROOT / "tests").rglob("*.py"), ROOT / "deploy/test"))


def test_the_table_of_metrics_has_each_and_no_other() -> None:
    (section,) = re.findall(r"^### Metrics\n(.*?)^## ", text_of(ROOT / "deploy/README.md"), re.MULTILINE | re.DOTALL)
    firsts = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    named = {name for first in firsts for name in re.findall(r"`(\w+)", first)}
    ours = {name.removeprefix("omni_relay_") for name in BASES if name.startswith("omni_relay_")}
    assert named == ours - {"build_info", "process_restarts_total"}


def test_the_table_of_settings_has_each_with_its_default() -> None:
    (section,) = re.findall(r"^## Settings\n(.*?)^## ", text_of(ROOT / "deploy/README.md"), re.MULTILINE | re.DOTALL)
    rows = dict(re.findall(r"^\| `(RELAY_\w+)` \| (.*?) \|", section, re.MULTILINE))
    defaults = {f"RELAY_{name}".upper(): _written(field.default) for name, field in Settings.model_fields.items()}
    defaults["RELAY_LOG_FORMAT"] = "`json`"  # where there is no terminal
    assert rows == {**defaults, SECRETS: "`/run/secrets`", ENV_FILE: "–"}  # noqa: RUF001 - a dash: none


def _written(default: object) -> str:
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, bool):
        default = str(default).lower()
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    return "–" if default in {None, ""} else f"`{default}`"  # noqa: RUF001 - a dash: none


def names_in(file: Path) -> set[str]:
    """Give the functions, classes, methods and constants of a file."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


JUMPS: Final = re.findall(r"`([\w/]+\.py):(\w+)`", text_of(ROOT / "service/README.md"))


def test_there_are_three_jumps_for_each_question() -> None:
    rows = [
        line for line in text_of(ROOT / "service/README.md").splitlines() if ".py:" in line and line.startswith("|")
    ]
    assert [len(re.findall(r"\.py:", row)) for row in rows] == [3] * 6


@pytest.mark.parametrize(("file", "name"), JUMPS)
def test_each_jump_lands(file: str, name: str) -> None:
    assert name in names_in(ROOT / "service" / file)


def test_the_readme_is_short() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= 150


def test_the_check_before_a_commit_is_the_fast_part_of_the_tests_and_needs_no_remote_repository() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    assert [hook["entry"] for repository in hooks for hook in repository["hooks"]] == ["./deploy/test --fast"]
