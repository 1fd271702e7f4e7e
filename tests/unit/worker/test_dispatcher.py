import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import pytest
from aiormq.abc import AbstractChannel

from service.adapters.metrics import Metrics
from service.adapters.rabbitmq import Acknowledger
from service.adapters.rabbitmq.lifetime import ConnectionLifetime
from service.core.attempt.call import OmniCall
from service.core.attempt.lookup import LookupPurpose, LookupResult
from service.core.attempt.outcome import Accepted, Outcome
from service.core.attempt.retry import Policy, RetryPolicy
from service.core.delivery import Delivery, Publication
from service.core.handler import Effects, Handler, Job, Settlement
from service.core.history import History
from service.core.omni.content import Content
from service.core.request.request import Parsed
from service.worker.custody import SESSION, HandedBackError
from service.worker.dispatcher import Dispatcher
from tests.support.builder import NOW, a_body, a_delivery, a_destination, a_status

DELIVERY = Delivery(b'{"phoneNumber": "41793026727", "text": "hello"}', message_id="order-1")


class Faked(Handler):
    """A handler that does as it is told."""

    def __init__(self, handle: Callable[[Delivery], Awaitable[Settlement]]) -> None:
        super().__init__(cast("Effects", None), cast("Policy", None))
        self._handle = handle

    def read(self, delivery: Delivery) -> Job:
        return Job(delivery, History(NOW), Parsed("r", identified=True))

    async def handle(self, job: Job) -> Settlement:
        return await self._handle(job.delivery)


def a_dispatcher(handle: Callable[[Delivery], Awaitable[Settlement]], metrics: Metrics | None = None) -> Dispatcher:
    return dispatcher_with(Faked(handle), None, metrics)


def dispatcher_with(handler: Handler, most: int | None, metrics: Metrics | None = None) -> Dispatcher:
    return Dispatcher(handler, metrics or Metrics(), prefetch=10, most=most)


def receive(
    dispatcher: Dispatcher, delivery: Delivery, channel: "Channel", tag: int, life: ConnectionLifetime | None = None
) -> None:
    """Hand in a delivery, as the broker does."""
    dispatcher.receive(delivery, Acknowledger(cast("AbstractChannel", channel), tag, life or ConnectionLifetime()))


async def drained(dispatcher: Dispatcher) -> None:
    await dispatcher.drain(asyncio.get_running_loop().time() + 5, asyncio.Event())


@dataclass
class Channel:
    """The two answers a delivery may get."""

    said: list[str] = field(default_factory=list)

    async def basic_ack(self, tag: int) -> None:
        self.said.append(f"ack {tag}")

    async def queue_declare(self, queue: str, *, passive: bool) -> None:
        assert (queue, passive) == ("omni.requests", True)

    async def basic_nack(self, tag: int, *, requeue: bool) -> None:
        self.said.append(f"nack {tag} requeue={requeue}")


async def test_while_the_consumer_is_cancelled_nothing_is_settled() -> None:
    """An ack makes the broker send another delivery, which would be on its way to a consumer that is gone."""
    channel, cancelled, broken = Channel(), asyncio.Event(), {"broken"}

    async def handle(delivery: Delivery) -> Settlement:
        if delivery.message_id in broken:
            raise ValueError("a defect")
        return Settlement("order-1", identified=True, attempts=0, event_counts={})

    async def cancel() -> None:
        assert dispatcher.in_flight == 3  # it is waited until no more arrive
        await cancelled.wait()

    dispatcher = a_dispatcher(handle)
    stopping = asyncio.create_task(dispatcher.settle_later(cancel(), lambda: dispatcher.in_flight))
    await asyncio.sleep(0)
    for tag, name in enumerate(["order-1", "order-2", "broken"], 1):
        receive(dispatcher, replace(DELIVERY, message_id=name), channel, tag)
        await asyncio.sleep(0.06)
    await asyncio.sleep(0.3)
    assert channel.said == []
    assert not stopping.done()

    cancelled.set()
    await stopping
    await drained(dispatcher)
    assert sorted(channel.said) == ["ack 1", "ack 2", "nack 3 requeue=False"]


async def test_a_steady_flow_of_deliveries_does_not_hold_up_a_stop_for_long() -> None:
    channel, more = Channel(), True

    async def handle(_: Delivery) -> Settlement:
        return Settlement("order-1", identified=True, attempts=0, event_counts={})

    async def flow() -> None:
        tag = 0
        while more:
            tag += 1
            receive(dispatcher, replace(DELIVERY, message_id=f"order-{tag}"), channel, tag)
            await asyncio.sleep(0.02)

    dispatcher = a_dispatcher(handle)
    flowing = asyncio.create_task(flow())
    async with asyncio.timeout(3):
        await dispatcher.settle_later(asyncio.sleep(0), lambda: dispatcher.in_flight)
    more = False
    await flowing
    await drained(dispatcher)
    assert len(channel.said) >= 10


