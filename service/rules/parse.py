"""Bytes into a `SendRequest`, or into faults that name their paths.

A wrong destination never holds back a valid neighbour; a fault in what they share rejects them all, one
rejection a message. Only a body that names no message at all is refused as a whole.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeGuard

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError, from_json, to_json

from service.rules.fault import FLAT, MAX_PATH, bounded, by_destination, shape_faults, time_faults
from service.rules.history import is_returning
from service.rules.identity import digest, message_id
from service.rules.xml import XmlError, xml_to_json
from service.words.body import MAX_DESTINATIONS, MAX_ID, SIMPLE, RequestBody, excess, is_request_id
from service.words.delivery import Delivery, History
from service.words.event import Fault
from service.words.omni.channel.email import Email
from service.words.omni.content import Content
from service.words.omni.destination import ADDRESSES, To, digits
from service.words.request import Message, Parsed, Rejection, SendRequest

_MAX_ADDRESS: Final = 254
_JSON: Final = "application/json"
_XML: Final = ("application/xml", "text/xml")
_TAGS: Final = (b"</", b"/>")
_ROOTS: Final = frozenset({"request", "OmniAdvancedRequest"})
_A_CENTURY: Final = 100 * 365 * 86400

_CONTENT: Final = tuple(Content.model_fields)
_NOWHERE: Final = dict.fromkeys(To.model_fields)
_SAID: Final = (*(field.alias or name for name, field in Content.model_fields.items()), "text", "mailSubject")
_FIELDS: Final = {name: field.alias or name for name, field in RequestBody.model_fields.items()}

Raw = Mapping[str, object]


class _Source(NamedTuple):
    """A body, as JSON, and where it came from."""

    body: bytes
    delivery: Delivery
    history: History
    make_id: Callable[[], str]


def parse(delivery: Delivery, history: History, make_id: Callable[[], str]) -> Parsed:
    """Read a delivery's body; `make_id` names a request that came without an id."""
    body = _to_json(delivery)
    if isinstance(body, Fault):
        return _unreadable({}, _Source(b"", delivery, history, make_id), [body])
    source = _Source(body, delivery, history, make_id)
    try:
        read = RequestBody.model_validate_json(body, by_alias=True, by_name=False)
    except ValidationError as error:
        return _parse_faulty(source, error.errors(include_url=False, include_input=False), [])
    fields = vars(read)
    present = {_FIELDS[name] for name in read.model_fields_set if fields[name] is not None}
    late = _time_faults(read, source)
    if late or shape_faults(present):
        return _parse_faulty(source, [], late)
    return _read(read, range(MAX_DESTINATIONS), {}, source)


def _to_json(delivery: Delivery) -> bytes | Fault:
    body, kind = delivery.body, (delivery.content_type or _JSON).partition(";")[0].strip().lower()
    if kind in _XML:
        if told := excess(body, _TAGS):
            return Fault("$", told)
        try:
            body = xml_to_json(body, RequestBody, _ROOTS)
        except XmlError as error:
            return Fault(error.path[:MAX_PATH] or "$", error.message)
    elif kind != _JSON:
        return Fault("$", f"must have the content type {_JSON} or {_XML[0]}")
    told = excess(body, grown=is_returning(delivery.headers))
    return Fault("$", told) if told else body


def _parse_faulty(source: _Source, errors: list[ErrorDetails], late: list[Fault]) -> Parsed:
    """Tell the wrong destinations from the right ones. Slow, and off the path of a valid request."""
    raw = _object(source.body)
    shared, own = by_destination(errors)
    shared += late
    if raw is not None:
        shared += shape_faults({name for name, value in raw.items() if value is not None})
    raw = raw or {}
    entries = _entries(raw)
    if not entries:
        return _unreadable(raw, source, [*shared, *(fault for faults in own.values() for fault in faults)])
    wrong = {
        position: (entry, bounded(shared, own.get(position, ())))
        for position, entry in enumerate(entries)
        if shared or position in own
    }
    right = [position for position in range(len(entries)) if position not in wrong]
    if right:
        remaining = {**raw, "destinations": [entries[position] for position in right]}
        body = RequestBody.model_validate_json(to_json(remaining), by_alias=True, by_name=False)
        if late := _time_faults(body, source):
            return _parse_faulty(source, errors, late)
        return _read(body, right, wrong, source)
    request_id, identified = _request_id(raw.get("requestId"), source)
    rejections = _reject(request_id, wrong, set(), digest(to_json({name: raw[name] for name in _SAID if name in raw})))
    return Parsed(request_id, identified, rejections=rejections, metadata=_metadata(raw, shared))


def _read(
    body: RequestBody,
    positions: Iterable[int],
    wrong: Mapping[int, tuple[object, tuple[Fault, ...]]],
    source: _Source,
) -> Parsed:
    """Give every message its name and put the request together."""
    request_id, identified = _request_id(body.request_id, source)
    content, destinations = _content(body), _destinations(body)
    given_names = {given for _, given in destinations if given is not None}
    # Where every message has a name of its own, none has to be made.
    written = None if not wrong and len(given_names) == len(destinations) else content.to_json()
    said = "" if written is None else digest(written)
    used: set[str] = set()
    messages: list[Message] = []
    repeated: dict[int, tuple[object, tuple[Fault, ...]]] = {}
    for position, (to, given) in zip(positions, destinations, strict=False):
        if given is not None and given in used:
            fault = Fault(f"destinations[{position}].messageId", "is used by an earlier destination")
            repeated[position] = ({"to": to.model_dump(by_alias=True, exclude_none=True)}, (fault,))
            continue
        messages.append(Message(given or message_id(request_id, _to_whom(said, to), position, given_names), to))
        used.add(messages[-1].message_id)
    metadata = body.metadata or {}
    return Parsed(
        request_id,
        identified,
        request=SendRequest(
            request_id=request_id,
            content=content,
            messages=tuple(messages),
            expires_at=_deadline(body.expires_at, source),
            on_unknown=body.on_unknown,
            metadata=metadata,
            written=written,
        ),
        rejections=_reject(request_id, {**wrong, **repeated}, used | given_names, said),
        metadata=metadata,
    )


