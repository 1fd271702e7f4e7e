"""What is said about each message, and what is put aside.

Every message ends this step in exactly one of: a last word, or a parked letter, with a deferral if it was attempted.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from math import inf
from typing import Final, Literal, assert_never

from service.rules.history import doubt, is_used_up
from service.rules.policy import Policy
from service.rules.retry import HOUR, delay, denied_delay, due, look_delay
from service.rules.verdict import Standing, Verdict
from service.words.delivery import History
from service.words.event import EventType, Reason, ReasonCode, StatusEvent
from service.words.letter import Dead, DeadReason, Letter, Parked
from service.words.request import Parsed, SendRequest
from service.words.value import dataclass

SLICE: Final = 2**17
"""Bytes, about, of events that are rendered and published at once: ten thousand with metadata would take 50 MB."""

_BARE: Final = 1024
"""Bytes of an event besides its metadata and its faults."""
_FEW: Final = 16


@dataclass(frozen=True, slots=True)
class Report:
    """Events and letters: published and confirmed together, before the delivery is settled."""

    events: tuple[StatusEvent, ...] = ()
    letters: tuple[Letter, ...] = ()


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
    yield Report(report.events[start:], report.letters)


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
    draw: float
    """From [0, 1)."""
    since_success: float = inf
    """Seconds since a call of this worker last showed that OMNI takes calls of ours."""

    @property
    def number(self) -> int:
        """Count it, from 1 on."""
        return self.history.attempts + 1


_CODES: Final[Mapping[Standing, ReasonCode]] = {
    "again": "unavailable",
    "doubtful": "doubtful",
    "denied": "denied",
    "refused": "refused",
    "held": "unavailable",
}
_DETAILS: Final[Mapping[ReasonCode, str]] = {
    "refused": "OMNI refused the message",
    "unavailable": "OMNI did not take the message",
    "doubtful": "OMNI may or may not have taken the message",
    "denied": "OMNI refuses our credentials, our account, or this request",
}
_DENIALS: Final = 3
"""Denials that end a request."""
_LATELY: Final = 60.0
_NO_WAIT: Final = timedelta()
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


def report_attempt(attempt: Attempt, verdicts: Iterable[Verdict]) -> Report:
    """Say how an attempt ended for each of its messages, and put aside those that need another."""
    events: list[StatusEvent] = []
    letters: list[Letter] = []
    ended = [_end_denials(attempt, verdict) if verdict.standing == "denied" else verdict for verdict in verdicts]
    if len(ended) > 1:
        ended.sort(key=_kind)
    for (standing, _), group in groupby(ended, _kind):
        members = tuple(group)
        match standing:
            case "taken":
                events += _say(attempt, "message.accepted", members)
            case "refused":
                events += _say(attempt, "message.rejected", members)
            case "again" | "doubtful" | "denied" | "held":
                unfinished = _report_unfinished(attempt, standing, members)
                events += unfinished.events
                letters += unfinished.letters
            case _:
                assert_never(standing)
    return Report(tuple(events), tuple(letters))


def _end_denials(attempt: Attempt, verdict: Verdict) -> Verdict:
    """Take a denial for a refusal of the message itself, once it is clear that our credentials and account work.

    That is when it is the third, and before each but the first other calls succeeded while the request was away.
    """
    return replace(verdict, standing="refused") if _denials(attempt) >= _DENIALS else verdict


def _denials(attempt: Attempt) -> int:
    """Count the denials of a request, with this one: those that came though others had succeeded since the last.

    A request is away for the shorter delay at least, so a success within that time is later than its last denial.
    """
    shortest = denied_delay(attempt.policy.retry, others_succeed=True)
    earlier = attempt.history.denials
    return earlier + (attempt.since_success < shortest) if earlier else 1


def _kind(verdict: Verdict) -> tuple[Standing, timedelta]:
    """Tell apart what is put aside apart."""
    return verdict.standing, verdict.wait or _NO_WAIT


def _report_unfinished(attempt: Attempt, standing: Standing, verdicts: tuple[Verdict, ...]) -> Report:
    """Decide between another attempt and giving up; what may have been taken is looked for before either."""
    past = _past(attempt, standing)
    if standing == "again" and is_used_up(past, attempt.policy.retry.max_attempts):
        return give_up(attempt, "message.failed", verdicts, past)
    room = _room(attempt, standing, verdicts)
    expires_at = attempt.request.expires_at
    if standing != "doubtful" and expires_at is not None and due(attempt.now, room) >= expires_at:
        return Report(_say(attempt, "message.expired", verdicts))
    if standing == "held":
        return Report((), put_aside(attempt, verdicts, past, room).letters)  # nothing has happened to tell of
    return put_aside(attempt, verdicts, past, room)


def put_aside(attempt: Attempt, verdicts: tuple[Verdict, ...], past: History, room: float) -> Report:
    """Say when the relay takes them up again, and have a waiting room bring them back."""
    next_attempt_at = due(attempt.now, room)
    events = _say(attempt, "message.deferred", verdicts, next_attempt_at)
    return Report(events, (Parked(_rest(attempt, verdicts), replace(past, parked=past.parked + 1), room),))


def give_up(
    attempt: Attempt,
    type_: Literal["message.failed", "message.unknown"],
    verdicts: tuple[Verdict, ...],
    past: History,
) -> Report:
    """Say so, and leave them to a person."""
    reason: DeadReason = "failed" if type_ == "message.failed" else "unknown"
    letter = Dead(_rest(attempt, verdicts), past, reason, verdicts[0].cause)
    return Report(_say(attempt, type_, verdicts), (letter,))


def _rest(attempt: Attempt, verdicts: tuple[Verdict, ...]) -> SendRequest:
    return replace(attempt.request, messages=tuple(verdict.message for verdict in verdicts))


def _past(attempt: Attempt, standing: Standing) -> History:
    """Count the attempt, unless the fault was ours or none was made."""
    if standing == "denied":
        return replace(attempt.history, denials=_denials(attempt))
    if standing == "held":
        return attempt.history
    counted = replace(attempt.history, attempts=attempt.number)
    return doubt(counted) if standing == "doubtful" else counted


def _room(attempt: Attempt, standing: Standing, verdicts: tuple[Verdict, ...]) -> float:
    retry = attempt.policy.retry
    asked = max((verdict.retry_after or 0.0 for verdict in verdicts), default=0.0)
    match standing:
        case "denied":
            return denied_delay(retry, others_succeed=attempt.since_success < _LATELY)
        case "doubtful":
            return look_delay(retry, 0)
        case "held":
            return retry.ladder[0]  # it has waited already, and the pause may be over
        case _:
            if verdicts[0].wait is not None:
                return HOUR
            return delay(retry, attempt.number, attempt.draw, max(asked, _patience(attempt)))


def _patience(attempt: Attempt) -> float:
    """Give the seconds to wait at least, so that jitter never brings the last attempt forward.

    The first attempt may have been another worker's, so wall clocks are compared; a step back counts as no time.
    """
    made = attempt.number - attempt.history.redeliveries
    if made + 1 < attempt.policy.retry.max_attempts:
        return 0.0
    return attempt.policy.retry.span - max(0.0, (attempt.now - attempt.history.first_seen).total_seconds())


def _say(
    attempt: Attempt, type_: EventType, verdicts: tuple[Verdict, ...], next_attempt_at: datetime | None = None
) -> tuple[StatusEvent, ...]:
    request = attempt.request
    return tuple(
        StatusEvent(
            type_,
            attempt.now,
            request.request_id,
            attempt.number,
            verdict.message.message_id,
            verdict.message.to.written(),
            verdict.bulk_id or request.content.bulk_id,
            verdict.status,
            next_attempt_at,
            _reason(attempt, type_, verdict),
            request.metadata,
            request.content_digest,
        )
        for verdict in verdicts
    )


def _reason(attempt: Attempt, type_: EventType, verdict: Verdict) -> Reason | None:
    """Say why; a doubt about an earlier attempt outlives those that were refused for certain."""
    if verdict.standing == "taken":
        return None
    code = _CODES[verdict.standing]
    detail = f"{_DETAILS[code]}: {verdict.detail or verdict.cause}"
    if attempt.history.ambiguous and type_ in {"message.failed", "message.expired"}:
        code, detail = "doubtful", f"{detail}; {_DOUBT_REMAINS}"
    if type_ == "message.expired":
        return Reason("expired", f"no further attempt fits before expiresAt; {detail}")
    return Reason(code, detail)
