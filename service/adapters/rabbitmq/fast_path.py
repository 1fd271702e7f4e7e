"""The fast path: frames that come with every message bypass the AMQP library, on the library's own connection.

The library spends half a millisecond of CPU on a message, because it makes tasks, queues and objects for every frame.
The fast path spends a tenth of that. It is an `asyncio` protocol that sits where the library's stream begins. It takes
deliveries, returns and confirms of the channels that were given to it, and passes all other frames on untouched.
Connecting, topology, cancelling, closing, heartbeats and errors stay with the library.

Three rules must hold:

* The library never publishes on the publish channel. The broker numbers publications by their order on the
  channel, and the fast path counts them here. One publication more, and each later confirm is given to the wrong one.
* Bytes reach the library in whole frames and in the order of their arrival.
* The library must see traffic. It closes a connection on which it has seen nothing for some time (`_show_heartbeat`).

All state of one connection is in this one class, since each frame can change any of it; hence the length of this file.
"""

import asyncio
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import aiormq
from pamqp import commands

from service.adapters.rabbitmq import codec
from service.adapters.rabbitmq.codec import Properties
from service.adapters.rabbitmq.lifetime import ConnectionLifetime, elapsed
from service.core.delivery import Delivery, Publication, UnpublishableError
from service.core.request.body import LONGEST

_HEARTBEAT_SECONDS: Final = 1.0
"""The library is shown a heartbeat at most this often."""

NO_CHANNEL: Final = -1


class UnroutableError(Exception):
    """The broker returned a publication: no queue is bound for it."""


OnDelivered = Callable[[Delivery, int], None]
"""Receives a delivery and its delivery tag."""


@dataclass(eq=False, slots=True)
class _Batch:
    """Publications whose confirms one caller waits for."""

    settled: asyncio.Future[None]
    open: dict[int, Publication] = field(default_factory=dict)
    """Publications without a confirm, by their number on the channel."""
    failed: list[tuple[Publication, Exception]] = field(default_factory=list)


@dataclass(slots=True)
class _PartialContent:
    """A delivery or a return whose header or body has not arrived completely."""

    method: bytes
    properties: Properties = codec.NO_PROPERTIES
    missing: int | None = None
    """Bytes of the body that have not arrived; None before the header has."""
    parts: list[bytes] = field(default_factory=list)
    is_too_long: bool = False
    """The body is longer than any request may be. Its bytes are dropped as they arrive, so they take no memory."""


