"""Logs: one JSON object per line, or readable lines on a terminal.

The name of a log event is a noun and a past participle (`delivery.settled`). Each field is chosen on purpose, and an
exception is logged by its kind and place only: a log holds no phone number, e-mail address, text or key. Request ids
are logged as producers chose them.

This file has more than 250 lines since all that decides whether and how a line is written has to be read together.
"""

import asyncio
import atexit
import contextlib
import errno
import logging
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Literal

import structlog

from service.core.printable import printable

LogFormat = Literal["json", "console"]
Logger = structlog.stdlib.BoundLogger

UNACCEPTED: Final = "message.unaccepted"
"""The only log event above level info that producers can cause without end, and so the only one that is limited."""
_SHARED: Final[Mapping[str, Sequence[str]]] = {
    "delivery.settled": ("settlement", "events"),
    UNACCEPTED: ("type", "code", "app_id"),
}
"""Facts with few values, by event. Lines that are left out are summarised together if they are equal in these."""
_MOST_KINDS: Final = 50
"""Pairs of producer and reason code per second that have a limit of their own, and summaries per second."""
_MOST_NAMED: Final = 10_000
"""Requests per second that summaries name; beyond that they are only counted."""
_LONGEST_SUMMARY: Final = 8_000
"""Characters of all ids in one line."""
_SERVER_PAUSE: Final = 60.0
"""Seconds between two lines of the operations port's server: each request that it cannot read causes one."""


@dataclass
class _LeftOut:
    """Lines of one kind that were not written."""

    level: str
    event: str
    facts: dict[str, object]
    count: int = 0
    request_ids: list[str] = field(default_factory=list)


