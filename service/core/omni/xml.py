"""XML as another spelling of JSON: read by the shape of a model, so that both mean the same by construction.

A list is an element that holds its items, named in the singular as on the vendor's pages (`destinations/destination`)
or like the list as in its specification (`destinations/destinations`). Whole numbers, decimals and truth values are
read where the model has them; what does not read as one stays a text, and is refused by the model with its path.
White space around them is taken off, and around ids, addresses, dates and words of a closed list; never around texts.
Document types, entities and external references are refused before anything is built.

A document is read in slices, event by event, and no tree of it is made: reading stops at the first violation. So what a
document costs is bounded by its content, whatever encodes it. What would break this: interned names, of which expat
makes one for each element with its whole namespace, and a tag, comment or instruction of any length, which expat
collects before it says anything.
"""

import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import field
from decimal import Decimal
from functools import cache
from types import UnionType
from typing import Annotated, Any, Final, Literal, NoReturn, Union, get_args, get_origin
from xml.etree.ElementTree import Element, SubElement, tostring
from xml.parsers import expat

from pydantic import AwareDatetime, BaseModel
from pydantic_core import to_json

from service.core.omni.charset import Charset, EncodingError, charset_of_xml, check_decodable, decoded
from service.core.value import dataclass

MAX_DEPTH: Final = 60
"""Levels of elements; a Flex Message nests deepest, and a hostile body would nest without end."""

SLICE: Final = 2**14
"""Bytes of a document read in one step."""

MAX_TOKEN: Final = 2**17
"""Bytes of a single tag, comment or instruction."""

MAX_NAME: Final = 500
"""Characters in the name of an element, its namespace included."""

_UNWRITABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_WHOLE: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_DECIMAL: Final = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,400})?", re.ASCII)
_TRUTH: Final = {"true": True, "false": False}
_SPACE: Final = " \t\r\n"
"""White space of XML. Another space may be meant."""
_TRIMMED: Final = (
    *("Id", "Key", "Code", "Url", "URL", "UrlMobile", "UrlPc", "Link", "Scheme", "Color", "Number", "Namespace"),
    *("templateName", "groupName", "name", "to", "emailAddress", "url", "uri", "color", "language", "birthday"),
)
"""How the names of fields end that hold no text: white space around them comes from the layout of the document."""


class XmlError(ValueError):
    """The document is not what it should be: where, and what is allowed. It never repeats what the document holds."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path


@dataclass(frozen=True, slots=True)
class _Shape:
    """How an element is to be read."""

    kind: Literal["text", "word", "whole", "decimal", "truth", "list", "map", "object"]
    item: "_Shape | None" = None
    models: tuple[type[BaseModel], ...] = ()


_TEXT: Final = _Shape("text")
_HOLDERS: Final = frozenset({"list", "map", "object"})


@dataclass(slots=True)
class _Open:
    """An element that has begun and not ended."""

    name: str
    shape: _Shape
    path: str
    holder: dict[str, object]
    """What it holds by name, if it is an object or a map."""
    items: list[object]
    """What it holds in order, if it is a list."""
    fields: Mapping[str, _Shape]
    texts: list[str] = field(default_factory=list)
    known: bool = True
    """False for one that no model knows: it is kept without its content, to be refused by its path."""


def xml_to_json(
    body: bytes, model: type[BaseModel], roots: frozenset[str], charset: str | None = None, most: int = 100_000
) -> bytes:
    """Turn a document into the JSON that says the same to `model`. Raises `XmlError`.

    `charset` is that of the content type; see `rules.encoding`. A document has `most` elements at most.
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
    """Read a document as `xml_to_json` does, in steps; gives what it would be in JSON. Raises `XmlError`."""
    try:
        encoding = charset_of_xml(body, charset)
    except EncodingError as error:
        raise XmlError(str(error)) from None
    try:
        parser = expat.ParserCreate("utf-8", "}", intern=None)  # names are not kept
        reader = _Reader(model, roots, most)
        reader.listen_to(parser)
        fed = 0
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
        raise XmlError(_told(body, encoding)) from None
    return reader.root


def _in_utf8(body: bytes, encoding: Charset) -> Iterator[bytes]:
    """Give a document in slices, as UTF-8 without a mark. Raises `EncodingError`; not for UTF-8, which expat checks."""
    if encoding.is_utf8:
        for start in range(encoding.start, len(body), SLICE):
            yield body[start : start + SLICE]
    else:
        for text in decoded(body, encoding, SLICE):
            yield text.encode()


