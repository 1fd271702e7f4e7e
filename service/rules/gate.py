"""Whether to make calls: stop when OMNI cannot take them or refuses our account, look again, go on when it does.

open     calls are made
closed   none are, until a time
probing  one is, and how it ends tells how things stand

It closes on a refusal of our account at once, where OMNI asks for time (`Retry-After`) until then, and where calls fail
as a rule: several in a row, or a good share of enough of them. A request that is refused for its own fault shows that
OMNI works.

Times are seconds of a clock that only goes forward. The wall clock may step, and a pause must end all the same.
"""

from dataclasses import replace
from math import inf
from typing import Final, Literal, assert_never

from service.rules.verdict import status_cause
from service.words.omni.catalogue import course_of
from service.words.omni.status import Status
from service.words.outcome import Accepted, Denied, Held, Outcome, Rejected, Unavailable, Unknown
from service.words.value import dataclass

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
_LONGEST_ASKED: Final = 300.0
"""Seconds that OMNI may ask for; whoever asks for more is asked again then."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What an outcome says about OMNI and our account."""

    kind: Literal["healthy", "failing", "denied"]
    cause: str = ""
    retry_after: float | None = None
    """Seconds for which OMNI asks us to wait."""


@dataclass(frozen=True, slots=True)
class Gate:
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


OPEN: Final = Gate()


def read_signal(outcome: Outcome) -> Signal | None:
    """Tell what a call's end says about OMNI; nothing where none was made. One denied message denies us all."""
    match outcome:
        case Accepted(statuses):
            denied = next((status for status in statuses.values() if _is_denial(status)), None)
            return Signal("denied", status_cause(denied)) if denied else Signal("healthy")
        case Rejected():
            return Signal("healthy")
        case Held() | Unavailable("http_413"):
            return None  # no call, or one too large for a gateway: it is made again in halves, and says nothing of OMNI
        case Unavailable(cause, retry_after):
            return Signal("failing", cause, retry_after)
        case Unknown(cause):
            return Signal("failing", cause)
        case Denied(cause):
            return Signal("denied", cause)
        case _:
            assert_never(outcome)


def _is_denial(status: Status) -> bool:
    return course_of(status.group_id, status.id, status.group_name) == "denied"


def hear(gate: Gate, signal: Signal, now: float, draw: float) -> Gate:
    """Move it; `draw`, from [0, 1), keeps those who stopped together from starting together.

    Calls under way when it was closed change nothing, but for a wait that OMNI asks for.
    """
    if gate.mode == "closed":
        asked = _asked(signal, now)
        return gate if gate.until is None or asked <= gate.until else replace(gate, until=asked)
    counted = _count(gate, signal, now)
    if signal.kind == "healthy":
        return OPEN if gate.mode == "probing" else counted
    if signal.kind == "failing" and gate.mode == "open" and signal.retry_after is None and not _trips(counted):
        return counted
    denied = signal.kind == "denied"
    pause = min(_LONGEST_PAUSE[denied], _FIRST_PAUSE * 2 ** min(gate.closings, 30)) * (0.5 + draw / 2)
    return Gate("closed", signal.cause, denied, max(now + pause, _asked(signal, now)), gate.closings + 1)


def look(gate: Gate, now: float) -> Gate:
    """Let one call through as a probe once a closed gate's time has come."""
    if gate.mode == "closed" and gate.until is not None and gate.until <= now:
        return replace(gate, mode="probing", until=None)
    return gate


def _asked(signal: Signal, now: float) -> float:
    return -inf if signal.retry_after is None else now + min(signal.retry_after, _LONGEST_ASKED)


def _count(gate: Gate, signal: Signal, now: float) -> Gate:
    age = 0.0 if gate.counted_at is None else now - gate.counted_at
    fade, failed = 0.5 ** (age / _HALF_LIFE), signal.kind != "healthy"
    row, good, bad = gate.row + 1 if failed else 0, gate.good * fade + (not failed), gate.bad * fade + failed
    return Gate(gate.mode, gate.cause, gate.denied, gate.until, gate.closings, row, good, bad, now)


def _trips(gate: Gate) -> bool:
    volume = gate.good + gate.bad
    return gate.row >= ROW or (volume >= VOLUME and gate.bad >= volume * SHARE)
