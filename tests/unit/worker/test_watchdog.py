import asyncio
from dataclasses import dataclass
from typing import cast

import pytest

from service.adapters.metrics import Metrics
from service.adapters.rabbitmq import ReconnectingConnection
from service.core.topology import NORMAL, URGENT
from service.worker.consumer import Consumer
from service.worker.sending.circuit_breaker import Guard
from service.worker.telemetry import RESULTS_STALLED, Telemetry
from service.worker.watchdog import Watchdog
from tests.support.builder import NOW
from tests.support.loop import loop_time, settled


@dataclass
class Connection:
    """A connection that is up and gives no session, or one that is down."""

    is_connected: bool = True
    oldest_publication: float = 0.0

    async def session(self) -> None:
        await asyncio.Event().wait()


class World:
    """A watchdog at work."""

    def __init__(self, connection: Connection) -> None:
        telemetry = Telemetry(Metrics(), lambda: NOW, loop_time)
        broker = cast("ReconnectingConnection", connection)
        self.guard = Guard(lambda *_: None, lambda _: None, loop_time, lambda: 0.0)
        consumer = Consumer(broker, lambda _, __: None, telemetry, {NORMAL: 10, URGENT: 10})
        self.watchdog = Watchdog(broker, consumer, self.guard, telemetry, loop_time)
        self.tasks = [asyncio.create_task(consumer.run()), asyncio.create_task(self.watchdog.run())]

    def end(self) -> None:
        for task in self.tasks:
            task.cancel()


@pytest.mark.parametrize(("connected", "stuck"), [(True, True), (False, False)])
async def test_a_worker_that_should_consume_and_does_not_for_a_minute_is_stuck(*, connected: bool, stuck: bool) -> None:
    """A broker that is away is no reason for a restart."""
    world = World(Connection(connected))
    await asyncio.sleep(59)
    assert not world.watchdog.is_stuck
    await asyncio.sleep(3)
    assert world.watchdog.is_stuck is stuck
    world.end()


async def test_while_results_are_not_confirmed_no_calls_are_made() -> None:
    connection = Connection()
    world = World(connection)
    await settled()
    connection.oldest_publication = 2.1
    await asyncio.sleep(0.6)
    pauses = [world.guard.pause]
    connection.oldest_publication = 0.0
    await asyncio.sleep(0.6)
    assert [*pauses, world.guard.pause] == [RESULTS_STALLED, None]
    world.end()
