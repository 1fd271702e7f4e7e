"""Reads requests from files, one after the other, so that a file of any size takes little memory.

A row that cannot be read is yielded with its fault. A fault behind which nothing can be read is the file's last row.
"""

import io
from collections.abc import Iterator
from typing import Final, Literal

from service.cli.rows.csv_rows import csv_rows
from service.cli.rows.json_rows import decode, json_rows
from service.cli.rows.row import CHUNK, SPACE, Row, Source
from service.cli.rows.xml_rows import xml_rows
from service.core.omni.charset import EncodingError, wide_codec

__all__ = ["Format", "Row", "Source", "decode", "read_rows"]

Format = Literal["json", "csv", "xml"]

_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),  # before the next one, with which it begins
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\x00\x00\xfe\xff", "utf-32"),
)
_SUFFIXES: Final[dict[str, Format]] = {
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
    ".xml": "xml",
}


def read_rows(source: Source, format_: Format | None) -> Iterator[Row]:
    """Yield the requests of a file. `format_`: by its name or its content if none is given."""
    with source.path.open("rb") as file:
        head = file.read(CHUNK)
        file.seek(0)
        if not head.removeprefix(_mark(head)).strip(b" \t\r\n"):
            yield Row(source.name, fault="is empty")
            return
        last = ""
        format_ = format_ or _SUFFIXES.get(source.path.suffix.lower()) or _guessed(head)
        try:
            if format_ == "xml":
                yield from xml_rows(source.name, file, head)
                return
            with io.TextIOWrapper(file, _encoding(head), newline="") as text:
                for row in (csv_rows if format_ == "csv" else json_rows)(source.name, text):
                    yield row
                    last = row.place
        except (UnicodeError, EncodingError):
            hint = ". In Excel, save it as CSV UTF-8" if format_ == "csv" else ""
            yield Row(f"behind {last}" if last else source.name, fault=f"is not in UTF-8{hint}")


def _mark(head: bytes) -> bytes:
    return next((mark for mark, _ in _MARKS if head.startswith(mark)), b"")


def _encoding(head: bytes) -> str:
    marked = dict(_MARKS).get(_mark(head))
    return marked or wide_codec(head[:4]) or "utf-8"


def _guessed(head: bytes) -> Format:
    text = head.decode(_encoding(head), "ignore").lstrip(SPACE)
    if text.startswith("<"):
        return "xml"
    first = text.partition("\n")[0]
    return "csv" if text[:1].isalpha() and any(one in first for one in (*",;\t", ".", "Number")) else "json"
