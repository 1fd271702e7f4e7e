"""XML read as another spelling of JSON, by the shape of a model, so that both have the same meaning by construction.

* A list is an element that contains its items, named in the singular as on the vendor's pages
  (`destinations/destination`) or like the list as in its specification (`destinations/destinations`).
* Whole numbers, decimals and truth values are read where the model has them. A text that is none of these stays a text,
  and the model refuses it with its path.
* White space around them is removed, and around ids, addresses, dates and words of a closed list; never around texts.
* Document types, entities and external references are refused before anything is built.

A document is parsed in slices, event by event, and no tree of it is built: parsing stops at the first fault. So the
cost of a document is bounded by its content, however it is encoded. Two features of expat would break this: interned
names (expat keeps one for each element with its whole namespace), and a tag, comment or instruction of any length,
which expat collects before it reports anything. The first is switched off, the second bounded by `MAX_TOKEN`.
"""

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import field
from typing import Final, NoReturn
from xml.parsers import expat

from pydantic import BaseModel
from pydantic_core import to_json

from service.core.omni.charset import Charset, EncodingError, charset_of_xml, check_decodable, decoded
from service.core.omni.xml_shape import HOLDERS, TEXT, Shape, fields_of
from service.core.value import dataclass

MAX_DEPTH: Final = 60
"""Levels of elements; a Flex Message nests deepest, and a hostile body would nest without end."""

SLICE: Final = 2**14
"""Bytes of a document read in one step."""

MAX_TOKEN: Final = 2**17
"""Bytes of a single tag, comment or instruction."""

MAX_NAME: Final = 500
"""Characters in the name of an element, its namespace included."""

_WHOLE: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_DECIMAL: Final = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,400})?", re.ASCII)
_TRUTH: Final = {"true": True, "false": False}
_SPACE: Final = " \t\r\n"
"""White space of XML. Another space may be meant."""


