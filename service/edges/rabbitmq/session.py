"""One life of the connection: two channels, deliveries in, publications out, and everything closed as a whole.

Deliveries are taken from the channel beneath aio-pika's: its message class raises on properties that any
producer may set (a delivery mode of 3), and the delivery would be stuck unsettled for ever.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, cast

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import AbstractChannel as RawChannel
from aiormq.abc import DeliveredMessage, FieldTable
from yarl import URL

from service.edges.rabbitmq.wire import make_reading_total, writable
from service.words import topology
from service.words.delivery import Delivery, Publication

HEARTBEAT: Final = 20
CONNECT_TIMEOUT: Final = 10
CLOSE_TIMEOUT: Final = 2

BrokerErrors = (aiormq.exceptions.AMQPError, RuntimeError, OSError, TimeoutError)
"""What a broken session raises; a closed channel's error is a RuntimeError and no AMQPError."""


class UnroutableError(Exception):
    """No queue wants a publication."""


@contextlib.contextmanager
def own_cancellation() -> Iterator[None]:
    """Let through only our own cancellation.

    When heartbeats stay away, the library ends what waits for the broker with `CancelledError`. Taken for our own, that
    would drop what is known of a call already made, or end the intake without a word.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ConnectionResetError("the broker has gone silent") from None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The right to settle one delivery, once, as long as its session lives."""

    channel: RawChannel
    tag: int

    async def ack(self) -> None:
        """Settle it: done. Raises one of `BrokerErrors` when the session is gone, and the delivery comes again."""
        with own_cancellation():
            await self.channel.basic_ack(self.tag)

    async def dead_letter(self) -> None:
        """Settle it: the broker moves it, untouched, to the dead-letter queue. Raises as `ack` does."""
        with own_cancellation():
            await self.channel.basic_nack(self.tag, requeue=False)


OnDelivery = Callable[[Delivery, Receipt], None]


@dataclass(slots=True)
class Session:
    """One life of the connection."""

    connection: AbstractConnection
    intake: AbstractChannel
    outlet: AbstractChannel
    broken: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.asynccontextmanager
    async def consuming(self, prefetch: int, on_delivery: OnDelivery) -> AsyncIterator[None]:
        """Take deliveries while inside; those not settled at the end stay ours as long as the session lives."""
        channel = await self.intake.get_underlay_channel()

        async def receive(message: DeliveredMessage) -> None:
            on_delivery(read_delivery(message), Receipt(channel, message.delivery_tag or 0))

        with own_cancellation():
            await channel.basic_qos(prefetch_count=prefetch)
            consumer = await channel.basic_consume(topology.REQUESTS, receive)
        try:
            yield
        finally:
            if not self.broken.is_set():
                with contextlib.suppress(*BrokerErrors), own_cancellation():
                    async with asyncio.timeout(CLOSE_TIMEOUT):  # it would wait for an absent broker for ever
                        await channel.basic_cancel(consumer.consumer_tag or "")

    async def publish(self, publication: Publication) -> None:
        """Return when the broker has confirmed it. Raises `UnroutableError`, or one of `BrokerErrors`."""
        exchange = await self.outlet.get_exchange(publication.exchange, ensure=False)
        try:
            with own_cancellation():
                await exchange.publish(_message(publication), publication.routing_key, mandatory=True)
        except aio_pika.exceptions.PublishError:
            raise UnroutableError from None

    async def events(self) -> AsyncIterator[bytes]:
        """Give the body of every status event from now on. Ends when the session does."""
        channel = await self.intake.get_underlay_channel()
        bodies: asyncio.Queue[bytes | None] = asyncio.Queue()
        queue = (await channel.queue_declare(exclusive=True)).queue or ""
        await channel.queue_bind(queue, topology.RESULTS, "#")

        async def receive(message: DeliveredMessage) -> None:
            bodies.put_nowait(message.body)

        await channel.basic_consume(queue, receive, no_ack=True)
        for part in (self.connection, self.intake):
            part.close_callbacks.add(lambda *_: bodies.put_nowait(None))
        while (body := await bodies.get()) is not None:
            yield body

    async def waiting(self) -> tuple[int, int]:
        """Count the requests that wait, and the consumers there are. Raises one of `BrokerErrors`, if no queue is."""
        channel = await self.connection.channel()
        try:
            found = (await channel.declare_queue(topology.REQUESTS, passive=True)).declaration_result
        finally:
            await channel.close()
        return found.message_count or 0, found.consumer_count or 0

    async def close(self) -> None:
        """Close channels before the connection: the other way round an ack on its way is an error."""
        self.broken.set()
        with contextlib.suppress(*BrokerErrors), own_cancellation():
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.intake.close()
                await self.outlet.close()
        with contextlib.suppress(*BrokerErrors), own_cancellation():
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.connection.close()


async def open_session(url: str) -> Session:
    """Connect. Raises one of `BrokerErrors`."""
    make_reading_total()
    address = URL(url)
    if "heartbeat" not in address.query:
        address = address.update_query(heartbeat=HEARTBEAT)
    connection = await aio_pika.connect(
        address, timeout=CONNECT_TIMEOUT, client_properties={"connection_name": "omni-relay"}
    )
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            intake = await connection.channel(publisher_confirms=False)
            outlet = await connection.channel(publisher_confirms=True, on_return_raises=True)
            session = Session(connection, intake, outlet)
            (await intake.get_underlay_channel()).on_consumer_cancel_callbacks.add(lambda _: session.broken.set())
    except BaseException:
        with contextlib.suppress(*BrokerErrors):
            await connection.close()
        raise
    for part in (connection, intake, outlet):
        part.close_callbacks.add(lambda *_: session.broken.set())
    return session


def read_delivery(message: DeliveredMessage) -> Delivery:
    """Take a delivery as it came; any producer may set any property, so this is total."""
    properties = message.header.properties
    timestamp = properties.timestamp
    return Delivery(
        body=message.body,
        content_type=properties.content_type or None,
        message_id=properties.message_id or None,
        correlation_id=properties.correlation_id or None,
        reply_to=properties.reply_to or None,
        expiration=_seconds(properties.expiration),
        timestamp=timestamp if isinstance(timestamp, datetime) else None,
        priority=properties.priority,
        headers=properties.headers or {},
        exchange=message.exchange or "",
        routing_key=message.routing_key or "",
        redelivered=bool(message.redelivered),
    )


def _seconds(expiration: str | None) -> float | None:
    """Read the property `expiration`: milliseconds, in digits."""
    return int(expiration[:15]) / 1000 if expiration and expiration.isascii() and expiration.isdigit() else None


def _message(publication: Publication) -> aio_pika.Message:
    return aio_pika.Message(
        publication.body,
        content_type=publication.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=publication.message_id,
        type=publication.type,
        correlation_id=publication.correlation_id,
        reply_to=publication.reply_to,
        timestamp=publication.timestamp,
        priority=publication.priority,
        headers=writable(cast("FieldTable", publication.headers)),  # what came off the wire, and our own
    )
