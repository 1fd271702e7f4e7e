"""Publications that the broker refuses for now, or for ever, or because of the content of one of them."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from service.core import topology
from service.core.delivery import Publication, UnpublishableError
from service.core.result.reply_to import DIRECT_REPLY
from tests.integration.test_rabbitmq_connection import (
    SOON,
    Client,
    channel_of,
    event,
    fast_path,  # noqa: F401 - a fixture: everything with the fast path and without it
    names,
    opened,
    retry,
)
from tests.support.broker import VirtualHost, largest_message

FULL: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}


async def until(condition: Callable[[], bool], within: float = SOON) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110  # another program
            await asyncio.sleep(0.01)


async def test_a_publication_that_closes_the_channel_is_identified_reported_and_skipped(vhost: VirtualHost) -> None:
    """The name for direct replies in `reply_to` does that. The relay never writes it; it stands for such content."""
    async with opened(vhost.url, consume=True) as client:
        good = [retry(f"good-{number}") for number in range(20)]
        bad = replace(retry("bad"), reply_to=DIRECT_REPLY)
        started = time.monotonic()
        with pytest.raises(UnpublishableError) as caught:
            await asyncio.wait_for(client.connection.publish([*good[:10], bad, *good[10:]]), SOON)
        assert [one.message_id for one in caught.value.publications] == ["bad"]
        assert [one.message_id for one in client.log.skipped] == ["bad"]
        assert time.monotonic() - started < 5
        await client.until(lambda received: names(received) == {one.message_id for one in good})
        assert client.log.disconnected == ["channel_refused", "channel_refused"]
        await asyncio.wait_for(client.connection.publish([retry("after")]), SOON)
        assert len(client.log.disconnected) == 2


async def test_several_publications_that_close_the_channel_end_no_more_sessions_than_one(vhost: VirtualHost) -> None:
    async with opened(vhost.url) as client:
        bad = [replace(retry(f"bad-{number}"), reply_to=DIRECT_REPLY) for number in range(5)]
        with pytest.raises(UnpublishableError) as caught:
            await asyncio.wait_for(client.connection.publish([retry("good"), *bad]), SOON)
        assert {one.message_id for one in caught.value.publications} == {one.message_id for one in bad}
        assert len(client.log.disconnected) == 2


async def test_a_message_larger_than_the_broker_allows_does_not_affect_others(vhost: VirtualHost) -> None:
    async with largest_message(vhost.node, 4000), opened(vhost.url, consume=True) as client:
        bad = replace(retry("bad"), body=b"x" * 5000)
        with pytest.raises(UnpublishableError):
            await asyncio.wait_for(client.connection.publish([retry("good"), bad]), SOON)
        await client.until(lambda received: names(received) == {"good"})


async def test_a_publication_that_amqp_cannot_carry_is_reported_and_the_others_are_published(
    vhost: VirtualHost,
) -> None:
    async with opened(vhost.url, consume=True) as client:
        with pytest.raises(UnpublishableError):
            await asyncio.wait_for(
                client.connection.publish([retry("good"), replace(retry("bad"), priority=300)]), SOON
            )
        await client.until(lambda received: names(received) == {"good"})
        assert client.log.disconnected == []


async def test_a_deleted_exchange_does_not_make_a_publication_unpublishable(vhost: VirtualHost) -> None:
    async with opened(vhost.url) as client, channel_of(vhost.url) as channel:
        for _ in range(2):
            await channel.exchange_delete(topology.RESULTS)
            await asyncio.wait_for(client.connection.publish([event("e")]), SOON)
        assert client.log.skipped == []
        assert set(client.log.disconnected) == {"not_found"}


@asynccontextmanager
async def two_consumers(client: Client, url: str) -> AsyncIterator[tuple[Counter[str], Any]]:
    """Bind a queue that is read to the events, and one that takes a single message."""
    seen: Counter[str] = Counter()

    async def take(message: Any) -> None:  # noqa: ANN401  # aio-pika's
        seen[message.message_id] += 1

    async with channel_of(url) as channel:
        healthy = await channel.declare_queue("healthy", exclusive=True)
        small = await channel.declare_queue("small", exclusive=True, arguments=FULL)
        for queue in (healthy, small):
            await queue.bind(topology.RESULTS, "#")
        await healthy.consume(take, no_ack=True)
        await client.connection.publish([event("first")])
        yield seen, small


@pytest.mark.long
async def test_while_one_queue_refuses_the_others_get_few_events_more_than_once(vhost: VirtualHost) -> None:
    async with opened(vhost.url) as client, two_consumers(client, vhost.url) as (seen, small):
        publishing = [asyncio.create_task(client.connection.publish([event(f"e-{number}")])) for number in range(30)]
        await asyncio.sleep(5)
        later = [asyncio.create_task(client.connection.publish([event(f"late-{number}")])) for number in range(30)]
        await asyncio.sleep(7)
        assert not any(task.done() for task in (*publishing, *later))
        assert sum(seen[f"e-{number}"] - 1 for number in range(30)) <= 8  # one probe at a time, after growing pauses
        assert not any(
            name.startswith("late") for name in seen
        )  # nothing new is published to the route that the broker refuses
        await small.unbind(topology.RESULTS, "#")
        await asyncio.wait_for(asyncio.gather(*publishing, *later), 10)
        await until(lambda: len(seen) == 61)
        assert max(seen.values()) <= 4
        assert seen.total() <= 61 + 30 + 12


async def test_publications_to_other_queues_are_not_delayed_by_a_queue_that_refuses(vhost: VirtualHost) -> None:
    async with opened(vhost.url, consume=True) as client, two_consumers(client, vhost.url):
        publishing = asyncio.create_task(client.connection.publish([event("e"), retry("beside")]))
        await client.until(lambda received: names(received) == {"beside"})
        await asyncio.wait_for(client.connection.publish([retry("another")]), SOON)
        assert not publishing.done()
        publishing.cancel()


async def test_a_queue_that_has_room_now_and_then_causes_few_repeats(vhost: VirtualHost) -> None:
    """When the broker accepts one, the others are not published all at once, to be refused again."""
    async with opened(vhost.url) as client, two_consumers(client, vhost.url) as (seen, small):
        publishing = [asyncio.create_task(client.connection.publish([event(f"e-{number}")])) for number in range(20)]
        for _ in range(3):
            await asyncio.sleep(1.5)
            await small.purge()
        assert seen.total() <= 1 + 20 + 3 * 6
        await small.unbind(topology.RESULTS, "#")
        await asyncio.wait_for(asyncio.gather(*publishing), 10)


@pytest.mark.long
async def test_thousands_of_unroutable_events_take_linear_time(vhost: VirtualHost) -> None:
    async with opened(vhost.url) as client:
        seconds = []
        for count in (250, 2_500):
            events = [event(f"e-{number}") for number in range(count)]
            started = time.process_time()
            await asyncio.wait_for(client.connection.publish(events), SOON * 2)
            seconds.append(time.process_time() - started)
        assert len(client.log.unroutable) == 2_750
        assert seconds[1] < 40 * seconds[0]  # quadratic time would be a hundred times as much


async def test_each_unroutable_event_among_thousands_is_identified_correctly(vhost: VirtualHost) -> None:
    async with opened(vhost.url) as client, channel_of(vhost.url) as channel:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(topology.RESULTS, "message.accepted")
        mixed: list[Publication] = []
        for number in range(1_000):
            mixed += [event(f"e-{number}"), replace(event(f"n-{number}"), routing_key="nobody.wants")]
        await asyncio.wait_for(
            asyncio.gather(*(client.connection.publish(mixed[start::7]) for start in range(7))), SOON * 2
        )
        assert {one.message_id for one in client.log.unroutable} == {f"n-{number}" for number in range(1_000)}
