"""The requests that `omni-relay send` is to publish, and the check of all of them before the first is."""

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from service.cli.options import say
from service.cli.rows import Format, Row, Source, read_rows
from service.cli.send_progress import digest_of
from service.core.delivery import Delivery
from service.core.history import History
from service.core.request.decoding import finished
from service.core.request.parsing import parse
from service.core.request.row import merged
from service.core.topology import NORMAL, Lane
from service.core.value import dataclass

GROUP: Final = 500
"""Rows that are published before their confirms are awaited. An input of no more rows has no record of progress."""
MOST_SHOWN: Final = 20
"""Faulty rows that are named one by one."""


class InputError(Exception):
    """The input cannot be used. The text says why."""


@dataclass(frozen=True, slots=True)
class Input:
    """The requests to be sent."""

    sources: tuple[Source, ...]
    format: Format | None = None
    template: Mapping[str, object] | None = None
    """Fields of every request, unless its row has them."""
    lane: Lane = NORMAL

    def rows(self) -> Iterator[Row]:
        """Read them from the beginning. Raises `InputError` if a file cannot be read."""
        for source in self.sources:
            for row in _readable(source, self.format):
                if self.template is None or row.fault:
                    yield row
                elif isinstance(row.value, dict):
                    yield row._replace(value=merged(self.template, row.value))
                else:
                    yield row._replace(fault="must be an object, to be merged with the template")

    def state(self) -> object:
        """Return a value that changes when a file is replaced, written or deleted."""
        try:
            stats = [source.path.stat() for source in self.sources]
        except OSError as error:
            return error.strerror
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in stats)

    def digest(self) -> str:
        """Identify them."""
        return digest_of(self.sources, self.format or "", json.dumps(self.template), self.lane.name)


def _readable(source: Source, format_: Format | None) -> Iterator[Row]:
    try:
        yield from read_rows(source, format_)
    except OSError as error:
        raise InputError(f"{source.name} cannot be read ({error.strerror})") from None


@dataclass(frozen=True, slots=True)
class Faults:
    """The result of checking all rows."""

    rows: int
    faulty: int


def check(requests: Input, *, unchecked: bool) -> Faults:
    """Check every row, and print the faults of the first faulty ones. `unchecked`: only whether it can be read."""
    rows = faulty = 0
    now = datetime.now(UTC)
    with progress_bar("checking") as bar:
        task = bar.add_task("checking", total=None)
        for row in requests.rows():
            rows += 1
            faults = [row.fault] if row.fault else [] if unchecked else _faults(row.value, now)
            if faults:
                faulty += 1
                if faulty <= MOST_SHOWN:
                    bar.stop()
                    for fault in faults:
                        say(f"{row.place}: {fault}")
            if rows % GROUP == 0:
                bar.update(task, completed=rows)
    return Faults(rows, faulty)


def _faults(value: object, now: datetime) -> list[str]:
    """List the faults for which the worker would refuse a request, or a part of it."""
    parsed = finished(parse(Delivery(body_of(value)), History(now), lambda: "unnamed"))
    faults = [*parsed.faults, *(fault for rejection in parsed.rejections for fault in rejection.faults)]
    return [f"{fault.path}: {fault.message}" for fault in dict.fromkeys(faults)]


def body_of(value: object) -> bytes:
    """Render a request as it is published."""
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a surrogate pair: the worker refuses it, with its place
        return json.dumps(value).encode()


class _Rate(ProgressColumn):
    """Requests a second."""

    def render(self, task: Task) -> Text:
        """Return the column's text."""
        return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s")


def progress_bar(description: str) -> Progress:
    """Build a progress bar, which appears on a terminal alone."""
    columns = (TextColumn(description), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
