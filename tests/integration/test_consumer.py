"""The consumer and the watchdog, with a real broker that no longer has our consumer."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import cast

import aiormq
import pytest

from service.adapters.metrics import Metrics
from service.adapters.rabbitmq import Acknowledger, ConnectionEvents, ReconnectingConnection, declare, elapsed
from service.adapters.rabbitmq.session import open_session
from service.core import topology
from service.core.attempt.retry import Policy, RetryPolicy
from service.core.delivery import ALWAYS_OURS, Delivery, Ownership, Publication
from service.core.handler import Handler, Job, Settlement
from service.core.history import History
from service.core.request.request import Parsed
from service.core.topology import LANES, NORMAL, URGENT, Lane
from service.worker.consumer import Consumer
from service.worker.deduplicator import DeliveryDeduplicator
from service.worker.dispatcher import Dispatcher
from service.worker.ownership import SessionCheck
from service.worker.sending.circuit_breaker import Guard
from service.worker.telemetry import Telemetry
from service.worker.watchdog import Watchdog
from tests.support.broker import VirtualHost
from tests.support.builder import NO_EFFECTS

SOON = 20.0


class Counter(Handler):
    """A handler that records each delivery and settles it without a call."""

    def __init__(self, served: asyncio.Queue[str | None]) -> None:
        super().__init__(NO_EFFECTS, Policy(RetryPolicy()))
        self._served = served

    def read(self, delivery: Delivery, ownership: Ownership = ALWAYS_OURS) -> Job:
        self._served.put_nowait(delivery.message_id)
        return Job(delivery, History(datetime.now(UTC)), Parsed("r", identified=True), ownership)

    async def handle(self, job: Job) -> Settlement:
        return Settlement(job.parsed.request_id, identified=True, attempts=0, event_counts={})


class Running:
    """A running consumer and its deliveries."""

    def __init__(self, url: str) -> None:
        nothing = (lambda *_: None,) * 6
        events = ConnectionEvents(*nothing)
        self.connection = ReconnectingConnection((url,), (1.0,), events, declare=True)
        self.served: asyncio.Queue[str | None] = asyncio.Queue()
        telemetry = Telemetry(Metrics(), lambda: datetime.now(UTC), time.monotonic)
        guard = Guard(lambda *_: None, lambda _: None, time.monotonic, lambda: 0.0)
        deduplicator = DeliveryDeduplicator(30, time.monotonic)
        dispatcher = Dispatcher(Counter(self.served), telemetry, SessionCheck(elapsed), deduplicator, most=1000)
        self.consumer = Consumer(self.connection, dispatcher.receive, telemetry, {NORMAL: 10, URGENT: 10})
        self.watchdog = Watchdog(self.connection, self.consumer, guard, telemetry, time.monotonic)

    async def serve(self, name: str, lane: Lane = NORMAL) -> None:
        """Publish a request, and see it served."""
        request = Publication("", lane.requests, b"{}", "application/json", name)
        await asyncio.wait_for(self.connection.publish([request]), SOON)
        assert await asyncio.wait_for(self.served.get(), SOON) == name


@asynccontextmanager
async def working(url: str) -> AsyncIterator[Running]:
    running = Running(url)
    tasks = [asyncio.create_task(part.run()) for part in (running.connection, running.consumer, running.watchdog)]
    try:
        yield running
    finally:
        for task in reversed(tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.mark.parametrize("lane", LANES, ids=lambda lane: lane.name)
async def test_a_consumer_that_the_broker_removed_silently_is_replaced_within_seconds(
    vhost: VirtualHost, lane: Lane
) -> None:
    async with working(vhost.url) as running:
        await running.serve("before", lane)
        channel = await (await running.connection.session()).delivery_channel.get_underlay_channel()
        (tag,) = (tag for tag in cast("aiormq.Channel", channel).consumers if f".{lane.name}." in tag)
        await channel.basic_cancel(tag)  # without the worker's knowledge

        await running.serve("after", lane)
        assert not running.watchdog.is_stuck


async def test_a_cancelled_wait_for_an_answer_does_not_end_the_session(vhost: VirtualHost) -> None:
    """The library closes the channel of a question that is cancelled, also where that was about to be closed."""
    async with working(vhost.url) as running:
        await running.serve("before")
        session = await running.connection.session()
        channel = await session.delivery_connection.channel(publisher_confirms=False)
        session.broken.pause_reading()
        await session.broken.give(channel.close(), 0.2)
        asking = asyncio.create_task(session.broken.ask(session.waiting()))
        await asyncio.sleep(0.2)
        asking.cancel()
        session.broken.resume_reading()

        await running.serve("after")
        assert await asyncio.wait_for(session.broken.ask(session.waiting()), SOON) == (0, 1)
        await asyncio.sleep(0.2)
        assert not session.broken.is_set()


async def test_time_in_which_reading_is_paused_does_not_count_towards_a_timeout(
    vhost: VirtualHost,
) -> None:
    async with working(vhost.url) as running:
        await running.serve("before")
        session = await running.connection.session()
        session.broken.pause_reading()
        asking = asyncio.create_task(session.broken.ask(session.waiting(), 0.5))
        await asyncio.sleep(1)
        assert not asking.done()
        session.broken.resume_reading()

        assert await asyncio.wait_for(asking, SOON) == (0, 1)


async def test_a_slow_answer_to_a_cancel_leaves_the_channel_open(vhost: VirtualHost) -> None:
    """If the channel were closed, all unsettled deliveries would be delivered again."""
    taken: asyncio.Queue[Acknowledger] = asyncio.Queue()
    async with working(vhost.url) as running:
        await running.serve("before")
        session = await open_session(vhost.url, fast=True, consumes=True)
        try:
            async with session.consuming({NORMAL: 10}, lambda _, acknowledger: taken.put_nowait(acknowledger)):
                while taken.empty():  # the other consumer gets some of them
                    await running.connection.publish(
                        [Publication("", topology.REQUESTS, b"{}", "application/json", "m")]
                    )
                    await asyncio.sleep(0.1)
                session.broken.pause_reading()
            session.broken.resume_reading()
            acknowledger = await taken.get()
            await acknowledger.ack()
            await asyncio.wait_for(acknowledger.sync(), SOON)
            assert not session.broken.is_set()
        finally:
            await session.close()


@pytest.mark.parametrize(
    "fast", [pytest.param(True, id="fast path"), pytest.param(False, id="library alone", marks=pytest.mark.once)]
)
async def test_a_lane_whose_deliveries_are_all_unsettled_holds_no_other_up(vhost: VirtualHost, *, fast: bool) -> None:
    taken: asyncio.Queue[tuple[Delivery, Acknowledger]] = asyncio.Queue()

    async def take(count: int) -> list[tuple[Delivery, Acknowledger]]:
        return [await asyncio.wait_for(taken.get(), SOON) for _ in range(count)]

    async def publish(lane: Lane, count: int) -> None:
        publications = [
            Publication("", lane.requests, b"{}", "application/json", str(number)) for number in range(count)
        ]
        assert await session.publish_all(publications) == []

    session = await open_session(vhost.url, fast=fast, consumes=True)
    try:
        await declare(session.connection, (), passive=False)
        await publish(NORMAL, 5)
        async with session.consuming({URGENT: 3, NORMAL: 2}, lambda *delivered: taken.put_nowait(delivered)):
            normal = await take(2)
            await publish(URGENT, 4)
            urgent = await take(3)
            assert [delivery.lane for delivery, _ in normal + urgent] == 2 * [NORMAL] + 3 * [URGENT]

            await urgent[0][1].ack()
            assert [delivery.lane for delivery, _ in await take(1)] == [URGENT]
            await normal[0][1].ack()
            assert [delivery.lane for delivery, _ in await take(1)] == [NORMAL]
            assert taken.empty()
        await publish(URGENT, 1)
        await urgent[1][1].ack()
        await urgent[1][1].sync()
        assert taken.empty()  # both consumers were cancelled
    finally:
        await session.close()
