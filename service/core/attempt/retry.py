"""When a request is attempted again: exponential back-off with full jitter, over delay queues with fixed delays.

A delay is drawn evenly between zero and a ceiling that doubles with each attempt, and rounded up to the next delay
queue. A queue expires messages in order, so each delay needs a queue of its own (`topology.delay_queue`). Jitter keeps
requests that failed together from returning together.

The delays are a part of the topology: a worker with another base or maximum declares other queues, and the messages in
the old ones return when their time has come.
"""

from dataclasses import field
from datetime import datetime, timedelta
from typing import Final

from service.core.history import History
from service.core.request.request import OnUnknown
from service.core.value import dataclass

HOUR: Final = 3600.0
"""Seconds until a message that OMNI's flooding filter refused is tried again. The filter counts refused messages too,
so an earlier attempt would prolong the refusal."""

MAX_REDELIVERIES: Final = 20

_PAUSE: Final = 30.0
"""Seconds until a request is tried again that failed for a fault of ours."""

_DENIED_ALONE: Final = 8.0
"""Seconds until a request is tried again that was denied while others succeeded."""

_FIRST_LOOKUP: Final = 4
"""Base delays until the first lookup of an ambiguous attempt: OMNI's logs show a message some seconds late."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is attempted, and with which delays in seconds."""

    max_attempts: int = 8
    base_delay: float = 1.0
    max_delay: float = 300.0

    @property
    def delays(self) -> tuple[float, ...]:
        """The delays that have a delay queue."""
        return tuple(sorted({*self.ladder, HOUR}))

    @property
    def ladder(self) -> tuple[float, ...]:
        """The delays of ordinary retries: doubling from the base up to the maximum."""
        ladder = [self.base_delay]
        while ladder[-1] < self.max_delay:
            ladder.append(min(ladder[-1] * 2, self.max_delay))
        return tuple(ladder)

    @property
    def span(self) -> float:
        """The sum of the maximum delays. Jitter never shortens the schedule as a whole below it."""
        ladder = self.ladder
        return sum(ladder[min(wait, len(ladder) - 1)] for wait in range(self.max_attempts - 1))

    def rounded_up(self, seconds: float) -> float:
        """Return the shortest delay of the ladder that is no shorter, else the longest."""
        ladder = self.ladder
        return next((delay_seconds for delay_seconds in ladder if delay_seconds >= seconds), ladder[-1])


def delay(policy: RetryPolicy, attempt: int, jitter: float, asked: float = 0.0) -> float:
    """Choose the delay after a failed `attempt` (from 1). `jitter` is from [0, 1).

    `asked`: the seconds that OMNI asked for. They are waited for in full, up to the longest delay.
    """
    ceiling = min(policy.max_delay, policy.base_delay * 2 ** min(attempt - 1, 62))
    return policy.rounded_up(max(jitter * ceiling, asked))


def lookup_delay(policy: RetryPolicy, doublings: int) -> float:
    """Choose the delay before a log lookup."""
    return policy.rounded_up(policy.base_delay * _FIRST_LOOKUP * 2 ** min(doublings, 62))


def hold_delay(policy: RetryPolicy, seconds: float) -> float:
    """Choose the delay of a request that is due in so many seconds. It is not late, unless it is due very soon.

    An hour at most: an order to cancel takes effect only when the request leaves the delay queue.
    """
    return max((one for one in policy.delays if one <= min(seconds, HOUR)), default=policy.delays[0])


def pause_delay(policy: RetryPolicy) -> float:
    """Choose the delay of a request that cannot be handled for a fault of ours. No attempt is counted."""
    return policy.rounded_up(_PAUSE)


def duplicate_delay(policy: RetryPolicy, waits: int) -> float:
    """Choose the delay of a duplicate that waits for the end of another delivery, and has waited so often."""
    return policy.rounded_up(min(policy.base_delay * 2 ** min(waits, 62), _PAUSE))


def denied_delay(policy: RetryPolicy, *, others_succeed: bool) -> float:
    """Choose the delay of a request that was denied. No attempt is counted."""
    return policy.rounded_up(_DENIED_ALONE if others_succeed else _PAUSE)


def is_used_up(history: History, max_attempts: int) -> bool:
    """Return whether there is no further attempt.

    Redeliveries are allowed on top of `max_attempts`: most of them follow from a worker that died of something else.
    But a request that kills workers, and is a new message to the broker each time, must end too.
    """
    return history.attempts - history.redeliveries >= max_attempts or history.redeliveries >= MAX_REDELIVERIES


def due(now: datetime, delay_seconds: float) -> datetime:
    """Return when a message that enters a delay queue now leaves it."""
    return now + timedelta(seconds=delay_seconds)


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that apply to every request."""

    retry: RetryPolicy
    on_unknown: OnUnknown = "resend"
    """For a request that has none of its own."""
    log_checks: int = 3
    """Log lookups that must not show an ambiguous message before it counts as not accepted: logs may lag."""
    scenario_key: str | None = None
    """For a request that names none."""
    call_size: int = 500
    """Maximum of destinations in one call."""
    notify_url: str | None = field(default=None, repr=False)
    """Where OMNI is to push reports, for a request that does not say. It holds a secret."""
    hold_scheduled: bool = False
    """Whether requests wait for their `sendAt` in the broker, and are posted without it."""
