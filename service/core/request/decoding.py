"""A delivery's body as JSON in UTF-8: decompressed, and converted if it is XML.

The AMQP property `content_encoding` says that a body is compressed with gzip. Some libraries write the charset of the
body there (kombu and Celery, Spring AMQP). A body is in UTF-8 anyway, so that is ignored.
"""

import zlib
from collections.abc import Callable, Generator, Mapping
from typing import Final, NamedTuple, TypeVar

from pydantic_core import from_json, to_json

from service.core.delivery import Delivery
from service.core.headers import is_returning
from service.core.history import History
from service.core.omni.charset import charset_parameter, without_mark
from service.core.omni.xml import XmlError, read_xml
from service.core.request.body import LONGEST, MAX_VALUES, TOO_LONG, RequestBody, excess, excess_bytes, longest
from service.core.request.faults import MAX_PATH
from service.core.request.request import Fault

T = TypeVar("T")

JSON: Final = "application/json"
_XML: Final = ("application/xml", "text/xml")
ROOTS: Final = frozenset({"request", "OmniAdvancedRequest"})

_NONE: Final = frozenset({"", "identity", "utf-8", "utf8", "us-ascii", "ascii"})
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_NAMED: Final = frozenset(
    {
        *(
            "base64",
            "br",
            "bzip2",
            "compress",
            "deflate",
            "lz4",
            "snappy",
            "x-bzip2",
            "x-compress",
            "xz",
            "zip",
            "zlib",
        ),
        *("iso-8859-1", "latin-1", "utf-16", "utf-32", "windows-1252", "zstd"),
    }
)
"""Encodings that are refused by name. Others are not repeated: a producer may write anything."""
_SLICE: Final = 2**16
"""Compressed bytes that are decompressed in one step."""
_MOST_GROWTH: Final = 1032
"""The highest factor of compression. Source: zlib's technical details."""
_BEGIN: Final = b"\x1f\x8b"
_BROKEN: Final = "must be whole gzip of one member, as its content encoding says"
_ENTRY: Final = 160
"""Bytes of memory of a table's entry, about; on the wire it may take four."""
_ITEM: Final = 64
"""Bytes of memory of a list's item, about; on the wire it may take one."""


class Source(NamedTuple):
    """A decoded body, and the delivery that it came in."""

    body: bytes
    delivery: Delivery
    history: History
    make_id: Callable[[], str]
    is_json: bool = True
    """Whether it came as JSON, which may have a name twice. XML with an element twice has been refused."""


def content_type(delivery: Delivery) -> str:
    """Return the content type without parameters, in lower case. The default is JSON."""
    if delivery.content_type == JSON:
        return JSON
    return (delivery.content_type or JSON).partition(";")[0].strip().lower()


def is_xml(delivery: Delivery) -> bool:
    """Return whether the content type says XML."""
    return content_type(delivery) in _XML


def decode(delivery: Delivery) -> Generator[None, None, bytes | Fault]:
    """Return the body as JSON, or the fault for which it is not read any further. Whether it is JSON is not checked."""
    given = yield from decompress(delivery)
    if isinstance(given, str):
        return Fault("$", given)
    grown = is_returning(delivery.headers)
    if not is_xml(delivery):
        if content_type(delivery) != JSON:
            return Fault("$", f"must have the content type {JSON} or {_XML[0]}")
        body = without_mark(given)
        fault = TOO_LONG if delivery.is_too_long else excess(body, grown=grown)
        return Fault("$", fault) if fault else body
    if fault := TOO_LONG if delivery.is_too_long else excess_bytes(given, grown=grown):
        return Fault("$", fault)
    charset = charset_parameter(delivery.content_type)
    try:
        read = yield from read_xml(given, RequestBody, ROOTS, charset, MAX_VALUES)
    except XmlError as error:
        return Fault(error.path[:MAX_PATH] or "$", error.message)
    body = to_json(read)
    fault = excess(body, grown=grown)
    return Fault("$", fault) if fault else body


def json_object(body: bytes) -> Mapping[str, object] | None:
    """Read a JSON object; None if the body is anything else."""
    try:
        raw = from_json(body)
    except ValueError:
        return None
    return raw if isinstance(raw, dict) else None


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


def finished(steps: Generator[None, None, T]) -> T:
    """Take all steps of a long work at once: a generator that yields between two steps and returns its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
