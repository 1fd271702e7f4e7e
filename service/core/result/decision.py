"""What follows for each message of a request: an event, a retry, a dead letter.

Every message ends an attempt with exactly one of these: a final event (with a dead letter if it was given up), or a
retry, which is announced by a deferral if an attempt was made.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from math import inf
from operator import attrgetter
from typing import Final, Literal, assert_never

from service.core.attempt.disposition import MessageOutcome
from service.core.attempt.retry import HOUR, Policy, delay, denied_delay, due, is_used_up, lookup_delay
from service.core.history import History, mark_ambiguous
from service.core.omni.status import Disposition
from service.core.request.request import SendRequest
from service.core.result.event import EventType, Reason, ReasonCode, StatusEvent
from service.core.result.report import EARLIER_ATTEMPT, DeadLetterMessage, RelayReason, Report, RetryMessage
from service.core.value import dataclass

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
_EMPTY: Final = Report()
_MAX_DENIALS: Final = 3
_RECENT_SUCCESS: Final = 60.0
"""Seconds since a call of this worker succeeded, within which a denial seems to concern this request alone."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at (a part of) a request. The clock and the random number are read once, and passed in."""

    request: SendRequest
    history: History
    policy: Policy
    now: datetime
    jitter: float
    """From [0, 1)."""
    since_success: float = inf
    """Seconds since a call of this worker last showed that OMNI accepts our calls."""

    @property
    def number(self) -> int:
        """The number of this attempt, from 1."""
        return self.history.attempts + 1


def report_attempt(attempt: Attempt, message_outcomes: Iterable[MessageOutcome]) -> Report:
    """Report how an attempt ended for each of its messages, and schedule those that need another."""
    ended = [_end_denials(attempt, one) if one.disposition == "denied" else one for one in message_outcomes]
    if len(ended) > 1:
        ended.sort(key=_disposition)
    report = _EMPTY
    for disposition, group in groupby(ended, _disposition):
        members = tuple(group)
        match disposition:
            case "taken":
                part = Report(_events(attempt, "message.accepted", members))
            case "refused":
                part = Report(_events(attempt, "message.rejected", members))
            case "again" | "later" | "ambiguous" | "denied" | "not_attempted":
                part = _report_unfinished(attempt, disposition, members)
            case _:
                assert_never(disposition)
        report = part if report is _EMPTY else joined(report, part)
    return report


def joined(one: Report, other: Report) -> Report:
    """Return a report of all that two reports contain."""
    if not one.events and not one.retries and not one.dead_letters:
        return other
    return Report(one.events + other.events, one.retries + other.retries, one.dead_letters + other.dead_letters)


_disposition = attrgetter("disposition")


def _end_denials(attempt: Attempt, message_outcome: MessageOutcome) -> MessageOutcome:
    """Treat the third denial as a refusal of the message, since our credentials and account work for other calls."""
    return replace(message_outcome, disposition="refused") if _denials(attempt) >= _MAX_DENIALS else message_outcome


def _denials(attempt: Attempt) -> int:
    """Count the denials of a request, with this one. After the first, one counts only if another call succeeded since.

    A denied request is away for the shorter of two delays at least, so a success within that time is later than its
    last denial.
    """
    shortest = denied_delay(attempt.policy.retry, others_succeed=True)
    earlier = attempt.history.denials
    return earlier + (attempt.since_success < shortest) if earlier else 1


def _report_unfinished(
    attempt: Attempt, disposition: Disposition, message_outcomes: tuple[MessageOutcome, ...]
) -> Report:
    """Decide between another attempt, expiry and failure. An ambiguous attempt is looked up before any of these."""
    past = _past(attempt, disposition)
    if disposition in {"again", "later"} and is_used_up(past, attempt.policy.retry.max_attempts):
        return give_up(attempt, "message.failed", message_outcomes, past)
    delay_seconds = _delay_seconds(attempt, disposition, message_outcomes)
    expires_at = attempt.request.expires_at
    if disposition != "ambiguous" and expires_at is not None and due(attempt.now, delay_seconds) >= expires_at:
        return Report(_events(attempt, "message.expired", message_outcomes))
    report = schedule_retry(attempt, message_outcomes, past, delay_seconds)
    return replace(report, events=()) if disposition == "not_attempted" else report  # there is nothing to report


