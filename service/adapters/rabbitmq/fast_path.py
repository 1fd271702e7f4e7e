"""The fast path: deliveries, acks, publications and confirms past the library, on the library's own connection.

The library spends half a millisecond of CPU on what takes a tenth of that here: tasks, queues and objects for every
frame. So a protocol sits where its stream begins, takes out the frames of two channels that come for every message,
and hands on all others untouched: connecting, topology, cancelling, closing, heartbeats and errors stay the library's.

What would break: a publication on the outlet by way of the library, since confirms are counted here; and silence, since
the library takes a connection on which it sees nothing for a dead one, hence `_keep_awake`.
"""

import asyncio
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import aiormq
from aiormq.connection import TransportFactory
from pamqp import commands
from yarl import URL

from service.adapters.rabbitmq import codec
from service.adapters.rabbitmq.codec import Properties
from service.adapters.rabbitmq.lifetime import ConnectionLifetime, elapsed
from service.core.delivery import Delivery, Publication, UnpublishableError
from service.core.request.body import LONGEST

_LIMIT: Final = 2**16
"""Bytes the library's stream buffers before it asks for a pause; asyncio's own default."""
_AWAKE: Final = 1.0

NO_CHANNEL: Final = -1


class UnroutableError(Exception):
    """No queue wants a publication."""


OnDelivered = Callable[[Delivery, int], None]
"""Takes a delivery and its tag."""


@dataclass(eq=False, slots=True)
class _Batch:
    """Publications whose confirms are waited for together."""

    settled: asyncio.Future[None]
    open: dict[int, Publication] = field(default_factory=dict)
    failed: list[tuple[Publication, Exception]] = field(default_factory=list)

    def settle(self, tag: int, error: Exception | None) -> None:
        publication = self.open.pop(tag)
        if error is not None:
            self.failed.append((publication, error))
        if not self.open and not self.settled.done():
            self.settled.set_result(None)


@dataclass(slots=True)
class _Content:
    """A delivery or a return whose parts are still coming."""

    method: bytes
    properties: Properties = codec.NO_PROPERTIES
    missing: int | None = None
    """Bytes of the body that are still to come; None before the header has."""
    parts: list[bytes] = field(default_factory=list)
    is_too_long: bool = False
    """Longer than any request: its bytes are dropped as they come."""


