"""Everything that the shared memory knows about a request, for an operator: no text and no address."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic_core import from_json, to_json

from service.core.attempt.claim import AWAY, FREE, GIVEN_UP, read_claim
from service.core.result.delivery_report import ReportEvent
from service.core.result.repetition import short_id

Row = Mapping[str, object]

REPORTS: Final = "reports ~\n"
"""Before the delivery reports about a message, in place of a claim's first line."""
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_STATES: Final = {
    AWAY: "ended, or waits in a delay queue",
    FREE: "waits for the broker to deliver it again",
    GIVEN_UP: "waits for the broker to deliver it again",
}


def read_state(known: bytes) -> str:
    """Return the state of a request."""
    return _STATES.get(read_claim(known)[1], "is with a worker, or was when that worker died")


def read_trail(known: bytes, message_id: str | None = None) -> list[Row]:
    """Return what happened to a request, in its order; of its messages only to one, if one is named."""
    rows = (_row(line, message_id) for line in read_claim(known)[2].splitlines())
    return [row for row in rows if row is not None]


def write_report(event: ReportEvent) -> str:
    """Write a delivery report about a message."""
    result, microseconds = event.result, (event.time - _EPOCH) // timedelta(microseconds=1)
    status = result.status and (result.status.group_id, result.status.group_name, result.status.id, result.status.name)
    return f"{to_json((event.type.partition('.')[2], microseconds, 0, status, None, result.channel)).decode()}\n"


def _row(line: bytes, message_id: str | None) -> Row | None:
    try:
        facts = from_json(line)
    except ValueError:
        return None
    match facts:
        case ["begun", str(time), str(worker)]:
            return {"event": "begun", "time": time, "worker": worker}
        case [str(type_), int(time), int(attempt), status, bulk_id, code, *names]:
            match names:
                case [list(several)]:
                    if message_id is not None and short_id(message_id) not in several:
                        return None
                    messages: int | None = 1 if message_id is not None else len(several)
                case _:
                    messages = None
            return {
                "event": type_,
                "time": _time(time),
                "attempt": attempt,
                "status": _status(status),
                "bulkId": bulk_id if isinstance(bulk_id, str) else None,
                "reason": code if isinstance(code, str) else None,
                "messages": messages,
            }
        case _:
            return None


def _time(microseconds: int) -> str | None:
    try:
        return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:
        return None


def _status(status: object) -> Row | None:
    match status:
        case [group_id, group_name, id_, name]:
            return {"groupId": group_id, "groupName": group_name, "id": id_, "name": name}
        case _:
            return None
