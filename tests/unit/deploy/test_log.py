"""Every log event is explained in the runbooks."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
WRITERS = {"debug", "info", "warning", "error", "critical", "write"}


@cache
def calls() -> list[tuple[str, ast.Call]]:
    """Find every line that is logged, by its event."""
    found = []
    for file in sorted((ROOT / "service").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if name in WRITERS and isinstance(first, ast.Constant) and re.fullmatch(r"\w+\.\w+", str(first.value)):
                found.append((str(first.value), node))
    return found


def table() -> dict[str, str]:
    page = (ROOT / "deploy/runbooks/README.md").read_text()
    return dict(re.findall(r"^\| `(\w+\.\w+)` \|(.*)$", page, re.MULTILINE))


def test_exactly_the_log_events_that_exist_are_explained() -> None:
    assert set(table()) == {event for event, _ in calls()}


def test_every_field_is_named_where_its_event_is_explained() -> None:
    missing = [
        (event, word.arg)
        for event, node in calls()
        for word in node.keywords
        if word.arg is not None and f"`{word.arg}`" not in table()[event]
    ]
    assert missing == []
