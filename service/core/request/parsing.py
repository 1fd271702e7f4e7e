"""From a delivery's body to a `SendRequest`, or to faults that name their paths: the order of the steps.

bytes  → JSON        decoding
JSON   → faults      body (each field), faults, repeated_names, validation
ids, deadline        identification, deadline
faulty destinations  rejection

An invalid destination never holds back a valid one. A fault in the shared part rejects them all, one rejection each.
Only a body that names no message at all is refused as a whole.

There are three ways, by cost. `parse` itself parses a valid body of up to `LARGE` bytes, in one step. A faulty one of
up to `SMALL` bytes is parsed in one step too, at ten times the cost (`_parse_faulty`). Any other is parsed in steps, so
that neither its size nor its faults keep other requests waiting (`_parse_large`). All three give the same result; hence
they are in one file, of more than 250 lines.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from service.core.delivery import Delivery
from service.core.history import History
from service.core.identity import digest, message_id
from service.core.omni.channel.email import Email
from service.core.omni.charset import json_error
from service.core.omni.content import Content
from service.core.omni.destination import ADDRESSES
from service.core.omni.model import Strict
from service.core.request.body import FLAT, MAX_DESTINATIONS, SIMPLE, RequestBody, shape_faults
from service.core.request.deadline import deadline
from service.core.request.decoding import (
    JSON,
    Source,
    content_type,
    decode,
    decompressed_size,
    finished,
    is_xml,
    json_object,
)
from service.core.request.faults import bounded, by_destination
from service.core.request.identification import request_id
from service.core.request.rejection import Faulty, entries_of, refuse, reject, reject_all, valid_metadata
from service.core.request.repeated_names import repeated_names
from service.core.request.request import Fault, Message, Parsed, Rejection, SendRequest
from service.core.request.validation import (
    TOO_MANY,
    Recipient,
    bounded_for_all,
    metadata_faults,
    name_faults,
    schedule_faults,
    validate_destinations,
    validate_shared,
)

M = TypeVar("M", bound=Strict)

LARGE: Final = 2**15
"""Bytes. A longer body is parsed in steps."""

SMALL: Final = 2**12
"""Bytes. A body that is no longer is parsed in one step even if it is faulty."""

_IDS: Final = 250
"""Messages that get their ids in one step."""

_CONTENT: Final = tuple(Content.model_fields)
_EMPTY: Final = {
    channel.__name__.lower(): (channel, {name: field.default for name, field in channel.model_fields.items()})
    for channel in SIMPLE
}
"""The channels of a simple request, with the values of a content that has nothing."""
_FIELDS: Final = {name: field.alias or name for name, field in RequestBody.model_fields.items()}

_new = object.__new__
_set = object.__setattr__  # models are frozen
_BODY: Final = TypeAdapter(RequestBody).validator
"""Validates as `RequestBody.model_validate_json` does, without its overhead."""


def is_small(delivery: Delivery) -> bool:
    """Return whether a delivery's body is parsed in one step, valid or not."""
    return len(delivery.body) <= SMALL and (delivery.content_encoding is None or decompressed_size(delivery) <= SMALL)


