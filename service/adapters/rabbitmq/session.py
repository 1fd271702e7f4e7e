"""One life of the connection: two channels, deliveries in, publications out, and everything closed as a whole.

A worker takes its deliveries on a connection of their own, as RabbitMQ recommends: where memory or disk run short, the
broker stops reading from connections that publish, and acks would be stuck with them; and the worker can stop reading
deliveries that it has no memory for, while confirms go on. The two live and end together.

Deliveries are taken from the channel beneath aio-pika's: its message class raises on properties that any
producer may set (a delivery mode of 3), and the delivery would be stuck unsettled for ever. With a lane, deliveries,
acks and publications go past the library, and all else is the same.
"""

import asyncio
import contextlib
import secrets
import ssl
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from functools import partial
from typing import Final, Literal, TypeVar, cast

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractConnection, ConnectionParameter
from aiormq.abc import AbstractChannel as RawChannel
from aiormq.abc import DeliveredMessage, FieldTable, FieldValue
from yarl import URL

from service.adapters.rabbitmq.codec import encoded_headers, make_reading_total, read_expiration
from service.adapters.rabbitmq.fast_path import NO_CHANNEL, FastPath, FastPathFactory, UnroutableError
from service.adapters.rabbitmq.lifetime import ConnectionLifetime, at_most
from service.adapters.rabbitmq.permissions import Right, RightMissingError, is_about
from service.adapters.tls import client_context
from service.core import topology
from service.core.delivery import Delivery, Publication, UnpublishableError
from service.core.forged_headers import without_forged_headers
from service.core.request.compression import read_content_encoding
from service.core.value import dataclass

HEARTBEAT: Final = 20
CONNECT_TIMEOUT: Final = 10
CLOSE_TIMEOUT: Final = 2

BrokerErrors = (aiormq.exceptions.AMQPError, RuntimeError, OSError, TimeoutError)
"""What a broken session raises; a closed channel's error is a RuntimeError and no AMQPError."""

AccessRefusedError: Final = aiormq.exceptions.ChannelAccessRefused
"""The broker's answer to a user who lacks a right: one of `BrokerErrors`. Its text names the queue or exchange."""

