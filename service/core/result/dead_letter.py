"""Dead letters: what they say of themselves, which of them somebody means, and how one is sent again.

A letter put there by the relay says why in `omni-reason`. One put there by the broker says it in `x-death`: it killed
workers up to the queue's delivery limit (`poison`), outlived its `expiration` (`lapsed`), or broke the relay's own code
(`defect`).

The last word about requests that the broker gave up: nobody else is left to say it.

A request that kills workers up to the delivery limit, breaks the relay's own code, or is taken off the queue by a
policy (such as a maximum length) goes to the dead letters without a final event. Its body is not read: it has shown
what becomes of whoever does that.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args

from pydantic_core import from_json

from service.core import topology
from service.core.delivery import Delivery, Header, Publication
from service.core.forged_headers import dead_without_forged_headers, latest_death
from service.core.headers import (
    dead_letter_detail,
    dead_letter_reason,
    dead_letter_time,
    read_history,
    redrive_headers,
    renewed_headers,
)
from service.core.identity import digest
from service.core.omni.charset import to_utf8, without_mark
from service.core.poison import COUNT
from service.core.request.body import excess, is_request_id
from service.core.request.compression import decompress
from service.core.request.steps import finished
from service.core.result.event import Reason, StatusEvent
from service.core.result.reply_to import kept_reply_to
from service.core.result.report import RelayReason, Report
from service.core.value import dataclass

BrokerReason = Literal["poison", "lapsed", "defect", "other"]
DeadLetterReason = RelayReason | BrokerReason
REASONS: Final = (*get_args(RelayReason), *get_args(BrokerReason))

_REASONS: Final[Mapping[str, DeadLetterReason]] = {reason: reason for reason in REASONS}
_BROKERS: Final[Mapping[str, DeadLetterReason]] = {
    "delivery_limit": "poison",
    "expired": "lapsed",
    "rejected": "defect",
}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What a dead letter's headers say."""

    delivery: Delivery
    reason: DeadLetterReason
    detail: str
    failed_at: datetime | None
    request_id: str
    attempts: int
    redrives: int

    @property
    def identity(self) -> bytes:
        """What two copies of one letter have in common: a connection that broke may have left two."""
        text = f"{self.request_id}\n{self.failed_at}\n{self.redrives}\n".encode()
        return hashlib.blake2b(text + self.delivery.body, digest_size=16).digest()

    @property
    def original(self) -> Delivery:
        """Give it as it was before the broker dead-lettered it, which changes the exchange."""
        exchange = latest_death(self.delivery.headers).get("exchange")
        return replace(self.delivery, exchange=_word(exchange))

    @property
    def must_be_renewed(self) -> bool:
        """Tell whether the broker may delete it when it is returned: it counts returns, up to the delivery limit.

        AMQP does not tell the limit: 20 by default in RabbitMQ 4, none in RabbitMQ 3, and any where a policy sets one.
        So one return is enough. In a first delivery the count is a producer's invention, or of another queue.
        """
        count = self.delivery.headers.get(COUNT)
        return self.delivery.redelivered and isinstance(count, int) and count > 0


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters somebody means: all that fit every part that is given."""

    reasons: tuple[str, ...] = ()
    request_ids: tuple[str, ...] = ()
    older_than: timedelta | None = None
    newer_than: timedelta | None = None

    def holds(self, dead_letter: DeadLetter, now: datetime) -> bool:
        """Tell whether a letter is meant. One of unknown age is neither older nor newer than anything."""
        age = now - dead_letter.failed_at if dead_letter.failed_at else None
        return (
            (not self.reasons or dead_letter.reason in self.reasons)
            and (not self.request_ids or dead_letter.request_id in self.request_ids)
            and (self.older_than is None or (age is not None and age > self.older_than))
            and (self.newer_than is None or (age is not None and age < self.newer_than))
        )


def read_dead(delivery: Delivery, *, forgeable: bool = False) -> DeadLetter:
    """Read a dead letter; total, since a producer writes much of it. Where the broker says why, nothing else counts.

    `forgeable`: a producer may have written a part of what the broker says, see `can_be_forged`.
    """
    delivery = dead_without_forged_headers(delivery, forgeable=forgeable)
    headers = delivery.headers
    history = read_history(headers, datetime.fromtimestamp(0, UTC))
    death = latest_death(headers)
    own, brokers = _REASONS.get(dead_letter_reason(headers)), _BROKERS.get(_word(death.get("reason")))
    return DeadLetter(
        delivery,
        (brokers if death else own) or "other",
        "" if death else dead_letter_detail(headers),
        _moment(death.get("time") if death else dead_letter_time(headers)),
        _request_id(delivery),
        history.attempts,
        history.redrives,
    )


def body_text(delivery: Delivery) -> str:
    """Give a body for people to read: without its compression, in its encoding; total."""
    body = finished(decompress(delivery))
    if isinstance(body, str):
        return f"(the body {body})"
    return to_utf8(body, delivery.content_type).decode(errors="replace")


def is_of_the_broker(dead_letter: DeadLetter) -> bool:
    """Tell whether the broker took a letter from the request queue to `omni.dead`."""
    death = latest_death(dead_letter.delivery.headers)
    return dead_letter.delivery.exchange == topology.DEAD and death.get("queue") == topology.REQUESTS


def redrive(dead_letter: DeadLetter, *, republished: bool = False) -> Publication:
    """Render a letter to be sent again: its messages keep their names, and OMNI is asked about them first.

    `republished`: an earlier replay may have published it already, so a worker must not take it for the only one.
    """
    delivery = dead_letter.delivery
    headers = redrive_headers(delivery.headers, dead_letter.redrives + 1, republished=republished)
    return _published(delivery, topology.RELAY, topology.REQUESTS, headers)


def renew(dead_letter: DeadLetter) -> Publication:
    """Render a letter to be stored in `omni.dead` as a new message: for that queue alone, since its copy has been read.

    The broker's own headers are not published again. What they say of the reason is written in ours.
    """
    delivery = dead_letter.delivery
    headers = renewed_headers(delivery.headers, dead_letter.reason, dead_letter.failed_at)
    return _published(delivery, topology.RELAY, topology.DEAD, headers)


def _published(delivery: Delivery, exchange: str, routing_key: str, headers: Mapping[str, Header]) -> Publication:
    return Publication(
        exchange,
        routing_key,
        delivery.body,
        delivery.content_type or "",
        delivery.message_id or "",
        correlation_id=delivery.correlation_id,
        reply_to=kept_reply_to(delivery.reply_to),
        timestamp=delivery.timestamp,
        priority=delivery.priority,
        headers=headers,
        content_encoding=delivery.content_encoding,
    )


def _moment(value: Header) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _request_id(delivery: Delivery) -> str:
    """Give the id as the relay would: the body's, else the message's."""
    given = finished(decompress(delivery))
    try:
        body = None if isinstance(given, str) or excess(given, grown=True) else from_json(without_mark(given))
    except ValueError:
        body = None
    own = body.get("requestId") if isinstance(body, dict) else None
    return own if is_request_id(own) else delivery.message_id or ""


def _word(value: Header) -> str:
    return value if isinstance(value, str) else ""


_DETAILS: Final = {
    "poison": "workers died of it, as often as the broker lets them",
    "defect": "the relay could not handle it",
    "other": "the broker took it off the queue",
}


def write_final_event(dead_letter: DeadLetter, now: datetime, make_id: Callable[[], str]) -> Report:
    """Say what is left to be said about a dead letter of the broker: any other has had its final event."""
    detail = _DETAILS.get(dead_letter.reason) if is_of_the_broker(dead_letter) else None
    if detail is None:
        return Report()
    name, attempts = dead_letter.request_id or make_id(), read_history(dead_letter.delivery.headers, now).attempts
    reason = Reason("defect", f"{detail}; it is in omni.dead")
    said = digest(dead_letter.delivery.body)
    return Report((StatusEvent("request.rejected", now, name, attempts, reason=reason, content_digest=said),))
