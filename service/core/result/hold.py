"""Requests that wait in the broker for their `sendAt`, where the relay does not pass it on to OMNI.

A delay queue has a fixed delay, so a request goes through several: each time the longest one that is not too long. It
uses up no attempt. A worker sees it at each of these steps, so that is when an order to cancel, or a clock that has
been set, takes effect.
"""

from dataclasses import replace
from datetime import datetime
from typing import Final

from service.core.attempt.retry import Policy, hold_delay
from service.core.history import History
from service.core.request.request import SendRequest
from service.core.result.report import Report, RetryMessage, report_expiry

TOO_LATE: Final = "sendAt is no earlier than expiresAt"
_SHORT: Final = 1.0
"""Seconds that a request may wait in the worker."""


def is_short(seconds: float, policy: Policy) -> bool:
    """Return whether a request is due before any delay queue would return it, and may wait in the worker."""
    return seconds < min(policy.retry.delays[0], _SHORT)


def report_hold(request: SendRequest, history: History, policy: Policy, now: datetime, due: datetime) -> Report:
    """Put a request into a delay queue; one that can never be attempted has expired."""
    if request.expires_at is not None and request.expires_at <= due:
        return report_expiry(request, history, now, TOO_LATE)
    held = replace(history, retries=history.retries + 1, holds=history.holds + 1)
    return Report(retries=(RetryMessage(request, held, hold_delay(policy.retry, (due - now).total_seconds())),))


def begun(history: History, due: datetime) -> History:
    """Return the history of a request that is due: its attempts and lookups have their time from then on."""
    return replace(history, first_seen=max(history.first_seen, due))
