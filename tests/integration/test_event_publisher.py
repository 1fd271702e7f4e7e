"""The publisher of a process that consumes nothing, against a real broker."""

import asyncio
from dataclasses import replace

import pytest

from service.adapters.rabbitmq import EventPublisher, PublisherEvents
from service.adapters.rabbitmq.event_publisher import MAX_UNCONFIRMED
from tests.integration.test_rabbitmq_connection import channel_of, event
from tests.support.broker import VirtualHost
from tests.support.proxy import Proxy

QUIET = PublisherEvents(lambda _: None, lambda _: None, lambda *_: None, lambda _: None)
LARGE = b" " * (MAX_UNCONFIRMED // 8)


async def test_events_that_a_broker_does_not_confirm_take_bounded_memory_and_are_published_once(
    vhost: VirtualHost,
) -> None:
    async with Proxy(vhost.node.port) as proxy, channel_of(vhost.url) as channel:
        exchange = await channel.declare_exchange("omni.results", "topic", durable=True)
        queue = await channel.declare_queue("events")
        await queue.bind(exchange, "#")
        publisher = EventPublisher([f"amqp://guest:guest@127.0.0.1:{proxy.port}/{vhost.name}"], QUIET)
        running = asyncio.create_task(publisher.run())
        while not publisher.is_connected:  # noqa: ASYNC110 - another program
            await asyncio.sleep(0.01)
        proxy.hold_answers()
        for number in range(20):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await publisher.publish([replace(event(f"held-{number}"), body=LARGE)])
        proxy.release()
        async with asyncio.timeout(5):
            await publisher.publish([event("after")])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)  # before the proxy cuts its connection
        found = await channel.declare_queue("events", passive=True)
        assert found.declaration_result.message_count == 8 + 1
