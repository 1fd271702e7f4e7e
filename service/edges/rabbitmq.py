"""RabbitMQ: a connection that comes back, deliveries in, publications out. The only file that knows aio-pika.

A session is one connection with two channels, and everything that was declared on them. It ends as a whole:
when the connection, a channel or the consumer goes, all of it is closed and a new session is opened. So there
is one way of recovering, and it is the way of starting.

Deliveries are taken from the channel beneath aio-pika's: its message class raises on properties that any
producer may set (a delivery mode of 3), and the delivery would be stuck unsettled for ever.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, cast

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import AbstractChannel as RawChannel
from aiormq.abc import DeliveredMessage, FieldTable
from yarl import URL

from service.words import topology
from service.words.delivery import Delivery, Publication

HEARTBEAT: Final = 20
CONNECT_TIMEOUT: Final = 10
CLOSE_TIMEOUT: Final = 5
DELIVERY_LIMIT: Final = 20
"""Deliveries of one message before the broker takes it for poison. A crash counts for all that was prefetched,
so this stands well above what a few crashes eat."""

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 10.0

BrokerErrors = (aiormq.exceptions.AMQPError, RuntimeError, OSError, TimeoutError)
"""What a broken session raises; a closed channel's error is a RuntimeError and no AMQPError."""


class TopologyError(Exception):
    """A queue or exchange is missing or not as the relay needs it; nothing was changed."""


class UnroutableError(Exception):
    """No queue wants a publication."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The right to settle one delivery, once, as long as its session lives."""

    channel: RawChannel
    tag: int

    async def ack(self) -> None:
        """Settle it: done. Raises one of `BrokerErrors` when the session is gone, and the delivery comes again."""
        await self.channel.basic_ack(self.tag)

    async def dead_letter(self) -> None:
        """Settle it: the broker moves it, untouched, to the dead-letter queue. Raises as `ack` does."""
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
        await channel.basic_qos(prefetch_count=prefetch)

        async def receive(message: DeliveredMessage) -> None:
            on_delivery(read_delivery(message), Receipt(channel, message.delivery_tag or 0))

        consumer = await channel.basic_consume(topology.REQUESTS, receive)
        try:
            yield
        finally:
            if not self.broken.is_set():
                with contextlib.suppress(*BrokerErrors):
                    async with asyncio.timeout(CLOSE_TIMEOUT):  # it would wait for an absent broker for ever
                        await channel.basic_cancel(consumer.consumer_tag or "")

    async def publish(self, publication: Publication) -> None:
        """Return when the broker has confirmed it. Raises `UnroutableError`, or one of `BrokerErrors`."""
        exchange = await self.outlet.get_exchange(publication.exchange, ensure=False)
        try:
            await exchange.publish(_message(publication), publication.routing_key, mandatory=True)
        except aio_pika.exceptions.PublishError:
            raise UnroutableError from None

    async def close(self) -> None:
        """Close channels before the connection: the other way round an ack on its way is an error."""
        self.broken.set()
        with contextlib.suppress(*BrokerErrors):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.intake.close()
                await self.outlet.close()
        with contextlib.suppress(*BrokerErrors):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.connection.close()


@dataclass(frozen=True, slots=True)
class LinkEvents:
    """What a link tells while it works."""

    connected: Callable[[str], None]
    """With host and port."""
    disconnected: Callable[[], None]
    refused: Callable[[BaseException], None]
    """An attempt to connect failed; another follows."""
    unroutable: Callable[[Publication], None]
    repeated: Callable[[BaseException | None], None]
    """A publication was not confirmed and is repeated."""


