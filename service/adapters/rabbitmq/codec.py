"""The frames of AMQP 0-9-1 that every message needs, as bytes from and to values. No I/O and no state.

Source: the specification "AMQP 0-9-1" (2008), sections 2.3 (framing) and 4.2 (grammar), and its XML for the numbers.

Reading never fails. A producer chooses every byte of the properties, and an exception here would end the connection
for all others. A property that cannot be read counts as absent.

This file has more than 250 lines since reading and writing have to agree about the order of flags and fields.
"""

import calendar
import struct
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from service.adapters.rabbitmq.field_tables import encoded_headers, read_short_string, read_table, read_timestamp
from service.core.delivery import Delivery, Publication
from service.core.request.decoding import read_content_encoding

METHOD, HEADER, BODY = 1, 2, 3
END: Final = 0xCE
SMALLEST: Final = 8
"""Bytes of a frame without a payload: type (1), channel (2), size (4), end octet (1)."""
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"

DELIVER, RETURN, ACK, NACK = b"\x00\x3c\x00\x3c", b"\x00\x3c\x00\x32", b"\x00\x3c\x00\x50", b"\x00\x3c\x00\x78"
"""Class and method numbers: the first four bytes of a method frame's payload."""

# Property flags of a content header. The properties themselves follow in this order, each only if its flag is set.
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE, _PRIORITY, _CORRELATION_ID, _REPLY_TO = (
    1 << bit for bit in range(15, 8, -1)
)
_EXPIRATION, _MESSAGE_ID, _TIMESTAMP, _TYPE, _USER_ID, _APP_ID = (1 << bit for bit in range(8, 2, -1))

_FRAME: Final = struct.Struct(">BHI")
_TAG_AND_BITS: Final = struct.Struct(">QB")
_SETTLED: Final = struct.Struct(">BHIIQBB")
_CONTENT: Final = struct.Struct(">BHIHHQH")
_PERSISTENT: Final = b"\x02"
_LONGEST: Final = 255
"""Bytes of a short string: its length is written in one byte."""


class Properties(NamedTuple):
    """The properties that the relay reads. `expiration` is the text as it arrived: milliseconds, in digits."""

    content_type: str | None = None
    content_encoding: str | None = None
    headers: Mapping[str, Any] | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: datetime | None = None
    app_id: str | None = None


NO_PROPERTIES: Final = Properties()


def read_properties(payload: bytes) -> tuple[int, Properties]:
    """Read a content header: the size of the body in bytes, and the properties. Never raises."""
    size = int.from_bytes(payload[4:12])
    try:
        return size, _read_properties(payload)
    # The header ends before its flags say so. Then no position after the fault is known, so all properties are absent.
    except (IndexError, ValueError, struct.error):
        return size, NO_PROPERTIES


def _read_properties(payload: bytes) -> Properties:  # noqa: C901, PLR0912 - a list, in the order of the flags
    flags, at = int.from_bytes(payload[12:14]), 14
    content_type = content_encoding = headers = priority = correlation_id = reply_to = expiration = message_id = (
        timestamp
    ) = app_id = None
    if flags & _CONTENT_TYPE:
        at, content_type = _short(payload, at)
    if flags & _CONTENT_ENCODING:
        at, content_encoding = _short(payload, at)
    if flags & _HEADERS:
        size, headers = read_table(payload[at:])
        at += size  # by its length field, also if parts of the table could not be read
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
        at += 8
    if flags & _APP_ID:
        if flags & _TYPE:
            at += 1 + payload[at]
        if flags & _USER_ID:
            at += 1 + payload[at]
        _, app_id = _short(payload, at)
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
        app_id,
    )


def _short(payload: bytes, at: int) -> tuple[int, str]:
    end = at + 1 + payload[at]
    try:
        return end, payload[at + 1 : end].decode()
    except UnicodeDecodeError:
        return end, read_short_string(payload[at:])[1]


class Delivered(NamedTuple):
    """The fields of `basic.deliver` that the relay reads."""

    tag: int
    redelivered: bool
    exchange: str
    routing_key: str