_OWN_QUEUES: Final = "amq.gen-*"
"""Names that the broker gives."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Acknowledger:
    """The right to settle one delivery, once, as long as its session lives."""

    channel: RawChannel
    tag: int
    broken: ConnectionLifetime
    fast_path: FastPath | None = None

    async def ack(self) -> None:
        """Settle it: done. Raises one of `BrokerErrors` when the session is gone, and the delivery comes again."""
        if self.fast_path is None:
            await self.broken.ask(self.channel.basic_ack(self.tag))
        else:
            self._living(self.fast_path).ack(self.tag)

    async def dead_letter(self) -> None:
        """Settle it: the broker moves it, untouched, to the dead-letter queue. Raises as `ack` does."""
        if self.fast_path is None:
            await self.broken.ask(self.channel.basic_nack(self.tag, requeue=False))
        else:
            self._living(self.fast_path).dead_letter(self.tag)

    def _living(self, fast_path: FastPath) -> FastPath:
        if self.broken.is_set():
            raise ConnectionResetError("the session is over")
        return fast_path

    async def sync(self) -> None:
        """Return when the broker has heard what was said before. Raises as `ack` does."""
        await self.broken.ask(self.channel.queue_declare(topology.REQUESTS, passive=True))

    async def alive(self) -> None:
        """Return when the broker has answered something. Raises as `ack` does.

        While deliveries are left unread, so are answers beside them; then the session's other connection stands for
        both. They have the same heartbeats from the same process, and a pause is much shorter than a broker's patience.
        """
        beside = self.broken.ask_beside if self.broken.is_unread else None
        if beside is None:
            await self.sync()
        else:
            await self.broken.ask(beside())


OnDelivery = Callable[[Delivery, Acknowledger], None]


Permission = Literal["granted", "taken", "forbidden"]
"""taken: another session has it. forbidden: this user may not declare it."""


@dataclass(slots=True)
class Session:
    """One life of the connection."""

    connection: AbstractConnection
    """For everything but a worker's requests."""
    feed: AbstractConnection
    """For a worker's requests; where none are consumed, the same."""
    intake: AbstractChannel
    outlet: AbstractChannel
    broken: ConnectionLifetime = field(default_factory=ConnectionLifetime)
    fast_path: FastPath | None = None
    """For publications."""
    feed_fast_path: FastPath | None = None
    """For deliveries and acks."""
    server: Mapping[str, object] = field(default_factory=dict)
    """What the broker says of itself."""

    @contextlib.asynccontextmanager
    async def consuming(self, prefetch: int, on_delivery: OnDelivery) -> AsyncIterator[None]:
        """Take deliveries while inside; those not settled at the end stay ours as long as the session lives.

        They carry headers of the relay only where no producer can have written them.
        """
        channel = await self.intake.get_underlay_channel()

        async def receive(message: DeliveredMessage) -> None:
            on_delivery(
                without_forged_headers(read_delivery(message)),
                Acknowledger(channel, message.delivery_tag or 0, self.broken),
            )

        def take(delivery: Delivery, tag: int) -> None:
            on_delivery(without_forged_headers(delivery), Acknowledger(channel, tag, self.broken, self.feed_fast_path))

        consumer = f"omni-relay.{secrets.token_hex(8)}"
        if self.feed_fast_path is not None:
            self.feed_fast_path.consume(consumer, take)
        await self.broken.ask(channel.basic_qos(prefetch_count=prefetch), CONNECT_TIMEOUT)
        consuming = channel.basic_consume(topology.REQUESTS, receive, consumer_tag=consumer)
        await self.broken.ask(consuming, CONNECT_TIMEOUT)
        try:
            yield
        finally:
            if not self.broken.is_set():
                await self.broken.give(self._cancel(channel, consumer), CLOSE_TIMEOUT)

    async def _cancel(self, channel: RawChannel, consumer: str) -> None:
        """Have no more deliveries sent. Those that have been sent come before the answer, which is left to wait for."""
        await channel.basic_cancel(consumer)
        if self.feed_fast_path is not None:
            self.feed_fast_path.forget(consumer)

    async def publish_all(self, publications: Sequence[Publication]) -> list[tuple[Publication, Exception]]:
        """Wait until the broker has answered for every one; gives those it did not confirm, and why.

        Without a lane, of two with the same message_id the second waits: in flight together, each may get the
        other's verdict.
        """
        if self.fast_path is not None:
            return await self.fast_path.publish(publications, self.broken)
        tried: list[tuple[Publication, Exception | None]] = []
        waiting = list(publications)
        while waiting:
            wave = {publication.message_id: publication for publication in reversed(waiting)}
            tried += await asyncio.gather(*(self._try_to_publish(one) for one in wave.values()))
            waiting = [publication for publication in waiting if wave[publication.message_id] is not publication]
        return [(publication, error) for publication, error in tried if error is not None]

    async def _try_to_publish(self, publication: Publication) -> tuple[Publication, Exception | None]:
        try:
            await self.publish(publication)
        except (UnroutableError, *BrokerErrors) as error:
            return publication, error
        except (TypeError, ValueError, ArithmeticError, struct.error):
            return publication, UnpublishableError([publication])
        return publication, None

    async def publish(self, publication: Publication) -> None:
        """Return when the broker has confirmed it. Raises `UnroutableError`, or one of `BrokerErrors`."""
        exchange = await self.outlet.get_exchange(publication.exchange, ensure=False)
        try:
            message = _message(publication, await self._frame_max())
            await self.broken.ask(exchange.publish(message, publication.routing_key, mandatory=True))
        except aio_pika.exceptions.PublishError:
            raise UnroutableError from None

    async def _frame_max(self) -> int:
        return (await self.outlet.get_underlay_channel()).connection.connection_tune.frame_max

    async def events(self) -> AsyncIterator[bytes]:
        """Give the body of every status event from now on. Ends when the session does.

        Raises `RightMissingError`, or one of `BrokerErrors`.
        """
        channel = await self.intake.get_underlay_channel()
        bodies: asyncio.Queue[bytes | None] = asyncio.Queue()
        declaring = channel.queue_declare(exclusive=True)
        queue = (await _allowed(declaring, Right("configure", "queue", _OWN_QUEUES))).queue or ""
        own, results = Right("write", "queue", queue), Right("read", "exchange", topology.RESULTS)
        await _allowed(channel.queue_bind(queue, topology.RESULTS, "#"), results, own)

        async def receive(message: DeliveredMessage) -> None:
            bodies.put_nowait(message.body)

        consuming = channel.basic_consume(queue, receive, no_ack=True)
        await _allowed(consuming, Right("read", "queue", queue))
        for part in (self.connection, self.intake):
            part.close_callbacks.add(lambda *_: bodies.put_nowait(None))
        while (body := await bodies.get()) is not None:
            yield body

    async def following(self, queue: str, prefetch: int) -> AsyncGenerator[tuple[Delivery, Acknowledger, float]]:
        """Give what comes into a queue, and when it came (monotonic seconds), on a channel of its own.

        With a lane, a body that is longer than any request's is not kept. Ends when that channel does; raises one of
        `BrokerErrors`.
        """
        channel = await self.broken.ask(self.connection.channel(publisher_confirms=False), CONNECT_TIMEOUT)
        arrived: asyncio.Queue[tuple[Delivery, int, float] | None] = asyncio.Queue()
        for part in (self.connection, channel):
            part.close_callbacks.add(lambda *_: arrived.put_nowait(None))
        consumer = f"omni-relay.{secrets.token_hex(8)}"
        raw = await channel.get_underlay_channel()
        try:
            raw.on_consumer_cancel_callbacks.add(lambda _: arrived.put_nowait(None))
            await self.broken.ask(raw.basic_qos(prefetch_count=prefetch), CONNECT_TIMEOUT)

            def take(delivery: Delivery, tag: int) -> None:
                arrived.put_nowait((delivery, tag, time.monotonic()))

            async def receive(message: DeliveredMessage) -> None:
                take(read_delivery(message), message.delivery_tag or 0)

            if self.fast_path is not None:
                self.fast_path.consume(consumer, take, raw.number)
            await self.broken.ask(raw.basic_consume(queue, receive, consumer_tag=consumer), CONNECT_TIMEOUT)
            while (one := await arrived.get()) is not None:
                delivery, tag, arrived_at = one
                yield delivery, Acknowledger(raw, tag, self.broken), arrived_at
        finally:
            await self.broken.give(channel.close(), CLOSE_TIMEOUT)
            if self.fast_path is not None:
                self.fast_path.forget(consumer, raw.number)

    async def taking(self, queue: str) -> AsyncGenerator[tuple[Delivery, Acknowledger]]:
        """Give what is in a queue, oldest first, until it is empty. What is not acknowledged goes back.

        Raises one of `BrokerErrors`, also if there is no such queue.
        """
        channel = await self.broken.ask(self.connection.channel(publisher_confirms=False), CONNECT_TIMEOUT)
        try:
            raw = await channel.get_underlay_channel()
            while True:
                message = await self.broken.ask(raw.basic_get(queue), CONNECT_TIMEOUT)
                if message.delivery_tag is None:
                    return
                yield read_delivery(message), Acknowledger(raw, message.delivery_tag, self.broken)
        finally:
            await self.broken.give(_hand_back(channel), CLOSE_TIMEOUT)

    async def depth(self, queue: str) -> int:
        """Count the messages that wait in a queue. Raises one of `BrokerErrors`, also if there is no such queue."""
        async with self.asking() as channel:
            return (await self.broken.ask(channel.queue_declare(queue, passive=True))).message_count or 0

    async def lock(self, queue: str) -> Permission:
        """Declare a queue that belongs to this session alone, and goes with it. Raises one of `BrokerErrors`."""
        try:
            async with self.asking() as channel:
                await self.broken.ask(channel.queue_declare(queue, exclusive=True))
        except aiormq.exceptions.ChannelLockedResource:
            return "taken"
        except aiormq.exceptions.ChannelAccessRefused:
            return "forbidden"
        return "granted"

    async def keep(self, queue: str, seconds: float) -> Permission:
        """Declare a durable queue that goes when it has been unused for so long, and bind it to `omni.relay`.

        Raises one of `BrokerErrors`.
        """
        arguments: FieldTable = {"x-queue-type": "quorum", "x-expires": round(seconds * 1000)}
        try:
            async with self.asking() as channel:
                await self.broken.ask(channel.queue_declare(queue, durable=True, arguments=arguments))
                await self.broken.ask(channel.queue_bind(queue, topology.RELAY, queue))
        except aiormq.exceptions.ChannelAccessRefused:
            return "forbidden"
        return "granted"

    async def delete(self, queue: str) -> None:
        """Delete a queue with all that is in it. Raises one of `BrokerErrors`."""
        async with self.asking() as channel:
            await self.broken.ask(channel.queue_delete(queue))

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator[RawChannel]:
        """Open a channel for one question: the broker closes it with a refusal."""
        channel = await self.broken.ask(self.connection.channel(publisher_confirms=False), CONNECT_TIMEOUT)
        try:
            yield await channel.get_underlay_channel()
        finally:
            await self.broken.give(channel.close(), CLOSE_TIMEOUT)

    async def missing(self, queues: Iterable[str]) -> bool:
        """Tell whether the broker says that one of these queues is not there. Raises one of `BrokerErrors`."""
        channel = await self.broken.ask(self.connection.channel(publisher_confirms=False), CONNECT_TIMEOUT)
        try:
            for queue in queues:
                await self.broken.ask(channel.declare_queue(queue, passive=True), CONNECT_TIMEOUT)
        except aiormq.exceptions.ChannelNotFoundEntity as error:
            return "no queue" in str(error)  # and not one whose node is down
        finally:
            await self.broken.give(channel.close(), CLOSE_TIMEOUT)
        return False

    async def ready(self, queue: str) -> int:
        """Count the messages in a queue that nobody has taken. Raises one of `BrokerErrors`."""
        channel = await self.connection.channel(publisher_confirms=False)
        try:
            return (await channel.declare_queue(queue, passive=True)).declaration_result.message_count or 0
        finally:
            await self.broken.give(channel.close(), CLOSE_TIMEOUT)

    async def waiting(self) -> tuple[int, int]:
        """Count the requests that wait, and the consumers there are. Raises one of `BrokerErrors`, if no queue is.

        Asked on the connection for deliveries: while memory or disk run short, the broker reads nothing on the other.
        """
        channel = await self.feed.channel(publisher_confirms=False)
        try:
            found = (await channel.declare_queue(topology.REQUESTS, passive=True)).declaration_result
        finally:
            await channel.close()
        return found.message_count or 0, found.consumer_count or 0

    async def close(self) -> None:
        """Close channels before the connection: the other way round an ack on its way is an error."""
        self.broken.set()
        await at_most(CLOSE_TIMEOUT, asyncio.gather(self.intake.close(), self.outlet.close()))
        await at_most(CLOSE_TIMEOUT, asyncio.gather(self.connection.close(), self.feed.close()))