class XmlError(ValueError):
    """A fault of a document: where it is, and what is allowed. The text never repeats what the document contains."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path


@dataclass(slots=True)
class _Open:
    """An element that has begun and not ended."""

    name: str
    shape: Shape
    path: str
    holder: dict[str, object]
    """The content by name, if it is an object or a map."""
    items: list[object]
    """The content in order, if it is a list."""
    fields: Mapping[str, Shape]
    texts: list[str] = field(default_factory=list)
    known: bool = True
    """False if no model has it: it is kept without its content, for the model to refuse it by its path."""


def is_xml(body: bytes) -> bool:
    """Return whether a body, in an encoding that extends ASCII, is XML rather than JSON."""
    return body.lstrip()[:1] == b"<"


def xml_to_json(
    body: bytes, model: type[BaseModel], roots: frozenset[str], charset: str | None = None, most: int = 100_000
) -> bytes:
    """Convert a document into the JSON with the same meaning for `model`. Raises `XmlError`.

    `charset`: that of the content type; see `charset`. `most`: elements that a document may have.
    """
    reading = read_xml(body, model, roots, charset, most)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            return to_json(end.value)


def read_xml(
    body: bytes, model: type[BaseModel], roots: frozenset[str], charset: str | None, most: int
) -> Generator[None, None, object]:
    """Parse a document as `xml_to_json` does, in steps. Returns the values of JSON. Raises `XmlError`."""
    reader = _Reader(model, roots, most)
    yield from parse_xml(body, charset, reader.begin, reader.take, reader.end)
    return reader.root


def parse_xml(
    body: bytes,
    charset: str | None,
    begin: Callable[[str, Mapping[str, str]], None],
    take: Callable[[str], None],
    end: Callable[[str], None],
) -> Generator[None, None, None]:
    """Parse a document in steps; `begin`, `take` and `end` get its elements and texts. Raises `XmlError`.

    The name of an element has its namespace before a `}`. Document types, entities and external references are refused.
    """
    try:
        encoding = charset_of_xml(body, charset)
    except EncodingError as error:
        raise XmlError(str(error)) from None
    parser = expat.ParserCreate("utf-8", "}", intern=None)  # names are not kept: each may have its whole namespace
    parser.buffer_text = True
    parser.StartElementHandler, parser.CharacterDataHandler, parser.EndElementHandler = begin, take, end
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refuse_entities
    parser.UnparsedEntityDeclHandler = parser.ExternalEntityRefHandler = _refuse_entities
    fed = 0
    try:
        for part in _in_utf8(body, encoding):
            parser.Parse(part, False)  # noqa: FBT003 - not the end
            fed += len(part)
            if fed - max(parser.CurrentByteIndex, 0) > MAX_TOKEN:
                raise XmlError("has a tag, comment or instruction that is too long")
            yield
        parser.Parse(b"", True)  # noqa: FBT003 - the end
    except EncodingError as error:
        raise XmlError(str(error)) from None
    except expat.ExpatError:
        raise XmlError(_describe(body, encoding)) from None


def _in_utf8(body: bytes, encoding: Charset) -> Iterator[bytes]:
    """Yield a document in slices of UTF-8 without a mark. Raises `EncodingError`; UTF-8 itself is checked by expat."""
    if encoding.is_utf8:
        for start in range(encoding.start, len(body), SLICE):
            yield body[start : start + SLICE]
    else:
        for text in decoded(body, encoding, SLICE):
            yield text.encode()


def _describe(body: bytes, encoding: Charset) -> str:
    """Describe a document that is not well-formed: no text, JSON, or XML with a fault. Expat has one error for all."""
    try:
        check_decodable(body, encoding)
    except EncodingError as error:
        return str(error)
    is_json = body[encoding.start : encoding.start + SLICE].lstrip()[:1] == b"{"
    return "must be XML; the content type of JSON is application/json" if is_json else "must be XML that is well-formed"


class _Reader:
    """Builds the value of a document while it is parsed."""

    def __init__(self, model: type[BaseModel], roots: frozenset[str], most: int) -> None:
        self.root: object = None
        self._model = model
        self._roots = roots
        self._left = self._most = most
        self._open: list[_Open] = []

    def begin(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._left -= 1
        if self._left < 0:
            raise XmlError(f"must have at most {self._most:,} values")
        if len(tag) > MAX_NAME:
            raise XmlError("has a name that is too long")
        name = tag.rpartition("}")[2]
        opened = self._inside(self._open[-1], name) if self._open else self._outermost(name)
        if len(self._open) > MAX_DEPTH:
            raise XmlError("is nested too deeply", opened.path)
        if opened.known and attributes:
            raise XmlError("must have no XML attributes", opened.path)
        self._open.append(opened)

    def _outermost(self, name: str) -> _Open:
        if name not in self._roots:
            raise XmlError(f"must be XML with the root element {' or '.join(sorted(self._roots))}")
        return _opened(name, Shape("object", models=(self._model,)), "")

    def _inside(self, parent: _Open, name: str) -> _Open:
        if not parent.known:
            return parent
        if parent.shape.kind == "list":
            if name not in {parent.name, parent.name.removesuffix("s"), parent.name.removesuffix("es")}:
                raise XmlError(f"may hold only elements named {parent.name.removesuffix('s')}", parent.path)
            return _opened(name, parent.shape.item or TEXT, f"{parent.path}[{len(parent.items)}]")
        if parent.shape.kind not in HOLDERS:
            raise XmlError("must hold a text, not XML elements", parent.path)
        path = f"{parent.path}.{name}".lstrip(".")
        if name in parent.holder:
            raise XmlError("is given twice", path)
        opened = _opened(name, parent.fields.get(name, TEXT), path)
        opened.known = parent.shape.kind == "map" or name in parent.fields
        parent.holder[name] = ""
        return opened

    def take(self, text: str) -> None:
        element = self._open[-1]
        if not element.known:
            return
        if element.shape.kind not in HOLDERS:
            element.texts.append(text)
        elif not text.isspace():
            raise XmlError("must hold XML elements, not a text", element.path)

    def end(self, _: str) -> None:
        element = self._open.pop()
        if not element.known:
            return
        kind, text = element.shape.kind, "".join(element.texts)
        value: object
        if kind in HOLDERS:
            value = element.items if kind == "list" else element.holder
        else:
            value = text if kind == "text" else scalar(kind, text.strip(_SPACE))
        if not self._open:
            self.root = value
        elif (parent := self._open[-1]).shape.kind == "list":
            parent.items.append(value)
        else:
            parent.holder[element.name] = value


def _opened(name: str, shape: Shape, path: str) -> _Open:
    return _Open(name, shape, path, {}, [], fields_of(*shape.models))


def _refuse_entities(*_: object) -> NoReturn:
    raise XmlError("must be XML without document types and entities")


def scalar(kind: str, text: str) -> object:
    """Read a text as its kind of value; as a text if it is no such value."""
    if kind == "truth":
        return _TRUTH.get(text, text)
    if kind == "word":
        return text
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if kind == "decimal" and _DECIMAL.fullmatch(text) else text
