"""The rights that the relay needs in RabbitMQ, and the error that names a missing one.

A user has three permissions in each virtual host: patterns for the names that it may configure, write and read.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Literal

from service.adapters.rabbitmq.topology import declared
from service.core import topology
from service.core.value import dataclass

_DEFAULT_EXCHANGE: Final = "amq.default"
"""The name of the default exchange in permissions."""


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
