"""Names that stay the same when the same thing happens again.

A redelivered request names its messages as before, and a repeated event carries the id it had, so whoever
reads them can tell a repeat from news. Changing anything here renames everything in flight.
"""

from collections.abc import Container
from typing import Final
from uuid import UUID, uuid5

from pydantic_core import to_json

from service.words.event import StatusEvent

_MESSAGES: Final = UUID("6f6d6e69-7265-4c61-8179-6d6573736167")
_BULKS: Final = UUID("6f6d6e69-7265-4c61-8179-62756c6b7300")
_EVENTS: Final = UUID("6f6d6e69-7265-4c61-8179-6576656e7473")


def message_id(request_id: str, position: int, used: Container[str] = ()) -> str:
    """Name the message at a position of a request's destinations that has no name of its own.

    `used` are names that others of the request have: somebody may have copied one of ours.
    """
    name = str(uuid5(_MESSAGES, f"{request_id}/{position}"))
    return name if name not in used else message_id(f"{request_id}/{position}", position, used)


def bulk_id(request_id: str, first_message_id: str) -> str:
    """Name one of several calls that a request takes."""
    return str(uuid5(_BULKS, _joined(request_id, first_message_id)))


def event_id(event: StatusEvent) -> str:
    """Name an event by what happened; a last word is said once, so its name holds no attempt."""
    parts = [event.request_id, event.message_id or "", event.type]
    if event.next_attempt_at is not None:
        parts += [str(event.attempt), event.next_attempt_at.isoformat()]
    return str(uuid5(_EVENTS, _joined(*parts)))


def _joined(*parts: str) -> str:
    """Join so that no two lists come to the same: ids may hold any character."""
    return to_json(parts).decode()
