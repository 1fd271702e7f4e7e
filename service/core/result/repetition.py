"""All that is published about a request, kept in its claim so that another worker can publish it again.

Each line is a JSON array. No address and no text: a duplicate has them.

* Events: type, time, attempt, OMNI's status, bulk id, reason, and which messages it is about. The id of an event
  follows from its type and the request, so a repeated event has the id of the first.
* Retry messages and dead letters, for the worker that takes the claim over: it publishes them once more, marked as
  possible duplicates. Two equal retry messages name one claim, so one of them is served.

Writing and reading have to agree about every line, hence more than 250 lines in one file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args

from pydantic_core import from_json, to_json

from service.core.attempt.claim import AWAY, Claim, read_claim, short_digest
from service.core.delivery import Header
from service.core.headers import read_history, write_history, write_progress
from service.core.history import History
from service.core.omni.status import Status
from service.core.request.request import Message, SendRequest
from service.core.result.event import FINAL_EVENTS, EventType, Reason, ReasonCode, StatusEvent
from service.core.result.report import DeadLetterMessage, Report, RetryMessage, report_each

DuplicateEnd = Literal["repeated", "waiting", "conflict", "unclear"]
"""repeated  the final events of the first were published again
waiting   the first has no final event yet
conflict  the id names another request
unclear   how the first ended is not known, and will not be
"""

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_TYPES: Final[Mapping[str, EventType]] = {
    type_.partition(".")[2]: type_ for type_ in FINAL_EVENTS if type_ != "request.rejected"
}
_RETRY: Final = "retry"
_DEAD: Final = "dead"
_CODES: Final[Mapping[str, ReasonCode]] = {code: code for code in get_args(ReasonCode)}
_FACTS: Final = 6
_MAX_TIME: Final = 253_402_300_799_000_000
"""Microseconds since 1970: the last second of the year 9999."""
_LONGEST: Final = 31_536_000
"""Seconds: a year."""
_CHECKS: Final = 3
"""Times that a duplicate waits for a claim that the memory has lost."""
_SHORT: Final = 8
"""Characters that stand for the id of a message among those of its request."""
_REPEATED: Final = "as in the first event about this message, which is repeated for a duplicate request"
_CONFLICT: Final = "the request id names another request already"


def recorded_events(report: Report) -> list[StatusEvent]:
    """Return the events about valid messages. The validation rejects the others in every duplicate."""
    return [
        event
        for event in report.events
        if event.message_id is not None and (event.reason is None or event.reason.code != "invalid")
    ]


def write_ends(events: Sequence[StatusEvent], *, is_whole: bool) -> str:
    """Write events. `is_whole`: they are about all messages of the request."""
    if is_whole and len(events) == 1:
        return f"{_facts(events[0]).decode()}\n"
    lines: dict[bytes, list[str]] = {}
    for event in events:
        lines.setdefault(_facts(event), []).append(event.message_id or "")
    if is_whole and len(lines) == 1:
        return f"{next(iter(lines)).decode()}\n"
    return "".join(
        f"{facts[:-1].decode()},{to_json([short_id(name) for name in names]).decode()}]\n"
        for facts, names in lines.items()
    )


def _facts(event: StatusEvent) -> bytes:
    status = event.status
    return to_json(
        (
            event.type.partition(".")[2],
            (event.time - _EPOCH) // _MICROSECOND,
            event.attempt,
            status and (status.group_id, status.group_name, status.id, status.name),
            event.bulk_id,
            event.reason and event.reason.code,
        )
    )


def write_lookup(now: datetime, history: History, kind: str) -> str:
    """Write for an operator that OMNI's logs were asked, and how that ended. No worker reads it."""
    facts = ("log_lookup", (now - _EPOCH) // _MICROSECOND, history.attempts, None, None, kind)
    return f"{to_json(facts).decode()}\n"


def write_messages(report: Report, count: int) -> str:
    """Write retry messages and dead letters of a delivery that has so many messages."""
    lines: list[bytes] = []
    for retry in report.retries:
        facts = (_RETRY, retry.delay_seconds, _write_history(retry.history), _names(retry.request, count))
        lines.append(to_json(facts))
    for dead in report.dead_letters:
        facts_ = (_DEAD, dead.reason, dead.cause, _write_history(dead.history), _names(dead.request, count))
        lines.append(to_json(facts_))
    return "".join(f"{line.decode()}\n" for line in lines)


def _write_history(history: History) -> Mapping[str, Header]:
    return write_history(history) | write_progress(history)


def _names(request: SendRequest, count: int) -> list[str] | None:
    messages = request.messages
    return None if len(messages) == count else [short_id(message.message_id) for message in messages]


def judge_duplicate(
    claim: Claim, request: SendRequest, history: History, now: datetime, due: datetime | None = None
) -> DuplicateEnd:
    """Decide about a duplicate. An ambiguous one may have been posted, so it is not refused for certain.

    `due`: the time until which the first one is held, if it is: it does not end earlier.
    """
    known = claim.known
    is_held = due is not None and due > now
    is_old = not is_held and (now - max(history.first_seen, due or history.first_seen)).total_seconds() > claim.kept
    if known is None:  # its holder makes it anew when it has ended
        return "waiting" if is_held or (not is_old and history.log_checks < _CHECKS) else "unclear"
    if not known:
        return "unclear" if is_old else "waiting"
    if read_claim(known)[0] != claim.meaning:
        return "unclear" if history.ambiguous else "conflict"
    is_left = claim.is_of_part and read_claim(known)[1] == AWAY  # what is left of a part is a part of its own
    if is_left or has_ended(claim, request):
        return "repeated"
    return "unclear" if is_old else "waiting"


def has_ended(claim: Claim, request: SendRequest) -> bool:
    """Return whether every message of a request has its final event in the claim."""
    return len(report_repetition(claim, request).events) == len(request.messages)


def report_repetition(claim: Claim, request: SendRequest) -> Report:
    """Report the final events that a claim has for the messages of a request; of several for one, the latest."""
    for_all: Sequence[object] | None = None
    ends: dict[str, Sequence[object]] = {}
    for line in _lines(claim):
        match line:
            case [str(type_), *_, list(names)] as named if len(named) == _FACTS + 1 and type_ in _TYPES:
                ends |= dict.fromkeys(map(str, names), named[:-1])
            case [str(type_), *_] as facts if len(facts) == _FACTS and type_ in _TYPES:
                for_all, ends = facts, {}
            case _:
                continue  # another kind of line
    events = [
        _event(line, request, message)
        for message in request.messages
        if (line := ends.get(short_id(message.message_id), for_all)) is not None
    ]
    return Report(tuple([event for event in events if event is not None]))


def report_taken_over(claim: Claim, request: SendRequest, now: datetime) -> tuple[Report, tuple[Message, ...]]:
    """Report all that a claim has about a request that is taken over. Returns the messages about which it has nothing.

    Those are in no delay queue, and have not ended.
    """
    report = report_repetition(claim, request)
    done = {event.message_id for event in report.events}
    retries: list[RetryMessage] = []
    dead_letters: list[DeadLetterMessage] = []
    for line in _lines(claim):
        match line:
            case ["retry", float(seconds) | int(seconds), dict(history), names] if 0 < seconds < _LONGEST and (
                part := _part(request, names)
            ):
                retries.append(RetryMessage(part, read_history(history, now), float(seconds)))
                done |= {message.message_id for message in part.messages}
            case ["dead", "failed" | "unknown" as reason, str(cause), dict(history), names] if part := _part(
                request, names
            ):
                dead_letters.append(DeadLetterMessage(part, read_history(history, now), reason, cause))
            case _:
                continue
    left = tuple([message for message in request.messages if message.message_id not in done])
    return replace(report, retries=tuple(retries), dead_letters=tuple(dead_letters)), left


def _part(request: SendRequest, names: object) -> SendRequest | None:
    """Return the named messages of a request; all of them where none is named."""
    if not isinstance(names, list):
        return request
    messages = tuple([message for message in request.messages if short_id(message.message_id) in names])
    return replace(request, messages=messages) if messages else None


def _lines(claim: Claim) -> Iterator[object]:
    return map(_read_line, read_claim(claim.known or b"")[2].splitlines())


def _read_line(line: bytes) -> object:
    try:
        return from_json(line)
    except ValueError:
        return None


def _event(facts: Sequence[object], request: SendRequest, message: Message) -> StatusEvent | None:
    match facts:
        case [str(type_), int(time), int(attempt), status, bulk_id, code] if 0 <= time <= _MAX_TIME:
            return StatusEvent(
                _TYPES[type_],
                _EPOCH + time * _MICROSECOND,
                request.request_id,
                attempt,
                message.message_id,
                message.to,
                bulk_id if isinstance(bulk_id, str) else None,
                _status(status),
                reason=Reason(_CODES[code], _REPEATED) if isinstance(code, str) and code in _CODES else None,
                metadata=request.metadata,
                content_digest=request.content_digest,
            )
        case _:
            return None


def _status(status: object) -> Status | None:
    match status:
        case [int(group_id), group_name, id_, name]:
            return Status(group_id=group_id, group_name=_text(group_name), id=_number(id_), name=_text(name))
        case _:
            return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def short_id(message_id: str) -> str:
    """Return what stands for a message among those of its request."""
    return short_digest(message_id.encode("utf-8", "surrogatepass"))[:_SHORT]


def report_wait(
    claim: Claim, request: SendRequest, history: History, delay_seconds: float, *, is_held: bool = False
) -> Report:
    """Schedule a duplicate to look at the claim again. `is_held`: the first one has not begun."""
    lost = history.log_checks + 1 if claim.known is None and not is_held else 0
    part = claim.name if claim.is_of_part else ""
    waiting = replace(
        history,
        retries=history.retries + 1,
        redeliveries=max(history.redeliveries, int(claim.may_take_over)),
        log_checks=lost,
        claim=claim.meaning,
        waits=True,
        part=part,
    )
    return Report(retries=(RetryMessage(request, waiting, delay_seconds),))


def report_conflict(request: SendRequest, history: History, now: datetime) -> Report:
    """Report that the id of a request names another one."""
    return report_each("message.rejected", request, history, now, Reason("conflict", _CONFLICT))
