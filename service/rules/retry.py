"""When to try again: exponential back-off with full jitter, over waiting rooms of fixed delays.

A wait is drawn evenly between nothing and a ceiling that doubles with each attempt, then rounded up to the
next room: a broker keeps a queue's messages in order, so each delay needs a room of its own. The draw
keeps those who failed together from coming back together.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

_DENIED_WAIT: Final = 30.0
"""Seconds until a request refused for our own fault looks again; nothing is counted against it."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently; delays in seconds."""

    max_attempts: int = 8
    base_delay: float = 1.0
    max_delay: float = 300.0

    @property
    def rooms(self) -> tuple[float, ...]:
        """Delays there is a waiting room for: doubling from the base, up to the longest."""
        rooms = [min(self.base_delay, self.max_delay)]
        while rooms[-1] < self.max_delay:
            rooms.append(min(rooms[-1] * 2, self.max_delay))
        return tuple(rooms)


def delay(policy: RetryPolicy, attempt: int, draw: float, not_before: timedelta | None = None) -> float:
    """Choose the room after a failed `attempt` (from 1 on); `draw` is from [0, 1).

    What OMNI asks for is waited for in full, up to the longest room there is: whoever asks for more is
    asked again then.
    """
    ceiling = min(policy.max_delay, policy.base_delay * 2 ** min(attempt - 1, 62))
    wanted = draw * ceiling
    if not_before is not None:
        wanted = max(wanted, not_before.total_seconds())
    return _room(policy, wanted)


def pause_delay(policy: RetryPolicy) -> float:
    """Choose the room for a request that was refused for our own fault."""
    return _room(policy, _DENIED_WAIT)


def _room(policy: RetryPolicy, seconds: float) -> float:
    return next((room for room in policy.rooms if room >= seconds), policy.rooms[-1])


def due(now: datetime, room: float) -> datetime:
    """Tell when a room lets go of what enters it now."""
    return now + timedelta(seconds=room)
