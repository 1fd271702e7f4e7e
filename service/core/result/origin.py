"""Which request a message belongs to, kept in the shared memory under the id of the message.

So that reports, which name the message only, get the request's id and metadata, and an operator can find the request.
"""

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Final

from pydantic_core import from_json, to_json

from service.core.attempt.claim import short_digest
from service.core.result.event import StatusEvent
from service.core.value import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """The request of a message, as far as it is known."""

    request_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


UNKNOWN: Final = Origin()


def origin_name(message_id: str) -> str:
    """Name the record of a message's request."""
    return "m" + short_digest(message_id.encode("utf-8", "surrogatepass"))


def reports_name(message_id: str) -> str:
    """Name the record of the delivery reports about a message."""
    return "d" + short_digest(message_id.encode("utf-8", "surrogatepass"))


def write_origins(events: Iterable[StatusEvent]) -> list[tuple[str, str]]:
    """Write the records of messages that have events: their names and values."""
    return [
        (origin_name(event.message_id), to_json((event.request_id, event.metadata)).decode())
        for event in events
        if event.message_id is not None
    ]


def read_origin(value: bytes | None) -> Origin:
    """Read a record; total."""
    try:
        given = from_json(value or b"")
    except ValueError:
        return UNKNOWN
    match given:
        case [str(request_id), dict(metadata)]:
            return Origin(request_id, {str(name): str(text) for name, text in metadata.items()})
        case _:
            return UNKNOWN
