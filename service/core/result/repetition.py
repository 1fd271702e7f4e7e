"""The final events of a request, kept in its claim so that a duplicate can publish them again.

Each line is a JSON array: type, time, attempt, OMNI's status, bulk id, reason, and which messages it is about. No
address and no text: a duplicate has them. The id of an event follows from its type and the request, so a repeated event
has the id of the first.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args

from pydantic_core import from_json, to_json

from service.core.attempt.claim import Claim, read_claim, short_digest
from service.core.history import History
from service.core.omni.status import Status
from service.core.request.request import Message, SendRequest
from service.core.result.event import FINAL_EVENTS, EventType, Reason, ReasonCode, StatusEvent
from service.core.result.report import Report, RetryMessage, report_each

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
_ALL_TYPES: Final = {*_TYPES, "deferred"}
_CODES: Final[Mapping[str, ReasonCode]] = {code: code for code in get_args(ReasonCode)}
_FACTS: Final = 6
_MAX_TIME: Final = 253_402_300_799_000_000
"""Microseconds since 1970: the last second of the year 9999."""
_SHORT: Final = 8
"""Characters that stand for the id of a message among those of its request."""
_REPEATED: Final = "as in the first event about this message, which is repeated for a duplicate request"
_CONFLICT: Final = "the request id names another request already"


def recorded_events(report: Report) -> list[StatusEvent]:
    """Return the events about valid messages."""
    return [event for event in report.events if event.message_id is not None and not _is_invalid(event)]


def _is_invalid(event: StatusEvent) -> bool:
    """Return whether the validation has rejected a message. It rejects it in every duplicate."""
    return event.reason is not None and event.reason.code == "invalid"


def write_ends(events: Iterable[StatusEvent], *, is_whole: bool) -> str:
    """Write events. `is_whole`: they are about all messages of the request."""
    lines: dict[bytes, list[str]] = {}
    for event in events:
        status = event.status
        facts = (
            event.type.partition(".")[2],
            (event.time - _EPOCH) // _MICROSECOND,
            event.attempt,
            status and (status.group_id, status.group_name, status.id, status.name),
            event.bulk_id,
            event.reason and event.reason.code,
        )
        lines.setdefault(to_json(facts), []).append(event.message_id or "")
    if is_whole and len(lines) == 1:
        return f"{next(iter(lines)).decode()}\n"
    return "".join(
        f"{facts[:-1].decode()},{to_json([short_id(name) for name in names]).decode()}]\n"
        for facts, names in lines.items()
    )


def judge_duplicate(claim: Claim, request: SendRequest, history: History, now: datetime) -> DuplicateEnd:
    """Decide about a duplicate. An ambiguous one may have been posted, so it is not refused for certain."""
    known = claim.known
    is_old = (now - history.first_seen).total_seconds() > claim.kept
    if known is None:
        return "unclear"
    if not known:
        return "unclear" if is_old else "waiting"
    if read_claim(known)[0] != claim.meaning:
        return "unclear" if history.ambiguous else "conflict"
    if has_ended(claim, request):
        return "repeated"
    return "unclear" if is_old else "waiting"


def has_ended(claim: Claim, request: SendRequest) -> bool:
    """Return whether every message of a request has its final event in the claim."""
    return len(report_repetition(claim, request).events) == len(request.messages)


def report_repetition(claim: Claim, request: SendRequest) -> Report:
    """Report the final events that a claim has for the messages of a request; of several for one, the latest."""
    lines = _lines_of(claim, request, _TYPES)
    events = [
        _event(line, request, message) for message in request.messages if (line := lines.get(message)) is not None
    ]
    return Report(tuple([event for event in events if event is not None]))


def messages_left(claim: Claim, request: SendRequest) -> tuple[Message, ...]:
    """Return the messages about which a claim has no event: they are in no delay queue, and have not ended."""
    lines = _lines_of(claim, request, _ALL_TYPES)
    return tuple([message for message in request.messages if message not in lines])


def _lines_of(claim: Claim, request: SendRequest, types: Container[str]) -> dict[Message, Sequence[object]]:
    """Return the latest line about each message, of those with such types."""
    for_all: Sequence[object] | None = None
    ends: dict[str, Sequence[object]] = {}
    for line in read_claim(claim.known or b"")[2].splitlines():
        match _read_line(line):
            case [str(type_), *_, list(names)] as named if len(named) == _FACTS + 1 and type_ in types:
                ends |= dict.fromkeys(map(str, names), named[:-1])
            case [str(type_), *_] as facts if len(facts) == _FACTS and type_ in types:
                for_all, ends = facts, {}
            case _:
                continue  # another kind of line
    found = {message: ends.get(short_id(message.message_id), for_all) for message in request.messages}
    return {message: line for message, line in found.items() if line is not None}


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
                message.to.written(),
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


def report_wait(claim: Claim, request: SendRequest, history: History, delay_seconds: float) -> Report:
    """Schedule a duplicate to look at the claim again."""
    waiting = replace(history, retries=history.retries + 1, claim=claim.meaning, waits=True)
    return Report(retries=(RetryMessage(request, waiting, delay_seconds),))


def report_conflict(request: SendRequest, history: History, now: datetime) -> Report:
    """Report that the id of a request names another one."""
    return report_each("message.rejected", request, history, now, Reason("conflict", _CONFLICT))
