import asyncio
from dataclasses import replace

import pytest

from service.app.registry import Registry
from service.words.delivery import Delivery, Settlement

DELIVERY = Delivery(b'{"phoneNumber": "41793026727", "text": "hello"}', message_id="order-1")
SETTLEMENT = Settlement("order-1", identified=True, attempts=0, words={"message.accepted": 1})


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
    ],
    ids=["not redelivered", "another name", "another body", "a later attempt", "sent again by a person"],
)
async def test_anything_else_is_another_delivery(other: Delivery) -> None:
    registry = Registry(10)
    registry.enter(DELIVERY)
    assert registry.find(other) is None


async def test_two_equal_letters_are_copies_of_one() -> None:
    """No two letters of a request are alike, but a broker that crashes may hand one over twice."""
    registry = Registry(10)
    letter = replace(DELIVERY, headers={"omni-retries": 2})
    promise = registry.enter(letter)
    assert registry.find(letter) is promise
    assert registry.find(replace(letter, headers={"omni-retries": 3})) is None


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
