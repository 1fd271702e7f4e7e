"""Long work in steps, between which other tasks have their turn: each step takes a tenth of a second at most.

Work in steps is a generator that yields between two steps and returns its result.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import Final, TypeVar

from service.core.omni.email_address import is_plain_email_address
from service.core.omni.phone import is_plain_number

T = TypeVar("T")

MOST: Final = 50
"""Destinations in one step, if their addresses are plain. Such an address is checked in a few microseconds."""

_UNUSUAL: Final = 10
"""Plain destinations that take as long as one whose address a library has to read: up to a millisecond."""


def finished(steps: Generator[None, None, T]) -> T:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def slices(entries: Sequence[object]) -> Iterator[tuple[int, int]]:
    """Divide destinations, as JSON has them, into steps. Yields the start and the end of each slice."""
    start = weight = 0
    for end, entry in enumerate(entries, 1):
        weight += 1 if _is_plain(entry) else _UNUSUAL
        if weight >= MOST:
            yield start, end
            start, weight = end, 0
    if start < len(entries):
        yield start, len(entries)


def _is_plain(entry: object) -> bool:
    to = entry.get("to") if isinstance(entry, dict) else None
    if not isinstance(to, dict):
        return True
    number, address = to.get("phoneNumber"), to.get("emailAddress")
    return (not isinstance(number, str) or is_plain_number(number)) and (
        not isinstance(address, str) or is_plain_email_address(address)
    )
