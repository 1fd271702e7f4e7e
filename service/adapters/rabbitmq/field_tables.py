"""Field tables of AMQP 0-9-1, which carry a message's headers, and the readers that never fail.

Any producer may set any property, and a broker passes on what it does not understand. If pamqp cannot read a value, it
raises, and the AMQP library closes the connection. All prefetched deliveries are then delivered again. The broker
counts that against each of them, and after some times it dead-letters innocent messages. So `make_reading_total`
replaces pamqp's readers of the three kinds of values that can fail. Its own readers drop the value that cannot be read
and keep the connection.
"""

import contextlib
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pamqp import decode, encode

_Unreadable = (ValueError, OverflowError, OSError, RecursionError, struct.error)


def make_reading_total() -> None:
    """Replace pamqp's readers for the whole process. To do so again changes nothing."""
    decode.METHODS["timestamp"] = decode.TABLE_MAPPING[b"T"] = read_timestamp
    decode.METHODS["shortstr"] = read_short_string
    decode.METHODS["table"] = decode.TABLE_MAPPING[b"F"] = read_table


MOST_HEADERS: Final = 16 * 1024
"""Bytes of all headers of a publication. The broker adds its own later, and all must fit into one frame then."""
_MOST_READ: Final = 2 * MOST_HEADERS
"""Bytes of headers read of a delivery: as many as the relay publishes, and as many again that the broker adds."""
_BROKERS: Final = frozenset({"x-death", "x-delivery-count", "x-acquired-count"})
"""The broker's headers. They are read even if a producer's headers before them exceed the limit."""
_FIELDS_OF_A_DEATH: Final = {
    name.encode(): name
    for name in ("count", "reason", "queue", "time", "exchange", "routing-keys", "original-expiration")
}
"""The broker's own fields in an entry of `x-death`. Source: rabbitmq.com/docs/dlx."""
_LONGEST_FIELD: Final = 1024
"""Bytes of a field in an entry of `x-death`; a longer one is left out."""
_DEEPEST: Final = 32
"""Levels of nested tables and lists that are read. Without a limit, a producer could exhaust the stack."""
_BESIDE_HEADERS: Final = 1792
"""Most bytes of a content header's frame beside the headers: 22 fixed, six short strings of 256, and the rest. Of the
string properties, an event has no `app_id`, and a request no `type`."""


def encoded_headers(headers: Mapping[str, object], frame_max: int) -> dict[str, bytes]:
    """Encode headers in their order; leave out each that does not fit into the frame any more.

    A content header must be a single frame of at most `frame_max` bytes (0: no limit; else at least 4096). Source: AMQP
    0-9-1, 2.3.5.2 and 4.2.6. A larger one makes the broker close the connection. Some values can be read but not be
    written back, such as a large number; they are left out too.
    """
    room = min((frame_max or MOST_HEADERS + _BESIDE_HEADERS) - _BESIDE_HEADERS, MOST_HEADERS)
    encoded: dict[str, bytes] = {}
    for name, value in headers.items():
        if isinstance(value, (str, bytearray)) and len(value) > room:
            continue
        try:
            entry = encode.short_string(name) + encode.encode_table_value(value)  # type: ignore[arg-type]  # whether it can be is the question
        except Exception:  # noqa: BLE001, S112 - pamqp raises many kinds; all mean that the value cannot be written
            continue
        if len(entry) <= room:
            room -= len(entry)
            encoded[name] = entry
    return encoded


def read_timestamp(value: bytes) -> tuple[int, Any]:
    """Read a timestamp: its size in bytes, and the moment, or None if Python cannot represent it."""
    try:
        return decode.timestamp(value)
    except _Unreadable:
        return 8, None


def read_short_string(value: bytes) -> tuple[int, Any]:
    """Read a short string: its size in bytes, and the text. Bytes that are not UTF-8 are replaced."""
    try:
        return decode.short_str(value)
    except UnicodeDecodeError:
        size = value[0]
        return size + 1, value[1 : size + 1].decode(errors="replace")


def read_table(value: bytes) -> tuple[int, dict[str, Any]]:
    """Read headers: their size in bytes, and those that can be read.

    Left out are headers beyond `_MOST_READ` bytes, except the broker's, and headers with a name that is not UTF-8 or a
    value of an unknown kind. If a name appears twice, the first one counts, as it does for the broker: otherwise a
    producer could add a header that hides the broker's.
    """
    end = 4 + int.from_bytes(value[:4])
    headers: dict[str, Any] = {}
    room = _MOST_READ
    try:
        for raw, kind, at, size in _entries(value, 4, min(end, len(value))):
            try:
                name = raw.decode()
                if name in headers:
                    continue
                if name in _BROKERS:
                    is_list = kind == ord("A")
                    headers[name] = _read_deaths(value, at, size) if is_list else _read(value, kind, at, size, 0)
                elif (taken := len(raw) + 2 + size) <= room:
                    room -= taken
                    headers[name] = _read(value, kind, at, size, 0)
            except _Unreadable:
                continue  # its size is known, so the next header can still be read
    except _Unreadable:
        pass  # the size of a value is not known, so neither is the position of the next header
    return end, headers


