"""Requests in JSON: one, a list of them, or JSON Lines. Of a list no more than one item is kept."""

import io
import json
from collections.abc import Iterator
from itertools import count
from typing import Final, NamedTuple, TextIO

from service.cli.rows.row import CHUNK, SPACE, TOO_LONG, Row, at
from service.core.request.body import LONGEST


class GivenTwiceError(ValueError):
    """A JSON object has a name twice."""


def json_rows(name: str, text: TextIO) -> Iterator[Row]:
    """Yield the requests of a text."""
    first = _skip_space(text)
    if first.value == "[":
        yield from _items(name, text, first.line)
        return
    text.seek(0)
    whole = text.read(LONGEST + 1)
    if len(whole) <= LONGEST:
        try:
            yield Row(at(name, first.line), decode(whole))
        except GivenTwiceError as error:
            yield Row(at(name, first.line), fault=str(error))
        except ValueError as error:
            if "\n" in whole.strip(SPACE):
                yield from _lines(name, io.StringIO(whole, newline=""))
            else:
                yield Row(at(name, first.line), fault=str(error))
        return
    text.seek(0)
    yield from _lines(name, text)


class _First(NamedTuple):
    value: str
    line: int


def _skip_space(text: TextIO) -> _First:
    """Return the first character that is no space, and its line."""
    line = 1
    while (one := text.read(1)) and one in SPACE:
        line += one == "\n"
    return _First(one, line)


def _lines(name: str, text: TextIO) -> Iterator[Row]:
    for number in count(1):
        line = text.readline(LONGEST + 1)
        if not line:
            return
        if len(line) > LONGEST:
            yield Row(at(name, number), fault=TOO_LONG)
            return
        if line.strip(SPACE):
            try:
                yield Row(at(name, number), decode(line))
            except ValueError as error:
                yield Row(at(name, number), fault=f"is neither JSON nor JSON Lines: {error}")


def _items(name: str, text: TextIO, line: int) -> Iterator[Row]:
    """Yield the items of a JSON list, from behind its bracket on."""
    reader = _ListReader(text, line)
    separated = True
    while (mark := reader.next()) != "]":
        if not separated and mark != ",":
            yield Row(at(name, reader.line), fault="is not JSON: a comma or the end of the list is missing")
            return
        if not separated:
            reader.skip()
            reader.next()
        place = at(name, reader.line)
        try:
            yield Row(place, reader.value())
        except GivenTwiceError as error:
            yield Row(place, fault=str(error))
        except RecursionError:
            yield Row(place, fault="is nested too deeply")
            return
        except ValueError as error:
            yield Row(place, fault=f"is not JSON: {error}")
            return
        separated = False
    reader.skip()
    if reader.next():
        yield Row(at(name, reader.line), fault="has something behind the end of the list")


class _ListReader:
    """Reads the items of a JSON list. It keeps no more than one of them."""

    def __init__(self, text: TextIO, line: int) -> None:
        self.line = line
        self._text = text
        self._buffer, self._at, self._ended = "", 0, False

    def next(self) -> str:
        """Return the next character that is no space; empty at the end."""
        while True:
            end = len(self._buffer) - len(self._buffer[self._at :].lstrip(SPACE))
            self._take(end)
            if end < len(self._buffer):
                return self._buffer[end]
            if not self._read(CHUNK):
                return ""

    def skip(self) -> None:
        """Take that character."""
        self._take(self._at + 1)

    def value(self) -> object:
        """Take the value that begins here. Raises `ValueError`; behind a `GivenTwiceError` the next one can be read."""
        while True:
            try:
                value, end = _decoder.raw_decode(self._buffer, self._at)
                if end < len(self._buffer) or self._ended:  # else a number may go on
                    self._take(end)
                    return value
            except GivenTwiceError:
                self._take(_plain.raw_decode(self._buffer, self._at)[1])
                raise
            except ValueError:
                if self._ended:
                    raise
            length = len(self._buffer) - self._at
            if length > LONGEST:
                raise ValueError(TOO_LONG)
            self._read(max(CHUNK, length))

    def _take(self, end: int) -> None:
        self.line += self._buffer.count("\n", self._at, end)
        self._at = end

    def _read(self, size: int) -> str:
        more = self._text.read(size)
        self._buffer, self._at, self._ended = self._buffer[self._at :] + more, 0, not more
        return more


def decode(text: str) -> object:
    """Read one JSON value. Raises `ValueError`, `GivenTwiceError` among them."""
    try:
        return _decoder.decode(text.removeprefix("\ufeff"))
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _each_name_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse an object with a name twice: it would be published with the last value only, without a warning."""
    read = dict(pairs)
    if len(read) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise GivenTwiceError(f"{json.dumps(twice)} is given twice")
    return read


_plain: Final = json.JSONDecoder()
_decoder: Final = json.JSONDecoder(object_pairs_hook=_each_name_once)
