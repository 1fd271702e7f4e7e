"""What is wrong with a request, besides the shape of each field: shared parts and destinations, slice by slice.

Faults are bounded in number and in characters while they are found: 32 kB can hold 16,000 of them.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from service.core.headers import is_returning
from service.core.omni.destination import Destination, To
from service.core.omni.model import Strict
from service.core.request.body import (
    MAX_DESTINATIONS,
    MAX_METADATA_IN_EVENTS,
    MAX_SHARED_VALUES,
    RequestBody,
    metadata_size,
    shape_faults,
)
from service.core.request.decoding import Source
from service.core.request.faults import MAX_FAULTS, bounded, by_destination, repeated_faults, time_faults
from service.core.request.rejection import Faults, Raw, slices
from service.core.request.repeated_names import repeated_names
from service.core.request.request import Fault

TOO_MANY: Final = f"must have at most {MAX_SHARED_VALUES:,} values besides its destinations"

_REPEATED: Final = 500
"""Names given twice for which faults are made in one step."""
_DESTINATIONS: Final = TypeAdapter(tuple[Destination, ...])
_VALID_DESTINATION: Final = {"to": {"phoneNumber": "41793026727"}}
"""Stands for the destinations while the shared part is validated."""
_FAULT_COST: Final = 256
"""Bytes that a fault takes besides its path and its message."""
_MAX_COST: Final = 4 * 2**20
"""Bytes that the faults of all destinations of one request may take. Each destination after that has one fault."""

Recipient = tuple[Mapping[str, str], str | None]
"""Addresses, and the message id that it came with."""


def schedule_faults(body: RequestBody, source: Source) -> list[Fault]:
    """Check the schedule once, when the request comes for the first time."""
    if body.send_at is None or is_returning(source.delivery.headers):
        return []
    return time_faults(body.send_at, source.history.first_seen)


def name_faults(source: Source) -> Generator[None, None, tuple[list[Fault], dict[int, list[Fault]]]]:
    """Return the faults of names that are given twice: the shared ones, and those of destinations by position."""
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


def metadata_faults(metadata: Mapping[str, str], destinations: int, source: Source) -> list[Fault]:
    """Check that the events of a large request do not repeat too much. One that returns has been checked."""
    most = MAX_METADATA_IN_EVENTS // destinations
    if is_returning(source.delivery.headers) or metadata_size(metadata) <= most:
        return []
    return [Fault("metadata", f"must hold at most {most:,} bytes where there are {destinations:,} destinations")]


def validate_shared(raw: Raw, source: Source) -> tuple[RequestBody | None, list[Fault]]:
    """Validate the part of a large body that the destinations share. Returns it if it is valid, and its faults."""
    given = dict(raw)
    too_many: list[Fault] = []
    if isinstance(destinations := raw.get("destinations"), list):
        given["destinations"] = [_VALID_DESTINATION] * min(len(destinations), 1)
        if len(destinations) > MAX_DESTINATIONS:  # as pydantic would say, without building an object of each
            text = f"should have at most {MAX_DESTINATIONS} items after validation, not {len(destinations)}"
            too_many = [Fault("destinations", text)]
    if not _is_modest(value for name, value in raw.items() if name != "destinations"):
        return None, [Fault("$", TOO_MANY)]
    body = None
    try:
        body = RequestBody.model_validate_json(to_json(given, inf_nan_mode="constants"), by_alias=True, by_name=False)
        shared = schedule_faults(body, source)
    except ValidationError as error:
        shared, _ = by_destination(error.errors(include_url=False, include_input=False))
    shared += too_many
    shared += shape_faults({name for name, value in raw.items() if value is not None})
    return body, shared


def validate_destinations(
    entries: Sequence[object], shared: Sequence[Fault], repeated: Mapping[int, list[Fault]]
) -> Generator[None, None, tuple[dict[int, Recipient], dict[int, Faults]]]:
    """Validate all destinations in slices. Returns the valid ones, and the faults of the others after the shared ones.

    `repeated` has the faults of names given twice in a destination.
    """
    valid: dict[int, Recipient] = {}
    own: dict[int, Faults] = {}
    room = _MAX_COST
    for start, end in slices(entries):
        yield
        right, wrong = _validate_slice(entries[start:end], start)
        for position in repeated.keys() & range(start, end):
            faults, left_out = wrong.get(position, ([], 0))
            wrong[position] = [*faults, *repeated[position]], left_out
            right.pop(position, None)
        valid |= right
        for position, (faults, left_out) in wrong.items():
            own[position] = bounded(shared, faults, left_out, MAX_FAULTS if room > 0 else 1)
            room -= _cost(own[position])
    return valid, own


def bounded_for_all(shared: Sequence[Fault], destinations: int) -> Faults:
    """Bound the shared faults, which the event of each destination repeats."""
    most = MAX_FAULTS if _cost(bounded(shared)) * destinations <= _MAX_COST else 1
    return bounded(shared, most=most)


def _cost(faults: Iterable[Fault]) -> int:
    return sum(_FAULT_COST + len(fault.path) + len(fault.message) for fault in faults)


def _validate_slice(
    entries: Sequence[object], start: int
) -> tuple[dict[int, Recipient], dict[int, tuple[list[Fault], int]]]:
    """Separate valid destinations from faulty ones. Of a faulty one, some faults may be counted and not built."""
    wrong: dict[int, tuple[list[Fault], int]] = {}
    left = dict(enumerate(map(_trimmed, entries), start))
    while left:
        written = to_json([entry for entry, _ in left.values()], inf_nan_mode="constants")
        try:
            read = _DESTINATIONS.validate_json(written, by_alias=True, by_name=False)
        except ValidationError as error:
            positions, found = list(left), error.errors(include_url=False, include_input=False)
            for one in found:
                one["loc"] = ("destinations", positions[int(one["loc"][0])], *one["loc"][1:])
            for position, faults in by_destination(found)[1].items():
                wrong[position] = faults, left.pop(position)[1]
        else:
            recipients = [(one.to.written(), one.message_id) for one in read]
            return dict(zip(left, recipients, strict=True)), wrong
    return {}, wrong


def _trimmed(entry: object) -> tuple[object, int]:
    """Leave out the unknown fields that are too many to be reported, and count them."""
    if not isinstance(entry, dict):
        return entry, 0
    entry, left_out = _without_excess(entry, Destination)
    if isinstance(to := entry.get("to"), dict):
        to, more = _without_excess(to, To)
        if more:
            entry, left_out = {**entry, "to": to}, left_out + more
    return entry, left_out


def _without_excess(fields: dict[str, object], model: type[Strict]) -> tuple[dict[str, object], int]:
    names = {field.alias for field in model.model_fields.values()}
    unknown = [name for name in fields if name not in names] if len(fields) > MAX_FAULTS else []
    if len(unknown) <= MAX_FAULTS:
        return fields, 0
    kept = names.union(unknown[:MAX_FAULTS])
    return {name: value for name, value in fields.items() if name in kept}, len(unknown) - MAX_FAULTS


def _is_modest(values: Iterable[object]) -> bool:
    """Return whether there are no more values than a request may have besides its destinations."""
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
