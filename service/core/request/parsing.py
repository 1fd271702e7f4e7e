"""Bytes into a `SendRequest`, or into faults that name their paths.

A wrong destination never holds back a valid neighbour; a fault in what they share rejects them all, one
rejection a message. Only a body that names no message at all is refused as a whole.

A large body is read in steps, between which others may have their turn: what the messages share in one, and so many
destinations in each of the others. Its faults are bounded in number and in characters while they are found. So is one
of a few kilobytes where it is faulty: 32 kB can hold 16,000 faults.
"""

import contextlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeGuard, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError, from_json, to_json

from service.core.delivery import Delivery
from service.core.headers import is_returning, read_deadline
from service.core.history import History
from service.core.identity import digest, message_id
from service.core.omni.channel.email import Email
from service.core.omni.charset import charset_parameter, json_error, without_mark
from service.core.omni.content import Content
from service.core.omni.destination import ADDRESSES, Destination, To
from service.core.omni.model import Strict
from service.core.omni.phone import digits
from service.core.omni.xml import XmlError, read_xml
from service.core.request.body import (
    MAX_DESTINATIONS,
    MAX_ID,
    MAX_METADATA_IN_EVENTS,
    MAX_SHARED_VALUES,
    MAX_VALUES,
    SIMPLE,
    TOO_LONG,
    RequestBody,
    excess,
    excess_bytes,
    is_request_id,
    metadata_size,
)
from service.core.request.compression import decompress, decompressed_size
from service.core.request.faults import (
    FLAT,
    MAX_FAULTS,
    MAX_PATH,
    bounded,
    by_destination,
    repeated_faults,
    shape_faults,
    time_faults,
)
from service.core.request.repeated_names import repeated_names
from service.core.request.request import Fault, Message, Parsed, Rejection, SendRequest
from service.core.request.slicing import slices

LARGE: Final = 2**15
"""Bytes of a body from which on it is read in steps."""

SMALL: Final = 2**12
"""Bytes of a body up to which it is read in one step also where it is faulty: then it costs ten times as much."""

_NAMES: Final = 250
"""Messages that are named in one step."""

_REPEATED: Final = 500
"""Names given twice of which faults are made in one step."""

_MAX_ADDRESS: Final = 254
_JSON: Final = "application/json"
_XML: Final = ("application/xml", "text/xml")
_ROOTS: Final = frozenset({"request", "OmniAdvancedRequest"})
_A_MOMENT: Final = 1.0
_A_CENTURY: Final = 100 * 365 * 86400

_CONTENT: Final = tuple(Content.model_fields)
_NOWHERE: Final = dict.fromkeys(To.model_fields)
_SAID: Final = (*(field.alias or name for name, field in Content.model_fields.items()), "text", "mailSubject")
_FIELDS: Final = {name: field.alias or name for name, field in RequestBody.model_fields.items()}

_BODY: Final = TypeAdapter(RequestBody).validator
"""Reads a body as `RequestBody.model_validate_json` does, without the time that this takes on top."""
_PEOPLE: Final = TypeAdapter(tuple[Destination, ...])
_ANYBODY: Final = {"to": {"phoneNumber": "41793026727"}}
"""Stands for the destinations where what they share is checked."""
_TOO_MANY: Final = f"must have at most {MAX_SHARED_VALUES:,} values besides its destinations"
_FAULT_COST: Final = 256
"""Bytes that a fault takes besides its path and its message."""
_FAULT_ROOM: Final = 4 * 2**20
"""Bytes that the faults of all destinations of one request may take; what comes then has one fault told of it."""

T = TypeVar("T")
Raw = Mapping[str, object]
Faults = tuple[Fault, ...]
Person = tuple[To, str | None]
"""An address, and the id that it came with."""


class _Source(NamedTuple):
    """A body, as JSON, and where it came from."""

    body: bytes
    delivery: Delivery
    history: History
    make_id: Callable[[], str]
    is_json: bool = True
    """Whether it came as JSON: XML that names an element twice has been refused."""


def is_large(delivery: Delivery) -> bool:
    """Tell whether a delivery's body is to be read in steps."""
    return len(delivery.body) > LARGE or decompressed_size(delivery) > LARGE


def is_small(delivery: Delivery) -> bool:
    """Tell whether a delivery's body is read in one step whatever it holds."""
    return len(delivery.body) <= SMALL and decompressed_size(delivery) <= SMALL


