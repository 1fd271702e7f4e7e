"""Makes reading the wire total.

Any producer may set any property, and a broker passes on what it does not understand. Where pamqp cannot read a
value it raises, the whole connection is lost over it, and all that was prefetched is handed out again with it, until
the broker takes innocent neighbours for poison. So the readers of the three kinds that can fail are replaced, in the
tables that pamqp keeps for that, by ones that give up on the value instead of the connection.
"""

import contextlib
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pamqp import decode, encode

_Reader = Callable[[bytes], tuple[int, Any]]
_Unreadable = (ValueError, OverflowError, OSError, RecursionError, struct.error)


def make_reading_total() -> None:
    """Replace the readers; doing so twice changes nothing."""
    decode.METHODS["timestamp"] = decode.TABLE_MAPPING[b"T"] = read_timestamp
    decode.METHODS["shortstr"] = read_short_string
    decode.METHODS["table"] = decode.TABLE_MAPPING[b"F"] = read_table


MOST_HEADERS: Final = 16 * 1024
"""Bytes of all headers of a publication together, so that the broker can add its own and they still fit a frame."""
_MOST_READ: Final = 2 * MOST_HEADERS
"""Bytes of headers that are read of a delivery: ours, as we publish them, and the broker's beside them."""
_BROKERS: Final = frozenset({"x-death", "x-delivery-count", "x-acquired-count"})
"""Headers of the broker that the relay reads, whatever a producer puts before them."""
_FIELDS_OF_A_DEATH: Final = {
    name.encode(): name
    for name in ("count", "reason", "queue", "time", "exchange", "routing-keys", "original-expiration")
}
"""What the broker writes in an entry of `x-death`. Source: rabbitmq.com/docs/dlx."""
_LONGEST_FIELD: Final = 1024
_DEEPEST: Final = 32
"""Tables and lists within each other that are read."""
_BESIDE_HEADERS: Final = 1792
"""Bytes of a content header's frame beside its headers: 22, and six short strings of 256, priority, mode and time."""


def encoded_headers(headers: Mapping[str, object], frame_max: int) -> dict[str, bytes]:
    """Encode headers in their order, each whole or not at all, as far as they fit into one frame.

    A broker takes a content header only if it is one frame of at most `frame_max` bytes, which both sides agree on: at
    least 4096, and 0 for no limit (AMQP 0-9-1, 2.3.5.2, 4.2.6). Left out is also what can be read but not written back,
    such as a number past what a float holds.
    """
    room = min((frame_max or MOST_HEADERS + _BESIDE_HEADERS) - _BESIDE_HEADERS, MOST_HEADERS)
    encoded: dict[str, bytes] = {}
    for name, value in headers.items():
        if isinstance(value, (str, bytearray)) and len(value) > room:
            continue
        try:
            entry = encode.short_string(name) + encode.encode_table_value(value)  # type: ignore[arg-type]  # whether it can be is the question
        except Exception:  # noqa: BLE001, S112 - whatever it is, it cannot be written
            continue
        if len(entry) <= room:
            room -= len(entry)
            encoded[name] = entry
    return encoded


def read_timestamp(value: bytes) -> tuple[int, Any]:
    """Read a timestamp; gives how many bytes that takes, and None where it is out of this world."""
    try:
        return decode.timestamp(value)
    except _Unreadable:
        return 8, None


def read_short_string(value: bytes) -> tuple[int, Any]:
    """Read a short string; what is not UTF-8 is replaced."""
    try:
        return decode.short_str(value)
    except UnicodeDecodeError:
        size = value[0]
        return size + 1, value[1 : size + 1].decode(errors="replace")


def read_table(value: bytes) -> tuple[int, dict[str, Any]]:
    """Read headers; gives how many bytes they take, and those that can be read.

    Left out is what the relay would not publish again, and so never uses: a header past the bytes that are read, and
    one with a name that is not UTF-8 or a value of an unknown kind. Of a name that is there twice the first counts, as
    it does for the broker.
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
                continue
    except _Unreadable:
        pass  # where the length of a value is not known, neither is where the next one begins
    return end, headers


def _entries(value: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Give each entry of a table: its name, the kind of its value, where that begins, and its bytes."""
    while at < end:
        start = at + 1 + value[at]
        if start >= end:
            raise ValueError
        name, kind = value[at + 1 : start], value[start]
        size = _size(value, kind, start + 1)
        at = start + 1 + size
        if at > end:
            raise ValueError
        yield name, kind, start + 1, size


def _size(value: bytes, kind: int, at: int) -> int:
    """Tell how many bytes a value takes. Raises `ValueError` where its kind is not known."""
    if (fixed := _FIXED.get(kind)) is not None:
        return fixed
    if kind in _MEASURED:
        return 4 + int.from_bytes(value[at : at + 4])
    raise ValueError


def _read(value: bytes, kind: int, at: int, size: int, depth: int) -> Any:  # noqa: ANN401 - whatever it is
    """Read a value."""
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
    """Read `x-death`: the first tables of the list, and of each the broker's own fields.

    RabbitMQ 3 counts up an entry that a producer has written, and keeps what else it says. So nothing that is long,
    unreadable or there twice may hide what the broker says.
    """
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
            break
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
