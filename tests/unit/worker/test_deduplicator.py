import asyncio
from dataclasses import replace

import pytest

from service.core.delivery import Delivery
from service.core.handler import Settlement
from service.worker.deduplicator import Memory, Registry
from tests.support.builder import NOW

DELIVERY = Delivery(b'{"phoneNumber": "41793026727", "text": "hello"}', message_id="order-1")
SETTLEMENT = Settlement("order-1", identified=True, attempts=0, event_counts={"message.accepted": 1})


async def test_a_redelivery_finds_what_is_running() -> None:
    registry = Registry(10)
    promise = registry.enter(DELIVERY)
    assert registry.find(replace(DELIVERY, redelivered=True)) is promise


async def test_a_redelivery_finds_what_was_done() -> None:
    """Its ack may have been lost with the connection."""
    registry = Registry(10)
    registry.keep(registry.enter(DELIVERY), SETTLEMENT)
    found = registry.find(replace(DELIVERY, redelivered=True))
    assert found is not None
    assert await found.wait() == SETTLEMENT


async def test_what_was_given_up_is_done_anew() -> None:
    registry = Registry(10)
    promise = registry.enter(DELIVERY)
    waiting = asyncio.create_task(promise.wait())
    await asyncio.sleep(0)
    registry.give_up(promise)
    assert await waiting is None
    assert registry.find(replace(DELIVERY, redelivered=True)) is None


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
    registry = Registry(10)
    registry.enter(DELIVERY)
    assert registry.find(other) is None


async def test_two_equal_letters_are_copies_of_one() -> None:
    """No two letters of a request are alike, but a broker that crashes may hand one over twice."""
    registry = Registry(10)
    dead_letter = replace(DELIVERY, headers={"omni-retries": 2})
    promise = registry.enter(dead_letter)
    assert registry.find(dead_letter) is promise
    assert registry.find(replace(dead_letter, headers={"omni-retries": 3})) is None


async def test_two_equal_replays_of_a_dead_letter_are_copies_of_one() -> None:
    """A replay that is interrupted, or two at once, publish it twice; the broker marks neither as handed out before."""
    registry = Registry(10)
    replay = replace(DELIVERY, headers={"omni-redrive-count": 1, "omni-attempt": 0})
    promise = registry.enter(replay)
    assert registry.find(replay) is promise
    assert registry.find(replace(replay, headers={**replay.headers, "omni-republished": True})) is promise
    registry.keep(promise, SETTLEMENT)
    assert registry.find(replay) is promise
    assert registry.find(replace(replay, headers={"omni-redrive-count": 2, "omni-attempt": 0})) is None


async def test_what_ended_long_ago_counts_no_more() -> None:
    """A producer may use an id again, and a redelivery of that must not be taken for the old one."""
    clock = [0.0]
    registry = Registry(10, lambda: clock[0])
    again = replace(DELIVERY, redelivered=True)
    running = registry.enter(DELIVERY)
    clock[0] = 100_000.0
    assert registry.find(again) is running
    registry.keep(running, SETTLEMENT)
    clock[0] += 3599
    assert registry.find(again) is running
    clock[0] += 1
    assert registry.find(again) is None


async def test_what_ended_again_is_remembered_as_the_latest() -> None:
    memory: Memory[str] = Memory(2)
    for key, end in ("a", "first"), ("b", "first"), ("a", "second"), ("c", "first"):
        memory.keep(memory.enter(key), end)

    found = memory.find("a")
    assert found is not None
    assert found.end == "second"
    assert memory.find("b") is None


async def test_an_end_that_does_not_last_is_for_those_who_wait() -> None:
    memory: Memory[str] = Memory(2)
    promise = memory.enter("a")
    waiting = asyncio.create_task(promise.wait())
    await asyncio.sleep(0)
    memory.tell(promise, "end")

    assert await waiting == "end"
    assert memory.find("a") is None


async def test_two_equal_requests_without_a_name_may_be_two() -> None:
    registry = Registry(10)
    nameless = replace(DELIVERY, message_id=None)
    registry.enter(nameless)
    assert registry.find(replace(nameless, redelivered=True)) is None


async def test_a_name_in_the_body_is_a_name() -> None:
    registry = Registry(10)
    named = Delivery(b'{"requestId": "r", "phoneNumber": "41793026727", "text": "hello"}')
    promise = registry.enter(named)
    assert registry.find(replace(named, redelivered=True)) is promise


async def test_of_those_that_are_done_only_so_many_are_remembered() -> None:
    registry = Registry(2)
    deliveries = [replace(DELIVERY, message_id=f"order-{number}") for number in range(5)]
    for delivery in deliveries:
        registry.keep(registry.enter(delivery), SETTLEMENT)

    found = [registry.find(replace(delivery, redelivered=True)) for delivery in deliveries]
    assert [promise is not None for promise in found] == [False, False, False, True, True]


async def test_one_that_is_running_is_remembered_however_many_pass_it_by() -> None:
    registry = Registry(2)
    slow = registry.enter(DELIVERY)
    for number in range(100):
        registry.keep(registry.enter(replace(DELIVERY, message_id=f"order-{number + 2}")), SETTLEMENT)

    assert registry.find(replace(DELIVERY, redelivered=True)) is slow


async def test_an_equal_one_that_ends_first_does_not_hide_the_other() -> None:
    registry = Registry(2)
    first, second = registry.enter(DELIVERY), registry.enter(DELIVERY)
    registry.give_up(first)

    assert registry.find(replace(DELIVERY, redelivered=True)) is second


def handed_out(times: int, **headers: object) -> Delivery:
    delivery = Delivery(b"{}", message_id="m", redelivered=times > 0)
    return replace(delivery, headers={"x-delivery-count": times, **headers}) if times else delivery


def test_a_delivery_that_was_handed_back_untouched_each_time_is_as_new_when_it_comes_again() -> None:
    registry = Registry(2)
    assert registry.is_untouched(handed_out(0))
    assert not registry.is_untouched(handed_out(1))

    registry.hand_back(handed_out(1))  # in whatever order its sessions are found to be over
    assert not registry.is_untouched(handed_out(2))
    registry.hand_back(handed_out(0))
    assert registry.is_untouched(handed_out(2))
    assert not registry.is_untouched(handed_out(3))


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
def test_one_that_another_worker_may_have_had_since_is_not(again: Delivery) -> None:
    registry = Registry(2)
    registry.hand_back(handed_out(0))

    assert not registry.is_untouched(again)


def test_a_count_in_a_first_delivery_is_a_producers_and_one_that_is_not_told_is_not_guessed() -> None:
    registry = Registry(2)
    registry.hand_back(replace(handed_out(1), headers={}))
    assert not registry.is_untouched(handed_out(1))
    assert not registry.is_untouched(replace(handed_out(1), headers={}))

    registry.hand_back(replace(handed_out(0), headers={"x-delivery-count": 7}))
    assert registry.is_untouched(handed_out(1))


def test_one_without_a_name_is_not_known_since_two_may_be_alike_and_no_more_are_kept_than_may_be() -> None:
    registry = Registry(2)
    nameless = replace(handed_out(0), message_id=None)
    registry.hand_back(nameless)
    assert not registry.is_untouched(replace(nameless, redelivered=True, headers={"x-delivery-count": 1}))

    for name in "abc":
        registry.hand_back(replace(handed_out(0), message_id=name))
    kept = [name for name in "abc" if registry.is_untouched(replace(handed_out(1), message_id=name))]
    assert kept == ["b", "c"]