def is_named(delivery: Delivery) -> bool:
    """Tell whether a delivery's producer has named its request, at a part of the cost of reading it."""
    if delivery.message_id:
        return True
    body = finished(_to_json(delivery))
    raw = None if isinstance(body, Fault) else _object(body)
    return raw is not None and is_request_id(raw.get("requestId"))


def deadline(delivery: Delivery, history: History) -> datetime | None:
    """Tell until when a delivery may be attempted, as far as its properties say."""
    return _deadline(None, _Source(b"", delivery, history, str))


def finished(steps: Generator[None, None, T]) -> T:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def parse(delivery: Delivery, history: History, make_id: Callable[[], str]) -> Parsed:
    """Read a delivery's body at once; `make_id` names a request that came without an id."""
    body = delivery.body
    # So short a body has no excess. One that was too long to be kept is empty.
    if body[:1] == b"{" and len(body) <= LARGE and delivery.content_encoding is None and _kind(delivery) == _JSON:
        parsed = _parse_small(_Source(body, delivery, history, make_id), None)
        if parsed is not None:
            return parsed
    return finished(parse_in_steps(delivery, history, make_id))


def parse_in_steps(
    delivery: Delivery, history: History, make_id: Callable[[], str], large: int = LARGE
) -> Generator[None, None, Parsed]:
    """Read a delivery's body as `parse` does. One of up to `large` bytes that is valid is read in one step."""
    body = yield from _to_json(delivery)
    fault = body if isinstance(body, Fault) else None
    is_json = _kind(delivery) not in _XML
    source = _Source(b"" if isinstance(body, Fault) else body, delivery, history, make_id, is_json)
    parsed = _parse_small(source, fault) if len(source.body) <= large else None
    return (yield from _parse_large(source)) if parsed is None else parsed


def _parse_small(source: _Source, fault: Fault | None) -> Parsed | None:
    """Read a body in one step; `fault` is what forbids to read it at all. None where it is too long to be faulty."""
    if fault is not None:
        return _unreadable({}, source, [fault])
    is_long = len(source.body) > SMALL
    try:
        read: RequestBody = _BODY.validate_json(source.body, by_alias=True, by_name=False)
    except ValidationError as error:
        return None if is_long else _parse_faulty(source, error.errors(include_url=False, include_input=False), [])
    late = _time_faults(read, source)
    if late or shape_faults(_present(read)) or (source.is_json and finished(repeated_names(source.body))):
        return None if is_long else _parse_faulty(source, [], late)
    return finished(_read(read, _destinations(read), range(MAX_DESTINATIONS), {}, source))


def _kind(delivery: Delivery) -> str:
    if delivery.content_type == _JSON:
        return _JSON
    return (delivery.content_type or _JSON).partition(";")[0].strip().lower()


def _json_fault(delivery: Delivery, kind: str, body: bytes) -> Fault | None:
    """Tell why a body that is not XML is not to be read."""
    if kind != _JSON:
        return Fault("$", f"must have the content type {_JSON} or {_XML[0]}")
    told = TOO_LONG if delivery.is_too_long else excess(body, grown=is_returning(delivery.headers))
    return Fault("$", told) if told else None


def _to_json(delivery: Delivery) -> Generator[None, None, bytes | Fault]:
    kind = _kind(delivery)
    given = yield from decompress(delivery)
    if isinstance(given, str):
        return Fault("$", given)
    if kind not in _XML:
        body = without_mark(given)
        return _json_fault(delivery, kind, body) or body
    grown = is_returning(delivery.headers)
    if told := TOO_LONG if delivery.is_too_long else excess_bytes(given, grown=grown):
        return Fault("$", told)
    charset = charset_parameter(delivery.content_type)
    try:
        read = yield from read_xml(given, RequestBody, _ROOTS, charset, MAX_VALUES)
    except XmlError as error:
        return Fault(error.path[:MAX_PATH] or "$", error.message)
    body = to_json(read)
    told = excess(body, grown=grown)
    return Fault("$", told) if told else body


