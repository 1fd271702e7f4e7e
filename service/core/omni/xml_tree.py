"""XML read without a model, for documents whose fields the vendor has not published.

The reader of `xml` refuses a document at its first violation. Here one part of a document must not affect the others,
so everything is read and judged later.
"""

from collections.abc import Generator, Mapping

from service.core.omni.xml import MAX_DEPTH, MAX_NAME, XmlError, parse_xml
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
    builder = _Builder(most)
    yield from parse_xml(body, charset, builder.begin, builder.texts.append, builder.end)
    return builder.document.children[0]


class _Builder:
    """Builds the tree while the parser reads."""

    def __init__(self, most: int) -> None:
        self.document = Node("", "", [])
        self._left = most
        self._open = [self.document]
        self.texts: list[str] = []

    def begin(self, tag: str, _: Mapping[str, str]) -> None:
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
        self.texts.clear()

    def end(self, _: str) -> None:
        node = self._open.pop()
        if not node.children:
            node.text = "".join(self.texts)
        self.texts.clear()