async def test_a_redelivery_that_joined_a_defect_is_settled_as_it_is() -> None:
    """Left unsettled, it would hold a place of the prefetch for as long as the connection lasts."""
    go, channel, calls = asyncio.Event(), Channel(), []

    async def handle(delivery: Delivery) -> Settlement:
        calls.append(delivery)
        await go.wait()
        raise ValueError("a defect")

    dispatcher = a_dispatcher(handle)
    for tag, delivery in enumerate([DELIVERY, replace(DELIVERY, redelivered=True)], 1):
        receive(dispatcher, delivery, channel, tag)
        await asyncio.sleep(0)
    go.set()
    await drained(dispatcher)

    assert len(calls) == 1
    assert channel.said == ["nack 1 requeue=False", "nack 2 requeue=False"]


async def test_what_was_not_posted_when_the_session_went_is_let_go_and_done_anew_when_it_comes_again() -> None:
    """By then another worker may have it, so it is not posted on the old ground."""
    life, go, channel, posted = ConnectionLifetime(), asyncio.Event(), Channel(), []

    async def handle(delivery: Delivery) -> Settlement:
        await go.wait()
        session = SESSION.get()
        if session is not None and session.broken.is_set():
            raise HandedBackError
        posted.append(delivery)
        return Settlement("order-1", identified=True, attempts=0, event_counts={})

    dispatcher = a_dispatcher(handle)
    receive(dispatcher, DELIVERY, channel, 1, life)
    await asyncio.sleep(0)
    life.set()
    again = replace(DELIVERY, redelivered=True)
    receive(dispatcher, again, channel, 2)
    await asyncio.sleep(0)
    go.set()
    await drained(dispatcher)

    assert posted == [again]
    assert channel.said == ["ack 2"]


async def test_what_was_handed_out_often_is_served_alone_and_by_turns() -> None:
    """So a killer takes nobody with it who has gone before, and those before it change from life to life."""
    running, most, served = 0, 0, []

    async def handle(delivery: Delivery) -> Settlement:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        served.append(delivery.message_id)
        return Settlement(str(delivery.message_id), identified=True, attempts=0, event_counts={})

    orders, channel = [], Channel()
    for count in (2, 3, 4):
        served.clear()
        dispatcher, channel = a_dispatcher(handle), Channel()
        for number in range(8):
            suspect = replace(DELIVERY, message_id=f"m-{number}", redelivered=True, headers={"x-delivery-count": count})
            receive(dispatcher, suspect, channel, number)
        await drained(dispatcher)
        orders.append(tuple(served))

    assert most == 1
    assert len(channel.said) == 8
    assert len(set(orders)) == 3


async def test_how_old_what_was_accepted_is_and_how_doubts_end_is_counted() -> None:
    async def handle(_: Delivery) -> Settlement:
        accepted = {"message.accepted": 1} if served else {}
        served.append(1)
        return Settlement("order-1", identified=True, attempts=0, event_counts=accepted, resolution="found", age=3)

    served: list[int] = []
    metrics = Metrics()
    dispatcher = a_dispatcher(handle, metrics)
    for number in range(2):
        receive(dispatcher, replace(DELIVERY, message_id=f"m-{number}"), Channel(), number)
    await drained(dispatcher)

    assert value(metrics, "omni_relay_ambiguous_attempts_total", resolution="found") == 2
    assert value(metrics, "omni_relay_acceptance_seconds_count") == 1
    assert value(metrics, "omni_relay_acceptance_seconds_sum") == 3


async def test_what_was_handed_out_once_more_is_served_with_all_others() -> None:
    go, served = asyncio.Event(), []

    async def handle(delivery: Delivery) -> Settlement:
        served.append(delivery.message_id)
        await go.wait()
        return Settlement(str(delivery.message_id), identified=True, attempts=0, event_counts={})

    dispatcher = a_dispatcher(handle)
    for number in range(5):
        again = replace(DELIVERY, message_id=f"m-{number}", redelivered=True, headers={"x-delivery-count": 1})
        receive(dispatcher, again, Channel(), number)
    await asyncio.sleep(0)
    assert len(served) == 5
    go.set()
    await drained(dispatcher)


@dataclass
class World:
    """OMNI, which answers when told to, and a broker that confirms."""

    attempts: list[list[str]] = field(default_factory=list)
    published: list[int] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    fault: BaseException | None = None
    metrics: Metrics = field(default_factory=Metrics)

    def dispatcher(self, most: int | None = 100) -> Dispatcher:
        """Make one that works with them."""
        return dispatcher_with(Handler(self.effects(), Policy(RetryPolicy())), most, self.metrics)

    def effects(self) -> Effects:
        """Bind them."""
        return Effects(self._attempt, self._look, self._publish, lambda: NOW, lambda: 0.5, lambda: "made-up")

    async def _attempt(self, calls: Sequence[OmniCall]) -> Sequence[Outcome]:
        self.attempts.append([message.message_id for call in calls for message in call.messages])
        await self.go.wait()
        if self.fault is not None:
            raise self.fault
        return [Accepted({message.message_id: a_status() for message in call.messages}) for call in calls]

    async def _look(self, _: tuple[str, ...], __: LookupPurpose) -> LookupResult:
        raise AssertionError

    async def _publish(self, publications: tuple[Publication, ...]) -> None:
        self.published.append(len(publications))