def _parse_large(source: _Source) -> Generator[None, None, Parsed]:
    """Read a body so that no step takes long, and that no more is made of its faults than is told."""
    try:
        raw = from_json(source.body)
    except ValueError as error:
        return _unreadable({}, source, [Fault("$", json_error(source.body) or f"Invalid JSON: {error}")])
    if not isinstance(raw, dict):
        return _unreadable({}, source, [Fault("$", "should be an object")])
    yield
    twice, twice_of = yield from _repeated_faults(source)
    yield
    entries, is_list = _entries(raw), isinstance(raw.get("destinations"), list)
    body, shared = _check_shared(raw, source)
    shared += twice
    if body is None and shared[0].message == _TOO_MANY:
        raw = {name: raw.get(name) for name in ("requestId", "destinations")}
    if not entries:
        return _unreadable(raw, source, shared)
    too_much = _metadata_faults(_metadata(raw, shared), len(entries), source)
    shared += too_much
    people: dict[int, Person] = {}
    own: dict[int, Faults] = {}
    if is_list and not too_much:  # each is rejected for it, and to check an address may take a library
        people, own = yield from _check_destinations(entries, shared, twice_of)
    elif body is not None:
        people = dict(enumerate(_destinations(body)))
    yield
    told = sum(_FAULT_COST + len(fault.path) + len(fault.message) for fault in bounded(shared))
    everybody = bounded(shared, most=MAX_FAULTS if told * len(entries) <= _FAULT_ROOM else 1)
    rejected = {
        position: (entry, own.get(position, everybody))
        for position, entry in enumerate(entries)
        if shared or position in own
    }
    if body is not None and not shared and people:
        return (yield from _read(body, list(people.values()), people, rejected, source))
    request_id, identified = _request_id(raw.get("requestId"), source)
    said = _digest_of(raw)
    rejections = yield from _reject(request_id, rejected, set(), said)
    metadata = _metadata(raw, shared)
    return Parsed(request_id, identified, rejections=rejections, metadata=metadata, content_digest=said)


def _check_destinations(
    entries: Sequence[object], shared: Sequence[Fault], twice_of: Mapping[int, list[Fault]]
) -> Generator[None, None, tuple[dict[int, Person], dict[int, Faults]]]:
    """Check all destinations in slices; gives the right ones, and the faults of the others with those all share."""
    people: dict[int, Person] = {}
    own: dict[int, Faults] = {}
    room = _FAULT_ROOM
    for start, end in slices(entries):
        yield
        right, wrong = _check(entries[start:end], start)
        for position in twice_of.keys() & range(start, end):
            faults, unmade = wrong.get(position, ([], 0))
            wrong[position] = [*faults, *twice_of[position]], unmade
            right.pop(position, None)
        people |= right
        for position, (faults, unmade) in wrong.items():
            own[position] = bounded(shared, faults, unmade, MAX_FAULTS if room > 0 else 1)
            room -= sum(_FAULT_COST + len(fault.path) + len(fault.message) for fault in own[position])
    return people, own


def _repeated_faults(source: _Source) -> Generator[None, None, tuple[list[Fault], dict[int, list[Fault]]]]:
    """Make faults of names that are given twice: of all destinations, and of each by its position."""
    paths = (yield from repeated_names(source.body)) if source.is_json else []
    shared: list[Fault] = []
    own: dict[int, list[Fault]] = {}
    for start in range(0, len(paths), _REPEATED):
        yield
        more, more_of = repeated_faults(paths[start : start + _REPEATED])
        shared += more
        for position, faults in more_of.items():
            own.setdefault(position, []).extend(faults)
    return shared, own


def _metadata_faults(metadata: Mapping[str, str], destinations: int, source: _Source) -> list[Fault]:
    """Check that the events of a large request do not repeat too much. One that comes back has been checked."""
    most = MAX_METADATA_IN_EVENTS // destinations
    if is_returning(source.delivery.headers) or metadata_size(metadata) <= most:
        return []
    return [Fault("metadata", f"must hold at most {most:,} bytes where there are {destinations:,} destinations")]