def _told(body: bytes, encoding: Charset) -> str:
    """Tell whether what is not well-formed is not even text, or is JSON. Expat has one error for all of these."""
    try:
        check_decodable(body, encoding)
    except EncodingError as error:
        return str(error)
    is_json = body[encoding.start : encoding.start + SLICE].lstrip()[:1] == b"{"
    return "must be XML; the content type of JSON is application/json" if is_json else "must be XML that is well-formed"


class _Reader:
    """Builds what a document says while it is read."""

    def __init__(self, model: type[BaseModel], roots: frozenset[str], most: int) -> None:
        self.root: object = None
        self._model = model
        self._roots = roots
        self._left = self._most = most
        self._open: list[_Open] = []

    def listen_to(self, parser: expat.XMLParserType) -> None:
        """Take a parser's events."""
        parser.buffer_text = True
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._take
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refuse_entities
        parser.UnparsedEntityDeclHandler = parser.ExternalEntityRefHandler = _refuse_entities

    def _begin(self, tag: str, attributes: Mapping[str, str]) -> None:
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
        return _opened(name, _Shape("object", models=(self._model,)), "")

    def _inside(self, parent: _Open, name: str) -> _Open:
        if not parent.known:
            return parent
        if parent.shape.kind == "list":
            if name not in {parent.name, parent.name.removesuffix("s"), parent.name.removesuffix("es")}:
                raise XmlError(f"may hold only elements named {parent.name.removesuffix('s')}", parent.path)
            return _opened(name, parent.shape.item or _TEXT, f"{parent.path}[{len(parent.items)}]")
        if parent.shape.kind not in _HOLDERS:
            raise XmlError("must hold a text, not XML elements", parent.path)
        path = f"{parent.path}.{name}".lstrip(".")
        if name in parent.holder:
            raise XmlError("is given twice", path)
        opened = _opened(name, parent.fields.get(name, _TEXT), path)
        opened.known = parent.shape.kind == "map" or name in parent.fields
        parent.holder[name] = ""
        return opened

    def _take(self, text: str) -> None:
        element = self._open[-1]
        if not element.known:
            return
        if element.shape.kind not in _HOLDERS:
            element.texts.append(text)
        elif not text.isspace():
            raise XmlError("must hold XML elements, not a text", element.path)

    def _end(self, _: str) -> None:
        element = self._open.pop()
        if not element.known:
            return
        kind, text = element.shape.kind, "".join(element.texts)
        value: object
        if kind in _HOLDERS:
            value = element.items if kind == "list" else element.holder
        else:
            value = text if kind == "text" else _scalar(kind, text.strip(_SPACE))
        if not self._open:
            self.root = value
        elif (parent := self._open[-1]).shape.kind == "list":
            parent.items.append(value)
        else:
            parent.holder[element.name] = value


def _opened(name: str, shape: _Shape, path: str) -> _Open:
    return _Open(name, shape, path, {}, [], _fields(*shape.models))


def _refuse_entities(*_: object) -> NoReturn:
    raise XmlError("must be XML without document types and entities")


def write_xml(name: str, value: Mapping[str, Any]) -> bytes:
    """Write a JSON object in the form of the vendor's pages. Raises `XmlError` where XML cannot say it."""
    root = Element(name)
    _fill(root, value)
    text = tostring(root, encoding="unicode")
    if _UNWRITABLE.search(text):
        raise XmlError("holds a character that XML has none for")
    # A reader would take a bare carriage return for a line feed.
    return text.replace("\r", "&#13;").encode()


def _scalar(kind: str, text: str) -> object:
    if kind == "truth":
        return _TRUTH.get(text, text)
    if kind == "word":
        return text
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if kind == "decimal" and _DECIMAL.fullmatch(text) else text


@cache
def _fields(*models: type[BaseModel]) -> dict[str, _Shape]:
    return {
        field.alias or name: _shape(field.annotation, field.alias or name)
        for model in models
        for name, field in model.model_fields.items()
    }


def _shape(annotation: Any, name: str = "") -> _Shape:  # noqa: ANN401 - an annotation may be anything
    """Tell from a field's annotation and name how its element is to be read."""
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
    if origin in scalars:
        return scalars[origin]
    return _Shape("word") if name.endswith(_TRIMMED) or origin in {Literal, AwareDatetime} else _TEXT


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
