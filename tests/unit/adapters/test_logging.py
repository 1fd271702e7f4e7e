import asyncio
import gc
import io
import json
import logging
import re
import time
from collections.abc import Callable, Iterator

import pytest
import structlog

from service.adapters.logging import Sampler, Seldom, configure_logs, get_logger


class Clock:
    """A clock that advances when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(sampler: Sampler, event: str, times: int) -> list[int]:
    """Log an event so often; gives what was let through, by how many were left out before it."""
    return [left_out for _ in range(times) if (left_out := sampler.take(event)) is not None]


def test_lines_of_an_event_above_the_rate_are_left_out_and_counted() -> None:
    clock = Clock()
    sampler = Sampler(3, clock)

    assert taken(sampler, "a.done", 10) == [0, 0, 0]
    assert taken(sampler, "b.done", 2) == [0, 0]
    clock.now += 1
    assert taken(sampler, "a.done", 2) == [7, 0]
    assert taken(sampler, "b.done", 1) == [0]


def test_lines_that_anyone_can_cause_are_limited_to_one_per_period() -> None:
    clock = Clock()
    seldom, line = Seldom(60.0, clock), logging.makeLogRecord({})

    assert [seldom.filter(line) for _ in range(500)] == [True] + [False] * 499
    clock.now += 60
    assert [seldom.filter(line) for _ in range(2)] == [True, False]


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, object]]]]:
    """Return the lines of a logger that passes two lines of an event per second; the second does not end."""
    root, service, output = logging.getLogger(), logging.getLogger("service"), io.StringIO()
    before = root.handlers, root.level, service.level
    configure_logs("json", "info", 2)
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(output)
    if (left := 1 - time.monotonic() % 1) < 0.2:  # a second must not end within the test
        time.sleep(left)
    yield lambda: [json.loads(line) for line in output.getvalue().splitlines()]
    structlog.reset_defaults()
    root.handlers, root.level, service.level = before


@pytest.mark.parametrize(("method", "printed"), [("info", 2), ("warning", 50), ("error", 50)])
def test_only_lines_of_level_info_are_left_out(
    lines: Callable[[], list[dict[str, object]]], method: str, printed: int
) -> None:
    log = get_logger()
    for number in range(50):
        getattr(log, method)("a.done", number=number)

    assert [line["number"] for line in lines()] == list(range(printed))


def test_the_next_line_states_how_many_were_left_out(lines: Callable[[], list[dict[str, object]]]) -> None:
    log = get_logger()
    for _ in range(5):
        log.info("a.done")
    time.sleep(1 - time.monotonic() % 1)
    log.info("a.done")

    assert [line.get("left_out") for line in lines()] == [None, None, 3]


def test_no_value_can_send_control_characters_or_begin_a_line_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    root, service = logging.getLogger(), logging.getLogger("service")
    before = root.handlers, root.level, service.level
    try:
        configure_logs("console", "info", 10)
        steering = "\x1b]0;owned\x07\x9b2J\u202e"  # the library quotes what has white space, and then it is safe
        get_logger().info("a.done", request_id=steering, detail=f"{steering}\nforged line", several=[steering])
    finally:
        structlog.reset_defaults()
        root.handlers, root.level, service.level = before

    (line,) = capsys.readouterr().err.splitlines()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", line)  # colours of our own
    assert plain.isprintable()
    assert "forged line" in plain


async def test_an_exception_never_retrieved_from_a_task_is_logged_by_its_kind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def fail() -> None:
        raise ValueError("41793026727")

    configure_logs("json", "info", 10)
    task = asyncio.ensure_future(fail())
    await asyncio.wait({task})
    del task
    gc.collect()
    await asyncio.sleep(0)

    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["error"]) == ("Task exception was never retrieved", "ValueError")
    assert "41793026727" not in json.dumps(line)
