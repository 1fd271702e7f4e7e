"""Whether to make calls: stop when OMNI cannot take them or refuses our account, look again, go on when it does.

open     calls are made
closed   none are, until a time
probing  one is, and how it ends tells how things stand

It closes where OMNI asks for time (`Retry-After`) until then, and where calls fail as a rule: several in a row, or a
good share of enough of them. A request that is refused for its own fault shows that OMNI works.

It closes on a denial at once (our credentials or our account are refused), unless other calls have succeeded lately.
Then the denial may be about that one request, and one producer must not stop all others. If the credentials are really
refused, this costs twenty denials, or those of one second. None of them counts as an attempt. The same holds for a 4xx
of a gateway. It may refuse the content of one request, or all of them while the base URL is wrong.

Times are seconds of a clock that only goes forward. The wall clock may step, and a pause must end all the same.
"""

from collections.abc import Iterable
from dataclasses import replace
from math import inf
from typing import Final, Literal, assert_never

from service.core.attempt.disposition import status_cause
from service.core.attempt.outcome import Accepted, Denied, NotAttempted, Outcome, Rejected, Unavailable, Unknown
from service.core.omni.status import Status, disposition_of
from service.core.value import dataclass

ROW: Final = 5
"""Calls failed in a row that close it: enough where there are few."""
VOLUME: Final = 10.0
"""Calls within about the last half-minute, of which a share says something."""
SHARE: Final = 0.5
_HALF_LIFE: Final = 10.0
"""Seconds after which a call counts half."""
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = {False: 4.0, True: 60.0}
"""Seconds, by whether our account is refused: that is for a person to mend. OMNI's return is to be seen soon."""
_LATELY: Final = 60.0
"""Seconds for which a call that went well shows that our credentials work."""
_JUST_NOW: Final = 1.0
"""Seconds for which it does so whatever was denied since."""
_DENIALS: Final = 20
"""Denials since then that show the contrary."""
_BUSY: Final = frozenset({"http_408", "http_425", "http_429"})
"""Statuses with which OMNI, or a gateway, says that it has too much to do."""
_LONGEST_ASKED: Final = 300.0
"""Seconds that OMNI may ask for; whoever asks for more is asked again then."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What an outcome says about OMNI and our account."""

    kind: Literal["healthy", "failing", "refused", "denied"]
    """refused: by a gateway, which may mean this call or all."""
    cause: str = ""
    retry_after: float | None = None
    """Seconds for which OMNI asks us to wait."""
    again: bool = False
    """Whether the request had been denied before: then its denial is no news, and lengthens no pause."""


_HEALTHY: Final = Signal("healthy")


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """The gate's state."""

    mode: Literal["open", "closed", "probing"] = "open"
    cause: str = ""
    """Why it is not open."""
    denied: bool = False
    """Whether that is our account's fault."""
    until: float | None = None
    """When a closed gate is tried again."""
    closings: int = 0
    """Times in a row it was closed."""
    row: int = 0
    """Calls failed in a row."""
    good: float = 0.0
    bad: float = 0.0
    """Calls of late that went well, and that failed."""
    counted_at: float | None = None
    healthy_at: float | None = None
    """When a call last showed that OMNI takes calls of ours."""
    denials: int = 0
    """Calls denied or refused since then."""


OPEN: Final = CircuitBreaker()


def read_signal(outcome: Outcome, *, again: bool = False) -> Signal | None:
    """Tell what a call's end says about OMNI; nothing where none was made. `again` says that it was denied before.

    A denied message stands for our account, unless another one of the same call was taken.
    """
    match outcome:
        case Accepted(statuses):
            denied = _find_denied(statuses.values())
            return Signal("denied", status_cause(denied), again=again) if denied else _HEALTHY
        case Rejected():
            return _HEALTHY
        case NotAttempted() | Unavailable("http_413"):
            return None  # no call, or one too large for a gateway: it is made again in halves, and says nothing of OMNI
        case Unavailable(cause, retry_after):
            is_refusal = cause.startswith("http_4") and cause not in _BUSY
            return Signal("refused" if is_refusal else "failing", cause, retry_after)
        case Unknown(cause):
            return Signal("failing", cause)
        case Denied(cause):
            return Signal("denied", cause, again=again)
        case _:
            assert_never(outcome)


