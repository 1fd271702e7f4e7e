"""Report messages that an order to cancel concerns, where they would be posted next.

A message that may have been posted is never called cancelled:

not posted        no attempt was ambiguous, or OMNI's logs have been asked about it and do not have it: cancelled
not looked up     an earlier attempt was ambiguous, and was posted again by policy or after lookups: looked up anew
not known         the logs do not say, so the policy would post it again: parked as unknown
"""

from dataclasses import replace
from typing import Final

from service.core.attempt.disposition import MessageOutcome
from service.core.attempt.lookup import ResolutionKind
from service.core.attempt.retry import lookup_delay
from service.core.history import mark_ambiguous
from service.core.result.decision import Attempt, give_up, schedule_retry
from service.core.result.event import Reason
from service.core.result.report import Report, report_each

_CAUSE: Final = "cancelled"
_REASON: Final = Reason("cancelled", "cancelled before it was posted")


def report_cancellation(attempt: Attempt, resolution: ResolutionKind | None, *, is_missing: bool) -> Report:
    """Report the messages of `attempt`, which is the one that would follow.

    `resolution`: of the lookup of an ambiguous attempt, in this delivery; None if there was none. `is_missing`: whether
    it has shown that OMNI does not have them.
    """
    request, history = attempt.request, attempt.history
    if not history.ambiguous or is_missing:
        return report_each("message.cancelled", request, history, attempt.now, _REASON)
    latest = replace(attempt, history=replace(history, attempts=max(history.attempts - 1, 0)))
    message_outcomes = tuple(MessageOutcome(message, "ambiguous", _CAUSE) for message in request.messages)
    if resolution is not None:
        return give_up(latest, "message.unknown", message_outcomes, history)
    return schedule_retry(latest, message_outcomes, mark_ambiguous(history), lookup_delay(attempt.policy.retry, 0))
