"""Settles one delivery on the channel that it came on."""

from aiormq.abc import AbstractChannel as RawChannel

from service.adapters.rabbitmq.codec import write_ack, write_dead_letter
from service.adapters.rabbitmq.fast_path import FastPath
from service.adapters.rabbitmq.lifetime import ConnectionLifetime
from service.core import topology
from service.core.value import dataclass, mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
@dataclass(frozen=True, slots=True)
class Acknowledger:
    """Settles one delivery, at most once, while its session lives.

    Every method raises one of `BrokerErrors` when the session is over. Then the broker delivers the message again.
    """

    channel: RawChannel
    tag: int
    broken: ConnectionLifetime
    fast_path: FastPath | None = None

    async def ack(self) -> None:
        """Acknowledge. The broker has not answered when this returns: see `sync`."""
        if self.fast_path is None:
            await self.broken.ask(self.channel.basic_ack(self.tag))
        else:
            self.fast_path.write(write_ack(self.fast_path.delivery_channel, self.tag), self.broken)

    async def dead_letter(self) -> None:
        """Reject without requeueing: the broker moves the message, unchanged, to the dead-letter queue."""
        if self.fast_path is None:
            await self.broken.ask(self.channel.basic_nack(self.tag, requeue=False))
        else:
            self.fast_path.write(write_dead_letter(self.fast_path.delivery_channel, self.tag), self.broken)

    async def sync(self) -> None:
        """Return when the broker has processed all frames sent on the channel so far, acks included."""
        await self.broken.ask(self.channel.queue_declare(topology.REQUESTS, passive=True))

    async def alive(self) -> None:
        """Return when the broker has answered a request.

        While reading is paused, answers on this connection are not read. Then the session's other connection is asked
        instead. Both have the same heartbeats and end together, and a pause is much shorter than the broker's limit
        for a client that does not read.
        """
        beside = self.broken.ask_beside if self.broken.is_unread else None
        if beside is None:
            await self.sync()
        else:
            await self.broken.ask(beside())
