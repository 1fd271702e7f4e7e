"""The AMQP property `content_encoding`: a body may be compressed with gzip.

Some libraries write the charset of the body there (kombu and Celery, Spring AMQP). UTF-8 is what a body is in anyway,
so that says nothing.
"""

import zlib
from collections.abc import Generator
from typing import Final

from service.core.delivery import Delivery
from service.core.headers import is_returning
from service.core.request.body import LONGEST, TOO_LONG, longest

_NONE: Final = frozenset({"", "identity", "utf-8", "utf8", "us-ascii", "ascii"})
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_NAMED: Final = frozenset(
    {
        "base64",
        "br",
        "bzip2",
        "compress",
        "deflate",
        "iso-8859-1",
        "latin-1",
        "lz4",
        "snappy",
        "utf-16",
        "utf-32",
        "windows-1252",
        "x-bzip2",
        "x-compress",
        "xz",
        "zip",
        "zlib",
        "zstd",
    }
)
"""Encodings that are refused by their names. Others are not repeated: a producer may write anything."""
_SLICE: Final = 2**16
"""Bytes that are decompressed in one step, before they are."""
_MOST_GROWTH: Final = 1032
"""Times that a body may be longer without gzip. Source: zlib's technical details."""
_BEGIN: Final = b"\x1f\x8b"
_BROKEN: Final = "must be whole gzip of one member, as its content encoding says"


def read_content_encoding(value: str | None) -> str | None:
    """Read the property; None where a body is as it is."""
    return None if value is None or value.strip().lower() in _NONE else value


def decompressed_size(delivery: Delivery) -> int:
    """Tell the bytes of a body without its compression, as gzip writes them at its end; no more are read.

    It is 0 where it cannot be read.
    """
    body = delivery.body
    if delivery.content_encoding is None:
        return len(body)
    size = int.from_bytes(body[-4:], "little") if _is_gzip(delivery) and body.startswith(_BEGIN) else 0
    return size if size <= len(body) * _MOST_GROWTH else 0


def decompress(delivery: Delivery) -> Generator[None, None, bytes | str]:
    """Read a delivery's body in steps, without its compression; gives the body, or what is wrong with it."""
    if delivery.content_encoding is None:
        return delivery.body
    if not _is_gzip(delivery):
        name = delivery.content_encoding.strip().lower()
        shown = f"the content encoding {name}" if name in _NAMED else "a content encoding that is not known"
        return f"has {shown}: send it with gzip, or without one"
    room = decompressed_size(delivery)
    if delivery.is_too_long or room > longest(grown=is_returning(delivery.headers)):
        return TOO_LONG
    decompressor, parts = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16), []
    for start in range(0, len(delivery.body), _SLICE):
        try:
            part = decompressor.decompress(delivery.body[start : start + _SLICE], room + 1)
        except zlib.error:
            return _BROKEN
        room -= len(part)
        if room < 0 or decompressor.unused_data:
            return _BROKEN
        parts.append(part)
        yield
    return b"".join(parts) if decompressor.eof else _BROKEN


def _is_gzip(delivery: Delivery) -> bool:
    return (delivery.content_encoding or "").strip().lower() in _GZIP


_ENTRY: Final = 160
"""Bytes that an entry of a table takes, about; on the wire it may take four."""


_ITEM: Final = 64
"""Bytes that an item of a list takes, about; on the wire it may take one."""


def memory_of(delivery: Delivery) -> int:
    """Estimate how many bytes of memory a delivery takes: body, decompressed body and headers."""
    size = len(delivery.body)
    if delivery.content_encoding is not None:
        size += min(decompressed_size(delivery), LONGEST)
    if delivery.headers:
        tables: list[object] = [delivery.headers]
        while tables:
            table = tables.pop()
            inner = list(table.values()) if isinstance(table, dict) else table if isinstance(table, list) else []
            size += (_ENTRY if isinstance(table, dict) else _ITEM) * len(inner)
            tables += [one for one in inner if isinstance(one, (dict, list))]
    return size
