"""The rights that the relay needs in RabbitMQ, those of them that are missing, and the error that names one.

A user has three permissions in each virtual host: patterns for the names that it may configure, write and read.

Missing rights are found by requests that the broker refuses anyway, so that nothing is changed. RabbitMQ checks a
user's rights before the arguments of a request (observed on 3.10 and 4.3). So each request has a wrong argument, and
the refusal shows whether the right is there. 403: it is missing. 406 (the argument) or 404 (the name): it is there.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Literal

import aiormq
from aiormq.abc import AbstractChannel, FieldTable

from service.adapters.rabbitmq.session import Session
from service.adapters.rabbitmq.topology import declared
from service.core import topology
from service.core.value import dataclass

_DEFAULT_EXCHANGE: Final = "amq.default"
"""The name of the default exchange in permissions."""
_UNPUBLISHABLE: Final = aiormq.spec.Basic.Properties(expiration="never", user_id="nobody")
_NO_QUEUE: Final[FieldTable] = {"x-dead-letter-exchange": 1}
_NO_EXCHANGE: Final[FieldTable] = {"alternate-exchange": 1}
_NO_CONSUMER: Final[FieldTable] = {"x-priority": "first"}
"""Arguments of a wrong type."""
_KEY: Final = "message.check"


@dataclass(frozen=True, slots=True)
class Right:
    """One of RabbitMQ's three permissions for one exchange or queue."""

    permission: Literal["configure", "write", "read"]
    kind: Literal["exchange", "queue"]
    name: str
    to_check: bool = False
    """It is only checked that it exists. RabbitMQ 4 requires any of the three permissions for that."""

    @property
    def resource(self) -> str:
        """The name that the permission's pattern has to match."""
        return self.name or _DEFAULT_EXCHANGE

    def __str__(self) -> str:
        return f"{self.permission} {self.resource} ({self.kind})"


class RightMissingError(PermissionError):
    """The user lacks a right; the message names it."""

    def __init__(self, right: Right) -> None:
        super().__init__(f"this user may not {right}; RabbitMQ's {right.permission} permission has to match it")


def rights_needed(delays: tuple[float, ...], *, declares: bool, replies: bool) -> tuple[Right, ...]:
    """List the rights of a worker and of the commands for dead letters.

    `declares`: it declares its queues. `replies`: it publishes to the queues that `reply_to` names.
    """
    rights = [Right("write", "exchange", name) for name in (topology.RESULTS, topology.DEAD, topology.RELAY)]
    rights += [Right("read", "queue", lane.requests) for lane in topology.LANES]
    rights += [Right("read", "queue", name) for name in (topology.DEAD, topology.DIED)]
    if replies:
        rights.append(Right("write", "exchange", topology.DIRECT))
    rights += _rights_to_declare(delays) if declares else _rights_to_check(delays, rights)
    return tuple(dict.fromkeys(rights))


def rights_of_receiver() -> tuple[Right, ...]:
    """List the rights of a receiver of reports."""
    return (Right("write", "exchange", topology.RESULTS),)


def _rights_to_check(delays: tuple[float, ...], rights: Iterable[Right]) -> Iterator[Right]:
    exchanges, queues, _ = declared(delays)
    others = {(right.kind, right.name) for right in rights}
    for name in exchanges:
        if ("exchange", name) not in others:
            yield Right("read", "exchange", name, to_check=True)
    for name in queues:
        if ("queue", name) not in others:
            yield Right("read", "queue", name, to_check=True)


def _rights_to_declare(delays: tuple[float, ...]) -> Iterator[Right]:
    """List the rights that declaring needs. Source: rabbitmq.com/docs/access-control."""
    exchanges, queues, bindings = declared(delays)
    yield from (Right("configure", "exchange", name) for name in exchanges)
    for name, arguments in queues.items():
        yield Right("configure", "queue", name)
        if "x-dead-letter-exchange" in arguments:
            yield Right("read", "queue", name)
            yield Right("write", "exchange", arguments["x-dead-letter-exchange"])
    for exchange, _, queue in sorted(bindings):
        yield Right("write", "queue", queue)
        yield Right("read", "exchange", exchange)


def is_about(error: Exception, right: Right) -> bool:
    """Return whether a refusal names this exchange or queue; a request can need rights for several."""
    return f"{right.kind} '{right.resource}'" in str(error)


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