def _entries(value: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield each entry of a table: its name, the kind of its value, and the value's position and size.

    Raises one of `_Unreadable` where the table does not keep to its own sizes.
    """
    while at < end:
        start = at + 1 + value[at]
        if start >= end:  # the name ends outside the table
            raise ValueError
        name, kind = value[at + 1 : start], value[start]
        size = _size(value, kind, start + 1)
        at = start + 1 + size
        if at > end:  # otherwise a value could include bytes behind its table, such as the broker's next header
            raise ValueError
        yield name, kind, start + 1, size


def _size(value: bytes, kind: int, at: int) -> int:
    """Return the size of a value in bytes. Raises `ValueError` if its kind is not known."""
    if (fixed := _FIXED.get(kind)) is not None:
        return fixed
    if kind in _MEASURED:
        return 4 + int.from_bytes(value[at : at + 4])
    raise ValueError


def _read(value: bytes, kind: int, at: int, size: int, depth: int) -> Any:  # noqa: ANN401 - any kind of value
    """Read a value. Raises one of `_Unreadable`."""
    if reader := _NUMBERS.get(kind):
        return reader.unpack_from(value, at)[0]
    if depth > _DEEPEST:
        raise ValueError
    return _READERS[kind](value, at, at + size, depth + 1)


def _read_text(value: bytes, at: int, end: int, _: int) -> str | bytes:
    text = value[at + 4 : end]
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def _read_nested(value: bytes, at: int, end: int, depth: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, kind, start, size in _entries(value, at + 4, end):
        table.setdefault(name.decode(), _read(value, kind, start, size, depth))
    return table


def _read_deaths(value: bytes, at: int, size: int) -> list[dict[str, Any]]:
    """Read `x-death`: the first tables of the list, and only the broker's own fields of each.

    RabbitMQ 3 continues an entry that a producer wrote, and keeps its other fields. So a field that is long, unreadable
    or repeated must not hide the broker's fields.
    """
    # `room` limits the memory that a producer's entries take. The broker's entries come first, so they fit.
    end, room = at + size, MOST_HEADERS
    at += 4
    deaths: list[dict[str, Any]] = []
    while at < end and room > 0:
        kind, taken = value[at], _size(value, value[at], at + 1)
        room -= 5
        if kind == ord("F"):
            death: dict[str, Any] = {}
            for name, kind_of, start, length in _entries(value, at + 5, at + 1 + taken):
                field = _FIELDS_OF_A_DEATH.get(name)
                if field is not None and field not in death and length <= _LONGEST_FIELD:
                    room -= len(name) + 2 + length
                    with contextlib.suppress(*_Unreadable):
                        death[field] = _read(value, kind_of, start, length, 2)
            deaths.append(death)
        at += 1 + taken
    return deaths


def _read_list(value: bytes, at: int, end: int, depth: int) -> list[Any]:
    items = []
    at += 4
    while at < end:
        kind = value[at]
        size = _size(value, kind, at + 1)
        if at + 1 + size > end:
            break  # the rest of the list is lost; the header's own size is known, so the headers behind it are not
        items.append(_read(value, kind, at + 1, size, depth))
        at += 1 + size
    return items


_NUMBERS: Final = {
    ord(kind): struct.Struct(f">{form}") for kind, form in zip("tbBsuIilLfd", "?bBhHiIqqfd", strict=True)
}
_FIXED: Final = {kind: form.size for kind, form in _NUMBERS.items()} | {ord("T"): 8, ord("D"): 5, ord("V"): 0, 0: 0}
_MEASURED: Final = frozenset(b"SFAx")
"""Kinds of values that begin with their length. Source: rabbitmq.com/amqp-0-9-1-errata, on field types."""
_READERS: Final[Mapping[int, Callable[[bytes, int, int, int], Any]]] = {
    ord("S"): _read_text,
    ord("F"): _read_nested,
    ord("A"): _read_list,
    ord("x"): lambda value, at, end, _: bytearray(value[at + 4 : end]),
    ord("T"): lambda value, at, end, _: read_timestamp(value[at:end])[1],
    ord("D"): lambda value, at, end, _: decode.decimal(value[at:end])[1],
    ord("V"): lambda *_: None,
    0: lambda *_: None,
}
