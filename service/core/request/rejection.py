"""The destinations of a request as they came, in slices, and the messages that cannot be sent."""

import contextlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Final

from pydantic_core import PydanticCustomError, to_json

from service.core.identity import digest, message_id
from service.core.omni.destination import ADDRESSES
from service.core.omni.email_address import is_plain_email_address
from service.core.omni.phone import digits, is_plain_number
from service.core.request.body import FLAT, MAX_DESTINATIONS
from service.core.request.decoding import Source
from service.core.request.faults import bounded
from service.core.request.identification import digest_of_faulty, is_message_id, request_id
from service.core.request.request import Fault, Parsed, Rejection

_MAX_ADDRESS: Final = 254
MOST: Final = 50
"""Destinations in one step, if their addresses are plain. Such an address is checked in a few microseconds."""

_UNUSUAL: Final = 10
"""Plain destinations that take as long as one whose address a library has to read: up to a millisecond."""

Raw = Mapping[str, object]
Faults = tuple[Fault, ...]
Faulty = Mapping[int, tuple[object, Faults]]
"""By its position: a destination as JSON has it, and what is wrong with it."""


def entries_of(raw: Raw) -> list[object]:
    """List what stands for a message: each destination, or the one recipient of the flat shape."""
    destinations = raw.get("destinations")
    if isinstance(destinations, list):
        return destinations if len(destinations) <= MAX_DESTINATIONS else []
    if destinations is None and any(raw.get(name) is not None for name in FLAT):
        return [{"to": {name: raw.get(name) for name in FLAT}, "messageId": raw.get("messageId")}]
    return []


def slices(entries: Sequence[object]) -> Iterator[tuple[int, int]]:
    """Divide destinations, as JSON has them, into steps. Yields the start and the end of each slice."""
    start = weight = 0
    for end, entry in enumerate(entries, 1):
        weight += 1 if _is_plain(entry) else _UNUSUAL
        if weight >= MOST:
            yield start, end
            start, weight = end, 0
    if start < len(entries):
        yield start, len(entries)


def _is_plain(entry: object) -> bool:
    to = entry.get("to") if isinstance(entry, dict) else None
    if not isinstance(to, dict):
        return True
    number, address = to.get("phoneNumber"), to.get("emailAddress")
    return (not isinstance(number, str) or is_plain_number(number)) and (
        not isinstance(address, str) or is_plain_email_address(address)
    )


def reject(
    id_: str, faulty: Faulty, used: set[str], content_digest: str
) -> Generator[None, None, tuple[Rejection, ...]]:
    """Give each message an id: its own if it has one that no other message has, else a derived one.

    Its address is parsed for its event, so a step covers as many as a step of the validation does.
    """
    rejections: list[Rejection] = []
    positions = sorted(faulty)
    for start, end in slices([faulty[position][0] for position in positions]):
        if start:
            yield
        for position in positions[start:end]:
            entry, faults = faulty[position]
            given = entry.get("messageId") if isinstance(entry, dict) else None
            to = _addresses(entry)
            if not is_message_id(given) or given in used:
                given = message_id(id_, f"{content_digest} {to_json(to).decode()}", position, used)
            used.add(given)
            rejections.append(Rejection(given, to, faults))
    return tuple(rejections)


def reject_all(raw: Raw, faulty: Faulty, shared: Iterable[Fault], source: Source) -> Generator[None, None, Parsed]:
    """Reject every message of a request."""
    id_, identified = request_id(raw.get("requestId"), source)
    content_digest = digest_of_faulty(raw)
    rejections = yield from reject(id_, faulty, set(), content_digest)
    metadata = valid_metadata(raw, shared)
    return Parsed(id_, identified, rejections=rejections, metadata=metadata, content_digest=content_digest)


def refuse(raw: Raw, source: Source, faults: Iterable[Fault]) -> Parsed:
    """Refuse a request that names no readable message."""
    id_, identified = request_id(raw.get("requestId"), source)
    content_digest, metadata = digest(source.delivery.body), valid_metadata(raw, faults)
    return Parsed(id_, identified, faults=bounded(tuple(faults)), metadata=metadata, content_digest=content_digest)


def valid_metadata(raw: Raw, faults: Iterable[Fault]) -> Mapping[str, str]:
    """Return the metadata of a faulty request, to be echoed in its events; nothing if the metadata is at fault."""
    metadata = raw.get("metadata")
    if not isinstance(metadata, dict) or any(fault.path.startswith("metadata") for fault in faults):
        return {}
    return metadata


def _addresses(entry: object) -> dict[str, str]:
    """Return the readable addresses: as they would have been posted, else as they came."""
    to = entry.get("to") if isinstance(entry, dict) else None
    if not isinstance(to, dict):
        return {}
    read = {name: to[name][:_MAX_ADDRESS] for name in ADDRESSES if isinstance(to.get(name), str)}
    with contextlib.suppress(PydanticCustomError):
        read |= {"phoneNumber": digits(read["phoneNumber"])} if "phoneNumber" in read else {}
    return read
