"""The circuit breaker as a pure value: stop when OMNI cannot take calls or refuses our account, probe, go on.

closed     calls are made
open       none are made until a time
half_open  one is made, the probe, and its outcome decides

It opens where OMNI asks for time (`Retry-After`) until then, and where calls fail as a rule: several in a row, or a
good share of enough of them. A request that is refused for its own fault shows that OMNI works.

It opens on a denial at once (our credentials or our account are refused), unless other calls have succeeded lately.
Then the denial may be about that one request, and one producer must not stop all others. If the credentials are really
refused, this costs twenty denials, or those of one second. None of them counts as an attempt. The same holds for a 4xx
of a gateway. It may refuse the content of one request, or all of them while the base URL is wrong.

Times are seconds of a monotonic clock. The wall clock may step, and a pause must end all the same.
"""

from dataclasses import replace
from math import inf
from typing import Final, Literal, assert_never

from service.core.attempt.disposition import status_cause
from service.core.attempt.outcome import Accepted, Denied, NotAttempted, Outcome, Rejected, Unavailable, Unknown
from service.core.omni.status import disposition_of
from service.core.value import dataclass

FAILURES_IN_ROW: Final = 5
"""Calls failed in a row that open it, where there are too few for a share."""
VOLUME: Final = 10.0
"""Calls within about the last half-minute from which on a share means something."""
SHARE: Final = 0.5
_HALF_LIFE: Final = 10.0
"""Seconds after which a call counts half."""
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = {False: 4.0, True: 60.0}
"""Seconds, by whether our account is refused. A person has to mend that; the return of OMNI must be noticed soon."""
_LATELY: Final = 60.0
"""Seconds for which a successful call shows that our credentials work."""
_JUST_NOW: Final = 1.0
"""Seconds for which it does so however many calls are denied after it."""
_DENIALS: Final = 20
"""Denials since then that show the opposite."""
_BUSY: Final = frozenset({"http_408", "http_425", "http_429"})
"""Statuses with which OMNI, or a gateway, says that it has too much to do."""
_LONGEST_ASKED: Final = 300.0
"""The longest `Retry-After` that is honoured, in seconds."""


@dataclass(frozen=True, slots=True)
class Signal:
    """The state of OMNI and of our account, as an outcome shows it."""

    kind: Literal["healthy", "failing", "refused", "denied"]
    """refused: by a gateway, which may concern this call or all calls."""
    cause: str = ""
    retry_after: float | None = None
    """Seconds for which OMNI asks us to wait."""
    again: bool = False
    """Whether the request was denied before: another denial of it lengthens no pause."""


_HEALTHY: Final = Signal("healthy")


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """The state. Closed, it has neither a cause nor openings; `until` is set exactly while it is open."""

    state: Literal["closed", "open", "half_open"] = "closed"
    cause: str = ""
    """Why it is not closed."""
    denied: bool = False
    """Whether the cause is our account."""
    until: float | None = None
    """When an open breaker lets a probe through."""
    openings: int = 0
    """Times it has opened without closing in between."""
    failures_in_row: int = 0
    """Calls that failed in a row."""
    good: float = 0.0
    bad: float = 0.0
    """Recent calls that succeeded and that failed; a call counts half after `_HALF_LIFE`."""
    counted_at: float | None = None
    healthy_at: float | None = None
    """When a call last showed that OMNI takes our calls."""
    denials: int = 0
    """Calls denied or refused since then."""


CLOSED: Final = CircuitBreaker()


def read_signal(outcome: Outcome, *, again: bool = False) -> Signal | None:
    """Read an outcome as a signal; None if no call was made. `again`: the request was denied before.

    A denied message counts as a denial of our account, unless another message of the same call was accepted.
    """
    match outcome:
        case Accepted(statuses):
            found = {disposition_of(one.group_id, one.id, one.group_name): one for one in statuses.values()}
            denied = None if "taken" in found else found.get("denied")
            return Signal("denied", status_cause(denied), again=again) if denied else _HEALTHY
        case Rejected():
            return _HEALTHY
        case NotAttempted() | Unavailable("http_413"):
            return None  # no call, or one too large for a gateway: it is made again in halves
        case Unavailable(cause, retry_after):
            is_refusal = cause.startswith("http_4") and cause not in _BUSY
            return Signal("refused" if is_refusal else "failing", cause, retry_after)
        case Unknown(cause):
            return Signal("failing", cause)
        case Denied(cause):
            return Signal("denied", cause, again=again)
        case _:
            assert_never(outcome)


