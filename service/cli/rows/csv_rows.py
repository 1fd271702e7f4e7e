"""Requests in CSV, as Excel writes it: a header of field names, then one request a row."""

import csv
import re
from collections.abc import Iterator
from typing import Final, TextIO

from service.cli.rows.row import CHUNK, SPACE, Row, at
from service.core.request.body import LONGEST
from service.core.request.row import ColumnError, read_columns, row_value

_DELIMITERS: Final = ",;\t"
_SEPARATOR: Final = re.compile(r"sep=(.)\r?\n?")
"""A first line by which Excel is given the delimiter."""

csv.field_size_limit(LONGEST)


def csv_rows(name: str, text: TextIO) -> Iterator[Row]:
    """Yield the requests of a text."""
    head = text.readline(CHUNK)
    skipped = 0
    if separator := _SEPARATOR.fullmatch(head):
        delimiter, skipped = separator[1], 1
    else:
        text.seek(0)
        bare = re.sub(r'"[^"]*"', "", head)
        delimiter = max(_DELIMITERS, key=bare.count)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    columns = None
    line = skipped + 1
    try:
        for cells in reader:
            place, line = at(name, line), reader.line_num + skipped + 1
            if not any(cell.strip(SPACE) for cell in cells):
                continue
            try:
                if columns is None:
                    columns = read_columns(cells)
                    continue
                row = Row(place, row_value(columns, cells))
            except ColumnError as error:
                yield Row(place, fault=str(error))
                if columns is None:
                    return
            else:
                yield row
    except csv.Error as error:
        yield Row(at(name, line), fault=f"is not CSV: {error}. Is a quotation mark missing?")
