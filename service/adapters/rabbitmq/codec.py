"""The frames of AMQP 0-9-1 that come once or more for every message; bytes from and to values, and nothing else.

Source: the specification, "AMQP 0-9-1" (2008), sections 2.3 (framing) and 4.2 (grammar); method numbers by its XML.
Tables and timestamps are pamqp's, with readers that are total (`wire`).

Makes reading the wire total.

Any producer may set any property, and a broker passes on what it does not understand. Where pamqp cannot read a
value it raises, the whole connection is lost over it, and all that was prefetched is handed out again with it, until
the broker takes innocent neighbours for poison. So the readers of the three kinds that can fail are replaced, in the
tables that pamqp keeps for that, by ones that give up on the value instead of the connection.
"""

import calendar
import contextlib
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pamqp import decode, encode

from service.core.delivery import Delivery, Publication
from service.core.request.compression import read_content_encoding

METHOD, HEADER, BODY = 1, 2, 3
END: Final = 0xCE
SMALLEST: Final = 8
"""Bytes of a frame without a payload: type, channel, size, and the end."""
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"

DELIVER, RETURN, ACK, NACK = b"\x00\x3c\x00\x3c", b"\x00\x3c\x00\x32", b"\x00\x3c\x00\x50", b"\x00\x3c\x00\x78"
"""Class and method, as a method frame begins."""

_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE, _PRIORITY, _CORRELATION_ID, _REPLY_TO = (
    1 << bit for bit in range(15, 8, -1)
)
_EXPIRATION, _MESSAGE_ID, _TIMESTAMP, _TYPE = (1 << bit for bit in range(8, 4, -1))

_FRAME: Final = struct.Struct(">BHI")
_DELIVERED: Final = struct.Struct(">QB")
_CONFIRMED: Final = struct.Struct(">QB")
_SETTLED: Final = struct.Struct(">BHIIQBB")
_CONTENT: Final = struct.Struct(">BHIHHQH")
_PERSISTENT: Final = b"\x02"
_LONGEST: Final = 255


class Properties(NamedTuple):
    """What the relay reads of a message's properties; `expiration` is milliseconds in digits, as it came."""

    content_type: str | None = None
    content_encoding: str | None = None
    headers: Mapping[str, Any] | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: datetime | None = None


NO_PROPERTIES: Final = Properties()


def read_properties(payload: bytes) -> tuple[int, Properties]:
    """Read a content header: the size of the body, and the properties. Total: what cannot be read is not there."""
    size = int.from_bytes(payload[4:12])
    try:
        return size, _read_properties(payload)
    except (IndexError, ValueError, struct.error):
        return size, NO_PROPERTIES


def _read_properties(payload: bytes) -> Properties:  # noqa: C901 - a list, in the order of the flags
    flags, at = int.from_bytes(payload[12:14]), 14
    content_type = content_encoding = headers = priority = correlation_id = reply_to = expiration = message_id = (
        timestamp
    ) = None
    if flags & _CONTENT_TYPE:
        at, content_type = _short(payload, at)
    if flags & _CONTENT_ENCODING:
        at, content_encoding = _short(payload, at)
    if flags & _HEADERS:
        size, headers = read_table(payload[at:])
        at += size
    if flags & _DELIVERY_MODE:
        at += 1
    if flags & _PRIORITY:
        priority = payload[at]
        at += 1
    if flags & _CORRELATION_ID:
        at, correlation_id = _short(payload, at)
    if flags & _REPLY_TO:
        at, reply_to = _short(payload, at)
    if flags & _EXPIRATION:
        at, expiration = _short(payload, at)
    if flags & _MESSAGE_ID:
        at, message_id = _short(payload, at)
    if flags & _TIMESTAMP:
        _, timestamp = read_timestamp(payload[at : at + 8])
    return Properties(
        content_type,
        content_encoding,
        headers,
        priority,
        correlation_id,
        reply_to,
        expiration,
        message_id,
        timestamp,
    )


def _short(payload: bytes, at: int) -> tuple[int, str]:
    end = at + 1 + payload[at]
    try:
        return end, payload[at + 1 : end].decode()
    except UnicodeDecodeError:
        return end, read_short_string(payload[at:])[1]


class Delivered(NamedTuple):
    """A method frame that begins a delivery."""

    tag: int
    redelivered: bool
    exchange: str
    routing_key: str


def read_consumer(payload: bytes) -> str:
    """Tell which consumer a delivery is for."""
    return _short(payload, 4)[1]


def read_deliver(payload: bytes) -> Delivered:
    """Read the method frame that begins a delivery."""
    at = 5 + payload[4]
    tag, redelivered = _DELIVERED.unpack_from(payload, at)
    at, exchange = _short(payload, at + _DELIVERED.size)
    return Delivered(tag, bool(redelivered & 1), exchange, _short(payload, at)[1])


