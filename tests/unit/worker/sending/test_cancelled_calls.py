"""An order to cancel reaches a call wherever it waits, and never one that is being written."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from service.core.attempt.call import OmniCall, merge
from service.core.attempt.cancellation import Named, Order, write_list
from service.core.attempt.outcome import CANCELLED, NOT_SENT, Accepted, Outcome, Rejected
from service.core.attempt.start_record import ClockReading
from service.core.delivery import DeliveryLostError, Ownership
from service.core.request.request import SendRequest
from service.core.topology import URGENT
from service.worker.cancellation import Cancellations
from tests.support.builder import a_request
from tests.support.loop import loop_time, settled
from tests.unit.worker.sending.test_chain import Broker, World, call_about


class Cancelling(World):
    """A chain that knows orders."""

    def __init__(
        self,
        answer: Callable[[OmniCall], Outcome] | None = None,
        most: int | None = 100,
        rate: float | None = None,
    ) -> None:
        self.orders = Cancellations(loop_time)
        super().__init__(answer, most, rate, self.orders)

    def cancel(self, *names: str) -> None:
        """Order to cancel requests."""
        orders = Named(request_ids=names).orders()
        text = write_list({name: Order(loop_time(), loop_time() + 1e6) for name in orders}, f"{len(names):016}")
        self.orders.read(text.encode(), ClockReading(loop_time(), loop_time()))

    def call(self, name: str, /, **fields: object) -> "asyncio.Task[Outcome]":
        return super().call(name, **{"request": request_of(name), **fields})


def request_of(name: str) -> SendRequest:
    call = call_about(name)
    return replace(a_request(*call.messages), request_id=name)


async def test_a_cancelled_call_uses_neither_a_slot_nor_the_rate_nor_waits_for_the_end_of_a_pause() -> None:
    world = Cancelling(rate=1)
    world.cancel("a", "b", "c")
    world.turn("open")()
    assert [await world.call(name) for name in "abc"] == [CANCELLED] * 3
    assert world.posted == []
    world.turn("closed")()
    world.go.set()
    began = loop_time()
    assert isinstance(await world.call("d"), Accepted)
    assert loop_time() - began < 0.5


async def test_an_order_reaches_calls_that_wait_for_the_end_of_a_pause() -> None:
    world = Cancelling()
    world.turn("open")()
    calls = [world.call(name) for name in "ab"]
    await settled()
    world.cancel("a")
    await settled()
    assert [call.done() and call.result() for call in calls] == [CANCELLED, False]
    world.go.set()
    await world.close_breaker()
    assert isinstance(await calls[1], Accepted)
    assert world.posted == [["b"]]


@pytest.mark.parametrize("most", [None, 100, 2])
@pytest.mark.parametrize("fields", [{}, {"attempt": 2}, {"lane": URGENT}])
async def test_an_order_reaches_calls_that_wait_for_a_slot_and_leaves_those_in_flight(
    most: int | None, fields: dict[str, Any]
) -> None:
    world = Cancelling(most=most)
    first = world.call("first")
    await settled()
    calls = [world.call(name, **fields) for name in "abcd"]
    await settled()
    world.cancel("first", "a", "d")
    await settled()
    assert [call.done() and call.result() for call in calls] == [CANCELLED, False, False, CANCELLED]
    world.go.set()
    assert isinstance(await first, Accepted)
    assert {type(await call) for call in calls[1:3]} == {Accepted}
    assert sorted(name for names in world.posted for name in names) == ["b", "c", "first"]


async def test_an_order_reaches_calls_that_wait_for_the_rate() -> None:
    world = Cancelling(most=None, rate=0.1)
    world.go.set()
    await world.call("first")
    calls = [world.call(name) for name in "abc"]
    await settled()
    world.cancel("a", "b")
    await settled()
    assert [call.done() for call in calls] == [True, True, False]
    assert world.limiter.waiting <= 1
    began = loop_time()
    assert isinstance(await calls[2], Accepted)
    assert loop_time() - began < 11


async def test_an_order_is_asked_about_before_the_bytes_are_written() -> None:
    """It comes while a batch has its slot and a connection is opened."""
    world = Cancelling()
    world.go.set()
    world.before_writing.append(lambda: world.cancel("a"))
    calls = [world.call(name) for name in "abc"]
    assert await calls[0] is CANCELLED
    assert {type(await call) for call in calls[1:]} == {Accepted}
    assert sorted(name for names in world.posted for name in names) == ["b", "c"]


async def test_a_group_is_not_sent_if_a_member_is_cancelled() -> None:
    world = Cancelling()
    world.go.set()
    world.cancel("a")
    members = [replace(call_about(name), request=request_of(name)) for name in "ab"]
    assert await world.send(merge(members)) is NOT_SENT
    assert world.posted == []


async def test_an_order_reaches_the_halves_of_a_batch_that_is_rejected() -> None:
    def answer(call: OmniCall) -> Outcome:
        world.cancel("c", "d")
        names = {message.message_id for message in call.messages}
        return Rejected("http_400", "x") if "a" in names else Accepted({})

    world = Cancelling(answer)
    world.go.set()
    calls = [world.call(name) for name in "abcd"]
    outcomes = [await call for call in calls]
    assert [type(outcome) for outcome in outcomes[:2]] == [Rejected, Accepted]
    assert outcomes[2:] == [CANCELLED, CANCELLED]
    assert world.posted == [["a", "b", "c", "d"], ["a", "b"], ["a"], ["b"]]


async def test_a_delivery_that_another_worker_may_have_is_not_called_cancelled() -> None:
    world = Cancelling()
    world.cancel("a")
    with pytest.raises(DeliveryLostError):
        await world.call("a", ownership=world.owned(Broker(lives=False), last_read_at=0.0))

    class Lost(Ownership):
        async def confirm(self) -> bool:
            return False

    world = Cancelling()
    world.turn("open")()
    call = world.call("a", ownership=Lost())
    await settled()
    world.cancel("a")
    with pytest.raises(DeliveryLostError):
        await call


async def test_large_calls_that_wait_for_another_one_are_dropped_too() -> None:
    world = Cancelling(most=None, rate=100)
    large = tuple(message for name in range(60) for message in call_about(f"m-{name}").messages)
    calls = [world.call(name, messages=large) for name in "abcd"]
    await settled()
    world.cancel("b", "c", "d")
    await settled()
    assert [call.done() and call.result() for call in calls] == [False, CANCELLED, CANCELLED, CANCELLED]
    world.go.set()
    assert isinstance(await calls[0], Accepted)


async def test_a_batch_of_which_every_member_is_cancelled_does_not_wait_for_a_slot() -> None:
    world = Cancelling()
    first = world.call("first")
    await settled()
    tasks = asyncio.all_tasks()
    calls = [world.call(name) for name in "ab"]
    await settled()
    world.cancel("a", "b")
    await settled()
    assert asyncio.all_tasks() == tasks
    assert [await call for call in calls] == [CANCELLED, CANCELLED]
    world.go.set()
    await first
    assert world.posted == [["first"]]


async def test_a_waiting_call_that_is_dropped_and_then_given_up_keeps_the_limiter_whole() -> None:
    world = Cancelling(most=None)
    first = world.call("first")
    await settled()
    second = world.call("a")
    await settled()
    world.cancel("a")
    second.cancel()
    await settled()
    world.go.set()
    await first
    assert isinstance(await world.call("b"), Accepted)
    assert world.limiter._in_flight == 0  # noqa: SLF001 - a slot too few or too many would show only under load
