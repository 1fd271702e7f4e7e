"""Which dead letters of the broker may not be in `omni.dead`, because somebody had deleted it when they died.

The broker hands a letter to each queue that is bound to the exchange, and does not tell which ones those were. So a
letter counts as unstored if it may have died before the queue was there again: rather too many than one too few.
The two copies of a letter that is stored twice have the same identity, and one of them is sent again.
"""

from dataclasses import replace
from typing import Final

from service.core.value import dataclass

ON_THE_WAY: Final = 1.0
"""Seconds for which a letter may be on its way within the broker: routed before the queue was there, and come after."""
GAP: Final = 60.0
"""Seconds without a letter after which those that were unread have all been read, by other workers too."""


@dataclass(frozen=True, slots=True)
class Unstored:
    """Letters that may be unstored; times are monotonic seconds."""

    restored_at: float = float("-inf")
    """When the queue was there again."""
    unread: int = 0
    """Copies of letters that waited then and have not arrived yet."""
    until: float = float("-inf")
    """What arrives until then may be unstored."""
    arrived_at: float = float("-inf")
    """When the last letter arrived."""


def restored(at: float, unread: int) -> Unstored:
    """Begin anew: the queue is there again, and so many copies of letters wait."""
    return Unstored(at, unread, at + ON_THE_WAY, at)


def arrive(state: Unstored, at: float) -> tuple[bool, Unstored]:
    """Tell whether a letter whose copy arrives then may be unstored. Ask once for each, in the order of arrival."""
    unread = state.unread if at - state.arrived_at <= GAP else 0
    if unread and at > state.restored_at:
        return True, replace(state, unread=unread - 1, until=max(state.until, at + ON_THE_WAY), arrived_at=at)
    return at <= state.until, replace(state, unread=unread, arrived_at=at)
