"""How many calls to make at once, and how fast: found out by trying, as TCP finds out what a line carries.

It grows by one for each call that went well until the first sign of congestion (slow start), and by one a round from
then on, as long as calls take no longer than they did when there was room, and more than one waits: a campaign that
waits is one call, and cheaper so than as many. It is halved, once a round, when OMNI says that it is too much (429) or
answers too late.
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
"""A call has slowed down if it takes longer than so many times the usual, and so many seconds."""
_DRIFT: Final = 0.01
"""How far one slow call moves what is usual: a lasting change becomes usual within some hundred calls."""
_ROUND: Final = 1.0
"""Seconds in which congestion counts once: those who were under way together hear of it together."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Calls allowed at once: `size`, rounded down; a fixed one stays as it is."""

    size: float
    most: float
    fixed: bool = False
    slow_start: bool = True
    usual: float | None = None
    """Seconds a call takes where there is room."""
    cut_at: float = float("-inf")
    """When it was last cut, on the caller's clock."""


def is_congestion(outcome: Outcome) -> bool:
    """Tell whether OMNI had too much to do."""
    match outcome:
        case Unavailable("http_429" | "connect_timeout") | Unknown("timeout"):
            return True
        case _:
            return False


def grow(limit: Limit, seconds: float, waiting: int) -> Limit:
    """Hear of a call that went well and took so long, while so many waited for a slot."""
    usual = seconds if limit.usual is None or seconds < limit.usual else limit.usual + (seconds - limit.usual) * _DRIFT
    size = limit.size
    if not (limit.fixed or waiting <= 1 or seconds > max(usual * _TOLERANCE, usual + _SLACK)):
        size = min(limit.most, size + (1 if limit.slow_start else 1 / size))
    return Limit(size, limit.most, limit.fixed, limit.slow_start, usual, limit.cut_at)


def cut(limit: Limit, now: float) -> Limit:
    """Hear of congestion."""
    if limit.fixed or now - limit.cut_at < _ROUND:
        return limit
    return replace(limit, size=max(1.0, limit.size / 2), slow_start=False, cut_at=now)


def begin_anew(limit: Limit) -> Limit:
    """After a pause nothing is known of what OMNI can take."""
    return limit if limit.fixed else replace(limit, size=min(limit.size, START), slow_start=True)


def reserve(free_at: float, now: float, count: int, rate: float) -> tuple[float, float]:
    """Take `count` messages' time of a line that carries `rate` a second; gives when it is free again, and the wait."""
    start = max(free_at, now)
    return start + count / rate, start - now


_TURN: Final = 0.5
"""Seconds of the rate that one call takes at most: so long does a message wait for a call that is just before it."""
_SMALL: Final = 0.01
"""Seconds of the rate that a small call takes. Any number of small calls may stand in line for the rate."""


def most_in_a_call(most: int, rate: float | None) -> int:
    """Limit the messages of one call, `most` at most, to what `rate` messages a second let go within a turn."""
    return most if rate is None else min(most, max(1, int(rate * _TURN)))


def may_queue(messages: int, rate: float | None, *, is_part: bool) -> bool:
    """Tell whether a call of so many messages may stand in line beside others like it.

    `is_part`: it is one of several calls of a request.
    """
    return rate is None or (not is_part and messages <= max(1.0, rate * _SMALL))