def parse(
    delivery: Delivery, history: History, make_id: Callable[[], str], large: int = LARGE
) -> Generator[None, None, Parsed]:
    """Parse a delivery's body in steps; a valid one of up to `large` bytes takes one step.

    `make_id` makes the id of a request that came without one.
    """
    body, is_json = delivery.body, True
    # So short a body has no excess. One that was too long to be kept is empty.
    is_plain = body[:1] == b"{" and len(body) <= LARGE and delivery.content_encoding is None
    if not is_plain or (delivery.content_type != JSON and content_type(delivery) != JSON):
        decoded = yield from decode(delivery)
        is_json = not is_xml(delivery)
        if isinstance(decoded, Fault):
            return refuse({}, Source(b"", delivery, history, make_id, is_json), [decoded])
        body = decoded
    source = Source(body, delivery, history, make_id, is_json)
    if len(body) <= large:
        try:
            read: RequestBody = _BODY.validate_json(body, by_alias=True, by_name=False)
        except ValidationError as error:
            if len(body) <= SMALL:
                return _parse_faulty(source, error.errors(include_url=False, include_input=False), [])
        else:
            fields = vars(read)
            present = {_FIELDS[name] for name in read.model_fields_set if fields[name] is not None}
            schedule = [] if read.send_at is None else schedule_faults(read, source)
            is_unique = not is_json or _are_clearly_unique(body) or not (yield from repeated_names(body))
            if is_unique and not schedule and not shape_faults(present):
                return (yield from _build(read, _recipients(read), range(MAX_DESTINATIONS), {}, source))
            if len(body) <= SMALL:
                return _parse_faulty(source, [], schedule)
    return (yield from _parse_large(source))


def _parse_large(source: Source) -> Generator[None, None, Parsed]:
    """Parse a body so that no step takes long, and that no more faults are built than are reported."""
    try:
        raw = from_json(source.body)
    except ValueError as error:
        return refuse({}, source, [Fault("$", json_error(source.body) or f"Invalid JSON: {error}")])
    if not isinstance(raw, dict):
        return refuse({}, source, [Fault("$", "should be an object")])
    yield
    repeated, repeated_of = yield from name_faults(source)
    yield
    entries, is_list = entries_of(raw), isinstance(raw.get("destinations"), list)
    body, shared = validate_shared(raw, source)
    shared += repeated
    if body is None and shared[0].message == TOO_MANY:
        raw = {name: raw.get(name) for name in ("requestId", "destinations")}
    if not entries:
        return refuse(raw, source, shared)
    excess = metadata_faults(valid_metadata(raw, shared), len(entries), source)
    shared += excess
    valid: dict[int, Recipient] = {}
    own: dict[int, tuple[Fault, ...]] = {}
    if is_list and not excess:  # else each is rejected anyway, and validating an address may take a library
        valid, own = yield from validate_destinations(entries, shared, repeated_of)
    elif body is not None:
        valid = dict(enumerate(_recipients(body)))
    yield
    for_all = bounded_for_all(shared, len(entries))
    faulty = {
        position: (entry, own.get(position, for_all))
        for position, entry in enumerate(entries)
        if shared or position in own
    }
    if body is not None and not shared and valid:
        return (yield from _build(body, list(valid.values()), valid, faulty, source))
    return (yield from reject_all(raw, faulty, shared, source))


def _parse_faulty(source: Source, errors: list[ErrorDetails], schedule: list[Fault]) -> Parsed:
    """Separate valid destinations from faulty ones, in one step. Slow, and off the path of a valid request."""
    raw = json_object(source.body)
    shared, own = by_destination(errors)
    shared += schedule
    if raw is None:
        text = json_error(source.body)
        shared = [Fault("$", text)] if text else shared
    else:
        shared += shape_faults({name for name, value in raw.items() if value is not None})
        repeated, repeated_of = finished(name_faults(source))
        shared += repeated
        for position, faults in repeated_of.items():
            own.setdefault(position, []).extend(faults)
    raw = raw or {}
    entries = entries_of(raw)
    if not entries:
        return refuse(raw, source, [*shared, *(fault for faults in own.values() for fault in faults)])
    faulty = {
        position: (entry, bounded(shared, own.get(position, ())))
        for position, entry in enumerate(entries)
        if shared or position in own
    }
    valid = [position for position in range(len(entries)) if position not in faulty]
    if not valid:
        return finished(reject_all(raw, faulty, shared, source))
    remaining = {**raw, "destinations": [entries[position] for position in valid]}
    body = RequestBody.model_validate_json(to_json(remaining), by_alias=True, by_name=False)
    if schedule := schedule_faults(body, source):
        return _parse_faulty(source, errors, schedule)
    return finished(_build(body, _recipients(body), valid, faulty, source))


