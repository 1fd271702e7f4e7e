"""A session: connections and channels to RabbitMQ that are opened together and end together.

This file has more than 250 lines since opening, using and ending a session have to follow the same rules:

* A worker has a second connection for its deliveries, as RabbitMQ recommends. When memory or disk run short, the broker
  stops reading from connections that publish, and acks on them would be stuck. And the worker can stop reading
  deliveries that it has no memory for, while confirms still arrive.
* When a connection, a channel or the consumer is lost, the whole session is over (`broken`). Continuing with a part of
  it would leave deliveries that can be acknowledged but not reported, or the other way round.
* Deliveries are taken from the channel below aio-pika's. Its message class raises on properties that any producer may
  set, such as a delivery mode of 3, and the delivery would stay unsettled for ever. On the fast path, deliveries, acks
  and publications bypass the library; everything else is the same.
"""

import asyncio
import contextlib
import secrets
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractConnection, ConnectionParameter
from aiormq.abc import AbstractChannel as RawChannel
from aiormq.abc import DeliveredMessage, FieldTable
from yarl import URL

from service.adapters.rabbitmq.access_tokens import AccessTokens, TokenRefusedError, renew_on
from service.adapters.rabbitmq.acknowledger import Acknowledger
from service.adapters.rabbitmq.fast_path import NO_CHANNEL, FastPath, UnroutableError
from service.adapters.rabbitmq.fast_transport import FastPathFactory
from service.adapters.rabbitmq.field_tables import make_reading_total
from service.adapters.rabbitmq.lifetime import ConnectionLifetime, at_most
from service.adapters.rabbitmq.messages import read_delivery, write_message
from service.adapters.tls import client_certificate_fault, last_client_context
from service.core import topology
from service.core.delivery import Delivery, Publication, UnpublishableError
from service.core.forged_headers import without_forged_headers
from service.core.topology import NORMAL, Lane
from service.core.value import dataclass

HEARTBEAT: Final = 20
"""Seconds between heartbeats, unless the URL says otherwise."""
CONNECT_TIMEOUT: Final = 10
CLOSE_TIMEOUT: Final = 2

BrokerErrors = (aiormq.exceptions.AMQPError, RuntimeError, OSError, TimeoutError)
"""The exceptions of a broken session. That of a closed channel is a RuntimeError and no AMQPError."""

AccessRefusedError: Final = aiormq.exceptions.ChannelAccessRefused
"""The broker refuses a user without the permission: one of `BrokerErrors`. The text names the queue or exchange."""

OnDelivery = Callable[[Delivery, Acknowledger], None]


