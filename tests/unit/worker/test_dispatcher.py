import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import cast

import pytest
from aiormq.abc import AbstractChannel

from service.adapters.metrics import Metrics
from service.adapters.rabbitmq import Acknowledger
from service.adapters.rabbitmq.lifetime import ConnectionLifetime
from service.core.attempt.call import OmniCall
from service.core.attempt.lookup import LookupResult
from service.core.attempt.outcome import REFUSED_TOGETHER, Accepted, Outcome
from service.core.attempt.retry import Policy, RetryPolicy
from service.core.delivery import ALWAYS_OURS, Delivery, DeliveryLostError, Ownership, Publication
from service.core.handler import Effects, Handler, Job, Settlement
from service.core.history import History, LookupPurpose
from service.core.omni.content import Content
from service.core.request.request import Parsed
from service.core.topology import Lane
from service.worker.deduplicator import DeliveryDeduplicator
from service.worker.dispatcher import Dispatcher
from service.worker.memory import SharedMemory
from service.worker.ownership import SessionCheck
from service.worker.telemetry import Telemetry
from tests.support.builder import NO_EFFECTS, NOW, a_body, a_delivery, a_destination, a_status
from tests.support.loop import loop_time, settled

DELIVERY = Delivery(b'{"phoneNumber": "41793026727", "text": "hello"}', message_id="order-1")


class Faked(Handler):
    """A handler that does what the test says."""

    def __init__(self, handle: Callable[[Job], Awaitable[Settlement]]) -> None:
        super().__init__(NO_EFFECTS, Policy(RetryPolicy()))
        self._handle = handle

    def read(self, delivery: Delivery, ownership: Ownership = ALWAYS_OURS) -> Job:
        return Job(delivery, History(NOW), Parsed("r", identified=True), ownership)

    async def handle(self, job: Job) -> Settlement:
        return await self._handle(job)


def a_dispatcher(
    handle: Callable[[Delivery], Awaitable[Settlement]] | Handler,
    metrics: Metrics | None = None,
    most: int | None = 1000,
    memory: SharedMemory | None = None,
) -> Dispatcher:
    handler = handle if isinstance(handle, Handler) else Faked(lambda job: handle(job.delivery))
    telemetry = Telemetry(metrics or Metrics(), lambda: NOW, loop_time)
    deduplicator = DeliveryDeduplicator(30, loop_time)
    return Dispatcher(handler, telemetry, SessionCheck(loop_time), deduplicator, most=most, memory=memory)


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

    settled_as: list[str] = field(default_factory=list)

    async def basic_ack(self, tag: int) -> None:
        self.settled_as.append(f"ack {tag}")

    async def queue_declare(self, queue: str, *, passive: bool) -> None:
        assert (queue, passive) == ("omni.requests", True)

    async def basic_nack(self, tag: int, *, requeue: bool) -> None:
        self.settled_as.append(f"nack {tag} requeue={requeue}")


class Forgetful(SharedMemory):
    """A memory with a defect."""

    def __init__(self) -> None:
        pass

    def note(self, job: Job, *, redelivered: bool) -> None:
        if job.delivery.message_id == "broken" and not redelivered:
            raise ValueError("a defect")


async def test_a_delivery_that_cannot_be_noted_in_the_memory_is_a_dead_letter_and_not_sent() -> None:
    channel, handled = Channel(), list[str | None]()

    async def handle(delivery: Delivery) -> Settlement:
        handled.append(delivery.message_id)
        return Settlement("order-1", identified=True, attempts=0, event_counts={})

    dispatcher = a_dispatcher(handle, memory=Forgetful())
    for tag, name in enumerate(["order-1", "broken", "order-2"], 1):
        receive(dispatcher, replace(DELIVERY, message_id=name), channel, tag)
    await drained(dispatcher)
    assert handled == ["order-1", "order-2"]
    assert sorted(channel.settled_as) == ["ack 1", "ack 3", "nack 2 requeue=False"]


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
    assert channel.settled_as == []
    assert not stopping.done()

    cancelled.set()
    await stopping
    await drained(dispatcher)
    assert sorted(channel.settled_as) == ["ack 1", "ack 2", "nack 3 requeue=False"]


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
    assert len(channel.settled_as) >= 10


async def test_a_redelivery_that_joined_a_defect_is_settled_like_it() -> None:
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
    assert channel.settled_as == ["nack 1 requeue=False", "nack 2 requeue=False"]


