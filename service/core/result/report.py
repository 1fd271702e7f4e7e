"""What is published about a request: events, retry messages and dead letters.

Here are the values, and the reports of requests that are not attempted. `decision` reports attempts.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final, Literal

from service.core.history import History
from service.core.request.request import Parsed, SendRequest
from service.core.result.event import EventType, Reason, StatusEvent
from service.core.value import dataclass

RelayReason = Literal["failed", "unknown"]
"""failed: attempts used up. unknown: OMNI may have accepted it, and the policy is to park it.

The broker adds dead letters of its own; see `dead_letter`.
"""

EARLIER_ATTEMPT: Final = "an earlier attempt may have been taken"

SLICE: Final = 2**17
"""Bytes, about, of events that are rendered and published at once: ten thousand with metadata would take 50 MB."""

_BARE: Final = 1024
"""Bytes of an event besides its metadata and its faults."""
FEW: Final = 16
"""Events that are never divided."""


@dataclass(frozen=True, slots=True)
class RetryMessage:
    """Messages of a request to be attempted again, stored in a delay queue until then."""

    request: SendRequest
    history: History
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class DeadLetterMessage:
    """Messages of a request that the relay has given up."""

    request: SendRequest
    history: History
    reason: RelayReason
    cause: str
    """A closed word: headers are read by people who may not see personal data."""


@dataclass(frozen=True, slots=True)
class Report:
    """All of it is confirmed by the broker before the delivery is settled, or messages would be lost."""

    events: tuple[StatusEvent, ...] = ()
    retries: tuple[RetryMessage, ...] = ()
    dead_letters: tuple[DeadLetterMessage, ...] = ()


def slices(report: Report) -> Iterator[Report]:
    """Divide a report into parts to be published one after the other. Retries and dead letters come with the last.

    The size of a part is computed when it is asked for, so that nothing slow precedes the first.
    """
    if len(report.events) <= FEW:
        yield report
        return
    start = size = 0
    for end, event in enumerate(report.events, 1):
        size += _size(event)
        if size >= SLICE and end < len(report.events):
            yield Report(report.events[start:end])
            start, size = end, 0
    yield Report(report.events[start:], report.retries, report.dead_letters)


def _size(event: StatusEvent) -> int:
    texts = sum(len(name) + len(value) for name, value in event.metadata.items())
    faults = event.reason.faults if event.reason else ()
    return _BARE + texts + sum(len(fault.path) + len(fault.message) for fault in faults)


def report_rejections(parsed: Parsed, history: History, now: datetime) -> Report:
    """Report each message that cannot be sent, or the body that names none."""
    if parsed.request is None and not parsed.rejections:
        reason = Reason("invalid", "names no readable message", parsed.faults)
        refusal = StatusEvent(
            "request.rejected",
            now,
            parsed.request_id,
            history.attempts,
            reason=reason,
            metadata=parsed.metadata,
            content_digest=parsed.content_digest,
        )
        return Report((refusal,))
    return Report(
        tuple(
            StatusEvent(
                "message.rejected",
                now,
                parsed.request_id,
                history.attempts,
                message_id=rejection.message_id,
                to=rejection.to,
                reason=Reason("invalid", "the request is not valid", rejection.faults),
                metadata=parsed.metadata,
                content_digest=parsed.content_digest,
            )
            for rejection in parsed.rejections
        )
    )


def report_expiry(
    request: SendRequest,
    history: History,
    now: datetime,
    detail: str = "expiresAt passed before an attempt could be made",
) -> Report:
    """Report a request whose deadline passed before an attempt."""
    reason = Reason("expired", f"{detail}; {EARLIER_ATTEMPT}" if history.ambiguous else detail)
    return report_each("message.expired", request, history, now, reason)


def report_each(type_: EventType, request: SendRequest, history: History, now: datetime, reason: Reason) -> Report:
    """Report the same about each message of a request that is not posted."""
    return Report(
        tuple(
            StatusEvent(
                type_,
                now,
                request.request_id,
                history.attempts,
                message_id=message.message_id,
                to=message.to,
                bulk_id=request.content.bulk_id,
                reason=reason,
                metadata=request.metadata,
                content_digest=request.content_digest,
            )
            for message in request.messages
        )
    )
