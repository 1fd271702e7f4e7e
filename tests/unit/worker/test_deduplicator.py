import asyncio
from dataclasses import replace

import pytest

from service.core.delivery import Delivery
from service.core.handler import Settlement
from service.worker.deduplicator import Deduplicator, DeliveryDeduplicator
from tests.support.builder import NOW
from tests.support.loop import loop_time

DELIVERY = Delivery(b'{"phoneNumber": "41793026727", "text": "hello"}', message_id="order-1")
SETTLEMENT = Settlement("order-1", identified=True, attempts=0, event_counts={"message.accepted": 1})


async def test_a_redelivery_finds_the_one_in_flight() -> None:
    deduplicator = DeliveryDeduplicator(10, loop_time)
    entry = deduplicator.enter(DELIVERY)
    assert deduplicator.find(replace(DELIVERY, redelivered=True)) is entry


async def test_a_redelivery_finds_the_result() -> None:
    """Its ack may have been lost with the connection."""
    deduplicator = DeliveryDeduplicator(10, loop_time)
    deduplicator.end(deduplicator.enter(DELIVERY), SETTLEMENT)
    found = deduplicator.find(replace(DELIVERY, redelivered=True))
    assert found is not None
    assert await found.wait() == SETTLEMENT


async def test_a_duplicate_of_a_delivery_that_was_given_up_starts_over() -> None:
    deduplicator = DeliveryDeduplicator(10, loop_time)
    entry = deduplicator.enter(DELIVERY)
    waiting = asyncio.create_task(entry.wait())
    await asyncio.sleep(0)
    deduplicator.end(entry, None)
    assert await waiting is None
    assert deduplicator.find(replace(DELIVERY, redelivered=True)) is None


@pytest.mark.parametrize(
    "other",
    [
        DELIVERY,
        replace(DELIVERY, redelivered=True, message_id="order-2"),
        replace(DELIVERY, redelivered=True, body=b"{}"),
        replace(DELIVERY, redelivered=True, headers={"omni-attempt": 1}),
        replace(DELIVERY, redelivered=True, headers={"omni-redrive-count": 1}),
        replace(DELIVERY, redelivered=True, timestamp=NOW),
        replace(DELIVERY, redelivered=True, correlation_id="another"),
        replace(DELIVERY, redelivered=True, reply_to="another"),
        replace(DELIVERY, redelivered=True, content_type="application/xml"),
        replace(DELIVERY, redelivered=True, content_encoding="gzip"),
    ],
    ids=[
        "not redelivered",
        "another name",
        "another body",
        "a later attempt",
        "sent again by a person",
        "published at another time",
        "of another conversation",
        "with another reply queue",
        "of another type",
        "of another encoding",
    ],
)
async def test_anything_else_is_another_delivery(other: Delivery) -> None:
    deduplicator = DeliveryDeduplicator(10, loop_time)
    deduplicator.enter(DELIVERY)
    assert deduplicator.find(other) is None


async def test_two_equal_retry_messages_are_duplicates() -> None:
    """No two retry messages of a request are equal, but a broker that crashes may deliver one twice."""
    deduplicator = DeliveryDeduplicator(10, loop_time)
    retry = replace(DELIVERY, headers={"omni-retries": 2})
    entry = deduplicator.enter(retry)
    assert deduplicator.find(retry) is entry
    assert deduplicator.find(replace(retry, headers={"omni-retries": 3})) is None


async def test_two_equal_replays_of_a_dead_letter_are_duplicates() -> None:
    """A replay that is interrupted, or two at once, publish it twice; the broker marks neither as handed out before."""
    deduplicator = DeliveryDeduplicator(10, loop_time)
    replay = replace(DELIVERY, headers={"omni-redrive-count": 1, "omni-attempt": 0})
    entry = deduplicator.enter(replay)
    assert deduplicator.find(replay) is entry
    assert deduplicator.find(replace(replay, headers={**replay.headers, "omni-republished": True})) is entry
    deduplicator.end(entry, SETTLEMENT)
    assert deduplicator.find(replay) is entry
    assert deduplicator.find(replace(replay, headers={"omni-redrive-count": 2, "omni-attempt": 0})) is None


async def test_a_result_of_long_ago_does_not_count() -> None:
    """A producer may use an id again, and a redelivery of that must not be taken for the old one."""
    clock = [0.0]
    deduplicator = DeliveryDeduplicator(10, lambda: clock[0])
    again = replace(DELIVERY, redelivered=True)
    running = deduplicator.enter(DELIVERY)
    clock[0] = 100_000.0
    assert deduplicator.find(again) is running
    deduplicator.end(running, SETTLEMENT)
    clock[0] += 3599
    assert deduplicator.find(again) is running
    clock[0] += 1
    assert deduplicator.find(again) is None


async def test_the_latest_result_of_a_key_is_kept() -> None:
    deduplicator: Deduplicator[str, str] = Deduplicator(2, loop_time, str)
    for key, result in ("a", "first"), ("b", "first"), ("a", "second"), ("c", "first"):
        deduplicator.end(deduplicator.enter(key), result)

    found = deduplicator.find("a")
    assert found is not None
    assert found.result == "second"
    assert deduplicator.find("b") is None


