"""The expected messages and the observed events, which a soak compares."""

import asyncio
import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aio_pika
import aiormq

RESULTS: Final = "soak.results"
_BROKEN: Final = (aiormq.exceptions.AMQPError, RuntimeError, OSError, TimeoutError)
_DEFERRED: Final = "deferred"


@dataclass
class Observations:
    """Final events by message and event id; a repeated event has the same id."""

    expected: set[str]
    types: defaultdict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    events: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    ambiguous: set[str] = field(default_factory=set)
    sync: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, event: dict[str, Any]) -> None:
        """Record an event."""
        kind = event["type"].rpartition(".")[2]
        self.events[kind] += 1
        if kind == _DEFERRED:
            self.reasons[event["data"]["reason"]["code"]] += 1
            if event["data"]["reason"]["code"] == "ambiguous":
                self.ambiguous.add(event["subject"])
            return
        self.types[event.get("subject") or event["data"]["requestId"]][event["id"]] = kind
        self.sync.set()

    @property
    def lost(self) -> set[str]:
        """Messages without a final event."""
        return self.expected - set(self.types)

    @property
    def contradicted(self) -> dict[str, list[str]]:
        """Messages with several different final events."""
        return {name: sorted(types.values()) for name, types in self.types.items() if len(types) > 1}

    @property
    def final_events(self) -> Counter[str]:
        """Final events by type; a message with several counts once for each."""
        return Counter(kind for types in self.types.values() for kind in types.values())


async def prepare(urls: Sequence[str]) -> None:
    """Declare a durable queue for the events."""
    async with await aio_pika.connect(urls[0]) as connection:
        channel = await connection.channel()
        results = await channel.declare_exchange("omni.results", "topic", durable=True)
        queue = await channel.declare_queue(RESULTS, durable=True, arguments={"x-queue-type": "quorum"})
        await queue.bind(results, "#")


async def publish(url: str, bodies: Sequence[dict[str, object]], exchange_name: str = "omni.requests") -> None:
    """Publish requests and wait for the confirms, before anything crashes, so that none is published twice."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(on_return_raises=True)
        exchange = await channel.get_exchange(exchange_name)
        for start in range(0, len(bodies), 500):
            await asyncio.gather(
                *(
                    exchange.publish(
                        aio_pika.Message(json.dumps(body).encode(), delivery_mode=2, content_type="application/json"),
                        "send",
                        mandatory=True,
                    )
                    for body in bodies[start : start + 500]
                )
            )


async def listen(urls: Sequence[str], observed: Observations) -> None:
    """Record every event, over as many connections as that takes, until cancelled."""

    async def receive(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        observed.write(json.loads(message.body))
        with contextlib.suppress(*_BROKEN):
            await message.ack()

    number = 0
    while True:
        number += 1
        with contextlib.suppress(*_BROKEN):
            async with await aio_pika.connect(urls[number % len(urls)], timeout=5) as connection:
                channel = await connection.channel()
                await channel.set_qos(500)
                queue = await channel.get_queue(RESULTS, ensure=False)
                broken = asyncio.Event()
                channel.close_callbacks.add(lambda *_, broken=broken: broken.set())
                await queue.consume(receive)
                await broken.wait()
        await asyncio.sleep(0.2)


async def dead_letters(url: str) -> list[dict[str, Any]]:
    """Take every dead letter; return their headers."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue("omni.dead")
        dead_letters = []
        while (message := await queue.get(no_ack=True, fail=False)) is not None:
            dead_letters.append(dict(message.headers))
        return dead_letters
