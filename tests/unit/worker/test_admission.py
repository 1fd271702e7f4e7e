"""Which deliveries begin, which wait, and when the connection is left unread."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

import pytest
from aiormq.abc import AbstractChannel

from service.adapters.metrics import Metrics
from service.adapters.rabbitmq import Acknowledger, ConnectionLifetime
from service.adapters.settings import Settings
from service.core.delivery import Delivery
from service.core.request.parsing import LARGE
from service.core.topology import LANES, NORMAL, URGENT, Lane
from service.worker.admission import Admission
from service.worker.app import prefetches
from service.worker.telemetry import Telemetry
from tests.support.builder import NOW
from tests.support.loop import loop_time

KIB = 2**10
MIB = 2**20


async def at_once(_: Delivery) -> None:
    """Schedule for retry without delay."""


WORLDS: "list[World]" = []


@pytest.fixture(autouse=True)
async def no_timer_outlives_its_test() -> AsyncIterator[None]:
    """Have timers that are left start no task: when a loop is closed, its clock is the real one, and they are due."""
    yield
    while WORLDS:
        WORLDS.pop().admission.hold()


@dataclass
class World:
    """An admission, with a connection and somebody who serves."""

    schedule_retry: Callable[[Delivery], Awaitable[None]] = at_once
    most: int = 8 * MIB
    longest_wait: float = 60.0
    began: list[int] = field(default_factory=list)
    aside: list[int] = field(default_factory=list)
    acked: list[int] = field(default_factory=list)
    reading: bool = True
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.life = ConnectionLifetime()
        self.life.flow = self
        telemetry = Telemetry(self.metrics, lambda: NOW, loop_time)
        self.admission = Admission(
            self.most, self._schedule, telemetry, longest_pause=0.05, longest_wait=self.longest_wait
        )
        self._receive = self.admission.into(lambda delivery, _: self.began.append(number_of(delivery)))

        WORLDS.append(self)

    def is_read(self) -> bool:
        """Return whether the connection is read."""
        return self.reading

    def pause_reading(self) -> None:
        """Stand for a transport."""
        self.reading = False

    def resume_reading(self) -> None:
        """Stand for a transport."""
        self.reading = True

    async def basic_ack(self, tag: int) -> None:
        """Stand for a channel."""
        self.acked.append(tag)

    async def _schedule(self, delivery: Delivery) -> None:
        await self.schedule_retry(delivery)
        self.aside.append(number_of(delivery))

    def receive(self, number: int, size: int, lane: Lane = NORMAL) -> Delivery:
        """Hand in a delivery of so many bytes."""
        delivery = Delivery(bytes(size), message_id=str(number), lane=lane)
        self._receive(delivery, Acknowledger(cast("AbstractChannel", self), number, self.life))
        return delivery

    @property
    def bytes_in_flight(self) -> float | None:
        """Read the metric."""
        return self.metrics.registry.get_sample_value("omni_relay_bytes_in_flight")


def number_of(delivery: Delivery) -> int:
    return int(delivery.message_id or 0)


async def test_small_deliveries_begin_at_once_even_behind_large_ones() -> None:
    world = World()
    for number in range(3):
        world.receive(number, 3 * MIB)
    world.receive(3, 400)

    assert world.began == [0, 3]


async def test_large_deliveries_are_served_one_after_the_other_or_a_few_together() -> None:
    world = World()
    deliveries = [world.receive(number, 400 * KIB) for number in range(5)]
    assert world.began == [0, 1]

    world.admission.done(deliveries[0])
    assert world.began == [0, 1, 2]
    for delivery in deliveries[1:]:
        world.admission.done(delivery)
    assert world.began == [0, 1, 2, 3, 4]
    assert world.bytes_in_flight == 0


async def test_so_many_bytes_of_small_deliveries_begin_in_one_turn_of_the_loop() -> None:
    """To find all their faults takes time, in which nobody else has a turn."""
    world = World()
    for number in range(8):
        world.receive(number, 30 * KIB)
    turns = [len(world.began)]
    while len(world.began) < 8:
        await asyncio.sleep(0)
        turns.append(len(world.began))

    assert world.began == list(range(8))
    assert turns[0] == 1
    assert max(after - before for before, after in pairwise(turns)) <= 2


async def test_where_too_many_bytes_are_in_flight_the_connection_is_left_unread_until_there_is_room() -> None:
    world = World()
    deliveries = [world.receive(number, 3 * MIB) for number in range(2)]
    assert world.is_read()
    world.receive(2, 3 * MIB)
    assert not world.is_read()

    world.admission.done(deliveries[0])
    assert world.is_read()
    await asyncio.sleep(0.1)
    assert world.aside == []


async def test_what_still_waits_after_a_while_is_scheduled_and_acknowledged_the_latest_first() -> None:
    world = World()
    for number in range(5):
        world.receive(number, 3 * MIB)
    assert not world.is_read()
    await asyncio.sleep(0.1)

    assert (world.aside, world.acked) == ([4, 3, 2, 1], [4, 3, 2, 1])
    assert world.is_read()
    assert world.bytes_in_flight == 3 * MIB
    assert world.began == [0]


async def test_after_a_pause_half_of_the_memory_is_free_so_the_next_large_delivery_causes_no_other() -> None:
    """Ordinary requests wait behind what is not read."""
    world = World()
    world.receive(0, 2 * MIB)
    for number in range(1, 8):
        world.receive(number, MIB)
    assert not world.is_read()
    await asyncio.sleep(0.1)
    assert world.is_read()
    assert world.bytes_in_flight == 4 * MIB

    for number in range(8, 12):
        world.receive(number, MIB)
    assert world.is_read()
    assert (world.began, world.aside) == ([0], [7, 6, 5, 4, 3])


async def test_where_everything_has_begun_a_little_is_read_now_and_then() -> None:
    """The broker ends a connection that it cannot write to."""
    world = World(most=100 * KIB)
    world.receive(0, 3 * MIB)
    assert not world.is_read()
    await asyncio.sleep(0.1)
    assert world.is_read()

    world.receive(1, 400)
    assert not world.is_read()
    assert world.began == [0, 1]


async def test_what_waits_for_a_connection_that_has_ended_is_forgotten_since_it_comes_again() -> None:
    world = World()
    first = world.receive(0, 3 * MIB)
    for number in range(1, 4):
        world.receive(number, 3 * MIB)
    world.life.set()
    world.admission.done(first)

    assert world.began == [0]
    assert world.bytes_in_flight == 0

    for number in range(4):
        world.receive(number, 3 * MIB)
    assert world.bytes_in_flight == 0


async def test_while_something_is_scheduled_nothing_else_is_held_up_and_its_connection_may_end() -> None:
    go = asyncio.Event()

    async def wait(_: Delivery) -> None:
        await go.wait()

    world = World(wait)
    first = world.receive(0, 3 * MIB)
    for number in range(1, 5):
        world.receive(number, 3 * MIB)
    await asyncio.sleep(0.1)
    world.receive(5, 400)
    assert world.began == [0, 5]

    world.life.set()
    world.admission.done(first)
    go.set()
    await asyncio.sleep(0.01)
    assert world.aside == [4]
    assert world.bytes_in_flight == 400


async def test_a_process_that_ends_schedules_deliveries_that_have_not_begun() -> None:
    world = World()
    for number in range(3):
        world.receive(number, 3 * MIB)
    world.receive(3, 30 * KIB)
    world.receive(4, 30 * KIB)
    await world.admission.close(5)

    assert world.aside == [2, 1]
    assert world.began == [0, 3, 4]


async def test_a_process_that_ends_does_not_wait_for_ever() -> None:
    async def never(_: Delivery) -> None:
        await asyncio.Event().wait()

    world = World(never)
    for number in range(3):
        world.receive(number, 3 * MIB)
    await asyncio.wait_for(world.admission.close(0.05), 5)

    assert world.aside == []


async def test_what_has_waited_too_long_is_scheduled_the_first_first_also_where_there_is_memory() -> None:
    """While sending is paused, one delivery may keep the next waiting; the broker takes it back in the end."""
    world = World(longest_wait=0.2)
    for number in range(4):
        world.receive(number, MIB)
    await asyncio.sleep(0.1)
    world.receive(4, MIB)
    assert (world.began, world.aside) == ([0], [])

    await asyncio.sleep(0.15)
    assert (world.aside, world.acked) == ([1, 2, 3], [1, 2, 3])
    await asyncio.sleep(0.1)
    assert (world.aside, world.acked) == ([1, 2, 3, 4], [1, 2, 3, 4])
    assert world.bytes_in_flight == MIB
    assert world.began == [0]


async def test_while_a_consumer_is_cancelled_nothing_is_scheduled_since_the_broker_would_send_more() -> None:
    world = World(longest_wait=0.02)
    arrived = world.admission.hold()
    for number in range(5):
        world.receive(number, 3 * MIB)
    await asyncio.sleep(0.1)
    assert (world.aside, world.acked, arrived()) == ([], [], 5)

    await world.admission.close(5)
    assert (world.aside, world.acked) == ([4, 3, 2, 1], [4, 3, 2, 1])


async def test_what_is_being_scheduled_when_a_consumer_is_cancelled_is_settled_after_that() -> None:
    go = asyncio.Event()

    async def wait(_: Delivery) -> None:
        await go.wait()

    world = World(wait)
    for number in range(5):
        world.receive(number, 3 * MIB)
    await asyncio.sleep(0.1)  # the last one is being scheduled
    world.admission.hold()
    go.set()
    await asyncio.sleep(0.05)
    assert (world.aside, world.acked) == ([4], [])

    await world.admission.close(5)
    assert (world.aside, world.acked) == ([4, 3, 2, 1], [4, 3, 2, 1])


async def test_a_process_that_ends_schedules_all_that_arrives_before_the_answer_to_its_cancellation() -> None:
    world = World()
    answer = asyncio.Event()
    for number in range(4):
        world.receive(number, 3 * MIB)
    assert not world.is_read()
    await world.life.give(answer.wait(), 0)
    closing = asyncio.create_task(world.admission.close(5))
    await asyncio.sleep(0.01)
    assert world.is_read()
    for number in range(4, 8):
        world.receive(number, 3 * MIB)
    assert not world.is_read()
    await asyncio.sleep(0.2)
    assert world.is_read()
    assert not closing.done()
    answer.set()
    await closing

    assert sorted(world.aside) == list(range(1, 8))
    assert world.is_read()


async def test_an_urgent_delivery_begins_before_others_that_wait_and_is_the_last_to_be_scheduled() -> None:
    small = World()
    for number in range(5):
        small.receive(number, 30 * KIB)
    small.receive(5, 30 * KIB, URGENT)
    large = World()
    deliveries = [large.receive(number, MIB) for number in range(4)]
    large.receive(4, MIB, URGENT)
    large.admission.done(deliveries[0])
    full = World()
    for number, lane in enumerate((NORMAL, URGENT, NORMAL, URGENT)):
        full.receive(number, 3 * MIB, lane)
    await asyncio.sleep(0.2)

    assert small.began == [0, 5, 1, 2, 3, 4]
    assert large.began == [0, 4]
    assert (full.began, full.aside) == ([0], [2, 3, 1])


async def test_a_delivery_of_either_lane_that_has_waited_too_long_is_scheduled() -> None:
    world = World(longest_wait=1.0)
    world.receive(0, 2 * MIB)
    world.receive(1, 2 * MIB)
    await asyncio.sleep(0.5)
    world.receive(2, 2 * MIB, URGENT)
    await asyncio.sleep(0.6)
    assert world.aside == [1]
    await asyncio.sleep(0.5)
    assert world.aside == [1, 2]


@pytest.mark.parametrize(("most", "prefetch"), [(48 * 2**20, 300), (2**20, 16)])
def test_small_deliveries_of_one_lane_never_fill_the_memory(most: int, prefetch: int) -> None:
    settings = Settings(rabbitmq_prefetch=300, rabbitmq_urgent_prefetch=300, rabbitmq_max_bytes_in_flight=most)

    assert prefetches(settings) == dict.fromkeys(LANES, prefetch)
    assert prefetch * LARGE <= most / 2
