"""Whether our account may read OMNI's logs: denied only after several refusals in a row over some seconds.

A gateway, or OMNI during a restart, may refuse a single lookup. If that counted as denied access, messages that OMNI
already has would be posted again. So a refusal first counts as no answer, and the lookup is repeated.
"""

from dataclasses import replace
from typing import Final, assert_never

from service.core.attempt.lookup import Answered, Forbidden, LookupResult, Unanswered
from service.core.value import dataclass

REFUSALS: Final = 3
"""In a row, without an answer between them."""
PERIOD: Final = 5.0
"""Seconds from the first to the latest of them."""
RECHECK_AFTER: Final = 60.0
"""Seconds after which denied logs are asked again: somebody may have granted access."""


@dataclass(frozen=True, slots=True)
class LogAccess:
    """Whether the logs may be read, as the latest answers show it. Times are seconds of a monotonic clock."""

    refusals: int = 0
    first: float = 0.0
    """When the first of the refusals came."""
    denied_until: float | None = None
    """No lookup is made before then."""


GRANTED: Final = LogAccess()


def record_answer(access: LogAccess, lookup_result: LookupResult, now: float) -> tuple[LogAccess, LookupResult]:
    """Return the access after an answer, and its meaning: a refusal is `Unanswered` until it is persistent."""
    match lookup_result:
        case Answered():
            return GRANTED, lookup_result
        case Unanswered():
            return replace(access, denied_until=None), lookup_result
        case Forbidden(cause):
            first = access.first if access.refusals else now
            refused = LogAccess(access.refusals + 1, first)
            if refused.refusals < REFUSALS or now - first < PERIOD:
                return refused, Unanswered(cause)
            return replace(refused, denied_until=now + RECHECK_AFTER), lookup_result
        case _:
            assert_never(lookup_result)
