"""One message as RabbitMQ handed it to us, and what we publish."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime

from service.core.attempt.lookup import DoubtEnd
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
class History:
    """What happened to a request before this delivery; it travels in headers of our own."""

    first_seen: datetime
    attempts: int = 0
    """Attempts that were, or may have been, made."""
    ambiguous: bool = False
    """An earlier attempt may have been taken."""
    looks: int = 0
    """Looks into OMNI's logs about the latest doubt that were answered and did not show every message."""
    resolved: bool = False
    """The latest doubt was looked into, and it was decided to post again."""
    parked: int = 0
    """Times it was put aside: no two letters of one request are alike."""
    redeliveries: int = 0
    """Attempts among those above that may not have been any: a worker died with it, or it was handed back untouched."""
    denials: int = 0
    """Times it was denied, the first time included, since which others were not; see `rules.report`."""
    redrives: int = 0
    """Times a person has sent it again from among the dead letters."""

    @property
    def in_doubt(self) -> bool:
        """Tell whether a post now might be a second one that nobody decided on."""
        return self.ambiguous and not self.resolved

    @property
    def is_ordered(self) -> bool:
        """Tell whether the next attempt is the one that a person ordered by sending a dead letter again."""
        return self.redrives > 0 and self.attempts == 0


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
    valid: bool = True
    """Whether no part of it had to be rejected unread."""
    doubt: DoubtEnd | None = None
    """How a doubt about it ended."""
    age: float = 0.0
    """Seconds since it was first published, as its producer says, or else since a worker first saw it."""
