"""Names that stay the same when the same thing happens again.

A redelivered request names its messages as before, and a repeated event carries the id it had, so whoever
reads them can tell a repeat from news. Changing anything here renames everything in flight.
"""

from collections.abc import Container
from hashlib import sha1
from typing import Final
from uuid import UUID

from pydantic_core import to_json

_MESSAGES: Final = UUID("6f6d6e69-7265-4c61-8179-6d6573736167").bytes
_BULKS: Final = UUID("6f6d6e69-7265-4c61-8179-62756c6b7300").bytes
_VARIANT: Final = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}


def digest(content: bytes) -> str:
    """Give a short text that stands for a content in the names of its messages."""
    return sha1(content, usedforsecurity=False).hexdigest()


def message_id(request_id: str, content: str, position: int, used: Container[str] = ()) -> str:
    """Name the message at a position of a request's destinations that has no name of its own.

    `content` stands for what the message says and to whom. A producer whose counter restarts uses a request's name
    again for another message, which must not be taken for the old one. `used` are names that others of the request
    have: somebody may have copied one of ours.
    """
    name = uuid5(_MESSAGES, f"{position} {len(request_id)} {request_id} {content}".encode())
    return name if name not in used else message_id(f"{request_id}/{position}", content, position, used)


def bulk_id(request_id: str, first_message_id: str, content_digest: str) -> str:
    """Name one of several calls that a request takes."""
    return uuid5(_BULKS, to_json((request_id, first_message_id, content_digest)))


def uuid5(namespace: bytes, name: bytes) -> str:
    """Return the text of a UUID of version 5 (RFC 9562, 5.5).

    Several parts are joined as JSON, so that no two lists of them come to the same: ids may hold any character.
    """
    text = sha1(namespace + name, usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"
