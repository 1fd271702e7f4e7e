"""Which lane goes first: the urgent one, except for an eighth that stays with the normal one.

The contract promises a tenth. While both lanes wait, the normal lane is owed a seventh of what the urgent one uses.
Once it is owed a unit, it has the next turn. What it uses then is subtracted, so a large turn is followed by many
urgent ones. A unit is whatever is scarce: a message where a rate is set, a call where slots are.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from service.core.topology import NORMAL, URGENT, Lane

T = TypeVar("T")

NORMAL_SHARE: Final = 0.125
_TURN: Final = 1 - 1e-9
"""A unit, but for the rounding of floating point."""


def next_lane(owed: float, *, normal_waits: bool, urgent_waits: bool) -> Lane:
    """Return which lane is next; one of them waits. `owed` is in units, to the normal lane."""
    return NORMAL if normal_waits and (not urgent_waits or owed >= _TURN) else URGENT


def account(owed: float, lane: Lane, units: float, *, other_waits: bool) -> float:
    """Return what the normal lane is owed after `lane` has used so many units.

    While one lane does not wait, the other one uses what nobody else wants: that reduces what is owed either way, and
    never adds to it.
    """
    if lane is URGENT:
        later = owed + units * NORMAL_SHARE / (1 - NORMAL_SHARE)
        return later if other_waits else min(later, max(owed, 0.0))
    later = owed - units
    return later if other_waits else max(later, min(owed, 0.0))


class LaneQueue(Generic[T]):
    """Waiting items by lane: first come, first served within a lane."""

    def __init__(self) -> None:
        self._normal: deque[T] = deque()
        self._urgent: deque[T] = deque()
        self._owed = 0.0
        self.size = 0
        """How many wait. An attribute, since it is read for every message."""

    def __len__(self) -> int:
        return self.size

    def waiting(self, lane: Lane) -> Sequence[T]:
        """Return what waits in a lane."""
        return self._lane(lane)

    def append(self, lane: Lane, one: T) -> None:
        """Add one at the end of its lane."""
        self._lane(lane).append(one)
        self.size += 1

    def put_back(self, lane: Lane, one: T) -> None:
        """Add one that was taken at the beginning of its lane."""
        self._lane(lane).appendleft(one)
        self.size += 1

    @property
    def first(self) -> T:
        """The one whose turn it is. There is one."""
        return self._lane(self._next)[0]

    def take(self, units: Callable[[T], float] = lambda _: 1.0) -> T:
        """Remove the one whose turn it is, and account for the units that it uses."""
        lane = self._next
        one = self.take_first(lane)
        others = self._normal if lane is URGENT else self._urgent
        self._owed = account(self._owed, lane, units(one), other_waits=bool(others))
        return one

    def take_first(self, lane: Lane) -> T:
        """Remove the first one of a lane, whosever turn it is."""
        self.size -= 1
        return self._lane(lane).popleft()

    def take_last(self) -> T:
        """Remove the latest one, of the normal lane if there is one."""
        self.size -= 1
        return (self._normal or self._urgent).pop()

    def drop(self, is_dropped: Callable[[T], bool]) -> None:
        """Remove all of which `is_dropped` says so."""
        for waiting in (self._normal, self._urgent):
            left = [one for one in waiting if not is_dropped(one)]
            waiting.clear()
            waiting.extend(left)
        self.size = len(self._normal) + len(self._urgent)

    def _lane(self, lane: Lane) -> deque[T]:
        return self._urgent if lane is URGENT else self._normal

    @property
    def _next(self) -> Lane:
        return next_lane(self._owed, normal_waits=bool(self._normal), urgent_waits=bool(self._urgent))
