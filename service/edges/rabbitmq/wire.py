"""Makes reading the wire total.

Any producer may set any property, and a broker passes on what it does not understand. Where pamqp cannot read a
value it raises, the whole connection is lost over it, and all that was prefetched is handed out again with it, until
the broker takes innocent neighbours for poison. So the readers of the three kinds that can fail are replaced, in the
tables that pamqp keeps for that, by ones that give up on the value instead of the connection.
"""

import struct
from collections.abc import Callable
from typing import Any

from pamqp import decode, encode
from pamqp.common import FieldTable

_Reader = Callable[[bytes], tuple[int, Any]]
_Unreadable = (ValueError, OverflowError, OSError, RecursionError, struct.error)


def make_reading_total() -> None:
    """Replace the readers; doing so twice changes nothing."""
    decode.METHODS["timestamp"] = decode.TABLE_MAPPING[b"T"] = read_timestamp
    decode.METHODS["shortstr"] = read_short_string
    decode.METHODS["table"] = decode.TABLE_MAPPING[b"F"] = read_table


def writable(headers: FieldTable) -> FieldTable:
    """Leave out headers that can be read but not written back, such as a number past what a float holds."""
    return {name: value for name, value in headers.items() if _can_write(name, value)}


def _can_write(name: str, value: object) -> bool:
    try:
        encode.field_table({name: value})  # type: ignore[dict-item]  # whether it can be written is the question
    except Exception:  # noqa: BLE001 - whatever it is, it cannot be written
        return False
    return True


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