@dataclass(slots=True)
class Session:
    """Open connections and channels; `open_session` makes it."""

    connection: AbstractConnection
    """For everything but a worker's deliveries."""
    delivery_connection: AbstractConnection
    """For a worker's deliveries; the same as `connection` in a session that does not consume."""
    delivery_channel: AbstractChannel
    publish_channel: AbstractChannel
    broken: ConnectionLifetime = field(default_factory=ConnectionLifetime)
    fast_path: FastPath | None = None
    """For publications."""
    delivery_fast_path: FastPath | None = None
    """For deliveries and acks."""
    server: Mapping[str, object] = field(default_factory=dict)
    """The broker's properties, such as its version."""
    _renewals: list[asyncio.Task[None]] = field(default_factory=list)
    """Tasks that end when the session is over."""

    def keep_renewed(self, tokens: AccessTokens, token: str) -> None:
        """Give the broker each token that follows this one, on every connection."""
        for connection in {self.connection, self.delivery_connection}:
            self._renewals.append(asyncio.create_task(renew_on(connection, tokens, token, self.broken)))
        for part in (self.connection, self.delivery_connection, self.delivery_channel, self.publish_channel):
            part.close_callbacks.add(lambda _, error=None: tokens.drop_if(refused=_is_refusal(error)))

    @contextlib.asynccontextmanager
    async def consuming(self, prefetches: Mapping[Lane, int], on_delivery: OnDelivery) -> AsyncIterator[None]:
        """Consume requests of each lane while inside. Deliveries not settled at the end can still be settled here.

        There is one consumer for each lane, all on one channel. RabbitMQ counts a prefetch for each consumer and not
        for the channel (`basic.qos` without `global`, rabbitmq.com/docs/consumer-prefetch), so a lane never lacks
        credit because of another one.

        The relay's own headers are removed from deliveries that a producer may have created. Raises one of
        `BrokerErrors`.
        """
        channel = await self.delivery_channel.get_underlay_channel()
        consumers: list[str] = []
        try:
            for lane, prefetch in prefetches.items():
                consumers.append(consumer := f"omni-relay.{lane.name}.{secrets.token_hex(8)}")
                await self._consume(channel, lane, prefetch, consumer, on_delivery)
            yield
        finally:
            if not self.broken.is_set():
                await self.broken.give(self._cancel(channel, consumers), CLOSE_TIMEOUT)

    async def _consume(
        self, channel: RawChannel, lane: Lane, prefetch: int, consumer: str, on_delivery: OnDelivery
    ) -> None:
        async def receive(message: DeliveredMessage) -> None:
            acknowledger = Acknowledger(channel, message.delivery_tag or 0, self.broken)
            on_delivery(_read(read_delivery(message), lane), acknowledger)

        def take(delivery: Delivery, tag: int) -> None:
            on_delivery(_read(delivery, lane), Acknowledger(channel, tag, self.broken, self.delivery_fast_path))

        if self.delivery_fast_path is not None:  # before the consumer exists, or its first deliveries are missed
            self.delivery_fast_path.consume(consumer, take)
        await self.broken.ask(channel.basic_qos(prefetch_count=prefetch), CONNECT_TIMEOUT)
        consuming = channel.basic_consume(lane.requests, receive, consumer_tag=consumer)
        await self.broken.ask(consuming, CONNECT_TIMEOUT)

    async def _cancel(self, channel: RawChannel, consumers: Iterable[str]) -> None:
        """Cancel consumers. Deliveries already sent arrive before the answer, so they are taken here too."""
        for consumer in consumers:
            await channel.basic_cancel(consumer)
            if self.delivery_fast_path is not None:
                self.delivery_fast_path.forget(consumer)

    async def publish_all(self, publications: Sequence[Publication]) -> list[tuple[Publication, Exception]]:
        """Wait until the broker has answered for each; return those it did not confirm, with the reason.

        Without the fast path, of two with the same message_id the second one waits for the first. The library would
        give a return to either of them.
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
        """Return when the broker has confirmed it. Raises `UnroutableError`, or one of `BrokerErrors`.

        It publishes through the library, so never call it in a session with the fast path.
        """
        exchange = await self.publish_channel.get_exchange(publication.exchange, ensure=False)
        try:
            message = write_message(publication, await self._frame_max())
            await self.broken.ask(exchange.publish(message, publication.routing_key, mandatory=True))
        except aio_pika.exceptions.PublishError:
            raise UnroutableError from None

    async def _frame_max(self) -> int:
        return (await self.publish_channel.get_underlay_channel()).connection.connection_tune.frame_max

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator[RawChannel]:
        """Open a channel for one request: a broker that refuses a request closes its channel."""
        channel = await self.broken.ask(self.connection.channel(publisher_confirms=False), CONNECT_TIMEOUT)
        try:
            yield await channel.get_underlay_channel()
        finally:
            await self.broken.give(channel.close(), CLOSE_TIMEOUT)

    async def missing(self, queues: Iterable[str]) -> bool:
        """Return whether one of these queues does not exist. Raises one of `BrokerErrors`."""
        channel = await self.broken.ask(self.connection.channel(publisher_confirms=False), CONNECT_TIMEOUT)
        try:
            for queue in queues:
                await self.broken.ask(channel.declare_queue(queue, passive=True), CONNECT_TIMEOUT)
        except aiormq.exceptions.ChannelNotFoundEntity as error:
            return "no queue" in str(error)  # a queue whose node is down exists; that refusal has another text
        finally:
            await self.broken.give(channel.close(), CLOSE_TIMEOUT)
        return False

    async def ready(self, queue: str) -> int:
        """Count the messages in a queue that are not delivered. Raises one of `BrokerErrors`."""
        channel = await self.connection.channel(publisher_confirms=False)
        try:
            return (await channel.declare_queue(queue, passive=True)).declaration_result.message_count or 0
        finally:
            await self.broken.give(channel.close(), CLOSE_TIMEOUT)

    async def waiting(self, lane: Lane = NORMAL) -> tuple[int, int]:
        """Count the requests of a lane that are ready, and their consumers.

        Raises one of `BrokerErrors`, also without a queue. It uses the connection for deliveries: while memory or disk
        run short, the broker reads nothing from the other.
        """
        channel = await self.delivery_connection.channel(publisher_confirms=False)
        try:
            found = (await channel.declare_queue(lane.requests, passive=True)).declaration_result
        finally:
            await channel.close()
        return found.message_count or 0, found.consumer_count or 0

    async def close(self) -> None:
        """Close everything, within seconds even if the broker does not answer."""
        # First of all, so that nobody settles or publishes any more and each wait for an answer ends.
        self.broken.set()
        # Channels before connections. The other way round, an ack that is still on its way becomes an error.
        await at_most(CLOSE_TIMEOUT, asyncio.gather(self.delivery_channel.close(), self.publish_channel.close()))
        await at_most(CLOSE_TIMEOUT, asyncio.gather(self.connection.close(), self.delivery_connection.close()))


async def open_session(
    url: str, *, fast: bool = False, consumes: bool = False, tokens: AccessTokens | None = None
) -> Session:
    """Connect. `fast`: with the fast path. `consumes`: with a second connection, for deliveries.

    `tokens`: the password is an access token, which is renewed while the session lasts. Raises one of `BrokerErrors`.
    """
    make_reading_total()
    life = ConnectionLifetime()
    token = None if tokens is None else await tokens.value()
    if token is not None:
        url = str(URL(url).with_password(token))
    try:
        session = await _open(url, life, fast=fast, consumes=consumes, tokens=tokens)
    except (aiormq.exceptions.ProbableAuthenticationError, aiormq.exceptions.InvalidFrameError) as error:
        if tokens is None:
            raise
        tokens.drop()
        if isinstance(error, aiormq.exceptions.InvalidFrameError):
            raise
        raise TokenRefusedError from error
    if tokens is not None and token is not None:
        session.keep_renewed(tokens, token)
    return session


async def _open(
    url: str, life: ConnectionLifetime, *, fast: bool, consumes: bool, tokens: AccessTokens | None
) -> Session:
    async with contextlib.AsyncExitStack() as opened:
        connection, factory = await _connect(url, life, fast=fast, opened=opened)
        delivery_connection, delivery_factory = connection, factory
        if consumes:
            # With the fast path's transport even if its short cuts are off: only this transport can pause reading.
            delivery_connection, delivery_factory = await _connect(url, life, fast=True, opened=opened)
            life.flow = flow = delivery_factory.fast_path if delivery_factory else None
            if flow is not None:
                flow.life = life
        delivery_channel = await life.ask(_channel(delivery_connection), CONNECT_TIMEOUT)
        publish_channel = await life.ask(_channel(connection, on_return_raises=True), CONNECT_TIMEOUT)
        delivering = await delivery_channel.get_underlay_channel()
        publishing = await publish_channel.get_underlay_channel()
        # A broker that deletes the queue only cancels the consumer. Unnoticed, nothing would be delivered any more.
        delivering.on_consumer_cancel_callbacks.add(lambda _: life.set("consumer_cancelled"))
        fast_path = factory.fast_path if factory else None
        delivery_fast_path = delivery_factory.fast_path if fast and delivery_factory else None
        if fast_path is not None and delivery_fast_path is not None:
            frame_max = delivering.connection.connection_tune.frame_max
            two = delivery_fast_path is not fast_path
            fast_path.begin(NO_CHANNEL if two else delivering.number, publishing.number, frame_max)
            if two:
                delivery_fast_path.begin(delivering.number, NO_CHANNEL, frame_max)
        life.ask_beside = partial(publishing.queue_declare, topology.REQUESTS, passive=True)
        opened.pop_all()  # from here on the caller closes the session
    parts: Iterable[AbstractConnection | AbstractChannel] = {
        connection,
        delivery_connection,
        delivery_channel,
        publish_channel,
    }
    for part in parts:
        part.close_callbacks.add(lambda _, error=None: life.set(_cause(error, tokens)))
    server = getattr(delivering.connection, "server_properties", {})
    return Session(
        connection,
        delivery_connection,
        delivery_channel,
        publish_channel,
        life,
        fast_path,
        delivery_fast_path,
        server,
    )


async def _connect(
    url: str, life: ConnectionLifetime, *, fast: bool, opened: contextlib.AsyncExitStack
) -> tuple[AbstractConnection, FastPathFactory | None]:
    """Open a connection; `opened` closes it if something fails later. Raises one of `BrokerErrors`."""
    address = URL(url)
    if "heartbeat" not in address.query:
        address = address.update_query(heartbeat=HEARTBEAT)
    properties: FieldTable = {"connection_name": "omni-relay"}
    factory = FastPathFactory() if fast else None
    tls = await asyncio.to_thread(_tls, address) if address.scheme == "amqps" else None
    connection = _Connection(address, client_properties=properties, transport_factory=factory, ssl_context=tls)
    opened.push_async_callback(lambda: at_most(CLOSE_TIMEOUT, connection.close()))
    opened.callback(life.set)  # callbacks run in reverse order: first the waits end, then the connection is closed
    try:
        await life.ask(connection.connect(CONNECT_TIMEOUT), 2 * CONNECT_TIMEOUT)
    except (aiormq.exceptions.AMQPConnectionError, OSError) as error:
        certificate = address.query.get("certfile") if tls else None
        if certificate and (fault := client_certificate_fault(error, certificate, datetime.now(UTC))):
            raise fault from error
        raise
    return connection, factory


def _tls(address: URL) -> ssl.SSLContext:
    """Make the TLS context of a connection. Raises `OSError` if a file cannot be used.

    The library's own context trusts either the usual authorities or those of `cafile`, and verifies nothing if
    `no_verify_ssl` has any value but 0. This one trusts both and always verifies.
    """
    query = address.query
    return last_client_context(query.get("cafile"), query.get("capath"), query.get("certfile"), query.get("keyfile"))


def _read(delivery: Delivery, lane: Lane) -> Delivery:
    delivery = without_forged_headers(delivery)
    return delivery if lane is NORMAL else replace(delivery, lane=lane)


def _is_refusal(error: BaseException | None) -> bool:
    """Return whether the broker refused rights: those of a token may have changed, or ended with it."""
    return isinstance(error, aiormq.exceptions.ChannelAccessRefused | aiormq.exceptions.ConnectionNotAllowed)


_CAUSES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (aiormq.exceptions.ChannelAccessRefused, "access_refused"),
    (aiormq.exceptions.ConnectionNotAllowed, "not_allowed"),  # such as an access token that has expired
    (aiormq.exceptions.ChannelNotFoundEntity, "not_found"),
    (aiormq.exceptions.AMQPChannelError, "channel_refused"),
    (
        aiormq.exceptions.ConnectionClosed,
        "connection_refused",
    ),  # with a code of AMQP: the broker refused something that we sent
    (asyncio.CancelledError, "broker_silent"),  # the library's exception when heartbeats stop
)


def _cause(error: BaseException | None, tokens: AccessTokens | None) -> str:
    """Name the cause for the log; it decides also how lost publications are repeated."""
    if error is None:
        return "closed"
    is_closed = isinstance(error, aiormq.exceptions.ConnectionClosed | aiormq.exceptions.ChannelAccessRefused)
    if is_closed and tokens is not None and tokens.has_ended:
        return "token_ended"
    if type(error) is aiormq.exceptions.ConnectionClosed:
        return "closed_by_broker"  # it was shut down, or an operator closed the connection
    return next((cause for kind, cause in _CAUSES if isinstance(error, kind)), "connection_lost")


class _Connection(aio_pika.Connection):
    """A connection that passes `transport_factory` on to the library below aio-pika."""

    PARAMETERS = (
        *aio_pika.Connection.PARAMETERS,
        ConnectionParameter(name="transport_factory", parser=lambda factory: factory, is_kwarg=True),
    )


async def _channel(connection: AbstractConnection, *, on_return_raises: bool = False) -> AbstractChannel:
    """Open a channel. `on_return_raises`: it is for publishing, with confirms, and a returned publication raises."""
    return await connection.channel(publisher_confirms=on_return_raises, on_return_raises=on_return_raises)
