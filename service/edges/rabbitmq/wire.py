"""Makes reading the wire total.

Any producer may set any property, and a broker passes on what it does not understand. Where pamqp cannot read a
value it raises, the whole connection is lost over it, and all that was prefetched is handed out again with it, until
the broker takes innocent neighbours for poison. So the readers of the three kinds that can fail are replaced, in the
tables that pamqp keeps for that, by ones that give up on the value instead of the connection.
"""

import struct
from collections.abc import Callable, Mapping
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


def read_table(value: bytes) -> tuple[int, Any]:
    """Read a table; an empty one where it cannot be read."""
    try:
        return decode.field_table(value)
    except _Unreadable:
        return int.from_bytes(value[:4]) + 4, {}
