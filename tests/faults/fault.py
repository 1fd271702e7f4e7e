"""Eleven faults, and their surroundings."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import aio_pika

from service.adapters.rabbitmq import connect
from service.core import topology
from service.core.delivery import Publication
from tests.e2e.stage import BROKEN, Stage, connected
from tests.support.node import Node
from tests.support.worker import Worker

MINUTE: Final = 4.0
"""Seconds that a minute of the rules takes."""
RATE: Final = 15
"""Requests a second."""
URGENT_RATE: Final = 5
"""One-time passwords a second, beside the campaign that they are shown with."""
NUMBER: Final = "41793026727"
NUMBERS: Final = (*(NUMBER,) * 6, "41790092101", "41790092101", "41790092000")
"""Delivered; delivered and seen; not delivered."""


@asynccontextmanager
async def background(*works: Any) -> AsyncIterator[None]:  # noqa: ANN401 - coroutines
    """Do something beside. Raises its error at the end: a fault that was not made shows nothing."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end


@dataclass
class World:
    """The processes of one run."""

    node: Node
    stage: Stage
    workers: list[Worker]
    numbers: tuple[str, ...] = (NUMBER,)
    number: int = 0

    async def publish(self, *bodies: dict[str, Any] | bytes, lane: topology.Lane = topology.NORMAL) -> None:
        """Publish as producers do; while the broker is away or blocks, nothing."""
        with contextlib.suppress(*BROKEN, TimeoutError):
            async with asyncio.timeout(3):
                await self.stage.send(*bodies, exchange=lane.requests, timestamp=datetime.now(UTC))

    def request(self, text: str = "Your code is 1234.") -> dict[str, Any]:
        """Make one that is new."""
        self.number += 1
        return {
            "requestId": f"r-{self.number}",
            "phoneNumber": self.numbers[self.number % len(self.numbers)],
            "text": text,
        }

    async def load(self, rate: int = RATE, lane: topology.Lane = topology.NORMAL) -> None:
        """Publish steadily, until cancelled."""
        while True:
            began = time.monotonic()
            codes = (self.request(f"Your code is {self.number}.") for _ in range(rate))
            await self.publish(*codes, lane=lane)
            await asyncio.sleep(max(0.0, began + 1 - time.monotonic()))


@dataclass(frozen=True)
class Fault:
    """A fault, the alerts that should fire, and the panels that show it."""

    name: str
    alerts: tuple[str, ...]
    panels: tuple[str, ...]
    make: Callable[[World], AbstractAsyncContextManager[None]]
    seconds: float = 15.0
    """At least so long."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the workers, without the prefix."""


@asynccontextmanager
async def broker_gone(world: World) -> AsyncIterator[None]:
    """Stop it."""
    await world.node.stop()
    yield
    await world.node.start()


def omni(**fault: Any) -> Callable[[World], AbstractAsyncContextManager[None]]:  # noqa: ANN401 - JSON
    """Have OMNI misbehave."""

    @asynccontextmanager
    async def make(world: World) -> AsyncIterator[None]:
        await world.stage.fault(**fault)
        yield
        await world.stage.mend()

    return make


@asynccontextmanager
async def results_blocked(world: World) -> AsyncIterator[None]:
    """Bind a queue that is full."""
    arguments: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with connected(world.stage.url) as channel:
        full = await channel.declare_queue("full", durable=True, arguments=arguments)
        await channel.default_exchange.publish(aio_pika.Message(b"{}"), "full")
        await full.bind("omni.results", "#")
        yield
        await full.delete(if_empty=False, if_unused=False)


@asynccontextmanager
async def flood_of_invalid_requests(world: World) -> AsyncIterator[None]:
    """Publish unreadable requests, ten times as many as readable ones."""

    async def flood() -> None:
        while True:
            await world.publish(*(b'{"phoneNumber": 7, "text": []}' for _ in range(RATE * 10)))
            await asyncio.sleep(0.5)

    async with background(flood()):
        yield