def _build(
    body: RequestBody, recipients: Sequence[Recipient], positions: Iterable[int], faulty: Faulty, source: Source
) -> Generator[None, None, Parsed]:
    """Give every message its id, and build the request.

    `positions`: of the recipients, among all destinations of the request; a derived id depends on it.
    """
    id_, identified = body.request_id, True
    if id_ is None:
        id_, identified = request_id(None, source)
    content = _content(body)
    given_ids = {given for _, given in recipients if given is not None}
    written = to_json(content, by_alias=True, exclude_none=True)
    content_digest = digest(written)
    used: set[str] = set()
    messages: list[Message] = []
    repeated: dict[int, tuple[object, tuple[Fault, ...]]] = {}
    for position, (to, given) in zip(positions, recipients, strict=False):
        if len(messages) % _IDS == _IDS - 1:
            yield
        if given is None:
            # Of the addresses only the last may contain a space, so no two recipients give the same text.
            phone, email, push, user = map(to.get, ADDRESSES)
            own_id = message_id(id_, f"{content_digest} {phone} {email} {user} {push}", position, given_ids)
        elif given not in used:
            own_id = given
        else:
            fault = Fault(f"destinations[{position}].messageId", "is used by an earlier destination")
            repeated[position] = ({"to": to}, (fault,))
            continue
        messages.append(Message(own_id, to))
        used.add(own_id)
    rejections: tuple[Rejection, ...] = ()
    if faulty or repeated:
        rejections = yield from reject(id_, {**faulty, **repeated}, used | given_ids, content_digest)
    metadata: Mapping[str, str] = body.metadata or {}
    expires_at, delivery = body.expires_at, source.delivery
    if delivery.expiration is not None or delivery.headers:
        expires_at = deadline(expires_at, delivery, source.history)
    request = SendRequest(id_, content, tuple(messages), expires_at, body.on_unknown, metadata, written, content_digest)
    return Parsed(id_, identified, request, rejections, metadata=metadata, content_digest=content_digest)


def _are_clearly_unique(body: bytes) -> bool:
    """Return whether all names of a body are surely different, at a tenth of the cost of parsing it.

    Without an escaped quotation mark each one begins or ends a text, so every second piece between them is a text.
    """
    pieces = body.split(b'"')
    if b"\\" not in body:
        texts = pieces[1::2]
        if len(set(texts)) == len(texts):
            return True
    elif b'\\"' in body:
        return False
    names = [text for text, rest in zip(pieces[1::2], pieces[2::2], strict=True) if rest.lstrip()[:1] == b":"]
    return len(set(names)) == len(names) and b"\\" not in b"".join(names)


def _recipients(body: RequestBody) -> list[Recipient]:
    if body.destinations is not None:
        return [(destination.to.written(), destination.message_id) for destination in body.destinations]
    given = zip(FLAT, (body.phone_number, body.email_address), strict=True)
    to = {name: value for name, value in given if value is not None}
    return [(to, body.message_id)]


def _content(body: RequestBody) -> Content:
    """Return the channels' contents. A simple request has its text on each channel, and its subject on e-mail."""
    fields = vars(body)
    given = {name: fields[name] for name in _CONTENT}
    if body.text is not None:
        given |= {name: _trusted(channel, {**empty, "text": body.text}) for name, (channel, empty) in _EMPTY.items()}
        given["email"] = _trusted(Email, {**_EMPTY["email"][1], "text": body.text, "subject": body.mail_subject})
    return _trusted(Content, given)


def _trusted(model: type[M], values: dict[str, Any]) -> M:
    """Build a model of valid values for all fields: `model_construct` at a fifth of its cost."""
    made = _new(model)
    _set(made, "__dict__", values)
    _set(made, "__pydantic_fields_set__", set())
    _set(made, "__pydantic_extra__", None)
    _set(made, "__pydantic_private__", None)
    return made
