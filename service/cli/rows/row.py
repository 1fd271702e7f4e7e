"""A request of a file, and its place."""

from pathlib import Path
from typing import Final, NamedTuple

from service.core.request.body import LONGEST

CHUNK: Final = 2**16
"""Characters that are read at once."""
SPACE: Final = " \t\r\n"
TOO_LONG: Final = f"is longer than {LONGEST >> 20} MiB, which no request may be"


class Row(NamedTuple):
    """A request of a file, or the fault for which it cannot be read."""

    place: str
    """The file and the line, for people."""
    value: object = None
    fault: str = ""


class Source(NamedTuple):
    """A file that can be read several times."""

    name: str
    """For people."""
    path: Path


def at(name: str, line: int) -> str:
    """Name a place."""
    return f"{name}, line {line}"
