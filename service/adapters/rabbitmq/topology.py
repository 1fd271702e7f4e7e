"""What the relay owns in RabbitMQ, declared or only looked at."""

from collections.abc import Iterator
from typing import Any, Final

import aiormq
from aio_pika.abc import AbstractConnection

from service.core import topology

DELIVERY_LIMIT: Final = 20
"""Deliveries of one message before the broker takes it for poison. A crash counts for all that was prefetched,
so this stands well above what a few crashes eat.
"""

_EXCHANGES: Final = {
    topology.REQUESTS: "topic",
    topology.RESULTS: "topic",
    topology.DEAD: "fanout",
    topology.RELAY: "direct",
}
_ANYTHING: Final = "#"
_BOUND: Final = {topology.REQUESTS: topology.REQUESTS, topology.DEAD: topology.DEAD, topology.DIED: topology.DEAD}
"""Queues by the exchange that fills them, whatever the routing key."""

Binding = tuple[str, str, str]
"""Exchange, routing key, queue."""


class TopologyError(Exception):
    """A queue or exchange is missing, or not as the relay needs it; it was left as it is."""


async def declare(connection: AbstractConnection, delays: tuple[float, ...], *, passive: bool) -> None:
    """Declare what the relay owns; a broker refuses whatever differs from what is there.

    When `passive`, only look whether it is there: a broker then compares nothing but the names.
    """
    channel = await connection.channel()
    try:
        exchanges = {
            name: await channel.declare_exchange(name, kind, durable=True, passive=passive)
            for name, kind in _EXCHANGES.items()
        }
        for name, arguments in _queues(delays):
            queue = await channel.declare_queue(name, durable=True, passive=passive, arguments=arguments)
            for exchange, routing_key, _ in () if passive else _bindings(name):
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
    """List what is declared: exchanges with their types, queues with their arguments, and bindings."""
    queues = dict(_queues(delays))
    return dict(_EXCHANGES), queues, {binding for name in queues for binding in _bindings(name)}


def _bindings(queue: str) -> Iterator[Binding]:
    """List how messages come into a queue. Copies of dead letters come from nowhere but the fanout exchange."""
    if queue in _BOUND:
        yield _BOUND[queue], _ANYTHING, queue
    if queue != topology.DIED:
        yield topology.RELAY, queue, queue


def _queues(delays: tuple[float, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
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
    yield topology.DIED, {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT}
    yield (
        topology.REQUESTS,
        {**kept, "x-delivery-limit": DELIVERY_LIMIT, "x-dead-letter-exchange": topology.DEAD},
    )
    for delay_seconds in delays:
        yield (
            topology.delay_queue(delay_seconds),
            {
                **kept,
                "x-message-ttl": round(delay_seconds * 1000),
                "x-dead-letter-exchange": topology.RELAY,
                "x-dead-letter-routing-key": topology.REQUESTS,
            },
        )
