"""What is said about each message, and what is put aside.

Every message ends this step in exactly one of: a last word, or a parked letter, with a deferral if it was attempted.

A request put aside: to be tried again after a wait, or to be looked at by a person.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from math import inf
from typing import Final, Literal, assert_never

from service.core.attempt.disposition import MessageOutcome
from service.core.attempt.retry import HOUR, Policy, delay, denied_delay, due, is_used_up, lookup_delay
from service.core.history import History, mark_ambiguous
from service.core.omni.status import Disposition
from service.core.request.request import Parsed, SendRequest
from service.core.result.event import EventType, Reason, ReasonCode, StatusEvent
from service.core.value import dataclass

RelayReason = Literal["failed", "unknown"]
"""failed: attempts used up. unknown: perhaps taken, parked by policy.

A dead letter without such a reason was put there by the broker: it killed workers up to the queue's delivery
limit, expired in the queue, or broke the relay's own code; `x-death` tells.
"""


@dataclass(frozen=True, slots=True)
class RetryMessage:
    """Messages to try again when the waiting room lets go of them."""

    request: SendRequest
    history: History
    delay_seconds: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class DeadLetterMessage:
    """Messages that nothing more will be done about."""

    request: SendRequest
    history: History
    reason: RelayReason
    cause: str
    """A closed word: headers are read by people who may not see personal data."""


StoredMessage = RetryMessage | DeadLetterMessage
"""A request on its way back into the broker; the delivery is settled when the broker has it."""


SLICE: Final = 2**17
"""Bytes, about, of events that are rendered and published at once: ten thousand with metadata would take 50 MB."""

_BARE: Final = 1024
"""Bytes of an event besides its metadata and its faults."""
_FEW: Final = 16


@dataclass(frozen=True, slots=True)
class Report:
    """Events and letters: published and confirmed together, before the delivery is settled."""

    events: tuple[StatusEvent, ...] = ()
    stored: tuple[StoredMessage, ...] = ()


def slices(report: Report) -> Iterator[Report]:
    """Cut a report into parts that are to be published one after the other: its letters come with the last.

    The size of a part is found when it is asked for, so nothing that takes long comes before the first.
    """
    if len(report.events) <= _FEW:
        yield report
        return
    start = size = 0
    for end, event in enumerate(report.events, 1):
        size += _size(event)
        if size >= SLICE and end < len(report.events):
            yield Report(report.events[start:end])
            start, size = end, 0
    yield Report(report.events[start:], report.stored)


def _size(event: StatusEvent) -> int:
    """Tell about how many bytes an event takes."""
    texts = sum(len(name) + len(value) for name, value in event.metadata.items())
    faults = event.reason.faults if event.reason else ()
    return _BARE + texts + sum(len(fault.path) + len(fault.message) for fault in faults)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at (a part of) a request, with the clock and the dice read once."""

    request: SendRequest
    history: History
    policy: Policy
    now: datetime
    jitter: float
    """From [0, 1)."""
    since_success: float = inf
    """Seconds since a call of this worker last showed that OMNI takes calls of ours."""

    @property
    def number(self) -> int:
        """Count it, from 1 on."""
        return self.history.attempts + 1


_CODES: Final[Mapping[Disposition, ReasonCode]] = {
    "again": "unavailable",
    "later": "unavailable",
    "ambiguous": "ambiguous",
    "denied": "denied",
    "refused": "refused",
    "not_attempted": "unavailable",
}
_DETAILS: Final[Mapping[ReasonCode, str]] = {
    "refused": "OMNI refused the message",
    "unavailable": "OMNI did not take the message",
    "ambiguous": "OMNI may or may not have taken the message",
    "denied": "OMNI refuses our credentials, our account, or this request",
}
_DENIALS: Final = 3
"""Denials that end a request."""
_LATELY: Final = 60.0
_DOUBT_REMAINS: Final = "an earlier attempt may have been taken"


