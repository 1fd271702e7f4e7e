"""When to try again: exponential back-off with full jitter, over waiting rooms of fixed delays.

A wait is drawn evenly between nothing and a ceiling that doubles with each attempt, then rounded up to the
next room: a broker keeps a queue's messages in order, so each delay needs a room of its own. The draw
keeps those who failed together from coming back together.

What the settings have to say about messages.
"""

from datetime import datetime, timedelta
from typing import Final

from service.core.history import History
from service.core.request.request import OnUnknown
from service.core.value import dataclass

HOUR: Final = 3600.0
"""Seconds in the room for messages that OMNI's flooding filter refused."""

_PAUSE: Final = 30.0
"""Seconds until a request that cannot be served for our own fault is taken up again; nothing is counted against it."""

_DENIED_ALONE: Final = 8.0
"""Seconds until a request that was denied while others succeeded is tried again."""

MAX_REDELIVERIES: Final = 20

_FIRST_LOOK: Final = 4
"""Base delays until the first look at a doubt."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently; delays in seconds."""

    max_attempts: int = 8
    base_delay: float = 1.0
    max_delay: float = 300.0

    @property
    def delays(self) -> tuple[float, ...]:
        """Delays there is a waiting room for: doubling from the base, up to the longest; and an hour."""
        return tuple(sorted({*self.ladder, HOUR}))

    @property
    def ladder(self) -> tuple[float, ...]:
        """The rooms of ordinary retries."""
        ladder = [self.base_delay]
        while ladder[-1] < self.max_delay:
            ladder.append(min(ladder[-1] * 2, self.max_delay))
        return tuple(ladder)

    @property
    def span(self) -> float:
        """The seconds that all waits take together when the dice fall high: no message is given up before."""
        ladder = self.ladder
        return sum(ladder[min(wait, len(ladder) - 1)] for wait in range(self.max_attempts - 1))


def delay(policy: RetryPolicy, attempt: int, jitter: float, asked: float = 0.0) -> float:
    """Choose the room after a failed `attempt` (from 1 on); `draw` is from [0, 1).

    The seconds that OMNI `asked` for are waited for in full, up to the longest room of the ladder: whoever asks for
    more is asked again then.
    """
    ceiling = min(policy.max_delay, policy.base_delay * 2 ** min(attempt - 1, 62))
    wanted = max(jitter * ceiling, asked)
    return next((delay_seconds for delay_seconds in policy.ladder if delay_seconds >= wanted), policy.ladder[-1])


def lookup_delay(policy: RetryPolicy, retries: int) -> float:
    """Choose the room before a look into the logs: time for a message to show there, more each time it is put aside."""
    wanted = policy.base_delay * _FIRST_LOOK * 2 ** min(retries, 62)
    return next((delay_seconds for delay_seconds in policy.ladder if delay_seconds >= wanted), policy.ladder[-1])


def pause_delay(policy: RetryPolicy) -> float:
    """Choose the room for a request that cannot be served for our own fault."""
    return next((delay_seconds for delay_seconds in policy.ladder if delay_seconds >= _PAUSE), policy.ladder[-1])


def denied_delay(policy: RetryPolicy, *, others_succeed: bool) -> float:
    """Choose the room for a request that was denied; nothing is counted against it."""
    if not others_succeed:
        return pause_delay(policy)
    return next((delay_seconds for delay_seconds in policy.ladder if delay_seconds >= _DENIED_ALONE), policy.ladder[-1])


def is_used_up(history: History, max_attempts: int) -> bool:
    """Return whether there is no further attempt.

    Redeliveries are allowed on top of `max_attempts`, since most of them follow from the crash of a worker for another
    request's sake. But a request that kills workers, and is a new message to the broker each time, must end too.
    """
    return history.attempts - history.redeliveries >= max_attempts or history.redeliveries >= MAX_REDELIVERIES


def due(now: datetime, delay_seconds: float) -> datetime:
    """Tell when a room lets go of what enters it now."""
    return now + timedelta(seconds=delay_seconds)


@dataclass(frozen=True, slots=True)
class Policy:
    """Read once, the same for every request."""

    retry: RetryPolicy
    on_unknown: OnUnknown = "resend"
    """For a request that does not say."""
    log_checks: int = 3
    """Looks into OMNI's logs that must have missed a message in doubt before it counts as not taken: logs may lag."""
    scenario_key: str | None = None
    """For a request that names none."""
    call_size: int = 500
    """Destinations in one call; a larger request takes several."""
