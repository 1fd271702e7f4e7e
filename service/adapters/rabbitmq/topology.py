"""The exchanges, queues and bindings that the relay owns in RabbitMQ."""

from collections.abc import Iterator
from typing import Any, Final

import aiormq
from aio_pika.abc import AbstractConnection

from service.core import topology

DELIVERY_LIMIT: Final = 20
"""Deliveries of one message after which the broker dead-letters it. A worker's crash counts for every message that it
had prefetched, so the limit is well above a few crashes.
"""

_EXCHANGES: Final = {
    **{lane.requests: "topic" for lane in topology.LANES},
    topology.RESULTS: "topic",
    topology.DEAD: "fanout",
    topology.RELAY: "direct",
}
_ANYTHING: Final = "#"
_BOUND: Final = {
    **{lane.requests: lane.requests for lane in topology.LANES},
    topology.DEAD: topology.DEAD,
    topology.DIED: topology.DEAD,
}
"""The exchange that each queue is bound to, for any routing key."""

Binding = tuple[str, str, str]
"""Exchange, routing key, queue."""


class TopologyError(Exception):
    """A queue or exchange is missing, or exists with other arguments. It was not changed."""


async def declare(
    connection: AbstractConnection, delays: tuple[float, ...], *, passive: bool, binds: bool = True
) -> None:
    """Declare everything. Raises `TopologyError` if something exists with other arguments.

    With `passive`, only check that everything exists: the broker compares nothing but the names. Without `binds`,
    nothing is changed where everything exists.
    """
    channel = await connection.channel()
    try:
        exchanges = {
            name: await channel.declare_exchange(name, kind, durable=True, passive=passive)
            for name, kind in _EXCHANGES.items()
        }
        for name, arguments in _queues(delays):
            queue = await channel.declare_queue(name, durable=True, passive=passive, arguments=arguments)
            for exchange, routing_key, _ in _bindings(name) if binds and not passive else ():
                await queue.bind(exchanges[exchange], routing_key)
    except (aiormq.exceptions.ChannelPreconditionFailed, aiormq.exceptions.ChannelNotFoundEntity) as error:
        raise TopologyError(str(error)) from None
    await channel.close()


async def declare_dead(connection: AbstractConnection) -> None:
    """Declare `omni.dead` alone. Raises `TopologyError`."""
    channel = await connection.channel()
    try:
        queue = await channel.declare_queue(topology.DEAD, durable=True, arguments=dict(_queues(()))[topology.DEAD])
        for name, routing_key, _ in _bindings(topology.DEAD):
            exchange = await channel.declare_exchange(name, _EXCHANGES[name], durable=True)
            await queue.bind(exchange, routing_key)
    except aiormq.exceptions.ChannelPreconditionFailed as error:
        raise TopologyError(str(error)) from None
    await channel.close()


def declared(delays: tuple[float, ...]) -> tuple[dict[str, str], dict[str, dict[str, Any]], set[Binding]]:
    """List exchanges with their types, queues with their arguments, and bindings."""
    queues = dict(_queues(delays))
    return dict(_EXCHANGES), queues, {binding for name in queues for binding in _bindings(name)}


def _bindings(queue: str) -> Iterator[Binding]:
    """List a queue's bindings. The queue of notifications is bound to nothing but the fanout exchange."""
    if queue in _BOUND:
        yield _BOUND[queue], _ANYTHING, queue
    if queue != topology.DIED:
        yield topology.RELAY, queue, queue


def _queues(delays: tuple[float, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each queue with its arguments.

    The broker moves dead letters and expired messages at least once. That needs `reject-publish`: without it, the
    broker silently falls back to at most once, and can lose them.
    """
    kept = {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-dead-letter-strategy": "at-least-once",
    }
    yield topology.DEAD, {"x-queue-type": "quorum"}
    yield topology.DIED, {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT}
    for lane in topology.LANES:
        yield (
            lane.requests,
            {**kept, "x-delivery-limit": DELIVERY_LIMIT, "x-dead-letter-exchange": topology.DEAD},
        )
        for delay_seconds in delays:
            yield (
                lane.delay_queue(delay_seconds),
                {
                    **kept,
                    "x-message-ttl": round(delay_seconds * 1000),
                    "x-dead-letter-exchange": topology.RELAY,
                    "x-dead-letter-routing-key": lane.requests,
                },
            )