def report_rejections(parsed: Parsed, history: History, now: datetime) -> Report:
    """Say what is wrong with each message that cannot be sent, or with the body that names none."""
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


def report_expiry(request: SendRequest, history: History, now: datetime) -> Report:
    """Say that a request came too late to be tried (again)."""
    detail = "expiresAt passed before an attempt could be made"
    reason = Reason("expired", f"{detail}; {_DOUBT_REMAINS}" if history.ambiguous else detail)
    return Report(
        tuple(
            StatusEvent(
                "message.expired",
                now,
                request.request_id,
                history.attempts,
                message_id=message.message_id,
                to=message.to.written(),
                bulk_id=request.content.bulk_id,
                reason=reason,
                metadata=request.metadata,
                content_digest=request.content_digest,
            )
            for message in request.messages
        )
    )


def report_attempt(attempt: Attempt, message_outcomes: Iterable[MessageOutcome]) -> Report:
    """Say how an attempt ended for each of its messages, and put aside those that need another."""
    events: list[StatusEvent] = []
    stored: list[StoredMessage] = []
    ended = [_end_denials(attempt, one) if one.disposition == "denied" else one for one in message_outcomes]
    if len(ended) > 1:
        ended.sort(key=_disposition)
    for disposition, group in groupby(ended, _disposition):
        members = tuple(group)
        match disposition:
            case "taken":
                events += _say(attempt, "message.accepted", members)
            case "refused":
                events += _say(attempt, "message.rejected", members)
            case "again" | "later" | "ambiguous" | "denied" | "not_attempted":
                unfinished = _report_unfinished(attempt, disposition, members)
                events += unfinished.events
                stored += unfinished.stored
            case _:
                assert_never(disposition)
    return Report(tuple(events), tuple(stored))


def _end_denials(attempt: Attempt, message_outcome: MessageOutcome) -> MessageOutcome:
    """Take a denial for a refusal of the message itself, once it is clear that our credentials and account work.

    That is when it is the third, and before each but the first other calls succeeded while the request was away.
    """
    return replace(message_outcome, disposition="refused") if _denials(attempt) >= _DENIALS else message_outcome


def _denials(attempt: Attempt) -> int:
    """Count the denials of a request, with this one: those that came though others had succeeded since the last.

    A request is away for the shorter delay at least, so a success within that time is later than its last denial.
    """
    shortest = denied_delay(attempt.policy.retry, others_succeed=True)
    earlier = attempt.history.denials
    return earlier + (attempt.since_success < shortest) if earlier else 1


def _disposition(message_outcome: MessageOutcome) -> Disposition:
    return message_outcome.disposition


def _report_unfinished(
    attempt: Attempt, disposition: Disposition, message_outcomes: tuple[MessageOutcome, ...]
) -> Report:
    """Decide between another attempt and giving up; what may have been taken is looked for before either."""
    past = _past(attempt, disposition)
    if disposition in {"again", "later"} and is_used_up(past, attempt.policy.retry.max_attempts):
        return give_up(attempt, "message.failed", message_outcomes, past)
    delay_seconds = _delay_seconds(attempt, disposition, message_outcomes)
    expires_at = attempt.request.expires_at
    if disposition != "ambiguous" and expires_at is not None and due(attempt.now, delay_seconds) >= expires_at:
        return Report(_say(attempt, "message.expired", message_outcomes))
    if disposition == "not_attempted":
        return Report(
            (), schedule_retry(attempt, message_outcomes, past, delay_seconds).stored
        )  # nothing has happened to tell of
    return schedule_retry(attempt, message_outcomes, past, delay_seconds)


def schedule_retry(
    attempt: Attempt, message_outcomes: tuple[MessageOutcome, ...], past: History, delay_seconds: float
) -> Report:
    """Say when the relay takes them up again, and have a waiting room bring them back."""
    next_attempt_at = due(attempt.now, delay_seconds)
    events = _say(attempt, "message.deferred", message_outcomes, next_attempt_at)
    return Report(
        events,
        (RetryMessage(_rest(attempt, message_outcomes), replace(past, retries=past.retries + 1), delay_seconds),),
    )


