"""Which rights a user lacks, found out by asking for what cannot be done anyway.

RabbitMQ looks at a user's rights before it looks at arguments (seen on 3.10 and 4.3). So each question has an argument
that the broker refuses: it changes nothing, and the refusal says whether the right is there. 403 names what may not be
used; 406 finds fault with the argument, 404 with the name.
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
    """Give those of the rights that this user lacks. Raises one of `BrokerErrors`."""
    return [right for right in rights if await _is_missing(session, right)]


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
        case _, "queue" if right.to_look:
            await channel.queue_declare(right.name, passive=True)
        case _, "exchange" if right.to_look:
            await channel.exchange_declare(right.name, passive=True)
        case "write", "exchange":
            await channel.basic_publish(b"", exchange=right.name, routing_key=_KEY, properties=_UNPUBLISHABLE)
            await channel.queue_declare(topology.REQUESTS, passive=True)  # a refusal comes before its answer
        case "read", "queue":
            await channel.basic_consume(right.name, _ignore, arguments=_NO_CONSUMER)
        case "configure", "queue":
            await channel.queue_declare(right.name, durable=True, arguments=_NO_QUEUE)
        case "configure", "exchange":
            await channel.exchange_declare(right.name, exchange_type="topic", durable=True, arguments=_NO_EXCHANGE)
        case "write", "queue":  # nobody may unbind from the default exchange, but first comes the right to the queue
            await channel.queue_unbind(right.name, topology.DIRECT, _KEY)
        case _:  # to read from an exchange is to bind a queue to it: a binding that is not there is unbound
            await channel.queue_unbind(topology.REQUESTS, right.name, _KEY)


async def _ignore(_: object) -> None:
    """Take nothing: no consumer is ever made."""