class Link:
    """The relay's tie to RabbitMQ, over as many sessions as it takes. Make it where a loop is running."""

    def __init__(self, urls: tuple[str, ...], rooms: Iterable[float], events: LinkEvents, *, declare: bool) -> None:
        self._urls = urls
        self._rooms = tuple(rooms)
        self._events = events
        self._declare = declare
        self._session = _promise()

    async def run(self) -> None:
        """Keep a session open until cancelled. Raises `TopologyError` when the broker has other ideas."""
        waits = _waits()
        for url in _endless(self._urls):
            try:
                session = await _open(url, self._rooms, declare=self._declare)
            except BrokerErrors as error:
                self._events.refused(error)
                await asyncio.sleep(next(waits))
                continue
            waits = _waits()
            self._events.connected(_address(url))
            self._session.set_result(session)
            try:
                await session.broken.wait()
            finally:
                self._session = _promise()
                await session.close()
                self._events.disconnected()

    @property
    def is_connected(self) -> bool:
        """Tell whether there is a session now."""
        return self._session.done()

    async def session(self) -> Session:
        """Give the session there is, or wait for the next."""
        return await asyncio.shield(self._session)

    async def publish(self, publications: Iterable[Publication]) -> None:
        """Return when the broker has confirmed every one, over as many sessions as it takes."""
        await asyncio.gather(*(self._publish(publication) for publication in publications))

    async def _publish(self, publication: Publication) -> None:
        for wait in _waits():
            session = await self.session()
            try:
                return await session.publish(publication)
            except UnroutableError:
                if not publication.must_arrive:
                    return self._events.unroutable(publication)
                self._events.repeated(None)
                session.broken.set()  # a queue of ours is gone: a new session declares it again
            except BrokerErrors as error:
                self._events.repeated(error)
            await asyncio.sleep(wait)
        return None


def read_delivery(message: DeliveredMessage) -> Delivery:
    """Take a delivery as it came; any producer may set any property, so this is total."""
    properties = message.header.properties
    timestamp = properties.timestamp
    if isinstance(timestamp, datetime) and timestamp.tzinfo is None:
        timestamp = timestamp.replace(tzinfo=UTC)
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
        headers=cast("FieldTable", publication.headers),  # each came off the wire, or is a str, int or bool
    )


async def _open(url: str, rooms: tuple[float, ...], *, declare: bool) -> Session:
    address = URL(url)
    if "heartbeat" not in address.query:
        address = address.update_query(heartbeat=HEARTBEAT)
    connection = await aio_pika.connect(
        address, timeout=CONNECT_TIMEOUT, client_properties={"connection_name": "omni-relay"}
    )
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT * 3):
            await _declare(connection, rooms, passive=not declare)
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


async def _declare(connection: AbstractConnection, rooms: tuple[float, ...], *, passive: bool) -> None:
    """Declare what the relay owns; when `passive`, only look. A broker refuses whatever differs from what is there."""
    channel = await connection.channel()
    try:
        exchanges = {
            name: await channel.declare_exchange(name, kind, durable=True, passive=passive)
            for name, kind in (
                (topology.REQUESTS, "topic"),
                (topology.RESULTS, "topic"),
                (topology.DEAD, "fanout"),
            )
        }
        for name, arguments in _queues(rooms):
            queue = await channel.declare_queue(name, durable=True, passive=passive, arguments=arguments)
            if name in exchanges and not passive:
                await queue.bind(exchanges[name], "#")
    except (aiormq.exceptions.ChannelPreconditionFailed, aiormq.exceptions.ChannelNotFoundEntity) as error:
        raise TopologyError(str(error)) from None
    await channel.close()


def _queues(rooms: tuple[float, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name each queue with its arguments.

    A dead letter and a message leaving its room are handed over at least once; without reject-publish the
    broker would quietly make that at most once.
    """
    kept = {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-dead-letter-strategy": "at-least-once",
    }
    yield topology.DEAD, {"x-queue-type": "quorum"}
    yield (
        topology.REQUESTS,
        {**kept, "x-delivery-limit": DELIVERY_LIMIT, "x-dead-letter-exchange": topology.DEAD},
    )
    for room in rooms:
        yield (
            topology.waiting_room(room),
            {
                **kept,
                "x-message-ttl": round(room * 1000),
                "x-dead-letter-exchange": topology.DIRECT,
                "x-dead-letter-routing-key": topology.REQUESTS,
            },
        )


def _promise() -> asyncio.Future[Session]:
    return asyncio.get_running_loop().create_future()


def _waits() -> Iterator[float]:
    """Wait longer each time, and never in step with others."""
    wait = _FIRST_WAIT
    while True:
        yield random.uniform(wait / 2, wait)  # noqa: S311 - jitter
        wait = min(wait * 2, _LONGEST_WAIT)


def _endless(urls: tuple[str, ...]) -> Iterator[str]:
    while True:
        yield from urls


def _address(url: str) -> str:
    """Tell host and port alone: a URL holds a password."""
    address = URL(url)
    return f"{address.host}:{address.port or 5672}"
