"""One message as RabbitMQ handed it to us, and what we publish."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

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


@dataclass(frozen=True, slots=True)
class History:
    """What happened to a request before this delivery; it travels in headers of our own."""

    first_seen: datetime
    attempts: int = 0
    """Attempts already made and counted."""
    ambiguous: bool = False
    """An earlier attempt may have been taken."""


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
    must_arrive: bool = True
    """False for an event: nobody may be listening, which is counted. A letter without a queue is a fault."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """Every word about a delivery is said and confirmed: acknowledge it. The fields are for the log."""

    request_id: str
    identified: bool
    """Whether the producer named the request."""
    attempts: int
    """Attempts counted before this delivery."""
    words: Mapping[str, int]
    """How many events of each type were published for it."""
