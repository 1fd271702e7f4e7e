"""How many calls are made at once: measured by trying, as TCP measures the capacity of a line; and at which rate.

The limit grows by one for each successful call until the first sign of congestion (slow start), and by one a round from
then on. It grows only while calls take no longer than without load, and while more than one call waits: a batch that
waits is one call, and grows cheaper by waiting. It is halved, once a round, when OMNI answers 429 or too late.
"""

from dataclasses import replace
from typing import Final

from service.core.attempt.outcome import Outcome, Unavailable, Unknown
from service.core.value import dataclass

START: Final = 16.0
"""Calls at once to begin with, at the start and after a pause."""
MOST: Final = 100.0
"""Calls at once at most, unless a number is set."""
_TOLERANCE: Final = 2.0
_SLACK: Final = 0.05
"""A call is slow if it takes longer than this multiple of the usual time, and this many seconds longer."""
_DRIFT: Final = 0.01
"""The weight of one slow call in the usual time: a lasting change becomes usual within some hundred calls."""
_ROUND: Final = 1.0
"""Seconds in which congestion counts once: calls that were in flight together fail together."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The number of calls allowed at once: `size`, rounded down. A fixed limit does not change."""

    size: float
    most: float
    fixed: bool = False
    slow_start: bool = True
    usual: float | None = None
    """Seconds that a call takes without load."""
    cut_at: float = float("-inf")
    """When it was last halved, on the caller's clock."""


def is_congestion(outcome: Outcome) -> bool:
    """Return whether an outcome shows that OMNI is overloaded."""
    match outcome:
        case Unavailable("http_429" | "connect_timeout") | Unknown("timeout"):
            return True
        case _:
            return False


def grow(limit: Limit, seconds: float, waiting: int) -> Limit:
    """Account for a successful call that took `seconds`, while `waiting` calls waited for a slot."""
    usual = seconds if limit.usual is None or seconds < limit.usual else limit.usual + (seconds - limit.usual) * _DRIFT
    size = limit.size
    if not (limit.fixed or waiting <= 1 or seconds > max(usual * _TOLERANCE, usual + _SLACK)):
        size = min(limit.most, size + (1 if limit.slow_start else 1 / size))
    return Limit(size, limit.most, limit.fixed, limit.slow_start, usual, limit.cut_at)


def cut(limit: Limit, now: float) -> Limit:
    """Account for congestion."""
    if limit.fixed or now - limit.cut_at < _ROUND:
        return limit
    return replace(limit, size=max(1.0, limit.size / 2), slow_start=False, cut_at=now)


def begin_anew(limit: Limit) -> Limit:
    """Start slowly after a pause: OMNI's capacity is not known then."""
    return limit if limit.fixed else replace(limit, size=min(limit.size, START), slow_start=True)


_TURN: Final = 0.5
"""Seconds of the rate that one call takes at most, and hence that a message waits for the call before it."""
_LATE: Final = 0.05
"""Seconds by which a call may be made later than the rate allows without loss: timers and the event loop are late."""


def charge(free_at: float, now: float, count: int, rate: float, *, waited: bool) -> float:
    """Return when the rate has room again after `count` messages that are sent now; it had room since `free_at`.

    `waited`: the call had to wait, so it may have been ready before now.
    """
    return max(free_at, now - _LATE if waited else now) + count / rate


def room_at(free_at: float, *, urgent: bool) -> float:
    """Return when the next call may be made. `urgent`: whether an urgent one waits.

    A normal call uses up to `_TURN` seconds of the rate in advance. An urgent one does not wait for their end: it uses
    as much in advance again, and normal calls wait the longer.
    """
    return free_at - _TURN if urgent else free_at


_SMALL: Final = 0.01
"""Seconds of the rate that a small call takes. Any number of small calls may wait for the rate."""


def most_in_a_call(most: int, rate: float | None) -> int:
    """Limit the messages of one call to `most`, and to what the rate allows within `_TURN` seconds."""
    return most if rate is None else min(most, max(1, int(rate * _TURN)))


def may_queue(messages: int, rate: float | None, *, is_part: bool) -> bool:
    """Return whether a call of so many messages may wait for the rate beside others like it.

    `is_part`: it is one of several calls of a request.
    """
    return rate is None or (not is_part and messages <= max(1.0, rate * _SMALL))