class Sampler:
    """Limits the lines of each event per second. Those left out are counted, and named by request, in a summary.

    * An event's limit counts for each producer and reason code, so that a flood of one producer's faults hides no fault
      of another. A producer that changes its `app_id` all the time shares one limit with others that do.
    * A summary is written a second after its first line was left out. It has the facts that all its lines share, their
      number in `left_out`, and the ids of their requests.
    """

    def __init__(
        self,
        rate: int,
        write: Callable[[str, str, dict[str, object]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`write` gets level, event and facts of each summary. `clock` is monotonic, in seconds."""
        self._rate = rate
        self._write = write
        self._clock = clock
        self._second = 0
        self._lines: dict[object, int] = {}
        self._left_out: dict[tuple[object, ...], _LeftOut] = {}
        self._named = 0

    def take(self, level: str, event: str, facts: Mapping[str, object]) -> bool:
        """Return whether the line is to be written. If not, it is part of the next summary."""
        if (second := int(self._clock())) != self._second:
            self._second = second
            self._lines.clear()
            self.write_summaries()
        kind: object = event if "code" not in facts else (event, facts["code"], facts.get("app_id"))
        lines = self._lines.get(kind, 0)
        if not lines and kind is not event and len(self._lines) >= _MOST_KINDS:
            kind = event
            lines = self._lines.get(kind, 0)
        self._lines[kind] = lines + 1
        if lines < self._rate or "left_out" in facts:
            return True
        self._leave_out(level, event, facts)
        return False

    def _leave_out(self, level: str, event: str, facts: Mapping[str, object]) -> None:
        if not self._left_out:
            with contextlib.suppress(RuntimeError):  # outside an event loop, the next line writes them
                asyncio.get_running_loop().call_later(1.0, self.write_summaries)
        shared: list[object] = [event]
        for name in _SHARED.get(event, ()):
            value = facts.get(name)
            shared.append(tuple(value.items()) if isinstance(value, dict) else value)
        kind = tuple(shared)
        left_out = self._left_out.get(kind)
        if left_out is None:
            common = {name: facts[name] for name in _SHARED.get(event, ()) if facts.get(name) is not None}
            if len(self._left_out) >= _MOST_KINDS:
                kind, common = (event,), {}
            left_out = self._left_out.setdefault(kind, _LeftOut(level, event, common))
        left_out.count += 1
        request_id = facts.get("request_id")
        if event == "attempt.made" or not isinstance(request_id, str) or self._named >= _MOST_NAMED:
            return  # a request of an attempt is named when its delivery is settled
        if left_out.request_ids[-1:] != [request_id]:
            self._named += 1
            left_out.request_ids.append(request_id)

    def write_summaries(self) -> None:
        """Write what was left out so far; several lines if the ids are long."""
        summaries, self._left_out, self._named = self._left_out, {}, 0
        for left_out in summaries.values():
            count = left_out.count
            for request_ids in _divided(left_out.request_ids) or [[]]:
                named = {"request_ids": request_ids} if request_ids else {}
                self._write(left_out.level, left_out.event, {**left_out.facts, "left_out": count, **named})
                count = 0  # the further lines only name what the first one counts


def _divided(request_ids: Sequence[str]) -> list[list[str]]:
    """Divide ids into lists that fit into one line: container runtimes cut lines at 16 KiB."""
    parts: list[list[str]] = []
    size = _LONGEST_SUMMARY
    for request_id in request_ids:
        size += len(request_id) + 4
        if size > _LONGEST_SUMMARY:
            parts.append([])
            size = len(request_id)
        parts[-1].append(request_id)
    return parts


class Seldom(logging.Filter):
    """Passes one line per so many seconds, of all levels: for lines that anyone who reaches a port can cause."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds = seconds
        self._clock = clock
        self._next = float("-inf")

    def filter(self, _record: logging.LogRecord) -> bool:
        """Return whether a line passes."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True


def _sampled(sampler: Sampler) -> type[Logger]:
    """Make a logger class that samples lines of level info before it spends CPU on them."""

    class Sampled(structlog.stdlib.BoundLogger):
        def info(self, event: str | None = None, *args: object, **facts: object) -> None:
            if sampler.take("info", event or "", facts):
                super().info(event, *args, **facts)

    return Sampled


def _limited(sampler: Sampler) -> structlog.typing.Processor:
    """Make a processor that limits the lines that a producer causes with its faults. Other warnings always pass."""

    def limit(_logger: object, level: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if line.get("event") == UNACCEPTED and not sampler.take(level, line["event"], line):
            raise structlog.DropEvent
        return line

    return limit


def _summary(level: str, event: str, facts: dict[str, object]) -> None:
    getattr(get_logger(), level)(event, **facts)


def configure_logs(format_: LogFormat | None, level: str, rate: int, process: int | None = None) -> None:
    """Send all logs, also those of libraries, to standard error.

    `format_` None chooses `console` on a terminal and `json` otherwise. `rate` is in lines per event and second. With
    several processes, each line has the field `process`.
    """
    console = format_ == "console" or (format_ is None and sys.stderr.isatty())
    renderers: list[structlog.typing.Processor] = (
        [_for_terminal, structlog.dev.ConsoleRenderer()] if console else [structlog.processors.JSONRenderer()]
    )
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if process is not None:
        shared.append(lambda _logger, _method, line: {**line, "process": process})
    sampler = Sampler(rate, _summary)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _limited(sampler),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=_sampled(sampler),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_without_exception, structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    atexit.register(lambda: sampler.write_summaries() if root.handlers == [handler] else None)
    for library in ("aiormq", "aio_pika", "opentelemetry"):  # the relay logs their faults in lines of its own
        logging.getLogger(library).setLevel(logging.CRITICAL)
    server = logging.getLogger("uvicorn.error")
    server.filters = [Seldom(_SERVER_PAUSE)]
    logging.getLogger("service").setLevel(level.upper())


def get_logger() -> Logger:
    """Return a logger with the present configuration. Keep it: to get one for each line doubles the line's cost."""
    logger: Logger = structlog.get_logger("service").bind()
    return logger


def describe(error: BaseException) -> dict[str, str]:
    """Describe an exception by kind and place. Its text may repeat what was sent, so it is left out."""
    numbers = [errno.errorcode.get(arg) for arg in error.args if isinstance(arg, int)]
    reason = {"reason": numbers[0]} if numbers and numbers[0] else {}
    return {"error": type(error).__name__, **reason, "where": _where(error.__traceback__)}


def _where(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _for_terminal(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Remove control characters: a producer chooses its ids. JSON escapes them anyway."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _without_exception(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Reduce a library's exceptions to kind and place: their texts may hold addresses and URLs with passwords."""
    record: logging.LogRecord = event["_record"]
    if record.name == "asyncio":  # its further lines print tasks with the exceptions that they raised
        event["event"] = str(event["event"]).partition("\n")[0]
    if record.exc_info and record.exc_info[1] is not None:
        event.update(describe(record.exc_info[1]))
        record.exc_info = None
        event.pop("exc_info", None)
    return event