def _check_shared(raw: Raw, source: _Source) -> tuple[RequestBody | None, list[Fault]]:
    """Check what the destinations of a large body share; gives it, if it is right, and its faults."""
    given = dict(raw)
    too_many: list[Fault] = []
    if isinstance(people := raw.get("destinations"), list):
        given["destinations"] = [_ANYBODY] * min(len(people), 1)
        if len(people) > MAX_DESTINATIONS:  # told without making an object of each
            told = f"should have at most {MAX_DESTINATIONS} items after validation, not {len(people)}"
            too_many = [Fault("destinations", told)]
    if not _is_modest(value for name, value in raw.items() if name != "destinations"):
        return None, [Fault("$", _TOO_MANY)]
    body = None
    try:
        body = RequestBody.model_validate_json(to_json(given, inf_nan_mode="constants"), by_alias=True, by_name=False)
        shared = _time_faults(body, source)
    except ValidationError as error:
        shared, _ = by_destination(error.errors(include_url=False, include_input=False))
    shared += too_many
    shared += shape_faults({name for name, value in raw.items() if value is not None})
    return body, shared


def _check(entries: Sequence[object], start: int) -> tuple[dict[int, Person], dict[int, tuple[list[Fault], int]]]:
    """Tell the right destinations of a slice from the wrong ones, of which more faults may be than were made."""
    wrong: dict[int, tuple[list[Fault], int]] = {}
    left = dict(enumerate(map(_trimmed, entries), start))
    while left:
        written = to_json([entry for entry, _ in left.values()], inf_nan_mode="constants")
        try:
            read = _PEOPLE.validate_json(written, by_alias=True, by_name=False)
        except ValidationError as error:
            places, found = list(left), error.errors(include_url=False, include_input=False)
            for one in found:
                one["loc"] = ("destinations", places[int(one["loc"][0])], *one["loc"][1:])
            for position, faults in by_destination(found)[1].items():
                wrong[position] = faults, left.pop(position)[1]
        else:
            return {
                position: (person.to, person.message_id) for position, person in zip(left, read, strict=True)
            }, wrong
    return {}, wrong


def _trimmed(entry: object) -> tuple[object, int]:
    """Leave out unknown fields that are too many to be told of, and count them."""
    if not isinstance(entry, dict):
        return entry, 0
    entry, left_out = _without_excess(entry, Destination)
    if isinstance(to := entry.get("to"), dict):
        to, more = _without_excess(to, To)
        if more:
            entry, left_out = {**entry, "to": to}, left_out + more
    return entry, left_out


def _without_excess(fields: dict[str, object], model: type[Strict]) -> tuple[dict[str, object], int]:
    known = model.model_fields
    names = {field.alias for field in known.values()}
    unknown = [name for name in fields if name not in names] if len(fields) > MAX_FAULTS else []
    if len(unknown) <= MAX_FAULTS:
        return fields, 0
    told = names.union(unknown[:MAX_FAULTS])
    return {name: value for name, value in fields.items() if name in told}, len(unknown) - MAX_FAULTS


def _is_modest(values: Iterable[object]) -> bool:
    """Tell whether there are no more values than a request may have besides its destinations."""
    left, waiting = MAX_SHARED_VALUES, [iter(values)]
    while waiting:
        for value in waiting[-1]:
            left -= 1
            if left < 0:
                return False
            if isinstance(value, (dict, list)):
                waiting.append(iter(value.values() if isinstance(value, dict) else value))
                break
        else:
            waiting.pop()
    return True


def _parse_faulty(source: _Source, errors: list[ErrorDetails], late: list[Fault]) -> Parsed:
    """Tell the wrong destinations from the right ones. Slow, and off the path of a valid request."""
    raw = _object(source.body)
    shared, own = by_destination(errors)
    shared += late
    if raw is None:
        told = json_error(source.body)
        shared = [Fault("$", told)] if told else shared
    else:
        shared += shape_faults({name for name, value in raw.items() if value is not None})
        twice, twice_of = finished(_repeated_faults(source))
        shared += twice
        for position, faults in twice_of.items():
            own.setdefault(position, []).extend(faults)
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
        return finished(_read(body, _destinations(body), right, wrong, source))
    request_id, identified = _request_id(raw.get("requestId"), source)
    said = _digest_of(raw)
    rejections = finished(_reject(request_id, wrong, set(), said))
    metadata = _metadata(raw, shared)
    return Parsed(request_id, identified, rejections=rejections, metadata=metadata, content_digest=said)