async def test_a_shared_result_is_for_those_that_wait_only() -> None:
    deduplicator: Deduplicator[str, str] = Deduplicator(2, loop_time, str)
    entry = deduplicator.enter("a")
    waiting = asyncio.create_task(entry.wait())
    await asyncio.sleep(0)
    deduplicator.end(entry, "end", is_kept=False)

    assert await waiting == "end"
    assert deduplicator.find("a") is None


async def test_two_equal_requests_without_a_name_may_be_two() -> None:
    deduplicator = DeliveryDeduplicator(10, loop_time)
    nameless = replace(DELIVERY, message_id=None)
    deduplicator.enter(nameless)
    assert deduplicator.find(replace(nameless, redelivered=True)) is None


async def test_a_name_in_the_body_is_a_name() -> None:
    deduplicator = DeliveryDeduplicator(10, loop_time)
    named = Delivery(b'{"requestId": "r", "phoneNumber": "41793026727", "text": "hello"}')
    entry = deduplicator.enter(named)
    assert deduplicator.find(replace(named, redelivered=True)) is entry


async def test_only_so_many_results_are_kept() -> None:
    deduplicator = DeliveryDeduplicator(2, lambda: 0.0)
    deliveries = [replace(DELIVERY, message_id=f"order-{number}") for number in range(5)]
    for delivery in deliveries:
        deduplicator.end(deduplicator.enter(delivery), SETTLEMENT)

    found = [deduplicator.find(replace(delivery, redelivered=True)) for delivery in deliveries]
    assert [entry is not None for entry in found] == [False, False, False, True, True]


async def test_a_delivery_in_flight_is_never_evicted() -> None:
    deduplicator = DeliveryDeduplicator(2, lambda: 0.0)
    slow = deduplicator.enter(DELIVERY)
    for number in range(100):
        deduplicator.end(deduplicator.enter(replace(DELIVERY, message_id=f"order-{number + 2}")), SETTLEMENT)

    assert deduplicator.find(replace(DELIVERY, redelivered=True)) is slow


async def test_an_equal_one_that_ends_first_does_not_hide_the_other() -> None:
    deduplicator = DeliveryDeduplicator(2, lambda: 0.0)
    first, second = deduplicator.enter(DELIVERY), deduplicator.enter(DELIVERY)
    deduplicator.end(first, None)

    assert deduplicator.find(replace(DELIVERY, redelivered=True)) is second


def handed_out(times: int, **headers: object) -> Delivery:
    delivery = Delivery(b"{}", message_id="m", redelivered=times > 0)
    return replace(delivery, headers={"x-delivery-count": times, **headers}) if times else delivery


def test_a_delivery_that_was_untouched_each_time_is_as_new_when_it_is_redelivered() -> None:
    deduplicator = DeliveryDeduplicator(2, lambda: 0.0)
    assert deduplicator.is_untouched(handed_out(0))
    assert not deduplicator.is_untouched(handed_out(1))

    deduplicator.note_untouched(handed_out(1))  # in whatever order its sessions are found to be over
    assert not deduplicator.is_untouched(handed_out(2))
    deduplicator.note_untouched(handed_out(0))
    assert deduplicator.is_untouched(handed_out(2))
    assert not deduplicator.is_untouched(handed_out(3))


@pytest.mark.parametrize(
    "again",
    [
        handed_out(2),
        handed_out(1, **{"x-acquired-count": 2}),
        replace(handed_out(1), headers={}),
        replace(handed_out(1), headers={"x-delivery-count": "1"}),
        replace(handed_out(1), body=b"{ }"),
        replace(handed_out(1), message_id="other"),
    ],
)
def test_a_delivery_that_another_worker_may_have_had_is_not_untouched(again: Delivery) -> None:
    deduplicator = DeliveryDeduplicator(2, lambda: 0.0)
    deduplicator.note_untouched(handed_out(0))

    assert not deduplicator.is_untouched(again)


def test_a_count_in_a_first_delivery_is_ignored_and_a_missing_count_is_not_guessed() -> None:
    deduplicator = DeliveryDeduplicator(2, lambda: 0.0)
    deduplicator.note_untouched(replace(handed_out(1), headers={}))
    assert not deduplicator.is_untouched(handed_out(1))
    assert not deduplicator.is_untouched(replace(handed_out(1), headers={}))

    deduplicator.note_untouched(replace(handed_out(0), headers={"x-delivery-count": 7}))
    assert deduplicator.is_untouched(handed_out(1))


def test_a_delivery_without_a_name_is_never_untouched_and_only_so_many_are_remembered() -> None:
    deduplicator = DeliveryDeduplicator(2, lambda: 0.0)
    nameless = replace(handed_out(0), message_id=None)
    deduplicator.note_untouched(nameless)
    assert not deduplicator.is_untouched(replace(nameless, redelivered=True, headers={"x-delivery-count": 1}))

    for name in "abc":
        deduplicator.note_untouched(replace(handed_out(0), message_id=name))
    kept = [name for name in "abc" if deduplicator.is_untouched(replace(handed_out(1), message_id=name))]
    assert kept == ["b", "c"]
