"""Finds missing rights by requests that the broker refuses anyway, so that nothing is changed.

RabbitMQ checks a user's rights before the arguments of a request (observed on 3.10 and 4.3). So each request has a
wrong argument, and the refusal shows whether the right is there. 403: it is missing. 406 (the argument) or 404 (the
name): it is there.
"""

from collections.abc import Iterable
from typing import Final

import aiormq
from aiormq.abc import AbstractChannel, FieldTable

from service.adapters.rabbitmq.permissions import Right, is_about
from service.adapters.rabbitmq.session import Session
from service.core import topology

_UNPUBLISHABLE: Final = aiormq.spec.Basic.Properties(expiration="never", user_id="nobody")
_NO_QUEUE: Final[FieldTable] = {"x-dead-letter-exchange": 1}
_NO_EXCHANGE: Final[FieldTable] = {"alternate-exchange": 1}
_NO_CONSUMER: Final[FieldTable] = {"x-priority": "first"}
"""Arguments of a wrong type."""
_KEY: Final = "message.check"


async def missing_rights(session: Session, rights: Iterable[Right]) -> list[Right]:
    """Return the rights that this user lacks. Raises one of `BrokerErrors`."""
    return [right for right in rights if await _is_missing(session, right)]


async def has_exchange(session: Session, name: str) -> bool:
    """Return whether an exchange exists. Raises one of `BrokerErrors`."""
    try:
        async with session.asking() as channel:
            await session.broken.ask(channel.exchange_declare(name, passive=True))
    except aiormq.exceptions.ChannelNotFoundEntity:
        return False
    return True


async def _is_missing(session: Session, right: Right) -> bool:
    try:
        async with session.asking() as channel:
            await session.broken.ask(_ask(channel, right))
    except aiormq.exceptions.ChannelAccessRefused as error:
        return is_about(error, right)
    except (aiormq.exceptions.ChannelPreconditionFailed, aiormq.exceptions.ChannelNotFoundEntity):
        pass
    return False


async def _ask(channel: AbstractChannel, right: Right) -> None:
    match right.permission, right.kind:
        case _, "queue" if right.to_check:
            await channel.queue_declare(right.name, passive=True)
        case _, "exchange" if right.to_check:
            await channel.exchange_declare(right.name, passive=True)
        case "write", "exchange":
            await channel.basic_publish(b"", exchange=right.name, routing_key=_KEY, properties=_UNPUBLISHABLE)
            await channel.queue_declare(
                topology.REQUESTS, passive=True
            )  # a refused publish has no answer of its own; it comes before this one
        case "read", "queue":
            await channel.basic_consume(right.name, _ignore, arguments=_NO_CONSUMER)
        case "configure", "queue":
            await channel.queue_declare(right.name, durable=True, arguments=_NO_QUEUE)
        case "configure", "exchange":
            await channel.exchange_declare(right.name, exchange_type="topic", durable=True, arguments=_NO_EXCHANGE)
        case "write", "queue":  # unbinding from the default exchange is never allowed, but the right is checked first
            await channel.queue_unbind(right.name, topology.DIRECT, _KEY)
        case _:  # reading from an exchange means binding to it; this unbinds a binding that does not exist
            await channel.queue_unbind(topology.REQUESTS, right.name, _KEY)


async def _ignore(_: object) -> None:
    """Never called: the broker refuses the consumer."""