def read_return(payload: bytes) -> tuple[str, str]:
    """Read the method frame that begins a return: exchange and routing key."""
    at, _ = _short(payload, 6)
    at, exchange = _short(payload, at)
    return exchange, _short(payload, at)[1]


def read_confirm(payload: bytes) -> tuple[int, bool]:
    """Read an ack or a nack: the number of a publication, and whether all before it are meant too."""
    tag, bits = _CONFIRMED.unpack_from(payload, 4)
    return tag, bool(bits & 1)


def write_ack(channel: int, tag: int) -> bytes:
    """Write the frame that settles a delivery: done."""
    return _SETTLED.pack(METHOD, channel, 13, 0x003C0050, tag, 0, END)


def write_dead_letter(channel: int, tag: int) -> bytes:
    """Write the frame that settles a delivery: refused, and not to come again."""
    return _SETTLED.pack(METHOD, channel, 13, 0x003C0078, tag, 0, END)


def write_publish(channel: int, publication: Publication, frame_max: int) -> bytes:
    """Write all frames of a publication: persistent, and to be returned where no queue wants it."""
    flags, properties = _CONTENT_TYPE | _DELIVERY_MODE | _MESSAGE_ID, [_string(publication.content_type)]
    if publication.content_encoding is not None:
        flags |= _CONTENT_ENCODING
        properties.append(_string(publication.content_encoding))
    if publication.headers and (headers := b"".join(encoded_headers(publication.headers, frame_max).values())):
        flags |= _HEADERS
        properties += (len(headers).to_bytes(4), headers)
    properties.append(_PERSISTENT)
    if publication.priority is not None:
        flags |= _PRIORITY
        properties.append(bytes((publication.priority,)))
    if publication.correlation_id is not None:
        flags |= _CORRELATION_ID
        properties.append(_string(publication.correlation_id))
    if publication.reply_to is not None:
        flags |= _REPLY_TO
        properties.append(_string(publication.reply_to))
    properties.append(_string(publication.message_id))
    if publication.timestamp is not None:
        flags |= _TIMESTAMP
        properties.append(calendar.timegm(publication.timestamp.utctimetuple()).to_bytes(8))
    if publication.type is not None:
        flags |= _TYPE
        properties.append(_string(publication.type))
    written, body = b"".join(properties), publication.body
    head = _CONTENT.pack(HEADER, channel, 14 + len(written), 60, 0, len(body), flags)
    parts = [_publish(channel, publication.exchange, publication.routing_key), head, written, b"\xce"]
    most = frame_max - 8 if frame_max else len(body)
    for start in range(0, len(body), most or 1):
        part = body[start : start + most]
        parts += (_FRAME.pack(BODY, channel, len(part)), part, b"\xce")
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _publish(channel: int, exchange: str, routing_key: str) -> bytes:
    """Write the method frame: they differ little, but for the queues of those who want replies."""
    payload = b"\x00\x3c\x00\x28\x00\x00%s%s\x01" % (_string(exchange), _string(routing_key))
    return b"%s%s\xce" % (_FRAME.pack(METHOD, channel, len(payload)), payload)


def _string(text: str) -> bytes:
    """Write a short string; one that was not UTF-8 when it came may be longer now, and is cut between characters."""
    raw = text.encode(errors="replace")
    if len(raw) > _LONGEST:
        raw = raw[:_LONGEST].decode(errors="ignore").encode()
    return len(raw).to_bytes() + raw


def short_text(text: str) -> str:
    """Give a text as it is once it has been written as a short string."""
    return text if len(text) <= _LONGEST // 4 and text.isascii() else _string(text)[1:].decode()


def as_delivery(delivered: Delivered, properties: Properties, body: bytes | None) -> Delivery:
    """Put a delivery together; one without a body had one that was longer than any request's."""
    return Delivery(
        body=body or b"",
        is_too_long=body is None,
        content_type=properties.content_type or None,
        content_encoding=properties.content_encoding and read_content_encoding(properties.content_encoding),
        message_id=properties.message_id or None,
        correlation_id=properties.correlation_id or None,
        reply_to=properties.reply_to or None,
        expiration=read_expiration(properties.expiration),
        timestamp=properties.timestamp,
        priority=properties.priority,
        headers=properties.headers or {},
        exchange=delivered.exchange,
        routing_key=delivered.routing_key,
        redelivered=delivered.redelivered,
    )


def read_expiration(expiration: str | None) -> float | None:
    """Read the property `expiration`: milliseconds, in digits."""
    return int(expiration[:15]) / 1000 if expiration and expiration.isascii() and expiration.isdigit() else None


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