async def test_a_delivery_that_was_lost_with_its_session_is_handled_anew_when_it_is_redelivered() -> None:
    """By then another worker may have it, so it is not posted under the old session."""
    life, go, channel = ConnectionLifetime(), asyncio.Event(), Channel()
    posted: list[Delivery] = []

    async def handle(job: Job) -> Settlement:
        await go.wait()
        await job.ownership.require()
        posted.append(job.delivery)
        return Settlement("order-1", identified=True, attempts=0, event_counts={})

    dispatcher = a_dispatcher(Faked(handle))
    receive(dispatcher, DELIVERY, channel, 1, life)
    await asyncio.sleep(0)
    life.set()
    again = replace(DELIVERY, redelivered=True, headers={"x-delivery-count": 1})
    receive(dispatcher, again, channel, 2, living())
    await settled()
    go.set()
    await drained(dispatcher)

    assert posted == [replace(again, redelivered=False)]  # nothing was done about it, so it is as new
    assert channel.settled_as == ["ack 2"]


def living() -> ConnectionLifetime:
    """Return a session that the broker has just sent bytes over, by the loop's clock."""
    life = ConnectionLifetime()
    life.confirmed_at = life.last_read_at = loop_time()
    return life


async def test_suspected_deliveries_are_handled_one_at_a_time_in_an_order_that_changes() -> None:
    """So a poison message takes none with it that came before, and those before it change with each crash."""
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
            suspected = replace(
                DELIVERY, message_id=f"m-{number}", redelivered=True, headers={"x-delivery-count": count}
            )
            receive(dispatcher, suspected, channel, number)
        await drained(dispatcher)
        orders.append(tuple(served))

    assert most == 1
    assert len(channel.settled_as) == 8
    assert len(set(orders)) == 3


async def test_the_age_of_accepted_requests_and_the_resolution_of_ambiguous_attempts_are_counted() -> None:
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
    assert value(metrics, "omni_relay_acceptance_seconds_count", lane="normal") == 1
    assert value(metrics, "omni_relay_acceptance_seconds_sum", lane="normal") == 3


async def test_a_delivery_that_was_redelivered_once_is_handled_beside_all_others() -> None:
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


async def test_a_delivery_that_is_cancelled_is_not_settled_and_its_redelivery_is_handled() -> None:
    channel, calls = Channel(), 0

    async def handle(_: Delivery) -> Settlement:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        return Settlement("order-1", identified=True, attempts=0, event_counts={})

    metrics = Metrics()
    dispatcher = a_dispatcher(handle, metrics)
    receive(dispatcher, DELIVERY, channel, 1)
    await settled()
    assert value(metrics, "omni_relay_deliveries_total", settlement="abandoned") == 1
    receive(dispatcher, replace(DELIVERY, redelivered=True), channel, 2)
    await drained(dispatcher)

    assert channel.settled_as == ["ack 2"]
    assert value(metrics, "omni_relay_deliveries_in_flight") == 0


async def test_an_ack_that_is_lost_with_the_connection_is_given_to_the_redelivery() -> None:
    channel, calls = Channel(), []

    class Gone(Channel):
        async def basic_ack(self, tag: int) -> None:
            raise ConnectionResetError(tag)

    async def handle(delivery: Delivery) -> Settlement:
        calls.append(delivery)
        return Settlement("order-1", identified=True, attempts=0, event_counts={})

    metrics = Metrics()
    dispatcher = a_dispatcher(handle, metrics)
    receive(dispatcher, DELIVERY, Gone(), 1)
    await settled()
    receive(dispatcher, replace(DELIVERY, redelivered=True), channel, 2)
    await drained(dispatcher)

    assert (len(calls), channel.settled_as) == (1, ["ack 2"])
    assert value(metrics, "omni_relay_deliveries_total", settlement="lost") == 1
    assert value(metrics, "omni_relay_duplicate_deliveries_total") == 1


async def test_when_the_grace_is_over_deliveries_are_given_up_and_not_settled() -> None:
    channel = Channel()

    async def hang(_: Delivery) -> Settlement:
        await asyncio.Event().wait()
        raise AssertionError

    metrics = Metrics()
    dispatcher = a_dispatcher(hang, metrics)
    receive(dispatcher, DELIVERY, channel, 1)
    await drained(dispatcher)

    assert channel.settled_as == []
    assert value(metrics, "omni_relay_deliveries_total", settlement="abandoned") == 1


@dataclass
class World:
    """OMNI that answers when `go` is set, and a broker that confirms."""

    attempts: list[list[str]] = field(default_factory=list)
    published: list[int] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    fault: BaseException | None = None
    refusal: Outcome | None = None
    """The outcome of a call that requests share."""
    metrics: Metrics = field(default_factory=Metrics)

    def dispatcher(self, most: int | None = 100) -> Dispatcher:
        """Return a dispatcher."""
        return a_dispatcher(Handler(self.effects(), Policy(RetryPolicy())), self.metrics, most)

    def effects(self) -> Effects:
        """Return the effects."""
        return Effects(self._send, self._look, self._publish, lambda: NOW, lambda: 0.5, lambda: "made-up")

    async def _send(self, call: OmniCall) -> Outcome:
        self.attempts.append([message.message_id for message in call.messages])
        await self.go.wait()
        if self.fault is not None:
            raise self.fault
        if call.members and self.refusal is not None:
            return self.refusal
        return Accepted({message.message_id: a_status() for message in call.messages})

    async def _look(self, _: tuple[str, ...], __: LookupPurpose, ___: Lane) -> LookupResult:
        raise AssertionError

    async def _publish(self, publications: tuple[Publication, ...]) -> None:
        self.published.append(len(publications))