@asynccontextmanager
async def consumer_cancelled(world: World) -> AsyncIterator[None]:
    """Delete the queue under its consumers, every ten seconds, since it is declared again at once."""

    async def cancel() -> None:
        while True:
            with contextlib.suppress(*BROKEN):
                async with connected(world.stage.url) as channel:
                    await channel.queue_delete(topology.REQUESTS)
            await asyncio.sleep(10)

    async with background(cancel()):
        yield


async def publish_campaign(world: World) -> None:
    """Publish 50,000, as fast as they are confirmed."""
    session = await connect([world.stage.url])
    for start in range(0, 50_000, 500):
        bodies = [json.dumps(world.request("Everything must go.")).encode() for _ in range(500)]
        await asyncio.gather(
            *(
                session.publish(
                    Publication(
                        topology.REQUESTS,
                        "send",
                        body,
                        "application/json",
                        f"c-{start + number}",
                        timestamp=datetime.now(UTC),
                    )
                )
                for number, body in enumerate(bodies)
            )
        )
    await session.close()


@asynccontextmanager
async def campaign(world: World) -> AsyncIterator[None]:
    """Publish 50,000 at once."""
    await publish_campaign(world)
    yield


@asynccontextmanager
async def passwords(world: World) -> AsyncIterator[None]:
    """Publish one-time passwords to the urgent lane beside such a campaign."""
    async with background(world.load(URGENT_RATE, topology.URGENT)):
        publishing = asyncio.create_task(publish_campaign(world))
        yield
        await publishing


@asynccontextmanager
async def worker_wedged(world: World) -> AsyncIterator[None]:
    """Stop one of two workers with SIGSTOP."""
    world.workers[0].send(signal.SIGSTOP)
    yield
    world.workers[0].send(signal.SIGCONT)


@asynccontextmanager
async def disk_alarm(world: World) -> AsyncIterator[None]:
    """Set the broker's disk limit above the size of any disk."""
    await world.node.ctl("set_disk_free_limit", str(900 * 10**12))
    yield
    await world.node.ctl("set_disk_free_limit", "50MB")


FAULTS: Final = (
    Fault("broker-gone", ("OmniRelayDisconnected",), ("Connections and consumers", "Requests served"), broker_gone),
    Fault(
        "omni-slow",
        ("OmniRelayLateStartsBurnBudget",),
        ("Duration of a call", "Published to first attempt"),
        omni(kind="latency", seconds=20),
        seconds=45,
    ),
    Fault("omni-down", ("OmniRelayPaused",), ("Why attempts fail", "Paused"), omni(kind="status", status=503)),
    Fault("key-revoked", ("OmniRelayDenied",), ("Why attempts fail", "Paused"), omni(kind="status", status=401)),
    Fault(
        "results-blocked", ("OmniRelayResultsStalled",), ("Events repeated or unroutable", "Paused"), results_blocked
    ),
    Fault("flood-of-invalid-requests", ("OmniRelayInvalidRequests",), ("Invalid requests",), flood_of_invalid_requests),
    Fault("consumer-cancelled", (), ("Workers that consume", "Requests served"), consumer_cancelled, seconds=40),
    Fault("campaign", (), ("Requests served", "Published to first attempt", "Messages in a call"), campaign),
    Fault(
        "one-time-passwords",
        ("OmniRelayLateStartsBurnBudget",),
        ("Queued by lane", "Published to first attempt", "Urgent: published to first attempt"),
        passwords,
        seconds=60,
        settings={"OMNI_MESSAGES_PER_SECOND": "200", "REPLICAS": "2"},
    ),
    Fault("worker-wedged", ("OmniRelayNotAnswering",), ("Workers that consume", "Requests served"), worker_wedged),
    Fault("disk-alarm", ("OmniRelayBrokerAlarm",), ("Alarms", "Requests served"), disk_alarm),
)
TOUR: Final = {"broker-gone", "omni-down", "results-blocked", "flood-of-invalid-requests", "worker-wedged"}
