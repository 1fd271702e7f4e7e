"""The AMQP property `content_encoding`: a body may be compressed with gzip.

Some libraries write the charset of the body there (kombu and Celery, Spring AMQP). A body is in UTF-8 anyway, so that
is ignored.
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
"""Encodings that are refused by name. Others are not repeated: a producer may write anything."""
_SLICE: Final = 2**16
"""Compressed bytes that are decompressed in one step."""
_MOST_GROWTH: Final = 1032
"""The highest factor of compression. Source: zlib's technical details."""
_BEGIN: Final = b"\x1f\x8b"
_BROKEN: Final = "must be whole gzip of one member, as its content encoding says"


def read_content_encoding(value: str | None) -> str | None:
    """Read the property; None if the body is not compressed."""
    return None if value is None or value.strip().lower() in _NONE else value


def decompressed_size(delivery: Delivery) -> int:
    """Return the bytes of the decompressed body, as gzip declares them at its end; 0 if that is unreadable.

    No more are ever decompressed, so a false declaration does no harm.
    """
    body = delivery.body
    if delivery.content_encoding is None:
        return len(body)
    size = int.from_bytes(body[-4:], "little") if _is_gzip(delivery) and body.startswith(_BEGIN) else 0
    return size if size <= len(body) * _MOST_GROWTH else 0


def decompress(delivery: Delivery) -> Generator[None, None, bytes | str]:
    """Decompress a delivery's body in steps. Returns the body, or as a text its fault."""
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
"""Bytes of memory of a table's entry, about; on the wire it may take four."""
_ITEM: Final = 64
"""Bytes of memory of a list's item, about; on the wire it may take one."""


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
