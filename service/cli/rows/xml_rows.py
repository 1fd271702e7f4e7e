"""Requests in XML: `<request>…</request>`, or any root that contains such elements. Only one of them is kept."""

import io
from collections.abc import Iterator
from typing import BinaryIO, NoReturn
from xml.parsers import expat

from pydantic_core import from_json

from service.cli.rows.row import CHUNK, TOO_LONG, Row, at
from service.core.omni.charset import EncodingError, charset_of_xml
from service.core.omni.xml import XmlError, xml_to_json
from service.core.request.body import LONGEST, RequestBody
from service.core.request.decoding import ROOTS


def xml_rows(name: str, file: BinaryIO, head: bytes) -> Iterator[Row]:
    """Yield the requests of a file; `head` is its beginning."""
    try:
        charset = charset_of_xml(head, None)
    except EncodingError as error:
        yield Row(name, fault=str(error))
        return
    file.seek(charset.start)
    splitter = _Splitter()
    try:
        with io.TextIOWrapper(file, charset.codec, newline="") as text:
            part = None
            while part != "":
                part = text.read(CHUNK)
                for line, document in splitter.feed(part.encode(), is_last=not part):
                    yield _xml_row(at(name, line), document)
    except expat.ExpatError as error:
        yield Row(at(name, error.lineno), fault=f"is not XML: {expat.ErrorString(error.code)}")
    except XmlError as error:
        yield Row(name, fault=error.message)


def _xml_row(place: str, document: bytes) -> Row:
    try:
        return Row(place, from_json(xml_to_json(document, RequestBody, ROOTS, "utf-8")))
    except XmlError as error:
        return Row(place, fault=f"{error.path}: {error.message}" if error.path else error.message)


class _Splitter:
    """Divides a document in UTF-8 into its requests: the root, or the elements in it."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate("utf-8", intern=None)
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._end
        self._parser.StartDoctypeDeclHandler = _refuse
        self._depth = 0
        self._outer = 1
        self._kept = bytearray()
        self._start = self._offset = 0
        self._line = 1
        self._found: list[tuple[int, int, int]] = []

    def feed(self, part: bytes, *, is_last: bool) -> Iterator[tuple[int, bytes]]:
        """Yield the line and the bytes of each request that ends in this part. Raises `ExpatError` or `XmlError`."""
        self._kept += part
        self._parser.Parse(part, is_last)
        found, self._found = self._found, []
        for line, start, end in found:
            closing = end - self._offset
            document = bytes(self._kept[start - self._offset : closing])
            if not (document.endswith(b"/>") and document.count(b">") == 1):  # of `<request/>` expat names the end
                closing = self._kept.index(b">", closing) + 1
            yield line, bytes(self._kept[start - self._offset : closing])
        keep_from = self._start if self._depth > self._outer - 1 else self._parser.CurrentByteIndex
        if keep_from > self._offset:
            del self._kept[: keep_from - self._offset]
            self._offset = keep_from
        if len(self._kept) > LONGEST + len(part):
            raise XmlError(TOO_LONG)

    def _begin(self, name: str, _: dict[str, str]) -> None:
        if self._depth == 0:
            self._outer = 1 if name.rpartition(":")[2] in ROOTS else 2
        self._depth += 1
        if self._depth == self._outer:
            self._start, self._line = self._parser.CurrentByteIndex, self._parser.CurrentLineNumber

    def _end(self, _: str) -> None:
        if self._depth == self._outer:
            self._found.append((self._line, self._start, self._parser.CurrentByteIndex))
        self._depth -= 1


def _refuse(*_: object) -> NoReturn:
    raise XmlError("must be XML without document types and entities")
