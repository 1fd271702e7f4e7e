"""JSON written as XML, in the form of the vendor's pages."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, tostring

from service.core.omni.xml import XmlError

_UNWRITABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)


def write_xml(name: str, value: Mapping[str, Any]) -> bytes:
    """Write a JSON object. Raises `XmlError` if it contains something that XML cannot express."""
    root = Element(name)
    _fill(root, value)
    text = tostring(root, encoding="unicode")
    if _UNWRITABLE.search(text):
        raise XmlError("holds a character that XML has none for")
    # A reader would take a bare carriage return for a line feed.
    return text.replace("\r", "&#13;").encode()


def _fill(parent: Element, value: object) -> None:
    match value:
        case dict():
            for name, inner in value.items():
                if not _NAME.fullmatch(name):
                    raise XmlError("holds a name that XML has none for")
                _fill(SubElement(parent, name), inner)
        case list():
            name = "destination" if parent.tag == "destinations" else parent.tag
            for inner in value:
                _fill(SubElement(parent, name), inner)
        case bool():
            parent.text = "true" if value else "false"
        case float():
            parent.text = format(Decimal(repr(value)), "f")  # 1e-05 is not how XML writes a number
        case _:
            parent.text = str(value)