async def open_session(url: str, *, fast: bool = False, consumes: bool = False) -> Session:
    """Connect, `fast` with lanes; what `consumes` has a connection more. Raises one of `BrokerErrors`."""
    make_reading_total()
    life = ConnectionLifetime()
    async with contextlib.AsyncExitStack() as opened:
        connection, factory = await _connect(url, life, fast=fast, opened=opened)
        feed, feed_factory = connection, factory
        if consumes:
            # Without the lane's short cuts too: its transport is what can be left unread.
            feed, feed_factory = await _connect(url, life, fast=True, opened=opened)
            life.flow = held = feed_factory.fast_path if feed_factory else None
            if held is not None:
                held.life = life
        intake = await life.ask(_channel(feed), CONNECT_TIMEOUT)
        outlet = await life.ask(_channel(connection, on_return_raises=True), CONNECT_TIMEOUT)
        beneath, beside = await intake.get_underlay_channel(), await outlet.get_underlay_channel()
        beneath.on_consumer_cancel_callbacks.add(lambda _: life.set("consumer_cancelled"))
        fast_path = factory.fast_path if factory else None
        feed_fast_path = feed_factory.fast_path if fast and feed_factory else None
        if fast_path is not None and feed_fast_path is not None:
            frame_max = beneath.connection.connection_tune.frame_max
            apart = feed_fast_path is not fast_path
            fast_path.begin(NO_CHANNEL if apart else beneath.number, beside.number, frame_max)
            if apart:
                feed_fast_path.begin(beneath.number, NO_CHANNEL, frame_max)
        life.ask_beside = partial(beside.queue_declare, topology.REQUESTS, passive=True)
        opened.pop_all()
    parts: Iterable[AbstractConnection | AbstractChannel] = {connection, feed, intake, outlet}
    for part in parts:
        part.close_callbacks.add(lambda _, error=None: life.set(_cause(error)))
    server = getattr(beneath.connection, "server_properties", {})
    return Session(connection, feed, intake, outlet, life, fast_path, feed_fast_path, server)


