import asyncio
from dataclasses import dataclass, field, replace
from typing import cast

from aiormq.abc import AbstractChannel

from service.app.intake import Bench, Intake
from service.app.turnstile import Turnstile
from service.edges.metric import Metrics
from service.edges.rabbitmq import Link, Receipt
from service.edges.rabbitmq.life import Life
from service.words.delivery import Delivery, Settlement

DELIVERY = Delivery(b'{"phoneNumber": "41793026727", "text": "hello"}', message_id="order-1")


@dataclass
class Channel:
    """The two answers a delivery may get."""

    said: list[str] = field(default_factory=list)

    async def basic_ack(self, tag: int) -> None:
        self.said.append(f"ack {tag}")

    async def basic_nack(self, tag: int, *, requeue: bool) -> None:
        self.said.append(f"nack {tag} requeue={requeue}")


async def test_a_redelivery_that_joined_a_defect_is_settled_as_it_is() -> None:
    """Left unsettled, it would hold a place of the prefetch for as long as the connection lasts."""
    go, channel, calls = asyncio.Event(), Channel(), []

    async def handle(delivery: Delivery) -> Settlement:
        calls.append(delivery)
        await go.wait()
        raise ValueError("a defect")

    turnstile = Turnstile(lambda _: None, lambda _: None)
    intake = Intake(Bench(cast("Link", None), handle, turnstile, Metrics(), prefetch=10))
    for tag, delivery in enumerate([DELIVERY, replace(DELIVERY, redelivered=True)], 1):
        intake._receive(delivery, Receipt(cast("AbstractChannel", channel), tag, Life()))  # noqa: SLF001 - what the broker calls
        await asyncio.sleep(0)
    go.set()
    await intake.drain(asyncio.get_running_loop().time() + 5, asyncio.Event())

    assert len(calls) == 1
    assert channel.said == ["nack 1 requeue=False", "nack 2 requeue=False"]
