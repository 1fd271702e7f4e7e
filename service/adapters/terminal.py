"""Tables and JSON for a terminal. Control characters are removed from all text: see `printable`."""

import json
import shutil
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from service.core.printable import printable, printable_json
from service.core.value import dataclass

_COLOURS: Final = {
    "accepted": "green",
    "deferred": "yellow",
    "rejected": "red",
    "failed": "red",
    "expired": "magenta",
    "unknown": "magenta",
    "cancelled": "yellow",
    "delivered": "green",
    "undelivered": "red",
    "seen": "cyan",
}
_WIDTHS: Final = (12, 19, 22, 11, 7)
_NO_ERROR: Final = "NO_ERROR"
_TITLES: Final = ("time", "request", "to", "event", "attempt", "detail")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise `BrokenPipeError`, and do not end the process with status 1."""
        raise  # noqa: PLE0704 - the library calls this where it handles the error


@dataclass(frozen=True, slots=True)
class Row:
    """The part of a status event that a table shows."""

    time: str
    request: str
    to: str
    event: str
    attempt: str
    detail: str


def read_row(body: bytes) -> Row:
    """Read a status event. Raises `ValueError` if it is none: others may publish to the results exchange too."""
    try:
        event: dict[str, Any] = json.loads(body)
        data = event["data"]
        return Row(
            time=printable(event["time"][11:23]),
            # Of a report, the request is not known.
            request=printable(event["subject"] if data["requestId"] is None else data["requestId"]),
            to=printable(", ".join(data["to"].values())) or "-",
            event=printable(event["type"].rpartition(".")[2]),
            attempt="-" if data["attempt"] is None else printable(str(data["attempt"])),
            detail=printable(_detail(data)),
        )
    except (KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("is not a status event") from None


def read_json(body: bytes) -> str:
    """Return a JSON body as one line that is safe for a terminal. Raises `ValueError` if it is not JSON."""
    try:
        text = body.decode("utf-8-sig")
        json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    return printable_json(text)


def written_json(value: object, indent: int | None = None) -> str:
    """Write a value as JSON that is safe for a terminal; values that JSON does not have become text."""
    return json.dumps(value, default=str, indent=indent).replace("\x7f", "\\u007f")


def _detail(data: dict[str, Any]) -> str:
    reason, status = data["reason"], data["status"]
    if reason and reason["faults"]:
        return "; ".join(f"{fault['path']} {fault['message']}" for fault in reason["faults"])
    detail = reason["detail"] if reason else (status or {}).get("name") or ""
    if data.get("report"):
        code = (data["report"]["error"] or {}).get("name")
        parts = (data["channel"], detail, code if code != _NO_ERROR else None)
        return " ".join(str(part) for part in parts if part)
    return f"{detail}; again at {data['nextAttemptAt'][11:19]}" if data["nextAttemptAt"] else detail


class Table:
    """Prints row by row, so it works for a pipe as well as for a terminal."""

    def __init__(self, widths: Sequence[int], titles: Sequence[str]) -> None:
        width = shutil.get_terminal_size((140, 40)).columns
        self._console = _Console(width=max(width, 100), highlight=False)
        self._widths = widths
        self._titles = titles

    def head(self) -> None:
        """Print the titles."""
        self._console.print(Text(self._line(self._titles), style="bold"))

    def add(self, cells: Sequence[str], colour: str = "white") -> None:
        """Print a row. The last cell is never cut."""
        # As `Text`: in a string, rich would interpret markup in brackets and emoji names between colons.
        self._console.print(Text(self._line(cells), style=colour), soft_wrap=True)

    def _line(self, cells: Sequence[str]) -> str:
        cells = [printable(cell) for cell in cells]
        cut = [
            cell if len(cell) <= width else f"{cell[: width - 1]}…"
            for cell, width in zip(cells, self._widths, strict=False)
        ]
        return "  ".join([*(cell.ljust(width) for cell, width in zip(cut, self._widths, strict=True)), cells[-1]])


class EventTable:
    """A table of status events."""

    def __init__(self) -> None:
        self._table = Table(_WIDTHS, _TITLES)

    def head(self) -> None:
        """Print the titles."""
        self._table.head()

    def add(self, row: Row) -> None:
        """Print an event."""
        cells = (row.time, row.request, row.to, row.event, row.attempt, row.detail)
        self._table.add(cells, _COLOURS.get(row.event, "white"))