async def _connect(
    url: str, life: ConnectionLifetime, *, fast: bool, opened: contextlib.AsyncExitStack
) -> tuple[AbstractConnection, FastPathFactory | None]:
    """Open a connection, which is closed with `opened`. Raises one of `BrokerErrors`."""
    address = URL(url)
    if "heartbeat" not in address.query:
        address = address.update_query(heartbeat=HEARTBEAT)
    properties: FieldTable = {"connection_name": "omni-relay"}
    factory = FastPathFactory() if fast else None
    tls = await asyncio.to_thread(_tls, address) if address.scheme == "amqps" else None
    connection = _Connection(address, client_properties=properties, transport_factory=factory, ssl_context=tls)
    opened.push_async_callback(lambda: at_most(CLOSE_TIMEOUT, connection.close()))
    opened.callback(life.set)  # which ends what it was asked before
    await life.ask(connection.connect(CONNECT_TIMEOUT), 2 * CONNECT_TIMEOUT)
    return connection, factory


def _tls(address: URL) -> ssl.SSLContext:
    """Make the context of a connection, from the files as they are now. Raises `OSError` if one cannot be used.

    The library's own context trusts either the system's authorities or those of `cafile`, and does not verify at all if
    `no_verify_ssl` has any value but 0.
    """
    query = address.query
    context = client_context(query.get("cafile"), query.get("capath"))
    if "certfile" in query:
        context.load_cert_chain(query["certfile"], query.get("keyfile"), password=lambda: "")
    return context


