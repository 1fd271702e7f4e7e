"""XML read without a model, for documents whose fields the vendor has not published.

The reader of `xml` refuses a document at its first violation. Here one part of a document must not affect the others,
so everything is read and judged later. Document types and entities are refused. The number of elements, their depth,
and the length of names, tags and comments are limited. The document is parsed in steps.
"""

from collections.abc import Generator, Mapping
from typing import NoReturn
from xml.parsers import expat

from service.core.omni.charset import EncodingError, xml_text
from service.core.omni.xml import MAX_DEPTH, MAX_NAME, MAX_TOKEN, SLICE, XmlError
from service.core.value import dataclass


class TooManyElementsError(ValueError):
    """The document has more elements than are read."""


@dataclass(slots=True)
class Node:
    """An element without its namespace and attributes."""

    name: str
    text: str
    children: list["Node"]

    def value(self) -> object:
        """Return what the element would be in JSON: a text, or an object; a name that is repeated holds a list."""
        if not self.children:
            return self.text
        members: dict[str, object] = {}
        repeated: dict[str, list[object]] = {}
        for child in self.children:
            if child.name in repeated:
                repeated[child.name].append(child.value())
            elif child.name in members:
                repeated[child.name] = [members[child.name], child.value()]
            else:
                members[child.name] = child.value()
        return members | repeated


def read_tree(body: bytes, charset: str | None, most: int) -> Generator[None, None, Node]:
    """Read a document of at most `most` elements; `charset` is what its content type names.

    Raises `XmlError`, or `TooManyElementsError`.
    """
    try:
        document = xml_text(body, charset).encode()
    except EncodingError as error:
        raise XmlError(str(error)) from None
    builder = _Builder(most)
    parser = expat.ParserCreate("utf-8", "}", intern=None)  # names are not kept: each may have its whole namespace
    builder.listen_to(parser)
    try:
        for start in range(0, len(document), SLICE):
            parser.Parse(document[start : start + SLICE], False)  # noqa: FBT003 - not the end
            if start + SLICE - max(parser.CurrentByteIndex, 0) > MAX_TOKEN:
                raise XmlError("has a tag, comment or instruction that is too long")
            yield
        parser.Parse(b"", True)  # noqa: FBT003 - the end
    except expat.ExpatError:
        raise XmlError("must be XML that is well-formed") from None
    return builder.document.children[0]


class _Builder:
    """Builds the tree while the parser reads."""

    def __init__(self, most: int) -> None:
        self.document = Node("", "", [])
        self._left = most
        self._open = [self.document]
        self._texts: list[str] = []

    def listen_to(self, parser: expat.XMLParserType) -> None:
        """Take a parser's events."""
        parser.buffer_text = True
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._texts.append
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refuse
        parser.UnparsedEntityDeclHandler = parser.ExternalEntityRefHandler = _refuse

    def _begin(self, tag: str, _: Mapping[str, str]) -> None:
        self._left -= 1
        if self._left < 0:
            raise TooManyElementsError
        if len(tag) > MAX_NAME:
            raise XmlError("has a name that is too long")
        if len(self._open) > MAX_DEPTH:
            raise XmlError("is nested too deeply")
        node = Node(tag.rpartition("}")[2], "", [])
        self._open[-1].children.append(node)
        self._open.append(node)
        self._texts.clear()

    def _end(self, _: str) -> None:
        node = self._open.pop()
        if not node.children:
            node.text = "".join(self._texts)
        self._texts.clear()


def _refuse(*_: object) -> NoReturn:
    raise XmlError("must be XML without document types and entities")