def _to_whom(said: str, to: To) -> str:
    """Stand for a content and the person it is for; of the addresses only the last may hold a space."""
    return f"{said} {to.phone_number} {to.email_address} {to.whats_app_user_id} {to.push_registration_id}"


def _time_faults(body: RequestBody, source: _Source) -> list[Fault]:
    """Check the schedule once: a request that comes back has its AMQP expiration written into `expiresAt`."""
    return [] if is_returning(source.delivery.headers) else time_faults(body, source.history.first_seen)


def _destinations(body: RequestBody) -> list[tuple[To, str | None]]:
    if body.destinations is not None:
        return [(destination.to, destination.message_id) for destination in body.destinations]
    addresses = {**_NOWHERE, "phone_number": body.phone_number, "email_address": body.email_address}
    return [(To.trusted(addresses), body.message_id)]


def _content(body: RequestBody) -> Content:
    """Take the channels' contents; a simple request says the same on each, and its subject goes to e-mail."""
    fields = vars(body)
    given = {name: fields[name] for name in _CONTENT}
    if body.text is not None:
        given |= {channel.__name__.lower(): channel(text=body.text) for channel in SIMPLE}
        given["email"] = Email(text=body.text, subject=body.mail_subject)
    return Content.trusted(given)


def _deadline(expires_at: datetime | None, source: _Source) -> datetime | None:
    """Take the earlier of `expiresAt` and the AMQP expiration, which the broker forgets in a waiting room."""
    if source.delivery.expiration is None:
        return expires_at
    published = source.delivery.timestamp or source.history.first_seen
    try:
        lapses = published + timedelta(seconds=min(source.delivery.expiration, _A_CENTURY))
    except OverflowError:
        return expires_at  # published in the year 9999: the broker knows better than its producer's clock
    lapses = lapses.replace(microsecond=lapses.microsecond // 1000 * 1000)  # as it is written on
    return min(expires_at, lapses) if expires_at else lapses


def _object(body: bytes) -> Raw | None:
    """Read the body as far as it is a JSON object; anything else names nothing."""
    try:
        raw = from_json(body)
    except ValueError:
        return None
    return raw if isinstance(raw, dict) else None


def _entries(raw: Raw) -> list[object]:
    """List what stands for a message: each destination, or the one recipient of the flat shape."""
    destinations = raw.get("destinations")
    if isinstance(destinations, list):
        return destinations if len(destinations) <= MAX_DESTINATIONS else []
    if destinations is None and any(raw.get(name) is not None for name in FLAT):
        return [{"to": {name: raw.get(name) for name in FLAT}, "messageId": raw.get("messageId")}]
    return []


def _reject(
    request_id: str, wrong: Mapping[int, tuple[object, tuple[Fault, ...]]], used: set[str], said: str
) -> tuple[Rejection, ...]:
    """Name each message that cannot be sent: by its own id where it has one that no other message has."""
    rejections = []
    for position, (entry, faults) in sorted(wrong.items()):
        given = entry.get("messageId") if isinstance(entry, dict) else None
        to = _addresses(entry)
        if not _is_message_id(given) or given in used:
            given = message_id(request_id, f"{said} {to_json(to).decode()}", position, used)
        used.add(given)
        rejections.append(Rejection(given, to, faults))
    return tuple(rejections)


def _addresses(entry: object) -> dict[str, str]:
    """Take what can be read of the addresses: as they would have been posted, else as they came."""
    to = entry.get("to") if isinstance(entry, dict) else None
    if not isinstance(to, dict):
        return {}
    read = {name: to[name][:_MAX_ADDRESS] for name in ADDRESSES if isinstance(to.get(name), str)}
    with contextlib.suppress(PydanticCustomError):
        read |= {"phoneNumber": digits(read["phoneNumber"])} if "phoneNumber" in read else {}
    return read


def _metadata(raw: Raw, shared: Iterable[Fault]) -> Mapping[str, str]:
    """Echo what is valid even of a request that is not."""
    metadata = raw.get("metadata")
    if not isinstance(metadata, dict) or any(fault.path.startswith("metadata") for fault in shared):
        return {}
    return metadata


def _is_message_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID


def _request_id(given: object, source: _Source) -> tuple[str, bool]:
    """Choose the request's name: its own, else the AMQP message_id, else one made up."""
    for candidate in (given, source.delivery.message_id):
        if is_request_id(candidate):
            return candidate, True
    return source.make_id(), False


def _unreadable(raw: Raw, source: _Source, faults: Iterable[Fault]) -> Parsed:
    request_id, identified = _request_id(raw.get("requestId"), source)
    return Parsed(request_id, identified, faults=bounded(tuple(faults)), metadata=_metadata(raw, faults))