def a_request(name: str, text: str = "Hello") -> Delivery:
    body = a_body(requestId=name, sms={"text": text}, destinations=[a_destination(message_id=name)])
    return replace(a_delivery(body), message_id=name)


async def test_what_comes_in_one_read_and_may_be_one_call_is_and_each_is_settled_by_itself() -> None:
    world, channel, life = World(), Channel(), ConnectionLifetime()
    dispatcher = world.dispatcher()
    for tag, delivery in enumerate([a_request("a"), a_request("b"), a_request("c", "Bye"), a_delivery({})]):
        receive(dispatcher, delivery, channel, tag, life)
    world.go.set()
    await drained(dispatcher)

    assert sorted(world.attempts) == [["a", "b"], ["c"]]
    assert sorted(world.published) == [1, 1, 2]
    assert sorted(channel.said) == ["ack 0", "ack 1", "ack 2", "ack 3"]
    assert value(world.metrics, "omni_relay_deliveries_total", settlement="acked") == 4
    assert value(world.metrics, "omni_relay_deliveries_in_flight") == 0


async def test_what_comes_later_or_is_not_to_be_merged_is_served_by_itself() -> None:
    world, channel, life = World(), Channel(), ConnectionLifetime()
    dispatcher = world.dispatcher()
    for name in "ab":
        receive(dispatcher, a_request(name), channel, 1, life)
        await asyncio.sleep(0)
    merging_none = world.dispatcher(None)
    for name in "cd":
        receive(merging_none, a_request(name), channel, 1, life)
    world.go.set()
    await drained(dispatcher)
    await drained(merging_none)

    assert sorted(world.attempts) == [["a"], ["b"], ["c"], ["d"]]


async def test_what_came_over_two_sessions_is_not_one() -> None:
    """One of them may be over, and what came over it no longer ours."""
    world = World()
    dispatcher = world.dispatcher()
    for name in "ab":
        receive(dispatcher, a_request(name), Channel(), 1, ConnectionLifetime())
    world.go.set()
    await drained(dispatcher)

    assert sorted(world.attempts) == [["a"], ["b"]]


async def test_one_that_is_handed_out_again_takes_over_what_was_done_about_it_among_others() -> None:
    world, old, new, life = World(), Channel(), Channel(), ConnectionLifetime()
    dispatcher = world.dispatcher()
    for tag, name in enumerate("ab"):
        receive(dispatcher, a_request(name), old, tag, life)
    await asyncio.sleep(0.01)
    receive(dispatcher, replace(a_request("b"), redelivered=True), new, 7)
    await asyncio.sleep(0.01)
    world.go.set()
    await drained(dispatcher)

    assert world.attempts == [["a", "b"]]
    assert (old.said, new.said) == (["ack 0", "ack 1"], ["ack 7"])


@pytest.mark.parametrize(
    ("fault", "settled", "said"),
    [
        (ValueError("a defect"), "dead_lettered", ["nack 0 requeue=False", "nack 1 requeue=False"]),
        (HandedBackError(), "lost", []),
        (asyncio.CancelledError(), "abandoned", []),
    ],
)
async def test_how_one_call_of_several_ends_without_an_outcome(
    fault: BaseException, settled: str, said: list[str]
) -> None:
    world, channel, life = World(fault=fault), Channel(), ConnectionLifetime()
    dispatcher = world.dispatcher()
    for tag, name in enumerate("ab"):
        receive(dispatcher, a_request(name), channel, tag, life)
    await asyncio.sleep(0.01)
    world.go.set()
    await drained(dispatcher)

    assert channel.said == said
    assert value(world.metrics, "omni_relay_deliveries_total", settlement=settled) == 2
    assert value(world.metrics, "omni_relay_deliveries_in_flight") == 0
    world.fault = None
    receive(dispatcher, replace(a_request("a"), redelivered=True), channel, 3)
    await drained(dispatcher)
    assert channel.said[len(said) :] == (["nack 3 requeue=False"] if said else ["ack 3"])


async def test_a_defect_in_putting_together_leaves_nobody_unserved() -> None:
    class Defective(Content):
        def to_json(self) -> bytes:
            raise ValueError("a defect")

    class Other(Handler):
        def only_call(self, job: Job) -> OmniCall | None:
            call = super().only_call(job)
            return replace(call, content=Defective(), written=None) if call and call.request_id == "a" else call

    world, channel, life = World(), Channel(), ConnectionLifetime()
    effects = world.effects()
    dispatcher = dispatcher_with(Other(effects, Policy(RetryPolicy())), 100)
    for tag, name in enumerate("abc"):
        receive(dispatcher, a_request(name), channel, tag, life)
    world.go.set()
    await drained(dispatcher)

    assert sorted(world.attempts) == [["a"], ["b"], ["c"]]
    assert sorted(channel.said) == ["ack 0", "ack 1", "ack 2"]


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)