def record_outcome(breaker: CircuitBreaker, signal: Signal, now: float, jitter: float) -> CircuitBreaker:
    """Return the breaker after a call. `jitter` from [0, 1) spreads the probes of workers that opened together.

    A call that ends while the breaker is open was made before it opened. It must not close the breaker, shorten the
    pause or count as a failure: a hundred calls fail together, and each would double the pause. Only a longer
    `Retry-After` counts.
    """
    if breaker.state == "open":
        if signal.kind == "healthy":
            return replace(breaker, healthy_at=now)
        asked = _asked(signal, now)
        return breaker if breaker.until is None or asked <= breaker.until else replace(breaker, until=asked)
    counted = _count(breaker, signal, now)
    if signal.kind == "healthy":
        return replace(CLOSED, healthy_at=now) if breaker.state == "half_open" else counted
    if _is_tolerated(counted, signal, now):
        return counted
    denied = signal.kind == "denied"
    openings = breaker.openings if signal.again and breaker.openings else breaker.openings + 1
    pause = min(_LONGEST_PAUSE[denied], _FIRST_PAUSE * 2 ** min(openings - 1, 30)) * (0.5 + jitter / 2)
    until = max(now + pause, _asked(signal, now))
    return CircuitBreaker("open", signal.cause, denied, until, openings, healthy_at=breaker.healthy_at)


def advance(breaker: CircuitBreaker, now: float) -> CircuitBreaker:
    """Return the breaker at a time: an open one becomes half-open when its pause is over."""
    if breaker.state == "open" and breaker.until is not None and breaker.until <= now:
        return replace(breaker, state="half_open", until=None)
    return breaker


def _asked(signal: Signal, now: float) -> float:
    return -inf if signal.retry_after is None else now + min(signal.retry_after, _LONGEST_ASKED)


def probe_kind(*, is_urgent: bool, denied_before: bool) -> int:
    """Return the number of the kind of a call that waits for the end of a pause."""
    return 2 * denied_before + (not is_urgent)


def probe_order(openings: int) -> tuple[int, ...]:
    """Return the kinds in the order in which they are the probe.

    * An urgent call is the first probe of a pause. After that the lanes take turns: if urgent calls fail for a reason
      of their own, the other lane must not be paused for it.
    * A call that was denied before is the last one, since it may be denied for a reason of its own.
    """
    return (0, 1, 2, 3) if openings % 2 else (1, 0, 3, 2)


def seconds_since_healthy(breaker: CircuitBreaker, now: float) -> float:
    """Return the seconds since a call last showed that OMNI takes our calls; infinite if none has."""
    return inf if breaker.healthy_at is None else now - breaker.healthy_at


def _is_tolerated(breaker: CircuitBreaker, signal: Signal, now: float) -> bool:
    """Return whether the state stays as it is after a call that failed, was refused or was denied, and was counted."""
    if signal.kind == "failing":
        return breaker.state == "closed" and signal.retry_after is None and not _trips(breaker)
    seconds = seconds_since_healthy(breaker, now)
    if seconds <= _JUST_NOW or (seconds <= _LATELY and breaker.denials < _DENIALS):
        return True
    return signal.kind == "refused" and breaker.state == "closed" and breaker.denials < FAILURES_IN_ROW


def _count(breaker: CircuitBreaker, signal: Signal, now: float) -> CircuitBreaker:
    """Count a call. A denial or a refusal is not a failure: it may concern that call alone."""
    if signal.kind in {"refused", "denied"}:
        return replace(breaker, denials=breaker.denials + 1)
    age = 0.0 if breaker.counted_at is None else now - breaker.counted_at
    fade, failed = 0.5 ** (age / _HALF_LIFE), signal.kind == "failing"
    in_row = breaker.failures_in_row + 1 if failed else 0
    good, bad = breaker.good * fade + (not failed), breaker.bad * fade + failed
    healthy_at, denials = (breaker.healthy_at, breaker.denials) if failed else (now, 0)
    return CircuitBreaker(
        breaker.state,
        breaker.cause,
        breaker.denied,
        breaker.until,
        breaker.openings,
        in_row,
        good,
        bad,
        now,
        healthy_at,
        denials,
    )


def _trips(breaker: CircuitBreaker) -> bool:
    volume = breaker.good + breaker.bad
    return breaker.failures_in_row >= FAILURES_IN_ROW or (volume >= VOLUME and breaker.bad >= volume * SHARE)
