"""Reads and manages single queues over a session: for the commands and the dead-letter listener.

Every function raises one of `BrokerErrors`.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import Final, Literal, TypeVar

import aiormq
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage, FieldTable

from service.adapters.rabbitmq.acknowledger import Acknowledger
from service.adapters.rabbitmq.messages import read_delivery
from service.adapters.rabbitmq.permissions import Right, RightMissingError, is_about
from service.adapters.rabbitmq.session import CLOSE_TIMEOUT, CONNECT_TIMEOUT, AccessRefusedError, Session
from service.core import topology
from service.core.delivery import Delivery

_SERVER_NAMED: Final = "amq.gen-*"
"""Names that the broker gives to queues declared without one."""

T = TypeVar("T")

Permission = Literal["granted", "taken", "forbidden"]
"""taken: another session holds it. forbidden: this user may not declare it."""


async def status_events(session: Session) -> AsyncIterator[bytes]:
    """Yield the body of every status event published from now on, until the session ends.

    Raises `RightMissingError` too.
    """
    channel = await session.delivery_channel.get_underlay_channel()
    bodies: asyncio.Queue[bytes | None] = asyncio.Queue()
    declaring = channel.queue_declare(exclusive=True)
    queue = (await _allowed(declaring, Right("configure", "queue", _SERVER_NAMED))).queue or ""
    own, results = Right("write", "queue", queue), Right("read", "exchange", topology.RESULTS)
    await _allowed(channel.queue_bind(queue, topology.RESULTS, "#"), results, own)

    async def receive(message: DeliveredMessage) -> None:
        bodies.put_nowait(message.body)

    consuming = channel.basic_consume(queue, receive, no_ack=True)
    await _allowed(consuming, Right("read", "queue", queue))
    for part in (session.connection, session.delivery_channel):
        part.close_callbacks.add(lambda *_: bodies.put_nowait(None))
    while (body := await bodies.get()) is not None:
        yield body


async def follow(session: Session, queue: str, prefetch: int) -> AsyncGenerator[tuple[Delivery, Acknowledger, float]]:
    """Yield what arrives in a queue, with the time of arrival (monotonic seconds), until the channel or consumer ends.

    It uses a channel of its own. On the fast path, a body that is longer than any request may be is not kept.
    """
    channel = await session.broken.ask(session.connection.channel(publisher_confirms=False), CONNECT_TIMEOUT)
    arrived: asyncio.Queue[tuple[Delivery, int, float] | None] = asyncio.Queue()
    for part in (session.connection, channel):
        part.close_callbacks.add(lambda *_: arrived.put_nowait(None))
    consumer = f"omni-relay.{secrets.token_hex(8)}"
    raw = await channel.get_underlay_channel()
    try:
        raw.on_consumer_cancel_callbacks.add(lambda _: arrived.put_nowait(None))
        await session.broken.ask(raw.basic_qos(prefetch_count=prefetch), CONNECT_TIMEOUT)

        def take(delivery: Delivery, tag: int) -> None:
            arrived.put_nowait((delivery, tag, time.monotonic()))

        async def receive(message: DeliveredMessage) -> None:
            take(read_delivery(message), message.delivery_tag or 0)

        if session.fast_path is not None:  # before the consumer exists, or its first deliveries are missed
            session.fast_path.consume(consumer, take, raw.number)
        await session.broken.ask(raw.basic_consume(queue, receive, consumer_tag=consumer), CONNECT_TIMEOUT)
        while (one := await arrived.get()) is not None:
            delivery, tag, arrived_at = one
            yield delivery, Acknowledger(raw, tag, session.broken), arrived_at
    finally:
        await session.broken.give(channel.close(), CLOSE_TIMEOUT)
        if session.fast_path is not None:
            session.fast_path.forget(consumer, raw.number)


async def take_all(session: Session, queue: str) -> AsyncGenerator[tuple[Delivery, Acknowledger]]:
    """Yield the messages of a queue, oldest first, until it is empty. Those not acknowledged are returned at the end.

    Raises also if there is no such queue.
    """
    channel = await session.broken.ask(session.connection.channel(publisher_confirms=False), CONNECT_TIMEOUT)
    try:
        raw = await channel.get_underlay_channel()
        while True:
            message = await session.broken.ask(raw.basic_get(queue), CONNECT_TIMEOUT)
            if message.delivery_tag is None:
                return
            yield read_delivery(message), Acknowledger(raw, message.delivery_tag, session.broken)
    finally:
        await session.broken.give(_return_unsettled(channel), CLOSE_TIMEOUT)


async def depth(session: Session, queue: str) -> int:
    """Count the messages that are ready in a queue. Raises also if there is no such queue."""
    async with session.asking() as channel:
        return (await session.broken.ask(channel.queue_declare(queue, passive=True))).message_count or 0


async def lock(session: Session, queue: str) -> Permission:
    """Declare an exclusive queue as a lock: the broker deletes it when the session ends."""
    try:
        async with session.asking() as channel:
            await session.broken.ask(channel.queue_declare(queue, exclusive=True))
    except aiormq.exceptions.ChannelLockedResource:
        return "taken"
    except aiormq.exceptions.ChannelAccessRefused:
        return "forbidden"
    return "granted"


async def declare_expiring(session: Session, queue: str, seconds: float) -> Permission:
    """Declare a durable queue and bind it to `omni.relay`. The broker deletes it after so many seconds without use."""
    arguments: FieldTable = {"x-queue-type": "quorum", "x-expires": round(seconds * 1000)}
    try:
        async with session.asking() as channel:
            await session.broken.ask(channel.queue_declare(queue, durable=True, arguments=arguments))
            await session.broken.ask(channel.queue_bind(queue, topology.RELAY, queue))
    except aiormq.exceptions.ChannelAccessRefused:
        return "forbidden"
    return "granted"


async def delete(session: Session, queue: str) -> None:
    """Delete a queue with all its messages."""
    async with session.asking() as channel:
        await session.broken.ask(channel.queue_delete(queue))


async def _return_unsettled(channel: AbstractChannel) -> None:
    """Requeue every delivery that was not settled, and close the channel.

    RabbitMQ 4 puts them back at their old place. RabbitMQ 3 does so only in a queue with a delivery limit, otherwise at
    its end. RabbitMQ 4.3 does not count a nack towards that limit, but counts a channel that closes. (All observed.)
    """
    raw = await channel.get_underlay_channel()
    await raw.basic_nack(0, multiple=True, requeue=True)  # 0: all
    await channel.close()


async def _allowed(request: Awaitable[T], *rights: Right) -> T:
    """Return the answer. Raises `RightMissingError` with the one of the rights that the broker's refusal names."""
    try:
        return await request
    except AccessRefusedError as error:
        raise RightMissingError(next((one for one in rights if is_about(error, one)), rights[0])) from None
