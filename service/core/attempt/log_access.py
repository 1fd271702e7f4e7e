"""Whether OMNI's logs are closed to us: only where OMNI itself refuses them, several times in a row, for some seconds.

A gateway, or OMNI while it is being restarted, may refuse a single question. Whoever takes that for closed logs posts
again what OMNI has. So a refusal counts as no answer at first, and the message is looked for again.
"""

from dataclasses import replace
from typing import Final, assert_never

from service.core.attempt.lookup import Answered, Forbidden, LookupResult, Unanswered
from service.core.value import dataclass

REFUSALS: Final = 3
"""In a row, without an answer between them."""
PERIOD: Final = 5.0
"""Seconds from the first to the latest of them."""
ASKED_AGAIN: Final = 60.0
"""Seconds after which closed logs are asked again: somebody may have opened them."""


@dataclass(frozen=True, slots=True)
class LogAccess:
    """What the latest answers say. Times are those of a monotonic clock, in seconds."""

    refusals: int = 0
    first: float = 0.0
    """When the first of the refusals came."""
    closed_until: float | None = None
    """Until then nothing is asked."""


OPEN: Final = LogAccess()


def hear(access: LogAccess, lookup_result: LookupResult, now: float) -> tuple[LogAccess, LookupResult]:
    """Take in an answer of the logs; gives what it means: a refusal that is not yet persistent is no answer."""
    match lookup_result:
        case Answered():
            return OPEN, lookup_result
        case Unanswered():
            return replace(access, closed_until=None), lookup_result
        case Forbidden(cause):
            first = access.first if access.refusals else now
            refused = LogAccess(access.refusals + 1, first)
            if refused.refusals < REFUSALS or now - first < PERIOD:
                return refused, Unanswered(cause)
            return replace(refused, closed_until=now + ASKED_AGAIN), lookup_result
        case _:
            assert_never(lookup_result)
