"""Logs: one JSON object per line, or readable lines on a terminal.

The name of a log event is a noun and a past participle (`delivery.settled`). Each field is chosen on purpose, and an
exception is logged by its kind and place only: a log holds no phone number, e-mail address, text or key. Request ids
are logged as producers chose them.
"""

import errno
import logging
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Final, Literal

import structlog

from service.core.printable import printable

LogFormat = Literal["json", "console"]
Logger = structlog.stdlib.BoundLogger

_SERVER_PAUSE: Final = 60.0
"""Seconds between two lines of the operations port's server: each request that it cannot read causes one."""


class Sampler:
    """Limits the lines of each event per second. The next line that passes carries the number of lines left out."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._second = 0
        self._lines: dict[str, int] = {}
        self._left_out: Counter[str] = Counter()

    def take(self, event: str) -> int | None:
        """Return how many lines of this event were left out before this one, or None if this one is left out too."""
        if (second := int(self._clock())) != self._second:
            self._second = second
            self._lines.clear()
        self._lines[event] = lines = self._lines.get(event, 0) + 1
        if lines > self._rate:
            self._left_out[event] += 1
            return None
        return self._left_out.pop(event, 0)


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
            left_out = sampler.take(event or "")
            if left_out is not None:
                super().info(event, *args, **facts, **({"left_out": left_out} if left_out else {}))

    return Sampled


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
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=_sampled(Sampler(rate)),
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
