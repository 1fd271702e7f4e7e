"""A request as a row of a table: each column is one field, with dots for nesting, such as `sms.text`.

A position in a list is a number: `whatsApp.templateData.0`. A cell is read as the field's type, and an empty cell is an
absent field. A cell for a whole list or object is JSON. Whether the values are valid is decided where requests are.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic_core import from_json

from service.core.omni.xml import scalar
from service.core.omni.xml_shape import HOLDERS, TEXT, Shape, fields_of
from service.core.request.body import RequestBody
from service.core.value import dataclass

_SPACE: Final = " \t\r\n\u00a0"
_MOST_PARTS: Final = 20
"""Names and positions in a column's name. No request is nested so deeply."""
_MOST_DIGITS: Final = 6
_ROOT: Final = Shape("object", models=(RequestBody,))


class ColumnError(ValueError):
    """A fault of the header of a table."""


@dataclass(frozen=True, slots=True)
class Column:
    """The place of a field, and how a cell is read. Without a path: a column without a name, which must be empty."""

    path: tuple[str | int, ...]
    kind: str


def read_columns(names: Sequence[str]) -> tuple[Column, ...]:
    """Read the header of a table. Raises `ColumnError`."""
    columns = tuple(_column(name.strip(_SPACE)) for name in names)
    paths = [column.path for column in columns if column.path]
    if not paths:
        raise ColumnError("has no header: the first row names the field of each column, such as phoneNumber,sms.text")
    taken = set(paths)
    if len(taken) < len(paths):
        twice = next(path for at, path in enumerate(paths) if path in paths[:at])
        raise ColumnError(f"has two columns named {_written(twice)}")
    for path in paths:
        for end in range(1, len(path)):
            if path[:end] in taken:
                raise ColumnError(f"has a column {_written(path)} inside another one, {_written(path[:end])}")
    return columns


def row_value(columns: Sequence[Column], cells: Sequence[str]) -> dict[str, object]:
    """Build the request of a row. Raises `ColumnError` if a cell has no column."""
    built: dict[str | int, Any] = {}
    for position, cell in enumerate(cells):
        if not cell.strip(_SPACE):
            continue
        if position >= len(columns) or not columns[position].path:
            raise ColumnError(f"has a value in column {position + 1}, which has no name")
        column = columns[position]
        target = built
        for part in column.path[:-1]:
            target = target.setdefault(part, {})
        target[column.path[-1]] = _cell(column.kind, cell)
    return {str(name): _listed(value) for name, value in built.items()}


def merged(template: Mapping[str, object], row: Mapping[str, object]) -> dict[str, object]:
    """Return a request with the fields of both. The row wins; objects are merged, lists are not."""
    both = dict(template)
    for name, value in row.items():
        below = both.get(name)
        both[name] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both


def _column(name: str) -> Column:
    if not name:
        return Column((), "text")
    path: list[str | int] = []
    shape = _ROOT
    parts = name.split(".")
    if len(parts) > _MOST_PARTS:
        raise ColumnError(f"has a column with {len(parts)} names, one in the other: no request is nested so deeply")
    for part in parts:
        if not part:
            raise ColumnError(f"has a column {name}: a name is missing beside a dot")
        if shape.kind == "list" and part.isascii() and part.isdigit() and len(part) <= _MOST_DIGITS:
            path.append(int(part))
            shape = shape.item or TEXT
        else:
            path.append(part)
            shape = fields_of(*shape.models).get(part, TEXT) if shape.kind == "object" else TEXT
    return Column(tuple(path), shape.kind)


def _cell(kind: str, cell: str) -> object:
    if kind in HOLDERS:
        try:
            return from_json(cell)
        except ValueError:
            return cell
    return cell if kind == "text" else scalar(kind, cell.strip(_SPACE))


def _listed(value: object) -> object:
    """Turn what was built by position into lists."""
    if not isinstance(value, dict):
        return value
    if value and all(isinstance(name, int) for name in value):
        return [_listed(value[position]) for position in sorted(value)]
    return {str(name): _listed(inner) for name, inner in value.items()}


def _written(path: Iterable[str | int]) -> str:
    return ".".join(map(str, path))