def read_consumer(payload: bytes) -> str:
    """Read the consumer tag of `basic.deliver`."""
    return _short(payload, 4)[1]


def read_deliver(payload: bytes) -> Delivered:
    """Read the payload of `basic.deliver`."""
    at = 5 + payload[4]
    tag, redelivered = _TAG_AND_BITS.unpack_from(payload, at)
    at, exchange = _short(payload, at + _TAG_AND_BITS.size)
    return Delivered(tag, bool(redelivered & 1), exchange, _short(payload, at)[1])


def read_return(payload: bytes) -> tuple[str, str]:
    """Read the payload of `basic.return`: exchange and routing key."""
    at, _ = _short(payload, 6)
    at, exchange = _short(payload, at)
    return exchange, _short(payload, at)[1]


def read_confirm(payload: bytes) -> tuple[int, bool]:
    """Read a confirm: the number of a publication, and whether it also answers all publications before it."""
    tag, bits = _TAG_AND_BITS.unpack_from(payload, 4)
    return tag, bool(bits & 1)


def write_ack(channel: int, tag: int) -> bytes:
    """Write `basic.ack` for one delivery."""
    return _SETTLED.pack(METHOD, channel, 13, 0x003C0050, tag, 0, END)


def write_dead_letter(channel: int, tag: int) -> bytes:
    """Write `basic.nack` without requeue for one delivery: the broker dead-letters it."""
    return _SETTLED.pack(METHOD, channel, 13, 0x003C0078, tag, 0, END)


def write_publish(channel: int, publication: Publication, frame_max: int) -> bytes:
    """Write all frames of a publication, which is persistent and mandatory (returned if no queue is bound for it).

    `frame_max` is in bytes, 0 for no limit. Raises `TypeError`, `ValueError`, `ArithmeticError` or `struct.error` if
    AMQP cannot carry a value.
    """
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
    if publication.app_id is not None:
        flags |= _APP_ID
        properties.append(_string(publication.app_id))
    written, body = b"".join(properties), publication.body
    head = _CONTENT.pack(HEADER, channel, 14 + len(written), 60, 0, len(body), flags)
    parts = [_publish(channel, publication.exchange, publication.routing_key), head, written, b"\xce"]
    # A larger frame is an error for which the broker closes the connection. An empty body has no body frame at all.
    most = frame_max - SMALLEST if frame_max else len(body)
    for start in range(0, len(body), most or 1):
        part = body[start : start + most]
        parts += (_FRAME.pack(BODY, channel, len(part)), part, b"\xce")
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _publish(channel: int, exchange: str, routing_key: str) -> bytes:
    """Write `basic.publish`, mandatory. Cached: there are few routes, except for queues named by `reply_to`."""
    payload = b"\x00\x3c\x00\x28\x00\x00%s%s\x01" % (_string(exchange), _string(routing_key))
    return b"%s%s\xce" % (_FRAME.pack(METHOD, channel, len(payload)), payload)


def _string(text: str) -> bytes:
    """Write a short string, cut between characters if it is too long.

    A producer's text fits at first. If it was not UTF-8, each wrong byte became a replacement character of three bytes.
    """
    raw = text.encode(errors="replace")
    if len(raw) > _LONGEST:
        raw = raw[:_LONGEST].decode(errors="ignore").encode()
    return len(raw).to_bytes() + raw


def short_text(text: str) -> str:
    """Return the text that the broker has after `_string` wrote it: returns are compared with that."""
    return text if len(text) <= _LONGEST // 4 and text.isascii() else _string(text)[1:].decode()


def as_delivery(delivered: Delivered, properties: Properties, body: bytes | None) -> Delivery:
    """Build a delivery. `body` is None if it was longer than any request may be, so it was not kept."""
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
        app_id=properties.app_id or None,
    )


def read_expiration(expiration: str | None) -> float | None:
    """Convert the property `expiration`, milliseconds in digits, to seconds. None if it is anything else."""
    return int(expiration[:15]) / 1000 if expiration and expiration.isascii() and expiration.isdigit() else None
