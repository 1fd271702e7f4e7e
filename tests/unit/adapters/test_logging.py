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

from service.adapters.logging import UNACCEPTED, Sampler, Seldom, configure_logs, get_logger


class Clock:
    """A clock that advances when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Summaries(list[tuple[str, str, dict[str, object]]]):
    """Summaries that were written."""

    def __call__(self, level: str, event: str, facts: dict[str, object]) -> None:
        self.append((level, event, facts))


def test_lines_of_an_event_above_the_rate_are_summarised_with_the_requests_that_they_name() -> None:
    clock, summaries = Clock(), Summaries()
    sampler = Sampler(3, summaries, clock)

    passed = [sampler.take("info", "a.done", {"request_id": f"r{number}", "seconds": number}) for number in range(6)]
    assert passed == [True] * 3 + [False] * 3
    assert sampler.take("info", "b.done", {})
    clock.now += 1
    assert sampler.take("info", "b.done", {})
    assert summaries == [("info", "a.done", {"left_out": 3, "request_ids": ["r3", "r4", "r5"]})]
    assert sampler.take("info", "a.done", {})


def test_summaries_keep_apart_what_ended_differently() -> None:
    summaries = Summaries()
    sampler = Sampler(0, summaries, Clock())
    for number, kind in enumerate(("accepted", "rejected", "accepted")):
        sampler.take("info", "delivery.settled", {"request_id": f"r{number}", "events": {f"message.{kind}": 1}})
    sampler.write_summaries()

    assert [facts for _, _, facts in summaries] == [
        {"events": {"message.accepted": 1}, "left_out": 2, "request_ids": ["r0", "r2"]},
        {"events": {"message.rejected": 1}, "left_out": 1, "request_ids": ["r1"]},
    ]


def test_a_request_with_many_messages_is_named_once() -> None:
    summaries = Summaries()
    sampler = Sampler(0, summaries, Clock())
    for number in range(500):
        sampler.take("warning", UNACCEPTED, {"request_id": "r", "message_id": f"m{number}", "code": "invalid"})
    sampler.write_summaries()

    assert [facts for _, _, facts in summaries] == [{"code": "invalid", "left_out": 500, "request_ids": ["r"]}]


def test_long_lists_of_ids_are_divided_among_lines_that_fit_into_a_log_and_counted_once() -> None:
    summaries = Summaries()
    sampler = Sampler(0, summaries, Clock())
    for number in range(1000):
        sampler.take("info", "a.done", {"request_id": f"{number:0200}"})
    sampler.write_summaries()

    lists = [facts["request_ids"] for _, _, facts in summaries]
    assert all(isinstance(ids, list) and len(json.dumps(ids)) < 16_000 for ids in lists)
    assert sum(len(ids) for ids in lists if isinstance(ids, list)) == 1000
    assert sum(count for _, _, facts in summaries if isinstance(count := facts["left_out"], int)) == 1000


def test_beyond_ten_thousand_a_second_requests_are_counted_only() -> None:
    summaries = Summaries()
    sampler = Sampler(0, summaries, Clock())
    for number in range(12_000):
        sampler.take("info", "a.done", {"request_id": str(number)})
    sampler.write_summaries()

    assert sum(len(ids) for _, _, facts in summaries if isinstance(ids := facts["request_ids"], list)) == 10_000
    assert sum(count for _, _, facts in summaries if isinstance(count := facts["left_out"], int)) == 12_000


def test_a_flood_of_one_producer_or_of_one_fault_hides_no_line_of_another() -> None:
    sampler = Sampler(2, Summaries(), Clock())
    for _ in range(1000):
        sampler.take("warning", UNACCEPTED, {"request_id": "r", "code": "invalid", "app_id": "broken"})

    assert sampler.take("warning", UNACCEPTED, {"request_id": "r", "code": "invalid", "app_id": "shop"})
    assert sampler.take("warning", UNACCEPTED, {"request_id": "r", "code": "invalid"})
    assert sampler.take("warning", UNACCEPTED, {"request_id": "r", "code": "refused", "app_id": "broken"})
    assert not sampler.take("warning", UNACCEPTED, {"request_id": "r", "code": "invalid", "app_id": "broken"})


def test_a_producer_that_always_changes_its_name_does_not_escape_the_limit() -> None:
    summaries = Summaries()
    sampler = Sampler(2, summaries, Clock())
    facts = [{"request_id": "r", "code": "invalid", "app_id": f"app-{number}"} for number in range(1000)]

    assert sum(sampler.take("warning", UNACCEPTED, one) for one in facts) < 100
    sampler.write_summaries()
    assert len(summaries) <= 51


def test_requests_that_all_end_differently_do_not_have_a_summary_each() -> None:
    summaries = Summaries()
    sampler = Sampler(0, summaries, Clock())
    for number in range(1000):
        sampler.take("info", "delivery.settled", {"request_id": f"r{number}", "events": {"message.accepted": number}})
    sampler.write_summaries()

    assert len(summaries) <= 51
    assert sum(len(ids) for _, _, facts in summaries if isinstance(ids := facts["request_ids"], list)) == 1000


async def test_a_summary_does_not_wait_for_another_line() -> None:
    summaries = Summaries()
    Sampler(0, summaries).take("info", "a.done", {"request_id": "order-8812"})
    await asyncio.sleep(1.2)

    assert summaries == [("info", "a.done", {"left_out": 1, "request_ids": ["order-8812"]})]


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
def test_of_other_events_only_lines_of_level_info_are_left_out(
    lines: Callable[[], list[dict[str, object]]], method: str, printed: int
) -> None:
    log = get_logger()
    for number in range(50):
        getattr(log, method)("a.done", number=number)

    assert [line["number"] for line in lines()] == list(range(printed))


def test_a_summary_is_a_line_of_the_same_event(lines: Callable[[], list[dict[str, object]]]) -> None:
    log = get_logger()
    for _ in range(5):
        log.info("a.done")
    time.sleep(1 - time.monotonic() % 1)
    log.info("a.done")

    assert [line.get("left_out") for line in lines()] == [None, None, 3, None]


def test_a_producers_faults_are_limited_and_each_request_is_named(
    lines: Callable[[], list[dict[str, object]]],
) -> None:
    log = get_logger()
    for number in range(5):
        log.warning(UNACCEPTED, request_id=f"r{number}", message_id="m", code="invalid", app_id="shop")
    time.sleep(1 - time.monotonic() % 1)
    log.info("a.done")

    written = [{name: line[name] for name in line if name not in {"timestamp", "message_id"}} for line in lines()]
    same = {"event": UNACCEPTED, "level": "warning", "code": "invalid", "app_id": "shop"}
    assert written[:3] == [
        {"request_id": "r0", **same},
        {"request_id": "r1", **same},
        {"left_out": 3, "request_ids": ["r2", "r3", "r4"], **same},
    ]


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