def a_request(name: str, text: str = "Hello") -> Delivery:
    body = a_body(requestId=name, sms={"text": text}, destinations=[a_destination(message_id=name)])
    return replace(a_delivery(body), message_id=name)


async def test_deliveries_of_one_read_with_equal_contents_share_a_call_and_each_is_settled_by_itself() -> None:
    world, channel, life = World(), Channel(), ConnectionLifetime()
    dispatcher = world.dispatcher()
    for tag, delivery in enumerate([a_request("a"), a_request("b"), a_request("c", "Bye"), a_delivery({})]):
        receive(dispatcher, delivery, channel, tag, life)
    world.go.set()
    await drained(dispatcher)

    assert sorted(world.attempts) == [["a", "b"], ["c"]]
    assert sorted(world.published) == [1, 1, 2]
    assert sorted(channel.settled_as) == ["ack 0", "ack 1", "ack 2", "ack 3"]
    assert value(world.metrics, "omni_relay_deliveries_total", settlement="acked") == 4
    assert value(world.metrics, "omni_relay_deliveries_in_flight") == 0


async def test_deliveries_of_different_reads_or_without_batching_share_no_call() -> None:
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


async def test_deliveries_of_two_sessions_share_no_call() -> None:
    """One of them may have ended, and its deliveries may be another worker's."""
    world = World()
    dispatcher = world.dispatcher()
    for name in "ab":
        receive(dispatcher, a_request(name), Channel(), 1, ConnectionLifetime())
    world.go.set()
    await drained(dispatcher)

    assert sorted(world.attempts) == [["a"], ["b"]]


async def test_a_redelivery_joins_the_call_that_its_first_delivery_shares() -> None:
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
    assert (old.settled_as, new.settled_as) == (["ack 0", "ack 1"], ["ack 7"])


@pytest.mark.parametrize(
    ("fault", "settled", "said"),
    [
        (ValueError("a defect"), "dead_lettered", ["nack 0 requeue=False", "nack 1 requeue=False"]),
        (DeliveryLostError(), "lost", []),
        (asyncio.CancelledError(), "abandoned", []),
    ],
)
async def test_a_shared_call_without_an_outcome_ends_like_any_other(
    fault: BaseException, settled: str, said: list[str]
) -> None:
    world, channel, life = World(fault=fault), Channel(), ConnectionLifetime()
    dispatcher = world.dispatcher()
    for tag, name in enumerate("ab"):
        receive(dispatcher, a_request(name), channel, tag, life)
    await asyncio.sleep(0.01)
    world.go.set()
    await drained(dispatcher)

    assert channel.settled_as == said
    assert value(world.metrics, "omni_relay_deliveries_total", settlement=settled) == 2
    assert value(world.metrics, "omni_relay_deliveries_in_flight") == 0
    world.fault = None
    receive(dispatcher, replace(a_request("a"), redelivered=True), channel, 3)
    await drained(dispatcher)
    assert channel.settled_as[len(said) :] == (["nack 3 requeue=False"] if said else ["ack 3"])


async def test_a_defect_in_grouping_leaves_no_delivery_unhandled() -> None:
    class Defective(Content):
        def to_json(self) -> bytes:
            raise ValueError("a defect")

    class Other(Handler):
        def shareable_call(self, job: Job) -> OmniCall | None:
            call = super().shareable_call(job)
            return replace(call, content=Defective(), written=None) if call and call.request_id == "a" else call

    world, channel, life = World(), Channel(), ConnectionLifetime()
    dispatcher = a_dispatcher(Other(world.effects(), Policy(RetryPolicy())))
    for tag, name in enumerate("abc"):
        receive(dispatcher, a_request(name), channel, tag, life)
    world.go.set()
    await drained(dispatcher)

    assert sorted(world.attempts) == [["a"], ["b"], ["c"]]
    assert sorted(channel.settled_as) == ["ack 0", "ack 1", "ack 2"]


async def test_each_delivery_is_handled_by_itself_if_one_may_have_caused_a_refusal() -> None:
    world, channel, life = World(refusal=REFUSED_TOGETHER), Channel(), ConnectionLifetime()
    dispatcher = world.dispatcher()
    for tag, name in enumerate("ab"):
        receive(dispatcher, a_request(name), channel, tag, life)
    world.go.set()
    await drained(dispatcher)

    assert world.attempts == [["a", "b"], ["a"], ["b"]]
    assert channel.settled_as == ["ack 0", "ack 1"]
    assert value(world.metrics, "omni_relay_deliveries_total", settlement="acked") == 2
    assert value(world.metrics, "omni_relay_deliveries_in_flight") == 0


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)