class FastPath(asyncio.StreamReaderProtocol):
    """One connection's protocol. Until told of its channels, it hands on everything."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(reader, loop=loop)
        self._loop = loop
        self._wire: asyncio.Transport | None = None
        self._rest = b""
        self._intake = self._outlet = NO_CHANNEL
        self._sources: set[int] = set()
        """Channels on which there are deliveries."""
        self._frame_max = 0
        self._consumers: dict[str, OnDelivered] = {}
        self._content: dict[int, _Content] = {}
        self._published = 0
        self._unconfirmed: dict[int, _Batch] = {}
        self._returned: set[int] = set()
        self._last_returned = 0
        self._waiting: list[bytes] = []
        self._awake = 0.0
        self.life = ConnectionLifetime()
        """The session whose deliveries come over this connection: it is still ours while the broker is heard."""
        self.is_paused = False

    def begin(self, intake: int, outlet: int, frame_max: int) -> None:
        """Take over: deliveries on one channel, and on another, in confirm mode and never used, publications.

        A connection that serves only one of the two has `NO_CHANNEL` for the other.
        """
        self._intake, self._outlet, self._frame_max = intake, outlet, frame_max
        self._sources = {intake} - {NO_CHANNEL}

    def consume(self, consumer: str, on_delivered: OnDelivered, channel: int | None = None) -> None:
        """Take the deliveries for a consumer, which is then to be made, on the channel for deliveries or another."""
        self._consumers[consumer] = on_delivered
        if channel is not None:
            self._sources.add(channel)

    def forget(self, consumer: str, channel: int | None = None) -> None:
        """Take no more deliveries for a consumer: it is gone. So is its channel, if it had one of its own."""
        self._consumers.pop(consumer, None)
        if channel is not None:
            self._sources.discard(channel)
            self._content.pop(channel, None)

    def ack(self, tag: int) -> None:
        """Settle a delivery: done. Raises `ConnectionResetError`."""
        self._write(codec.write_ack(self._intake, tag))

    def dead_letter(self, tag: int) -> None:
        """Settle a delivery: refused. Raises `ConnectionResetError`."""
        self._write(codec.write_dead_letter(self._intake, tag))

    async def publish(
        self, publications: Sequence[Publication], life: ConnectionLifetime
    ) -> list[tuple[Publication, Exception]]:
        """Wait until the broker has answered for every one; gives those it did not confirm, and why.

        A returned message comes before its confirm and without a number, so it is known by where it was going and its
        name: of two in flight that are alike in both, the first.
        """
        batch = _Batch(self._loop.create_future())
        try:
            for publication in publications:
                try:
                    frames = codec.write_publish(self._outlet, publication, self._frame_max)
                except (TypeError, ValueError, ArithmeticError, struct.error):
                    batch.failed.append((publication, UnpublishableError([publication])))
                    continue
                self._write(frames)
                self._published += 1
                batch.open[self._published] = publication
                self._unconfirmed[self._published] = batch
        except ConnectionResetError as error:
            return [(publication, error) for publication in publications]
        if batch.open:
            await life.outlast(batch.settled)
        lost = ConnectionResetError("the connection ended before the confirm")
        return batch.failed + [(publication, lost) for publication in batch.open.values()]

    def pause_reading(self) -> None:
        """Leave what comes to the kernel and then to the broker, which ends the connection after some seconds of it."""
        if self._wire is not None and not self._wire.is_closing():
            self.is_paused = True
            self._wire.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self.is_paused and self._wire is not None and not self._wire.is_closing():
            self._wire.resume_reading()
            self._keep_awake()
        self.is_paused = False

    def flush(self) -> None:
        """Write what waits to be written."""
        if self._waiting and self._wire is not None:
            waiting, self._waiting = self._waiting, []
            self._wire.write(b"".join(waiting))

    def _write(self, frames: bytes) -> None:
        """Write at the end of the loop's round, with what else comes up in it."""
        if self._wire is None or self._wire.is_closing():
            raise ConnectionResetError("the connection has ended")
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(frames)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to write."""
        self._wire = cast("asyncio.Transport", transport)
        super().connection_made(cast("asyncio.Transport", _Wire(self, self._wire)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of it; the library notices by itself."""
        self._wire = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take out what is ours; hand on the rest, in whole frames."""
        self.life.heard_at = elapsed()
        if self._rest:
            data, self._rest = self._rest + data, b""
        at = handed = 0
        size = len(data)
        while size - at >= codec.SMALLEST:
            end = at + codec.SMALLEST + int.from_bytes(data[at + 3 : at + 7])
            if end > size:
                break
            if data[end - 1] != codec.END:
                self._outlet = NO_CHANNEL  # out of step: the library finds out, and ends it
                self._sources.clear()
                at = size
                break
            if self._takes(data[at], data[at + 1] << 8 | data[at + 2], data, at + 7, end - 1):
                if handed < at:
                    super().data_received(data[handed:at])
                handed = end
            at = end
        if handed < at:
            super().data_received(data[handed:at])
        elif at:
            self._keep_awake()
        if at < size:
            self._rest = data[at:]

    def _takes(self, kind: int, channel: int, data: bytes, start: int, end: int) -> bool:
        """Take a frame if it is ours."""
        if channel != self._outlet and channel not in self._sources:
            return False
        if kind == codec.METHOD:
            method = data[start : start + 4]
            if method in (codec.ACK, codec.NACK) and channel == self._outlet:
                self._confirm(*codec.read_confirm(data[start:end]), refused=method == codec.NACK)
                return True
            if method == (codec.RETURN if channel == self._outlet else codec.DELIVER):
                payload = data[start:end]
                if channel == self._outlet or codec.read_consumer(payload) in self._consumers:
                    self._content[channel] = _Content(payload)
                    return True
            return False
        content = self._content.get(channel)
        if content is None:
            return False
        if content.missing is None:
            content.missing, content.properties = codec.read_properties(data[start:end])
            content.is_too_long = content.missing > LONGEST
        else:
            if not content.is_too_long:
                content.parts.append(data[start:end])
            content.missing -= end - start
        if content.missing <= 0:
            del self._content[channel]
            self._finish(channel, content)
        return True

    def _finish(self, channel: int, content: _Content) -> None:
        if channel == self._outlet:
            self._return(*codec.read_return(content.method), content.properties.message_id)
            return
        delivered = codec.read_deliver(content.method)
        on_delivered = self._consumers.get(codec.read_consumer(content.method))
        if on_delivered is not None:
            body = None if content.is_too_long else b"".join(content.parts)
            on_delivered(codec.as_delivery(delivered, content.properties, body), delivered.tag)

    def _return(self, exchange: str, routing_key: str, message_id: str | None) -> None:
        """Find what came back. A broker returns in the order of publishing, so the search goes on where the last ended.

        That makes many returns cost linear time. What comes out of order is searched for from the start.
        """
        wanted = (exchange, routing_key, message_id)
        first = next(iter(self._unconfirmed), self._published + 1)
        for start in (max(first, self._last_returned + 1), first):
            for tag in range(start, self._published + 1):
                batch = self._unconfirmed.get(tag)
                if batch is None or tag in self._returned:
                    continue
                publication = batch.open[tag]
                if wanted == (publication.exchange, publication.routing_key, codec.short_text(publication.message_id)):
                    self._returned.add(tag)
                    self._last_returned = tag
                    return

    def _confirm(self, tag: int, multiple: bool, *, refused: bool) -> None:  # noqa: FBT001 - as it is read
        first = next(iter(self._unconfirmed), tag) if multiple else tag  # numbers are in order, so it is the lowest
        for one in range(first, tag + 1):
            batch = self._unconfirmed.pop(one, None)
            if batch is None:
                continue
            error: Exception | None = None
            if refused:
                error = aiormq.exceptions.DeliveryError(None, commands.Basic.Nack(one))
            elif one in self._returned:
                error = UnroutableError()
            self._returned.discard(one)
            batch.settle(one, error)

    def _keep_awake(self) -> None:
        """Show the library a heartbeat now and then: a broker sends none while it sends anything else."""
        if (now := self._loop.time()) - self._awake > _AWAKE:
            self._awake = now
            super().data_received(codec.HEARTBEAT)


class _Wire:
    """The transport as the library's stream sees it: it pauses and resumes reading too, and must not end our pause."""

    def __init__(self, fast_path: FastPath, wire: asyncio.Transport) -> None:
        self._lane = fast_path
        self._wire = wire

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a transport has
        return getattr(self._wire, name)

    def resume_reading(self) -> None:
        """Read on, unless reading is paused for another reason."""
        if not self._lane.is_paused:
            self._wire.resume_reading()


class _Writer(asyncio.StreamWriter):
    """The library's way to write: what the lane was given before goes before."""

    def __init__(self, fast_path: FastPath, transport: asyncio.WriteTransport, reader: asyncio.StreamReader) -> None:
        super().__init__(transport, fast_path, reader, asyncio.get_running_loop())
        self._lane = fast_path

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._lane.flush()
        super().write(data)


class FastPathFactory(TransportFactory):
    """Connects, with a lane in between; it is there once the connection is."""

    def __init__(self) -> None:
        self.fast_path: FastPath | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:  # noqa: ANN401 - as it is declared
        """Open the connection as the library itself would. Raises `AMQPConnectionError`."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_LIMIT, loop=loop)
        tls = kwargs.pop("ssl_context_provider")
        context = await tls.get_context() if url.scheme == "amqps" else None
        try:
            transport, self.fast_path = await loop.create_connection(
                lambda: FastPath(reader), url.host or "", url.port or 0, ssl=context, **kwargs
            )
        except OSError as error:
            raise aiormq.exceptions.AMQPConnectionError(*error.args) from error
        return reader, _Writer(self.fast_path, transport, reader)
