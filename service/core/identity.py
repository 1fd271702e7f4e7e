"""Ids that are derived, so that they are the same when the same thing happens again.

A redelivered request gives its messages the same ids, so that OMNI and its logs recognise them, and a repeated event
has the same id, so that consumers recognise it.

Do not change anything here. Any change renames everything in flight: a message that was posted under its old id would
be looked up under another, not found, and posted a second time. A test has the ids as constants.
"""

from collections.abc import Container
from hashlib import sha1
from typing import Final
from uuid import UUID

from pydantic_core import to_json

_MESSAGES: Final = UUID("6f6d6e69-7265-4c61-8179-6d6573736167").bytes
_BULKS: Final = UUID("6f6d6e69-7265-4c61-8179-62756c6b7300").bytes
_LENGTHENED: Final = 1000
"""Names in use after which the input stops growing: a producer can compute thousands of them in advance."""
_VARIANT: Final = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}


def digest(content: bytes) -> str:
    """Return a short text that stands for a content."""
    return sha1(content, usedforsecurity=False).hexdigest()


def message_id(request_id: str, content: str, position: int, used: Container[str] = ()) -> str:
    """Derive the id of a message that came without one, from its position among the request's destinations.

    `content`: stands for content and recipient. A producer whose counter restarts uses a request id again for another
    message, which must get another id. `used`: ids of other messages of the request, which may be a copy of ours.
    """
    tries = 1
    while (name := uuid5(_MESSAGES, f"{position} {len(request_id)} {request_id} {content}".encode())) in used:
        request_id = f"{request_id if tries < _LENGTHENED else name}/{position}"
        tries += 1
    return name


def bulk_id(request_id: str, first_message_id: str, content_digest: str) -> str:
    """Derive the bulk id of one of several calls of a request."""
    return uuid5(_BULKS, to_json((request_id, first_message_id, content_digest)))


def uuid5(namespace: bytes, name: bytes) -> str:
    """Return the text of a UUID of version 5 (RFC 9562, 5.5).

    Callers join several parts as JSON, or with lengths, so that no two lists give the same text: ids may have any
    character.
    """
    text = sha1(namespace + name, usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"