def _find_denied(statuses: Iterable[Status]) -> Status | None:
    """Find the status of a denied message, if no other message was taken."""
    denied = None
    for status in statuses:
        disposition = disposition_of(status.group_id, status.id, status.group_name)
        if disposition == "taken":
            return None
        if disposition == "denied":
            denied = status
    return denied


def hear(breaker: CircuitBreaker, signal: Signal, now: float, jitter: float) -> CircuitBreaker:
    """Move it; `draw`, from [0, 1), keeps those who stopped together from starting together.

    Calls under way when it was closed change nothing, but for a wait that OMNI asks for.
    """
    if breaker.mode == "closed":
        if signal.kind == "healthy":
            return replace(breaker, healthy_at=now)
        asked = _asked(signal, now)
        return breaker if breaker.until is None or asked <= breaker.until else replace(breaker, until=asked)
    counted = _count(breaker, signal, now)
    if signal.kind == "healthy":
        return replace(OPEN, healthy_at=now) if breaker.mode == "probing" else counted
    if _is_tolerated(counted, signal, now):
        return counted
    denied = signal.kind == "denied"
    closings = breaker.closings if signal.again and breaker.closings else breaker.closings + 1
    pause = min(_LONGEST_PAUSE[denied], _FIRST_PAUSE * 2 ** min(closings - 1, 30)) * (0.5 + jitter / 2)
    until = max(now + pause, _asked(signal, now))
    return CircuitBreaker("closed", signal.cause, denied, until, closings, healthy_at=breaker.healthy_at)


def look(breaker: CircuitBreaker, now: float) -> CircuitBreaker:
    """Let one call through as a probe once a closed gate's time has come."""
    if breaker.mode == "closed" and breaker.until is not None and breaker.until <= now:
        return replace(breaker, mode="probing", until=None)
    return breaker


def _asked(signal: Signal, now: float) -> float:
    return -inf if signal.retry_after is None else now + min(signal.retry_after, _LONGEST_ASKED)


def seconds_since_healthy(breaker: CircuitBreaker, now: float) -> float:
    """Tell how long ago a call last showed that OMNI takes calls of ours."""
    return inf if breaker.healthy_at is None else now - breaker.healthy_at


def _is_tolerated(breaker: CircuitBreaker, signal: Signal, now: float) -> bool:
    """Tell whether calls go on after one that failed, was refused or denied, and has been counted."""
    if signal.kind == "failing":
        return breaker.mode == "open" and signal.retry_after is None and not _trips(breaker)
    seconds = seconds_since_healthy(breaker, now)
    if seconds <= _JUST_NOW or (seconds <= _LATELY and breaker.denials < _DENIALS):
        return True
    return signal.kind == "refused" and breaker.mode == "open" and breaker.denials < ROW


def _count(breaker: CircuitBreaker, signal: Signal, now: float) -> CircuitBreaker:
    """Count a call. A denial or a refusal is none of the failures: it may be about that call alone."""
    if signal.kind in {"refused", "denied"}:
        return replace(breaker, denials=breaker.denials + 1)
    age = 0.0 if breaker.counted_at is None else now - breaker.counted_at
    fade, failed = 0.5 ** (age / _HALF_LIFE), signal.kind == "failing"
    row, good, bad = breaker.row + 1 if failed else 0, breaker.good * fade + (not failed), breaker.bad * fade + failed
    healthy_at, denials = (breaker.healthy_at, breaker.denials) if failed else (now, 0)
    return CircuitBreaker(
        breaker.mode,
        breaker.cause,
        breaker.denied,
        breaker.until,
        breaker.closings,
        row,
        good,
        bad,
        now,
        healthy_at,
        denials,
    )


def _trips(breaker: CircuitBreaker) -> bool:
    volume = breaker.good + breaker.bad
    return breaker.row >= ROW or (volume >= VOLUME and breaker.bad >= volume * SHARE)
