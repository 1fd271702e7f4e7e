"""Names that a JSON object has twice.

Parsers of JSON take the first or the last value silently (RFC 8259, 4). Which one was meant is not known, so it is a
fault. Most bodies are seen to have none without parsing (`parsing._are_clearly_unique`).
"""

import json
from collections.abc import Generator, Iterator
from typing import Final

from service.core.request.faults import MAX_FAULTS

Path = tuple[str | int, ...]

_STEP: Final = 1000
"""Paths that are found in one step: that takes a few milliseconds."""


class _Repeated(dict[str, object]):
    """An object that has names twice."""

    names: tuple[str, ...] = ()


def repeated_names(body: bytes) -> Generator[None, None, list[Path]]:
    """Return the path of each name that an object has twice, up to `MAX_FAULTS` an object.

    `body` is valid JSON in UTF-8. It is parsed at most twice: each time is a step, and so is every slice of paths.
    """
    text = body.decode()
    found: list[None] = []

    def notice(pairs: list[tuple[str, object]]) -> None:
        """Note that there is such an object. Nothing is kept of it: a body may hold a great many values."""
        if len(pairs) > 1 and len({name for name, _ in pairs}) < len(pairs):
            found.append(None)

    _read(text, notice)
    paths: list[Path] = []
    if found:
        yield
        marked = _read(text, _marked)
        yield
        for path in _paths(marked, ()):
            paths.append(path)
            if len(paths) % _STEP == 0:
                yield
    return paths


def _read(text: str, build: object) -> object:
    # Numbers are not converted: one of many digits would take long, or be refused.
    return json.loads(text, object_pairs_hook=build, parse_int=bool, parse_float=bool, strict=False)  # type: ignore[arg-type]


def _marked(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = _Repeated(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        repeated: dict[str, None] = {}
        for name, _ in pairs:
            if name in seen:
                repeated[name] = None
            seen.add(name)
        made.names = tuple(repeated)[:MAX_FAULTS]
    return made


def _paths(value: object, path: Path) -> Iterator[Path]:
    match value:
        case _Repeated():
            for name in value.names:
                yield (*path, name)
            for name, inner in value.items():
                yield from _paths(inner, (*path, name))
        case list():
            for place, inner in enumerate(value):
                yield from _paths(inner, (*path, place))
        case _:
            pass
