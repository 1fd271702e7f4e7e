"""A message from RabbitMQ, and a message to it."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Final

from service.core.topology import NORMAL, Lane
from service.core.value import dataclass, mypyc_attr

Header = object
"""A header's value: anything that AMQP can carry. Every function that reads one accepts any value."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message from a request queue. The delivery tag stays in the adapter, which settles it."""

    body: bytes
    content_type: str | None = None
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: float | None = None
    """Seconds after which it expires, counted from `timestamp`."""
    timestamp: datetime | None = None
    """When it was published, by the producer's clock, to the second."""
    priority: int | None = None
    headers: Mapping[str, Header] = field(default_factory=dict)
    exchange: str = ""
    routing_key: str = ""
    redelivered: bool = False
    is_too_long: bool = False
    """Whether the body was longer than any request may be, and was not kept."""
    content_encoding: str | None = None
    """How the body is compressed; None if it is not."""
    lane: Lane = NORMAL
    """The lane of the queue that it came from."""
    app_id: str | None = None
    """The producer's name for itself. RabbitMQ does not verify it."""


@dataclass(frozen=True, slots=True)
class Unaccepted:
    """Facts for the log about the final event of a message that was not accepted: no address, no text."""

    request_id: str
    message_id: str | None
    code: str
    attempt: int
    status: int | None = None
    """OMNI's status id; None if OMNI gave none."""
    app_id: str | None = None


class DeliveryLostError(Exception):
    """The session of a delivery ended. Another worker may have it: nothing more may be posted or published for it."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Ownership:
    """Whether a delivery is still ours. This one always is; the worker's ends with the session to the broker.

    After that another worker may have the delivery, so nothing may be posted or published for it here.
    """

    def is_certain(self) -> bool:
        """Return whether it is ours at this moment; False also if only the broker knows. Does not wait."""
        return True

    async def confirm(self) -> bool:
        """Return whether it is ours; asks the broker if necessary."""
        return True

    async def require(self) -> None:
        """Raise `DeliveryLostError` if it is not ours any more."""
        if not await self.confirm():
            raise DeliveryLostError


ALWAYS_OURS: Final = Ownership()


@dataclass(frozen=True, slots=True)
class Publication:
    """A message to the broker. It counts as published only when the broker has confirmed it."""

    exchange: str
    routing_key: str
    body: bytes
    content_type: str
    message_id: str
    type: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    timestamp: datetime | None = None
    priority: int | None = None
    headers: Mapping[str, Header] = field(default_factory=dict)
    """The most important come first: those that do not fit into one frame are left out from the end on."""
    must_arrive: bool = True
    """Whether it is a fault if the broker has no queue for it. An event may have no consumer, which is counted."""
    is_copy: bool = False
    """Whether it is a copy of an event for the `reply_to` queue: best effort, and nothing waits for it."""
    content_encoding: str | None = None
    """How the body is compressed, if it is published as it came."""
    app_id: str | None = None
    unaccepted: Unaccepted | None = None
    """For the log. Present if it is the final event of a message that was not accepted."""
    lane: Lane = NORMAL
    """The lane of the request that it is about: an urgent one is published first where publications wait."""


class UnpublishableError(Exception):
    """Publications that the broker never accepts: it closes the connection because of each, or AMQP cannot carry it.

    All others that were published with them are confirmed. The text contains no values of a producer.
    """

    def __init__(self, publications: Sequence[Publication]) -> None:
        self.publications = tuple(publications)
        super().__init__(", ".join(sorted({one.exchange or one.routing_key for one in publications})))
