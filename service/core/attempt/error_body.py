"""The error bodies of OMNI, and how they are distinguished from those of a gateway or another server.

OMNI has two envelopes; see `omni.error`. Either may come in JSON or in XML.
"""

from collections.abc import Mapping
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring
from pydantic import ValidationError
from pydantic_core import from_json

from service.core.omni.charset import EncodingError, charset_parameter, to_utf8, xml_text
from service.core.omni.error import ApiError, LegacyError
from service.core.omni.xml import is_xml

_MAX_SIZE: Final = 2**18
"""Bytes of an error body that are read."""
_MAX_DEPTH: Final = 20
_MAX_DETAIL: Final = 500
"""Characters of the description, which goes into events."""


def has_envelope(headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether an error body is OMNI's own."""
    return read_error(headers, body) is not None


def read_error(headers: Mapping[str, str], body: bytes) -> str | None:
    """Return OMNI's description of an error; None if the body has neither of its envelopes, and so is not OMNI's."""
    if len(body) > _MAX_SIZE:
        return None
    try:
        document = _as_document(headers, body)
    except ValueError:
        return None
    try:
        error = LegacyError.model_validate(document).request_error.service_exception
    except ValidationError:
        return _read_new_error(document)
    errors = (error.validation_errors or {}).items()
    faults = [f"{path}: {what if isinstance(what, str) else ', '.join(what)}" for path, what in errors]
    return _join(error.message_id, error.text, faults)


def _read_new_error(document: object) -> str | None:
    try:
        error = ApiError.model_validate(document)
    except ValidationError:
        return None
    faults = [": ".join(filter(None, (fault.property, fault.violation))) for fault in error.violations or ()]
    return _join(error.error_code, error.description, faults)


def _as_document(headers: Mapping[str, str], body: bytes) -> object:
    """Read JSON, or XML by its elements alone. Raises `ValueError`.

    The envelope must be recognised even if a part of it has an unpublished form, such as the validation errors in XML.
    So the element tree is read without a model.
    """
    plain = to_utf8(body, headers.get("content-type"))
    if not is_xml(plain):
        return from_json(plain)
    try:
        text = xml_text(body, charset_parameter(headers.get("content-type")))
    except EncodingError:
        text = xml_text(plain, "utf-8")
    try:
        root = fromstring(text, forbid_dtd=True)  # as text, so that it is not read in the encoding that it declares
    except ParseError as error:
        raise ValueError from error
    name = _local(root)
    return _tree(root, 0) if name == "ApiException" else {name: _tree(root, 0)}


def _tree(element: Element, depth: int) -> object:
    if depth > _MAX_DEPTH:
        raise ValueError
    if not len(element):
        return (element.text or "").strip()
    return {_local(child): _tree(child, depth + 1) for child in element}


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _join(code: str | None, text: str | None, faults: list[str]) -> str:
    parts = [word for word in (code, text, *faults) if word]
    return (", " + "; ".join(parts))[:_MAX_DETAIL] if parts else ""
