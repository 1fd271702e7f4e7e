"""Logs: one JSON object a line, or something pleasant on a terminal.

Names of log events are a noun and a past participle (`delivery.settled`). What is logged is chosen field by field, and
of an exception only its kind and place: no phone number, e-mail address, text or key. Request ids go in as producers
chose them.
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
"""Seconds between two lines of the operations port's server: a request that it cannot read or answer makes one."""


class Sampler:
    """Lets through so many lines of one event a second; the next then tells how many were left out."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._second = 0
        self._lines: dict[str, int] = {}
        self._left_out: Counter[str] = Counter()

    def take(self, event: str) -> int | None:
        """Give how many lines of this event were left out before this one; None leaves this one out too."""
        if (second := int(self._clock())) != self._second:
            self._second = second
            self._lines.clear()
        self._lines[event] = lines = self._lines.get(event, 0) + 1
        if lines > self._rate:
            self._left_out[event] += 1
            return None
        return self._left_out.pop(event, 0)


class Seldom(logging.Filter):
    """Lets through one line in so many seconds, of all levels: for what anyone who reaches a port can cause."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds = seconds
        self._clock = clock
        self._next = float("-inf")

    def filter(self, _record: logging.LogRecord) -> bool:
        """Tell whether a line is let through."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True


def _sampled(sampler: Sampler) -> type[Logger]:
    """Make a logger that samples what tells of nothing wrong, before anything is spent on a line."""

    class Sampled(structlog.stdlib.BoundLogger):
        def info(self, event: str | None = None, *args: object, **facts: object) -> None:
            left_out = sampler.take(event or "")
            if left_out is not None:
                super().info(event, *args, **facts, **({"left_out": left_out} if left_out else {}))

    return Sampled


def configure_logs(format_: LogFormat | None, level: str, rate: int, process: int | None = None) -> None:
    """Send everything, what libraries log included, to standard error; `None` chooses by whether it is a terminal.

    Each line tells `process`, where there are several.
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
    for library in ("aiormq", "aio_pika", "opentelemetry"):  # what they shout about, we tell in a line of our own
        logging.getLogger(library).setLevel(logging.CRITICAL)
    server = logging.getLogger("uvicorn.error")
    server.filters = [Seldom(_SERVER_PAUSE)]
    logging.getLogger("service").setLevel(level.upper())


def get_logger() -> Logger:
    """Give the relay's logger, as logs are configured by now: to look that up for each line doubles its cost."""
    logger: Logger = structlog.get_logger("service").bind()
    return logger


def describe(error: BaseException) -> dict[str, str]:
    """Tell an exception's kind and place. Its text is left out: it may repeat what was sent."""
    numbers = [errno.errorcode.get(arg) for arg in error.args if isinstance(arg, int)]
    reason = {"reason": numbers[0]} if numbers and numbers[0] else {}
    return {"error": type(error).__name__, **reason, "where": _where(error.__traceback__)}


def _where(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _for_terminal(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Take from values what a terminal would obey: ids are whatever a producer has chosen. JSON escapes it anyway."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def _without_exception(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Keep a library's exceptions to their kind: their texts may hold addresses and URLs with passwords."""
    record: logging.LogRecord = event["_record"]
    if record.name == "asyncio":  # below its first line it writes tasks out, and with them what they raised
        event["event"] = str(event["event"]).partition("\n")[0]
    if record.exc_info and record.exc_info[1] is not None:
        event.update(describe(record.exc_info[1]))
        record.exc_info = None
        event.pop("exc_info", None)
    return event
