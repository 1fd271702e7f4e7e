"""One message as RabbitMQ handed it to us, and what we publish."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime

from service.core.value import dataclass

Header = object
"""A header value as the wire can carry it: anything. Read it with a function that is total."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message from the request queue, without its delivery tag: that belongs to the edge that settles."""

    body: bytes
    content_type: str | None = None
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: float | None = None
    """Seconds the producer gave it to live, from `timestamp` on."""
    timestamp: datetime | None = None
    """When it was published, as the producer says, to the second."""
    priority: int | None = None
    headers: Mapping[str, Header] = field(default_factory=dict)
    exchange: str = ""
    routing_key: str = ""
    redelivered: bool = False
    is_too_long: bool = False
    """The body was longer than that of any request, and was not kept."""
    content_encoding: str | None = None
    """How the body is compressed; None where it is not."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A message for the broker. It counts as published when the broker has confirmed it, and not before."""

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
    """In the order of importance: what does not fit into one frame is left out from the end on."""
    must_arrive: bool = True
    """False for an event: nobody may be listening, which is counted. A letter without a queue is a fault."""
    is_copy: bool = False
    """A copy of an event for the queue that `reply_to` names: best effort, and nothing waits for it."""
    content_encoding: str | None = None
    """How the body is compressed, where it is published as it came."""


class UnpublishableError(Exception):
    """Publications that the broker never takes: it closes the connection because of each, or AMQP cannot carry it.

    All others that were to be published with them are confirmed. The text names no contents.
    """

    def __init__(self, publications: Sequence[Publication]) -> None:
        self.publications = tuple(publications)
        super().__init__(", ".join(sorted({one.exchange or one.routing_key for one in publications})))