class FastPath(asyncio.StreamReaderProtocol):
    """The protocol of one connection. Until `begin` it passes every frame on to the library."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(reader, loop=loop)
        self._loop = loop
        self._transport_below: asyncio.Transport | None = None
        """None once the connection has ended."""
        self._rest = b""
        """The beginning of a frame whose end has not arrived."""
        self.delivery_channel = self._publish_channel = NO_CHANNEL
        self._consuming_channels: set[int] = set()
        self._frame_max = 0
        self._consumers: dict[str, OnDelivered] = {}
        self._content: dict[int, _PartialContent] = {}
        """By channel. AMQP does not interleave two contents on one channel."""
        self._published = 0
        """Publications on the publish channel so far: the number that the broker gives to the latest."""
        self._unconfirmed: dict[int, _Batch] = {}
        """By number, in ascending order: entries are added in order, and `_confirm` relies on it."""
        self._returned: set[int] = set()
        """Numbers of publications that were returned; their confirm follows."""
        self._last_returned = 0
        self._waiting: list[bytes] = []
        """Frames to write at the end of this turn of the event loop."""
        self._heartbeat_shown_at = 0.0
        self.life = ConnectionLifetime()
        """The session whose deliveries come over this connection; each read shows that it is alive."""
        self.is_paused = False

    def begin(self, delivery_channel: int, publish_channel: int, frame_max: int) -> None:
        """Take deliveries of one channel, and publish on another one.

        The publish channel must be in confirm mode, and nothing may have been published on it. A connection that
        serves only one of the two purposes has `NO_CHANNEL` for the other. `frame_max` is in bytes, 0 for no limit.
        """
        self.delivery_channel, self._publish_channel = delivery_channel, publish_channel
        self._frame_max = frame_max
        self._consuming_channels = {delivery_channel} - {NO_CHANNEL}

    def consume(self, consumer: str, on_delivered: OnDelivered, channel: int | None = None) -> None:
        """Take the deliveries of a consumer tag. Call it before `basic.consume`, or the first deliveries are missed.

        `channel` is the consumer's own channel, if it does not use the delivery channel.
        """
        self._consumers[consumer] = on_delivered
        if channel is not None:
            self._consuming_channels.add(channel)

    def forget(self, consumer: str, channel: int | None = None) -> None:
        """Take no more deliveries of a consumer that was cancelled, or whose own `channel` was closed."""
        self._consumers.pop(consumer, None)
        if channel is not None:
            self._consuming_channels.discard(channel)
            # The number may be used again: the next channel must not continue an old content.
            self._content.pop(channel, None)

    def write(self, frames: bytes, life: ConnectionLifetime) -> None:
        """Write at the end of this turn of the event loop, together with other frames: one system call for all.

        Raises `ConnectionResetError` if `life`, the session, is over. The connection may be open all the same, such as
        when the broker cancelled the consumer.
        """
        if self._transport_below is None or self._transport_below.is_closing() or life.is_set():
            raise ConnectionResetError("the connection or its session has ended")
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(frames)

    async def publish(
        self, publications: Sequence[Publication], life: ConnectionLifetime
    ) -> list[tuple[Publication, Exception]]:
        """Wait until the broker has confirmed, refused or returned each; return those not stored, with the reason.

        The reasons are `UnpublishableError`, `UnroutableError`, `aiormq`'s `DeliveryError` (a nack) and
        `ConnectionResetError` (the outcome is not known).
        """
        batch = _Batch(self._loop.create_future())
        try:
            for publication in publications:
                try:
                    frames = codec.write_publish(self._publish_channel, publication, self._frame_max)
                except (TypeError, ValueError, ArithmeticError, struct.error):
                    batch.failed.append((publication, UnpublishableError([publication])))
                    continue
                # Counted only after it was queued: a publication that is never written has no number at the broker.
                self.write(frames, life)
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
        """Stop reading: bytes stay in the kernel, then at the broker.

        The broker ends the connection if this lasts for some seconds.
        """
        if self._transport_below is not None and not self._transport_below.is_closing():
            self.is_paused = True
            self._transport_below.pause_reading()

    def resume_reading(self) -> None:
        """End a pause."""
        if self.is_paused and self._transport_below is not None and not self._transport_below.is_closing():
            self._transport_below.resume_reading()
            self._show_heartbeat(elapsed())  # the library has seen nothing during the pause
        self.is_paused = False

    def flush(self) -> None:
        """Write the frames of this turn of the event loop now."""
        if self._waiting and self._transport_below is not None:
            waiting, self._waiting = self._waiting, []
            self._transport_below.write(b"".join(waiting))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; give the library one that cannot end a pause (`_SharedTransport`)."""
        self._transport_below = cast("asyncio.Transport", transport)
        super().connection_made(cast("asyncio.Transport", _SharedTransport(self, self._transport_below)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Refuse further writes. The library ends the session, which releases who waits for a confirm."""
        self._transport_below = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Split bytes into frames; take those of the fast path and pass the others on.

        A frame is: type (1 byte), channel (2), size of the payload (4), payload, end octet 0xCE (1).
        """
        self.life.last_read_at = now = elapsed()
        if self._rest:
            data, self._rest = self._rest + data, b""
        # data[:passed] was passed on or taken. data[passed:at] are whole frames of the library, not yet passed on.
        at = passed = 0
        size = len(data)
        while size - at >= codec.SMALLEST:
            end = at + codec.SMALLEST + int.from_bytes(data[at + 3 : at + 7])
            if end > size:
                break
            if data[end - 1] != codec.END:
                # The sizes cannot be trusted any more. From here on everything goes to the library, which finds the
                # same fault and closes the connection. Taking further frames could settle the wrong message.
                self._publish_channel = NO_CHANNEL
                self._consuming_channels.clear()
                at = size
                break
            if self._take_frame(data[at], data[at + 1] << 8 | data[at + 2], data, at + 7, end - 1):
                if passed < at:
                    super().data_received(data[passed:at])
                passed = end
            at = end
        if passed < at:
            super().data_received(data[passed:at])
        elif at and now - self._heartbeat_shown_at > _HEARTBEAT_SECONDS:
            self._show_heartbeat(now)  # every frame was taken, so the library has seen none
        if at < size:
            self._rest = data[at:]  # never passed on in part: the rest of it may belong to the fast path

    def _take_frame(self, kind: int, channel: int, data: bytes, start: int, end: int) -> bool:
        """Return whether the frame belongs to the fast path; if so, it has been processed."""
        if channel != self._publish_channel and channel not in self._consuming_channels:
            return False
        if kind == codec.METHOD:
            method = data[start : start + 4]
            if method in (codec.ACK, codec.NACK) and channel == self._publish_channel:
                self._confirm(*codec.read_confirm(data[start:end]), refused=method == codec.NACK)
                return True
            if method == (codec.RETURN if channel == self._publish_channel else codec.DELIVER):
                payload = data[start:end]
                # Deliveries of an unknown consumer are the library's, header and body included.
                if channel == self._publish_channel or codec.read_consumer(payload) in self._consumers:
                    self._content[channel] = _PartialContent(payload)
                    return True
            return False
        # A header or body belongs to the latest method on its channel. Without an entry, the library has that method.
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
        if content.missing <= 0:  # also right after the header: an empty body has no frame
            del self._content[channel]
            self._finish(channel, content)
        return True

    def _finish(self, channel: int, content: _PartialContent) -> None:
        if channel == self._publish_channel:
            self._mark_returned(*codec.read_return(content.method), content.properties.message_id)
            return
        delivered = codec.read_deliver(content.method)
        on_delivered = self._consumers.get(codec.read_consumer(content.method))
        if on_delivered is not None:
            body = None if content.is_too_long else b"".join(content.parts)
            on_delivered(codec.as_delivery(delivered, content.properties, body), delivered.tag)

    def _mark_returned(self, exchange: str, routing_key: str, message_id: str | None) -> None:
        """Find the publication that was returned, so that its confirm counts as unroutable.

        A return comes before the confirm and carries no number. The publication is found by exchange, routing key and
        message id; of several in flight that are equal in all three, the first. A broker returns in the order of
        publishing, so the search continues after the latest match: that makes many returns cost linear time. If that
        finds nothing, it starts again with the oldest.
        """
        wanted = (exchange, routing_key, message_id)
        first = next(iter(self._unconfirmed), self._published + 1)
        for start in (max(first, self._last_returned + 1), first):
            for number in range(start, self._published + 1):
                batch = self._unconfirmed.get(number)
                if batch is None or number in self._returned:
                    continue
                publication = batch.open[number]
                if wanted == (publication.exchange, publication.routing_key, codec.short_text(publication.message_id)):
                    self._returned.add(number)
                    self._last_returned = number
                    return

    def _confirm(self, number: int, multiple: bool, *, refused: bool) -> None:  # noqa: FBT001 - as it is read
        """Settle a publication, or with `multiple` all up to and including it."""
        # The first key is the lowest number that is open. A broker may confirm out of order, so some may be missing.
        first = next(iter(self._unconfirmed), number) if multiple else number
        for one in range(first, number + 1):
            batch = self._unconfirmed.pop(one, None)
            if batch is None:
                continue
            error: Exception | None = None
            if refused:
                error = aiormq.exceptions.DeliveryError(None, commands.Basic.Nack(one))
            elif one in self._returned:
                error = UnroutableError()  # an ack confirms also what was returned
            self._returned.discard(one)
            publication = batch.open.pop(one)
            if error is not None:
                batch.failed.append((publication, error))
            if not batch.open and not batch.settled.done():
                batch.settled.set_result(None)

    def _show_heartbeat(self, now: float) -> None:
        """Give the library a heartbeat.

        A broker sends none while it sends other frames. If the fast path takes all of those, the library sees a
        silent connection and closes it.
        """
        self._heartbeat_shown_at = now
        super().data_received(codec.HEARTBEAT)


class _SharedTransport:
    """The transport as the library's stream sees it.

    The stream pauses and resumes reading too, by the size of its own buffer. It must not end a pause of the fast path.
    """

    def __init__(self, fast_path: FastPath, transport: asyncio.Transport) -> None:
        self._fast_path = fast_path
        self._transport = transport

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a transport has
        return getattr(self._transport, name)

    def resume_reading(self) -> None:
        """Resume, unless the fast path has paused."""
        if not self._fast_path.is_paused:
            self._transport.resume_reading()
