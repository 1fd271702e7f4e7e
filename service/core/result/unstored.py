"""Which of the broker's dead letters may be missing in `omni.dead`, as the queue was deleted when they were published.

The broker routes a dead letter to each queue that is bound to the exchange, and does not report to which. Only its copy
in the queue of notifications is seen. So a dead letter counts as unstored if it may have been published before the
queue was declared again: one too many rather than one too few. If it is stored twice, both copies have the same
identity, and a replay sends one of them.
"""

from dataclasses import replace
from typing import Final

from service.core.value import dataclass

ON_THE_WAY: Final = 1.0
"""Seconds that a dead letter may take within the broker: it is routed before the queue exists, and arrives after."""
GAP: Final = 60.0
"""Seconds without a dead letter after which all that were unread have been read, by other workers too."""


@dataclass(frozen=True, slots=True)
class Unstored:
    """Dead letters that may be unstored. Times are in monotonic seconds."""

    restored_at: float = float("-inf")
    """When the queue was declared again."""
    unread: int = 0
    """Notifications that waited then and have not arrived yet."""
    until: float = float("-inf")
    """A dead letter whose notification arrives until then may be unstored."""
    arrived_at: float = float("-inf")
    """When the last notification arrived."""


def restored(at: float, unread: int) -> Unstored:
    """Begin anew: the queue was declared again, and `unread` notifications wait."""
    return Unstored(at, unread, at + ON_THE_WAY, at)


def arrive(state: Unstored, at: float) -> tuple[bool, Unstored]:
    """Return whether a dead letter may be unstored whose notification arrives. Call it once for each, in order."""
    unread = state.unread if at - state.arrived_at <= GAP else 0
    if unread and at > state.restored_at:
        return True, replace(state, unread=unread - 1, until=max(state.until, at + ON_THE_WAY), arrived_at=at)
    return at <= state.until, replace(state, unread=unread, arrived_at=at)
