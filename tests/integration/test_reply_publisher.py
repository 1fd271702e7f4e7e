"""Replies to queues named by `reply_to`, with a real broker: hostile names are dropped, all others arrive."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aio_pika
import pytest

from service.adapters.rabbitmq import ReplyPublisher
from service.adapters.rabbitmq.reply_publisher import MOST_BYTES, MOST_REPLIES
from service.core.delivery import Publication
from service.core.result.reply_to import DIRECT_REPLY, ReplyPolicy
from tests.support.broker import VirtualHost
from tests.support.proxy import Proxy

SOON = 15.0
FOREIGN = f"{DIRECT_REPLY}.g1h3AA5yZXBseUA4NDAyODM4OQAADpEAAAAAZx-JIQ==.q4DDS6lpYWdTAwWWm2nVnA=="
"""A token issued by another cluster. RabbitMQ 3 closes the connection that publishes to it."""


@dataclass
class Replies:
    """A publisher with the results of its replies."""

    publisher: ReplyPublisher
    results: Counter[str] = field(default_factory=Counter)

    def offer(self, *queues: str, body: bytes = b"{}") -> None:
        for number, queue in enumerate(queues):
            self.publisher.offer(Publication("", queue, body, "application/json", f"e-{number}", is_copy=True))

    async def until(self, condition: Callable[[Counter[str]], bool]) -> None:
        async with asyncio.timeout(SOON):
            while not condition(self.results):  # noqa: ASYNC110  # another program
                await asyncio.sleep(0.01)


@pytest.fixture(
    params=[pytest.param(True, id="fast path"), pytest.param(False, id="library alone", marks=pytest.mark.once)]
)
def fast(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@asynccontextmanager
async def publishing(url: str, *, fast: bool) -> AsyncIterator[Replies]:
    results: Counter[str] = Counter()

    def count(result: str) -> None:
        results[result] += 1

    publisher = ReplyPublisher((url,), ReplyPolicy(("*",)), count, fast=fast)
    try:
        yield Replies(publisher, results)
    finally:
        await publisher.close(1)


@asynccontextmanager
async def channel_of(url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel()


async def waiting(channel: aio_pika.abc.AbstractChannel, queue: str) -> int:
    return (await channel.declare_queue(queue, passive=True)).declaration_result.message_count or 0


async def test_a_reply_token_of_another_cluster_is_dropped_and_every_other_reply_arrives(
    vhost: VirtualHost, *, fast: bool
) -> None:
    async with channel_of(vhost.url) as channel, publishing(vhost.url, fast=fast) as replies:
        await channel.declare_queue("replies", exclusive=True)
        started = time.monotonic()
        for _ in range(10):
            replies.offer("replies", FOREIGN, "replies", "gone", FOREIGN, "replies")
            await asyncio.sleep(0.02)
        await replies.until(lambda results: results.total() == 60)
        assert time.monotonic() - started < 5
        assert 30 <= await waiting(channel, "replies") <= 45  # some twice: published again after a connection ended
        assert replies.results["unroutable"] == 10
        assert replies.results["confirmed"] + replies.results["closed"] == 50
        if vhost.node.version.startswith("3."):
            assert replies.results["closed"] == 20


async def test_a_requester_that_waits_for_direct_replies_gets_them(vhost: VirtualHost, *, fast: bool) -> None:
    async with channel_of(vhost.url) as channel, publishing(vhost.url, fast=fast) as replies:
        answers: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            answers.put_nowait(message.body)

        pseudo = await channel.get_queue(DIRECT_REPLY, ensure=False)
        await pseudo.consume(take, no_ack=True)
        requests = await channel.declare_queue(exclusive=True)
        await channel.default_exchange.publish(aio_pika.Message(b"", reply_to=DIRECT_REPLY), requests.name)
        request = await requests.get(timeout=SOON)
        assert request is not None
        assert request.reply_to is not None
        assert request.reply_to.startswith(f"{DIRECT_REPLY}.")
        replies.offer(request.reply_to, body=b"answer")
        assert await asyncio.wait_for(answers.get(), SOON) == b"answer"
        await replies.until(lambda results: results == Counter(confirmed=1))


async def test_a_full_queue_drops_only_its_own_replies(vhost: VirtualHost, *, fast: bool) -> None:
    arguments: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with channel_of(vhost.url) as channel, publishing(vhost.url, fast=fast) as replies:
        await channel.declare_queue("small", exclusive=True, arguments=arguments)
        await channel.declare_queue("replies", exclusive=True)
        replies.offer(*["small", "replies"] * 20)
        await replies.until(lambda results: results.total() == 40)
        assert replies.results == Counter(confirmed=21, refused=19)
        assert await waiting(channel, "replies") == 20


async def test_nothing_is_published_to_the_name_for_direct_replies_itself(vhost: VirtualHost, *, fast: bool) -> None:
    async with publishing(vhost.url, fast=fast) as replies:
        replies.offer(DIRECT_REPLY, "omni.requests")
        assert replies.results == Counter(invalid=1, not_allowed=1)


async def test_replies_not_confirmed_when_the_connection_was_lost_are_published_again(
    vhost: VirtualHost, *, fast: bool
) -> None:
    async with (
        Proxy(vhost.node.port) as proxy,
        channel_of(vhost.url) as channel,
        publishing(vhost.url.replace(f":{vhost.node.port}/", f":{proxy.port}/"), fast=fast) as replies,
    ):
        await channel.declare_queue("replies", exclusive=True)
        replies.offer("replies")
        await replies.until(lambda results: results["confirmed"] == 1)
        proxy.hold_answers()
        replies.offer("replies", "replies")
        await asyncio.sleep(0.2)
        proxy.cut()
        proxy.release()
        await replies.until(lambda results: results["confirmed"] == 3)
        assert replies.results == Counter(confirmed=3)


async def test_while_the_broker_is_down_a_bounded_number_of_replies_waits_and_a_stop_is_quick(
    unused_tcp_port: int,
) -> None:
    async with publishing(f"amqp://guest:guest@127.0.0.1:{unused_tcp_port}/", fast=True) as replies:
        replies.offer(*["replies"] * (MOST_REPLIES + 5))
        assert replies.results == Counter(overflow=5)
        started = time.monotonic()
        await replies.publisher.close(0.2)
        assert time.monotonic() - started < 2
        assert replies.results == Counter(overflow=5, lost=MOST_REPLIES)
        replies.offer("replies")
        assert replies.results["lost"] == MOST_REPLIES + 1
    async with publishing(f"amqp://guest:guest@127.0.0.1:{unused_tcp_port}/", fast=True) as replies:
        replies.offer(*["replies"] * 3, body=b"x" * (MOST_BYTES // 2))
        assert replies.results == Counter(overflow=1)


async def test_a_broker_that_does_not_answer_does_not_delay_a_stop(vhost: VirtualHost) -> None:
    async with (
        Proxy(vhost.node.port) as proxy,
        publishing(vhost.url.replace(f":{vhost.node.port}/", f":{proxy.port}/"), fast=True) as replies,
    ):
        replies.offer("gone")
        await replies.until(lambda results: results["unroutable"] == 1)
        proxy.hold()
        replies.offer("gone")
        started = time.monotonic()
        await replies.publisher.close(0.2)
        assert time.monotonic() - started < 6
        assert replies.results == Counter(unroutable=1, lost=1)
