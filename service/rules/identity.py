"""Names that stay the same when the same thing happens again.

A redelivered request names its messages as before, and a repeated event carries the id it had, so whoever
reads them can tell a repeat from news. Changing anything here renames everything in flight.
"""

from collections.abc import Container
from hashlib import sha1
from typing import Final
from uuid import UUID

from pydantic_core import to_json

from service.words.event import StatusEvent

_MESSAGES: Final = UUID("6f6d6e69-7265-4c61-8179-6d6573736167").bytes
_BULKS: Final = UUID("6f6d6e69-7265-4c61-8179-62756c6b7300").bytes
_EVENTS: Final = UUID("6f6d6e69-7265-4c61-8179-6576656e7473").bytes


def message_id(request_id: str, position: int, used: Container[str] = ()) -> str:
    """Name the message at a position of a request's destinations that has no name of its own.

    `used` are names that others of the request have: somebody may have copied one of ours.
    """
    name = _uuid5(_MESSAGES, f"{request_id}/{position}")
    return name if name not in used else message_id(f"{request_id}/{position}", position, used)


def bulk_id(request_id: str, first_message_id: str) -> str:
    """Name one of several calls that a request takes."""
    return _uuid5(_BULKS, _joined(request_id, first_message_id))


def event_id(event: StatusEvent) -> str:
    """Name an event by what happened; a last word is said once, so its name holds no attempt."""
    parts = [event.request_id, event.message_id or "", event.type]
    if event.next_attempt_at is not None:
        parts += [str(event.attempt), event.next_attempt_at.isoformat()]
    return _uuid5(_EVENTS, _joined(*parts))


def _uuid5(namespace: bytes, name: str) -> str:
    """Give the text of a UUID of version 5 (RFC 9562, 5.5), as the library's, which makes an object of each."""
    digest = bytearray(sha1(namespace + name.encode(), usedforsecurity=False).digest())
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"


def _joined(*parts: str) -> str:
    """Join so that no two lists come to the same: ids may hold any character."""
    return to_json(parts).decode()
