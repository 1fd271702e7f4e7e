"""Whether to take deliveries: stop when our account is refused, look again ever more rarely, go on when it is not.

open     deliveries are taken
closed   none are, until a time
probing  one at a time, until one tells how things stand
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate's state."""

    mode: Literal["open", "closed", "probing"] = "open"
    failures: int = 0
    """Refusals in a row."""
    cause: str = ""
    until: datetime | None = None
    """When a closed gate is tried again."""


OPEN: Final = Gate()


def refuse(gate: Gate, cause: str, now: datetime, draw: float) -> Gate:
    """Close it after a refusal; those that come late, from calls already under way, change nothing."""
    if gate.mode == "closed":
        return gate
    pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(gate.failures, 30))
    return Gate("closed", gate.failures + 1, cause, now + timedelta(seconds=pause * (0.5 + draw / 2)))


def admit(gate: Gate) -> Gate:
    """Open it after a call that was not refused, if that was the probe."""
    return OPEN if gate.mode == "probing" else gate


def look(gate: Gate, now: datetime) -> Gate:
    """Let the next delivery through as a probe once a closed gate's time has come."""
    if gate.mode == "closed" and gate.until is not None and gate.until <= now:
        return Gate("probing", gate.failures, gate.cause)
    return gate
