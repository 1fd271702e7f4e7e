"""XML as another spelling of JSON: read by the shape of a model, so that both mean the same by construction.

A list is an element that holds its items, named in the singular as on the vendor's pages (`destinations/destination`)
or like the list as in its specification (`destinations/destinations`). Whole numbers, decimals and truth values are
read where the model has them; what does not read as one stays a text, and is refused by the model with its path.
Document types, entities and external references are refused before anything is built.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydantic import BaseModel
from pydantic_core import to_json

from service.words.value import dataclass

MAX_DEPTH: Final = 60
"""Levels of elements; a Flex Message nests deepest, and a hostile body would nest without end."""

_UNWRITABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_WHOLE: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_DECIMAL: Final = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,400})?", re.ASCII)
_TRUTH: Final = {"true": True, "false": False}


class XmlError(ValueError):
    """The document is not what it should be: where, and what is allowed. It never repeats what the document holds."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path


@dataclass(frozen=True, slots=True)
class _Shape:
    """How an element is to be read."""

    kind: Literal["text", "whole", "decimal", "truth", "list", "map", "object"]
    item: "_Shape | None" = None
    models: tuple[type[BaseModel], ...] = ()


_TEXT: Final = _Shape("text")
_HOLDERS: Final = frozenset({"list", "map", "object"})


def xml_to_json(body: bytes, model: type[BaseModel], roots: frozenset[str]) -> bytes:
    """Turn a document into the JSON that says the same to `model`. Raises `XmlError`."""
    try:
        root = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        kind = (
            "without document types and entities" if isinstance(error, DefusedXmlException) else "that is well-formed"
        )
        raise XmlError(f"must be XML {kind}") from None
    if _local(root) not in roots:
        raise XmlError(f"must be XML with the root element {' or '.join(sorted(roots))}")
    return to_json(_read(root, _Shape("object", models=(model,)), "", 0))


def write_xml(name: str, value: Mapping[str, Any]) -> bytes:
    """Write a JSON object in the form of the vendor's pages. Raises `XmlError` where XML cannot say it."""
    root = Element(name)
    _fill(root, value)
    text = tostring(root, encoding="unicode")
    if _UNWRITABLE.search(text):
        raise XmlError("holds a character that XML has none for")
    # A reader would take a bare carriage return for a line feed.
    return text.replace("\r", "&#13;").encode()


def _read(element: Element, shape: _Shape, path: str, depth: int) -> object:
    if depth > MAX_DEPTH:
        raise XmlError("is nested too deeply", path)
    if element.attrib:
        raise XmlError("must have no XML attributes", path)
    if shape.kind in _HOLDERS:
        _refuse_stray_text(element, path)
        return _read_holder(element, shape, path, depth)
    if len(element):
        raise XmlError("must hold a text, not XML elements", path)
    text = element.text or ""
    return text if shape.kind == "text" else _scalar(shape.kind, text.strip())


def _read_holder(element: Element, shape: _Shape, path: str, depth: int) -> object:
    if shape.kind == "list":
        items = enumerate(_items(element, path))
        return [_read(child, shape.item or _TEXT, f"{path}[{at}]", depth + 1) for at, child in items]
    fields = {alias: inner for model in shape.models for alias, inner in _fields(model).items()}
    read: dict[str, object] = {}
    for child in element:
        name = _local(child)
        place = f"{path}.{name}".lstrip(".")
        if name in read:
            raise XmlError("is given twice", place)
        # What no model knows is kept as it is, to be refused by its path.
        known = shape.kind == "map" or name in fields
        read[name] = _read(child, fields.get(name, _TEXT), place, depth + 1) if known else ""
    return read


def _refuse_stray_text(element: Element, path: str) -> None:
    if any(text and not text.isspace() for text in (element.text, *(child.tail for child in element))):
        raise XmlError("must hold XML elements, not a text", path)


def _items(element: Element, path: str) -> Iterator[Element]:
    """Give a list's items; they are named like the list, or in its singular."""
    name = _local(element)
    for child in element:
        if _local(child) not in {name, name.removesuffix("s"), name.removesuffix("es")}:
            raise XmlError(f"may hold only elements named {name.removesuffix('s')}", path)
        yield child


def _scalar(kind: str, text: str) -> object:
    if kind == "truth":
        return _TRUTH.get(text, text)
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if kind == "decimal" and _DECIMAL.fullmatch(text) else text


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


@cache
def _fields(model: type[BaseModel]) -> dict[str, _Shape]:
    return {field.alias or name: _shape(field.annotation) for name, field in model.model_fields.items()}


def _shape(annotation: Any) -> _Shape:  # noqa: ANN401 - an annotation may be anything
    """Tell from a field's annotation how its element is to be read."""
    kinds = [kind for kind in _alternatives(annotation) if kind is not type(None)]
    models = tuple(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    if models:
        return _Shape("object", models=models)
    first = kinds[0]
    origin = get_origin(first) or first
    if origin in {tuple, list}:
        return _Shape("list", item=_shape(get_args(first)[0]))
    if origin is dict:
        return _Shape("map")
    scalars: dict[object, _Shape] = {int: _Shape("whole"), float: _Shape("decimal"), bool: _Shape("truth")}
    return scalars.get(origin, _TEXT)


def _alternatives(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - the same
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in {Union, UnionType}:
        for one in get_args(annotation):
            yield from _alternatives(one)
    else:
        yield annotation


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
