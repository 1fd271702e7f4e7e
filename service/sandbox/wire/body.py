"""Parse the bytes of a body into one document: a dictionary of plain values.

XML becomes the dictionary that the same request has in JSON:

* Names are local names; attributes are ignored. Repeated siblings become a list.
* An element that wraps items becomes a list, whether the items have another name (`destinations/destination`, as in the
  older examples) or its own (`destinations/destinations`, as in the current specification).
* Fields that are numbers or booleans are read as such, since XML has only text.

Refused are invalid UTF-8, JSON constants outside the standard, infinite numbers, lone surrogates, DTDs, entities, and
documents nested deeper than any request.
"""

import json
import math
import re
from typing import Any, NoReturn
from xml.etree.ElementTree import Element, ParseError  # types only; defusedxml does the parsing

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from service.sandbox.wire.format import Format

MAX_DEPTH = 64

_ROOTS = frozenset({"request", "OmniAdvancedRequest", "OmniSimpleRequest", "scenario", "CreateOrUpdateScenarioRequest"})
# The lists of all requests, and the other name that their items may have.
_ITEMS = {
    "destinations": "destination",
    "flow": "step",
    "templateData": "templateData",
    "placeholders": "placeholder",
    "buttons": "button",
    "contacts": "contact",
    "addresses": "address",
    "emails": "email",
    "phones": "phone",
    "urls": "url",
    "personSubscriptions": "personSubscription",
    "deviceSubscriptions": "deviceSubscription",
    "contents": "content",
}
# If empty, these are lists. An empty one of the others may also be an empty item of a list without a wrapper.
_NEVER_TEXT = frozenset({"destinations", "flow", "placeholders", "buttons", "contacts"})
_FLAGS = frozenset(
    {
        *("notify", "intermediateReport", "isPromotional", "forcePrimaryDevice", "previewUrl", "default"),
        *("vibrationEnabled", "soundEnabled", "isSilent", "singleShift", "lockingShift", "wrap", "separator"),
        *("targetOnlyPrimaryDevices", "includeNotificationsDisabledDevices"),
    }
)
_WHOLE = frozenset({"validityPeriod", "badge", "duration", "flex", "maxLines"})
_DECIMAL = frozenset({"latitude", "longitude"})
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_DECIMAL_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")


class UnreadableError(ValueError):
    """The body is not one document in its format; the message gives the reason."""


def read(raw: bytes, form: Format) -> dict[str, Any]:
    """Parse the document in a body."""
    match form:
        case Format.JSON:
            return _read_json(raw)
        case Format.XML:
            return _read_xml(raw)


def _read_json(raw: bytes) -> dict[str, object]:
    try:
        document = json.loads(raw.decode(), parse_constant=_no_constant, parse_float=_finite)
        if b"\\u" in raw:
            json.dumps(document, ensure_ascii=False).encode()  # a lone surrogate cannot be written out again
    except RecursionError:
        raise UnreadableError("nested too deeply") from None
    except ValueError:
        raise UnreadableError("not valid JSON in UTF-8") from None
    if not isinstance(document, dict):
        raise UnreadableError("must be a JSON object")
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:  # counting is cheaper than walking
        _limit_depth(document)
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):  # 1e999 is valid JSON, and cannot be written out again either
        raise ValueError(digits)
    return number


def _limit_depth(document: object) -> None:
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [child for value in level for child in _children(value)]
    if level:
        raise UnreadableError("nested too deeply")


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _read_xml(raw: bytes) -> dict[str, object]:
    try:
        root = ElementTree.fromstring(raw, forbid_dtd=True)
    except DefusedXmlException:
        raise UnreadableError("document types and entities are not allowed") from None
    except (ParseError, ValueError, LookupError):  # the latter two: unknown encodings
        raise UnreadableError("not valid XML") from None
    if _local(root) not in _ROOTS:
        raise UnreadableError("the root element must be request")
    document = _value(root, MAX_DEPTH)
    return document if isinstance(document, dict) else {}


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _value(element: Element, room: int) -> object:
    if room == 0:
        raise UnreadableError("nested too deeply")
    name, blank = _local(element), not (element.text or "").strip()
    if name in _ITEMS and (len(element) or (blank and name in _NEVER_TEXT)):
        names = {name, _ITEMS[name]}
        if all(_local(child) in names for child in element):
            return [_object(child, room - 1) if len(child) else child.text or "" for child in element]
    return _object(element, room) if len(element) else _scalar(name, element.text or "")


def _object(element: Element, room: int) -> dict[str, object]:
    if room == 0:
        raise UnreadableError("nested too deeply")
    document: dict[str, object] = {}
    for child in element:
        key, value = _local(child), _value(child, room - 1)
        earlier = document.get(key)
        if key not in document:
            document[key] = value
        elif isinstance(earlier, list):
            earlier.append(value)
        else:
            document[key] = [earlier, value]
    return document


def _scalar(name: str, text: str) -> object:
    if name in _FLAGS and text.strip() in {"true", "false"}:
        return text.strip() == "true"
    if name in _WHOLE and _NUMBER.fullmatch(text.strip()):
        return int(text)
    if name in _DECIMAL and _DECIMAL_NUMBER.fullmatch(text.strip()):
        return float(text)
    return text