def give_up(
    attempt: Attempt,
    type_: Literal["message.failed", "message.unknown"],
    message_outcomes: tuple[MessageOutcome, ...],
    past: History,
) -> Report:
    """Say so, and leave them to a person."""
    reason: RelayReason = "failed" if type_ == "message.failed" else "unknown"
    stored_message = DeadLetterMessage(_rest(attempt, message_outcomes), past, reason, message_outcomes[0].cause)
    return Report(_say(attempt, type_, message_outcomes), (stored_message,))


def _rest(attempt: Attempt, message_outcomes: tuple[MessageOutcome, ...]) -> SendRequest:
    return replace(attempt.request, messages=tuple(message_outcome.message for message_outcome in message_outcomes))


def _past(attempt: Attempt, disposition: Disposition) -> History:
    """Count the attempt, unless the fault was ours or none was made."""
    if disposition == "denied":
        return replace(attempt.history, denials=_denials(attempt))
    if disposition == "not_attempted":
        return attempt.history
    counted = replace(attempt.history, attempts=attempt.number)
    return mark_ambiguous(counted) if disposition == "ambiguous" else counted


def _delay_seconds(attempt: Attempt, disposition: Disposition, message_outcomes: tuple[MessageOutcome, ...]) -> float:
    retry = attempt.policy.retry
    asked = max((message_outcome.retry_after or 0.0 for message_outcome in message_outcomes), default=0.0)
    match disposition:
        case "denied":
            return denied_delay(retry, others_succeed=attempt.since_success < _LATELY)
        case "ambiguous":
            return lookup_delay(retry, 0)
        case "not_attempted":
            return retry.ladder[0]  # it has waited already, and the pause may be over
        case "later":
            return HOUR
        case _:
            return delay(retry, attempt.number, attempt.jitter, max(asked, _patience(attempt)))


def _patience(attempt: Attempt) -> float:
    """Give the seconds to wait at least, so that jitter never brings the last attempt forward.

    The first attempt may have been another worker's, so wall clocks are compared; a step back counts as no time.
    """
    made = attempt.number - attempt.history.redeliveries
    if made + 1 < attempt.policy.retry.max_attempts:
        return 0.0
    return attempt.policy.retry.span - max(0.0, (attempt.now - attempt.history.first_seen).total_seconds())


def _say(
    attempt: Attempt,
    type_: EventType,
    message_outcomes: tuple[MessageOutcome, ...],
    next_attempt_at: datetime | None = None,
) -> tuple[StatusEvent, ...]:
    request = attempt.request
    return tuple(
        StatusEvent(
            type_,
            attempt.now,
            request.request_id,
            attempt.number,
            message_outcome.message.message_id,
            message_outcome.message.to.written(),
            message_outcome.bulk_id or request.content.bulk_id,
            message_outcome.status,
            next_attempt_at,
            _reason(attempt, type_, message_outcome),
            request.metadata,
            request.content_digest,
        )
        for message_outcome in message_outcomes
    )


def _reason(attempt: Attempt, type_: EventType, message_outcome: MessageOutcome) -> Reason | None:
    """Say why; a doubt about an earlier attempt outlives those that were refused for certain."""
    if message_outcome.disposition == "taken":
        return None
    code = _CODES[message_outcome.disposition]
    detail = f"{_DETAILS[code]}: {message_outcome.detail or message_outcome.cause}"
    if attempt.history.ambiguous and type_ in {"message.failed", "message.expired"}:
        code, detail = "ambiguous", f"{detail}; {_DOUBT_REMAINS}"
    if type_ == "message.expired":
        return Reason("expired", f"no further attempt fits before expiresAt; {detail}")
    return Reason(code, detail)
