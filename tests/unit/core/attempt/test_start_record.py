from dataclasses import replace
from datetime import timedelta

import pytest

from service.core.attempt.start_record import (
    LEASE,
    MARGIN,
    STARTED,
    ClockReading,
    Holder,
    MemoryUnavailableError,
    clock_step,
    distrust_until,
    end_of_lease,
    has_ended,
    holding_worker,
    lease,
    proves_untouched,
    record_name,
    untouched,
)
from service.core.delivery import Delivery
from tests.support.builder import NOW

HOLDER = Holder("w1", 3, "run.history")
TIME = 1_000_000.25
LEASED = lease(HOLDER, ClockReading(TIME - 2, 10.0), 12.0).encode()
"""A lease that begins at `TIME`."""
RECORD = untouched(HOLDER, 0).encode()


def proves(
    record: bytes | None = RECORD,
    its_lease: bytes | None = LEASED,
    times: int = 1,
    generation: str = "run.history",
    time: float = TIME,
) -> bool:
    return proves_untouched(record, its_lease, times, generation, time)


def test_a_record_of_the_latest_holding_proves_that_a_delivery_is_untouched_while_the_lease_lasts() -> None:
    assert proves()
    assert proves(time=TIME + LEASE - 0.01)
    assert proves(untouched(HOLDER, 4).encode(), times=5)


def test_a_lease_has_ended_a_margin_after_its_time_and_one_that_is_not_there_has_ended() -> None:
    assert not has_ended(LEASED, TIME + LEASE + MARGIN - 0.01)
    assert has_ended(LEASED, TIME + LEASE + MARGIN + 0.01)
    assert all(has_ended(its_lease, TIME) for its_lease in (None, b"", b"\xff", b"3|x"))


@pytest.mark.parametrize("record", [None, b"", STARTED.encode(), b"untouched|w1|3", b"\xff", b"a|b|c|d|e"])
def test_a_memory_that_does_not_say_untouched_proves_nothing(record: bytes | None) -> None:
    assert not proves(record)
    assert holding_worker(record) is None


@pytest.mark.parametrize(
    "its_lease",
    [
        None,
        b"",
        b"3",
        b"3|run.history|x|y",
        b"3|run.history|1|y",
        lease(replace(HOLDER, connection=4), ClockReading(TIME, 10.0), 10.0).encode(),
        lease(replace(HOLDER, generation="other"), ClockReading(TIME, 10.0), 10.0).encode(),
    ],
)
def test_a_record_needs_a_lease_of_the_same_connection_and_server(its_lease: bytes | None) -> None:
    assert not proves(its_lease=its_lease)


@pytest.mark.parametrize("time", [TIME + LEASE, TIME + 1000, TIME - 2 * MARGIN, TIME - 1000])
def test_a_lease_counts_from_its_beginning_to_its_end_by_the_clock_of_the_memory(time: float) -> None:
    assert not proves(time=time)


@pytest.mark.parametrize("times", [0, 2, 3])
def test_a_record_of_another_holding_proves_nothing(times: int) -> None:
    assert not proves(times=times)


def test_another_server_than_the_one_that_was_written_to_proves_nothing() -> None:
    assert not proves(generation="run.other")


def test_the_worker_of_a_record_is_known() -> None:
    assert holding_worker(RECORD) == "w1"


def test_a_worker_that_cannot_reach_the_memory_posts_after_its_lease_has_ended_there() -> None:
    """The answer that it computes from was on its way for half a second."""
    reading, sent = ClockReading(TIME, 10.5), 11.0
    own = lease(HOLDER, reading, sent).encode()
    memory_time_then = TIME + (end_of_lease(sent) - 10.0)
    assert not proves(its_lease=own, time=memory_time_then)
    assert proves(its_lease=own, time=TIME + 1.0)


def test_only_a_clock_that_is_set_back_is_a_step() -> None:
    before = ClockReading(TIME, 10.0)
    assert clock_step(before, ClockReading(TIME - 20, 15.0)) == 25
    assert clock_step(before, ClockReading(TIME + 5, 15.0)) == 0
    assert clock_step(before, ClockReading(TIME + 60, 15.0)) == 0
    assert clock_step(before, ClockReading(TIME + 5 - MARGIN, 15.0)) == 0
    assert distrust_until(25, 15.0) >= 15 + 25 + LEASE


def test_a_record_has_the_same_name_when_its_delivery_is_redelivered() -> None:
    delivery = Delivery(b"body", message_id="r", timestamp=NOW)
    again = replace(delivery, redelivered=True, headers={"x-delivery-count": 1})
    assert record_name(again) == record_name(delivery)
    others = (
        replace(delivery, body=b"other"),
        replace(delivery, message_id="s"),
        replace(delivery, timestamp=NOW + timedelta(seconds=1)),
        replace(delivery, timestamp=None),
        replace(delivery, headers={"omni-retries": 1}),
        replace(delivery, reply_to="\ud800"),
    )
    assert len({record_name(one) for one in (delivery, *others)}) == len(others) + 1
    assert "body" not in record_name(delivery)


def test_a_failure_of_the_memory_is_named_by_its_cause() -> None:
    error = MemoryUnavailableError("untrusted_certificate", "unknown authority")
    assert (str(error), error.cause, error.detail) == ("untrusted_certificate", error.cause, "unknown authority")