def _read(
    body: RequestBody,
    people: Sequence[Person],
    positions: Iterable[int],
    wrong: Mapping[int, tuple[object, Faults]],
    source: _Source,
) -> Generator[None, None, Parsed]:
    """Give every message its name and put the request together."""
    request_id, identified = _request_id(body.request_id, source)
    content = _content(body)
    given_names = {given for _, given in people if given is not None}
    written = content.to_json()
    said = digest(written)
    used: set[str] = set()
    messages: list[Message] = []
    repeated: dict[int, tuple[object, Faults]] = {}
    for position, (to, given) in zip(positions, people, strict=False):
        if len(messages) % _NAMES == _NAMES - 1:
            yield
        if given is None:
            name = message_id(request_id, _to_whom(said, to), position, given_names)
        elif given not in used:
            name = given
        else:
            fault = Fault(f"destinations[{position}].messageId", "is used by an earlier destination")
            repeated[position] = ({"to": to.model_dump(by_alias=True, exclude_none=True)}, (fault,))
            continue
        messages.append(Message(name, to))
        used.add(name)
    rejections: tuple[Rejection, ...] = ()
    if wrong or repeated:
        rejections = yield from _reject(request_id, {**wrong, **repeated}, used | given_names, said)
    metadata = body.metadata or {}
    return Parsed(
        request_id,
        identified,
        request=SendRequest(
            request_id,
            content,
            tuple(messages),
            _deadline(body.expires_at, source),
            body.on_unknown,
            metadata,
            written,
            said,
        ),
        rejections=rejections,
        metadata=metadata,
        content_digest=said,
    )


def _digest_of(raw: Raw) -> str:
    """Stand for a content that cannot be sent, in JSON and in XML alike."""
    return digest(to_json({name: _spelled(raw[name]) for name in _SAID if name in raw}))


def _spelled(value: object) -> object:
    """Write numbers and truth values as texts, since XML has nothing else."""
    match value:
        case dict():
            return {name: _spelled(inner) for name, inner in value.items()}
        case list():
            return [_spelled(inner) for inner in value]
        case str() | None:
            return value
        case _:
            return to_json(value).decode()


def _to_whom(said: str, to: To) -> str:
    """Stand for a content and the person it is for; of the addresses only the last may hold a space."""
    return f"{said} {to.phone_number} {to.email_address} {to.whats_app_user_id} {to.push_registration_id}"


def _time_faults(body: RequestBody, source: _Source) -> list[Fault]:
    """Check the schedule once, when the request comes for the first time."""
    if body.send_at is None or is_returning(source.delivery.headers):
        return []
    return time_faults(body.send_at, source.history.first_seen)


def _present(body: RequestBody) -> set[str]:
    fields = vars(body)
    return {_FIELDS[name] for name in body.model_fields_set if fields[name] is not None}


def _destinations(body: RequestBody) -> list[Person]:
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
    """Take the earlier of `expiresAt` and the AMQP expiration, which the broker forgets in a waiting room.

    The expiration counts from the producer's timestamp. But what the broker delivers has not expired: if the timestamp
    says so, the producer's clock is slow, and it counts from the first delivery. So it does if that clock is fast.
    An expiration of 0 lets a broker deliver a message at once or never, so what is delivered has a moment to be posted.
    What was put aside unread has it in a header.
    """
    if source.delivery.headers and (kept := read_deadline(source.delivery.headers)) is not None:
        expires_at = min(expires_at, kept) if expires_at else kept
    if source.delivery.expiration is None:
        return expires_at
    seen = source.history.first_seen
    life = timedelta(seconds=min(source.delivery.expiration or _A_MOMENT, _A_CENTURY))
    try:
        lapses = min(source.delivery.timestamp or seen, seen) + life
        lapses = lapses if lapses > seen else seen + life
    except OverflowError:
        return expires_at  # first seen in the year 9900 or later, as a header says: no deadline can be kept
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
    request_id: str, wrong: Mapping[int, tuple[object, Faults]], used: set[str], said: str
) -> Generator[None, None, tuple[Rejection, ...]]:
    """Name each message that cannot be sent: by its own id where it has one that no other message has.

    Its address is read for its event, so a step holds as many as one that checks them.
    """
    rejections: list[Rejection] = []
    positions = sorted(wrong)
    for start, end in slices([wrong[position][0] for position in positions]):
        if start:
            yield
        for position in positions[start:end]:
            entry, faults = wrong[position]
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
    told, metadata, said = bounded(tuple(faults)), _metadata(raw, faults), digest(source.delivery.body)
    return Parsed(request_id, identified, faults=told, metadata=metadata, content_digest=said)