_CAUSES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (aiormq.exceptions.ChannelAccessRefused, "access_refused"),
    (aiormq.exceptions.ChannelNotFoundEntity, "not_found"),
    (aiormq.exceptions.AMQPChannelError, "channel_refused"),
    (aiormq.exceptions.ConnectionClosed, "connection_refused"),  # by a code of AMQP's: something that we sent
    (asyncio.CancelledError, "broker_silent"),  # what the library says when heartbeats stay away
)


def _cause(error: BaseException | None) -> str:
    """Name what closed a connection or a channel, for whoever reads the log."""
    if error is None:
        return "closed"
    if type(error) is aiormq.exceptions.ConnectionClosed:
        return "closed_by_broker"  # it was shut down, or somebody closed it
    return next((cause for kind, cause in _CAUSES if isinstance(error, kind)), "connection_lost")


class _Connection(aio_pika.Connection):
    """One that passes on how to open the transport."""

    PARAMETERS = (
        *aio_pika.Connection.PARAMETERS,
        ConnectionParameter(name="transport_factory", parser=lambda factory: factory, is_kwarg=True),
    )


async def _channel(connection: AbstractConnection, *, on_return_raises: bool = False) -> AbstractChannel:
    """Open a channel; one that publishes waits for confirms, and hears what came back."""
    return await connection.channel(publisher_confirms=on_return_raises, on_return_raises=on_return_raises)


async def _hand_back(channel: AbstractChannel) -> None:
    """Return every delivery that was not settled, and close the channel.

    RabbitMQ 4 puts them where they were; RabbitMQ 3 does so only in a queue with a delivery limit, else at its end.
    RabbitMQ 4.3 does not count a nack towards the limit, as it counts a channel that closes. (All of this was seen.)
    """
    raw = await channel.get_underlay_channel()
    await raw.basic_nack(0, multiple=True, requeue=True)  # 0: all
    await channel.close()


async def _allowed(question: Awaitable[T], *rights: Right) -> T:
    """Give the answer. Raises `RightMissingError` with the one of the rights that the broker misses."""
    try:
        return await question
    except AccessRefusedError as error:
        raise RightMissingError(next((one for one in rights if is_about(error, one)), rights[0])) from None


def read_delivery(message: DeliveredMessage) -> Delivery:
    """Take a delivery as it came; any producer may set any property, so this is total."""
    properties = message.header.properties
    timestamp = properties.timestamp
    return Delivery(
        body=message.body,
        content_type=properties.content_type or None,
        content_encoding=read_content_encoding(properties.content_encoding),
        message_id=properties.message_id or None,
        correlation_id=properties.correlation_id or None,
        reply_to=properties.reply_to or None,
        expiration=read_expiration(properties.expiration),
        timestamp=timestamp if isinstance(timestamp, datetime) else None,
        priority=properties.priority,
        headers=properties.headers or {},
        exchange=message.exchange or "",
        routing_key=message.routing_key or "",
        redelivered=bool(message.redelivered),
    )


def _message(publication: Publication, frame_max: int) -> aio_pika.Message:
    headers = publication.headers
    return aio_pika.Message(
        publication.body,
        content_type=publication.content_type,
        content_encoding=publication.content_encoding,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=publication.message_id,
        type=publication.type,
        correlation_id=publication.correlation_id,
        reply_to=publication.reply_to,
        timestamp=publication.timestamp,
        priority=publication.priority,
        headers={name: cast("FieldValue", headers[name]) for name in encoded_headers(headers, frame_max)},
    )
