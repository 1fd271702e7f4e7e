"""The ids of a request and of its messages. A redelivered request must get the ids that it had.

Changing how an id is derived renames every request in flight: OMNI would take a repeated call for new messages, and
consumers would see a second final event under another id.
"""

from collections.abc import Mapping
from typing import Final, TypeGuard

from pydantic_core import to_json

from service.core.delivery import Delivery
from service.core.identity import digest
from service.core.omni.content import Content
from service.core.request.body import MAX_ID, is_request_id
from service.core.request.decoding import Source, decode, finished, json_object
from service.core.request.request import Fault

_CONTENT: Final = (*(field.alias or name for name, field in Content.model_fields.items()), "text", "mailSubject")


def request_id(given: object, source: Source) -> tuple[str, bool]:
    """Choose the request's id: its own, else the AMQP message_id, else a new one. Says whether the producer gave it."""
    for candidate in (given, source.delivery.message_id):
        if is_request_id(candidate):
            return candidate, True
    return source.make_id(), False


def is_identified(delivery: Delivery) -> bool:
    """Return whether the producer gave the request an id. Costs a part of what parsing costs."""
    if delivery.message_id:
        return True
    body = finished(decode(delivery))
    raw = None if isinstance(body, Fault) else json_object(body)
    return raw is not None and is_request_id(raw.get("requestId"))


def is_message_id(value: object) -> TypeGuard[str]:
    """Return whether a value can be a message's id."""
    return isinstance(value, str) and 0 < len(value) <= MAX_ID


def digest_of_faulty(raw: Mapping[str, object]) -> str:
    """Digest a content that cannot be sent. It is the same in JSON and in XML."""
    return digest(to_json({name: _as_text(raw[name]) for name in _CONTENT if name in raw}))


def _as_text(value: object) -> object:
    """Convert numbers and truth values to texts, since XML has nothing else."""
    match value:
        case dict():
            return {name: _as_text(inner) for name, inner in value.items()}
        case list():
            return [_as_text(inner) for inner in value]
        case str() | None:
            return value
        case _:
            return to_json(value).decode()
