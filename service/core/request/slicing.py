"""How many destinations are checked in one step: as many as take about a tenth of a second on a slow machine at most.

An address that a library has to read takes up to a millisecond, and any other a few microseconds.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from service.core.omni.email_address import is_plain_email_address
from service.core.omni.phone import is_plain_number

MOST: Final = 50
"""Destinations in one step, if their addresses are plain."""

_UNUSUAL: Final = 10
"""Plain destinations that take no longer than one other. It is fewer in truth where the other is short."""


def slices(entries: Sequence[object]) -> Iterator[tuple[int, int]]:
    """Cut destinations, as JSON has them, into steps; gives the first of each, and the first that is not its own."""
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
