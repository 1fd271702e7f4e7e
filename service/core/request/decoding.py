"""A delivery's body as JSON in UTF-8: decompressed, and converted if it is XML."""

from collections.abc import Callable, Generator, Mapping
from typing import Final, NamedTuple

from pydantic_core import from_json, to_json

from service.core.delivery import Delivery
from service.core.headers import is_returning
from service.core.history import History
from service.core.omni.charset import charset_parameter, without_mark
from service.core.omni.xml import XmlError, read_xml
from service.core.request.body import MAX_VALUES, TOO_LONG, RequestBody, excess, excess_bytes
from service.core.request.compression import decompress
from service.core.request.faults import MAX_PATH
from service.core.request.request import Fault

JSON: Final = "application/json"
_XML: Final = ("application/xml", "text/xml")
ROOTS: Final = frozenset({"request", "OmniAdvancedRequest"})


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
