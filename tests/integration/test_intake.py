"""The intake, with a real broker that no longer knows of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import cast

import aiormq

from service.app.dispatcher import Dispatcher
from service.app.intake import Bench, Intake
from service.app.turnstile import Turnstile
from service.edges.metric import Metrics
from service.edges.rabbitmq import Link, LinkEvents
from service.path.handler import Effects, Errand, Handler
from service.rules.policy import Policy
from service.words import topology
from service.words.delivery import Delivery, History, Publication, Settlement
from service.words.request import Parsed
from tests.support.broker import VirtualHost

SOON = 20.0


class Counter(Handler):
    """A handler that tells what it was handed, and does nothing about it."""

    def __init__(self, served: asyncio.Queue[str | None]) -> None:
        super().__init__(cast("Effects", None), cast("Policy", None))
        self._served = served

    def read(self, delivery: Delivery) -> Errand:
        self._served.put_nowait(delivery.message_id)
        return Errand(delivery, History(datetime.now(UTC)), Parsed("r", identified=True))

    async def handle(self, errand: Errand) -> Settlement:
        return Settlement(errand.parsed.request_id, identified=True, attempts=0, words={})


class Desk:
    """An intake at work, and what it was handed."""

    def __init__(self, url: str) -> None:
        nothing = (lambda *_: None,) * 6
        told = LinkEvents(*nothing)
        self.link = Link((url,), (1.0,), told, declare=True)
        self.served: asyncio.Queue[str | None] = asyncio.Queue()
        turnstile = Turnstile(lambda *_: None, lambda _: None)
        dispatcher = Dispatcher(Counter(self.served), metrics := Metrics(), prefetch=10)
        self.intake = Intake(Bench(self.link, dispatcher.receive, turnstile, metrics, prefetch=10))

    async def hand_in(self, name: str) -> None:
        """Publish a request, and see it served."""
        request = Publication("", topology.REQUESTS, b"{}", "application/json", name)
        await asyncio.wait_for(self.link.publish([request]), SOON)
        assert await asyncio.wait_for(self.served.get(), SOON) == name


@asynccontextmanager
async def working(url: str) -> AsyncIterator[Desk]:
    desk = Desk(url)
    tasks = [asyncio.create_task(desk.link.run()), asyncio.create_task(desk.intake.run())]
    try:
        yield desk
    finally:
        for task in reversed(tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_a_consumer_that_the_broker_has_lost_without_a_word_is_missed_within_seconds(vhost: VirtualHost) -> None:
    async with working(vhost.url) as desk:
        await desk.hand_in("before")
        channel = await (await desk.link.session()).intake.get_underlay_channel()
        for tag in tuple(cast("aiormq.Channel", channel).consumers):
            await channel.basic_cancel(tag)  # behind the intake's back

        await desk.hand_in("after")
        assert not desk.intake.is_stuck