def schedule_retry(
    attempt: Attempt, message_outcomes: tuple[MessageOutcome, ...], past: History, delay_seconds: float
) -> Report:
    """Schedule another attempt, and announce its time."""
    next_attempt_at = due(attempt.now, delay_seconds)
    events = _events(attempt, "message.deferred", message_outcomes, next_attempt_at)
    history = replace(past, retries=past.retries + 1)
    return Report(events, retries=(RetryMessage(_part(attempt, message_outcomes), history, delay_seconds),))


def give_up(
    attempt: Attempt,
    type_: Literal["message.failed", "message.unknown"],
    message_outcomes: tuple[MessageOutcome, ...],
    past: History,
) -> Report:
    """Report the final event, and leave the messages to an operator as a dead letter."""
    reason: RelayReason = "failed" if type_ == "message.failed" else "unknown"
    dead_letter = DeadLetterMessage(_part(attempt, message_outcomes), past, reason, message_outcomes[0].cause)
    return Report(_events(attempt, type_, message_outcomes), dead_letters=(dead_letter,))


def _part(attempt: Attempt, message_outcomes: tuple[MessageOutcome, ...]) -> SendRequest:
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
    match disposition:
        case "denied":
            return denied_delay(retry, others_succeed=attempt.since_success < _RECENT_SUCCESS)
        case "ambiguous":
            return lookup_delay(retry, 0)
        case "not_attempted":
            return retry.ladder[0]  # it has waited already, and the pause may be over
        case "later":
            return HOUR
        case _:
            asked = max((message_outcome.retry_after or 0.0 for message_outcome in message_outcomes), default=0.0)
            return delay(retry, attempt.number, attempt.jitter, max(asked, _min_delay(attempt)))


def _min_delay(attempt: Attempt) -> float:
    """Return the seconds to wait at least, so that jitter never makes the last attempt early.

    The first attempt may have been another worker's, so wall clocks are compared. A clock that was set back counts as
    no time.
    """
    made = attempt.number - attempt.history.redeliveries
    if made + 1 < attempt.policy.retry.max_attempts:
        return 0.0
    return attempt.policy.retry.span - max(0.0, (attempt.now - attempt.history.first_seen).total_seconds())


def _events(
    attempt: Attempt,
    type_: EventType,
    message_outcomes: tuple[MessageOutcome, ...],
    next_attempt_at: datetime | None = None,
) -> tuple[StatusEvent, ...]:
    request, number = attempt.request, attempt.history.attempts + 1
    return tuple(
        [
            StatusEvent(
                type_,
                attempt.now,
                request.request_id,
                number,
                message_outcome.message.message_id,
                message_outcome.message.to,
                message_outcome.bulk_id or request.content.bulk_id,
                message_outcome.status,
                next_attempt_at,
                None if message_outcome.disposition == "taken" else _reason(attempt, type_, message_outcome),
                request.metadata,
                request.content_digest,
            )
            for message_outcome in message_outcomes
        ]
    )


def _reason(attempt: Attempt, type_: EventType, message_outcome: MessageOutcome) -> Reason:
    """Explain an event. An ambiguous attempt stays ambiguous although later ones were refused for certain."""
    code = _CODES[message_outcome.disposition]
    detail = f"{_DETAILS[code]}: {message_outcome.detail or message_outcome.cause}"
    if attempt.history.ambiguous and type_ in {"message.failed", "message.expired"}:
        code, detail = "ambiguous", f"{detail}; {EARLIER_ATTEMPT}"
    if type_ == "message.expired":
        return Reason("expired", f"no further attempt fits before expiresAt; {detail}")
    return Reason(code, detail)
