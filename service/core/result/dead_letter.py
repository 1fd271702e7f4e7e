"""Dead letters: why each is one, which of them an operator selects, and how one is replayed or stored again.

The relay writes its reason into a header. The broker writes its own into `x-death`: the request killed workers up to
the queue's delivery limit (`poison`), outlived its `expiration` (`lapsed`), or met a defect of ours (`defect`).

A request that the broker gave up has had no final event, and no worker is left to publish one. So it is made here, from
the dead letter. The body is not parsed as a request for it, since parsing may be what killed the workers.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args

from service.core import topology
from service.core.delivery import Delivery, Header, Publication
from service.core.forged_headers import dead_without_forged_headers, latest_death
from service.core.headers import (
    dead_letter_detail,
    dead_letter_lane,
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
from service.core.request.decoding import decompress, finished, json_object
from service.core.request.identification import is_message_id
from service.core.request.parsing import parse
from service.core.result.event import Reason, StatusEvent
from service.core.result.publication import with_properties_of
from service.core.result.report import RelayReason, Report
from service.core.topology import NORMAL, URGENT, lane_of
from service.core.value import dataclass

BrokerReason = Literal["poison", "lapsed", "defect", "other"]
DeadLetterReason = RelayReason | BrokerReason
REASONS: Final = (*get_args(RelayReason), *get_args(BrokerReason))

_REASONS: Final[Mapping[str, DeadLetterReason]] = {reason: reason for reason in REASONS}
_BROKER_REASONS: Final[Mapping[str, DeadLetterReason]] = {
    "delivery_limit": "poison",
    "expired": "lapsed",
    "rejected": "defect",
}
_DETAILS: Final = {
    "poison": "workers died of it, as often as the broker lets them",
    "defect": "the relay could not handle it",
    "other": "the broker took it off the queue",
}
"""By the reasons of dead letters that have had no final event. A lapsed request has: a worker reports its expiry."""
_UNREAD_REASONS: Final = {"poison", "defect"}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What a dead letter's headers say."""

    delivery: Delivery
    """Its lane is that of the queue in which it was dead-lettered."""
    reason: DeadLetterReason
    detail: str
    failed_at: datetime | None
    request_id: str
    attempts: int
    redrives: int

    @property
    def identity(self) -> bytes:
        """Equal for two copies of one dead letter, which a broken connection may have left."""
        text = f"{self.request_id}\n{self.failed_at}\n{self.redrives}\n".encode()
        return hashlib.blake2b(text + self.delivery.body, digest_size=16).digest()

    @property
    def original(self) -> Delivery:
        """The delivery before the broker dead-lettered it, which changed the exchange."""
        return replace(self.delivery, exchange=_text(latest_death(self.delivery.headers).get("exchange")))

    @property
    def must_be_renewed(self) -> bool:
        """Whether the broker may delete it when it is returned: it counts returns, up to the delivery limit.

        The limit is not visible in AMQP: 20 by default in RabbitMQ 4, none in RabbitMQ 3, and any by policy. So one
        return is enough. In a first delivery the count is a producer's invention, or another queue's.
        """
        count = self.delivery.headers.get(COUNT)
        return self.delivery.redelivered and isinstance(count, int) and count > 0


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters an operator selects: those that satisfy every condition that is given."""

    reasons: tuple[str, ...] = ()
    request_ids: tuple[str, ...] = ()
    older_than: timedelta | None = None
    newer_than: timedelta | None = None

    def holds(self, dead_letter: DeadLetter, now: datetime) -> bool:
        """Return whether a dead letter is selected. One of unknown age is neither older nor newer than anything."""
        age = now - dead_letter.failed_at if dead_letter.failed_at else None
        return (
            (not self.reasons or dead_letter.reason in self.reasons)
            and (not self.request_ids or dead_letter.request_id in self.request_ids)
            and (self.older_than is None or (age is not None and age > self.older_than))
            and (self.newer_than is None or (age is not None and age < self.newer_than))
        )


def read_dead(delivery: Delivery, *, forgeable: bool = False) -> DeadLetter:
    """Read any message as a dead letter. If the broker gave a reason, ours does not count.

    `forgeable`: a producer may have written a part of `x-death`; see `can_be_forged`.
    """
    delivery = dead_without_forged_headers(delivery, forgeable=forgeable)
    headers = delivery.headers
    history = read_history(headers, datetime.fromtimestamp(0, UTC))
    if death := latest_death(headers):
        reason, detail, time = _BROKER_REASONS.get(_text(death.get("reason"))), "", death.get("time")
    else:
        reason = _REASONS.get(dead_letter_reason(headers))
        detail, time = dead_letter_detail(headers), dead_letter_time(headers)
    own_id = _fields(delivery).get("requestId")
    is_urgent = URGENT in (lane_of(death.get("queue")), dead_letter_lane(headers))
    return DeadLetter(
        replace(delivery, lane=URGENT if is_urgent else NORMAL),
        reason or "other",
        detail,
        _read_time(time),
        own_id if is_request_id(own_id) else delivery.message_id or "",
        history.attempts,
        history.redrives,
    )


def body_text(delivery: Delivery) -> str:
    """Return any body as text to be displayed: decompressed and decoded."""
    body = finished(decompress(delivery))
    if isinstance(body, str):
        return f"(the body {body})"
    return to_utf8(body, delivery.content_type).decode(errors="replace")


def is_of_the_broker(dead_letter: DeadLetter) -> bool:
    """Return whether the broker moved it from a request queue to `omni.dead`."""
    death, delivery = latest_death(dead_letter.delivery.headers), dead_letter.delivery
    return delivery.exchange == topology.DEAD and death.get("queue") == delivery.lane.requests


def redrive(dead_letter: DeadLetter, *, republished: bool = False) -> Publication:
    """Render a dead letter to be replayed in its lane: its messages keep their ids, and OMNI's logs are asked first.

    `republished`: an earlier replay may have published it already, so that workers must expect a duplicate.
    """
    headers = redrive_headers(dead_letter.delivery.headers, dead_letter.redrives + 1, republished=republished)
    return _publication(dead_letter.delivery, dead_letter.delivery.lane.requests, headers)


def renew(dead_letter: DeadLetter) -> Publication:
    """Render a dead letter to be stored in `omni.dead` as a new message.

    It goes to that queue alone, and not through the exchange: the queue of notifications has had its copy.
    """
    delivery = dead_letter.delivery
    headers = renewed_headers(delivery.headers, dead_letter.reason, dead_letter.failed_at, delivery.lane)
    return _publication(delivery, topology.DEAD, headers)


def write_final_event(dead_letter: DeadLetter, now: datetime, make_id: Callable[[], str]) -> Report:
    """Report the final event of a request that the broker gave up; nothing for any other, which has had its own."""
    detail = _DETAILS.get(dead_letter.reason) if is_of_the_broker(dead_letter) else None
    if detail is None:
        return Report()
    event = StatusEvent(
        "request.rejected",
        now,
        dead_letter.request_id or make_id(),
        dead_letter.attempts,
        reason=Reason("defect", f"{detail}; it is in omni.dead"),
        content_digest=digest(dead_letter.delivery.body),
        message_ids=_given_message_ids(dead_letter.delivery),
    )
    return Report((event,))


def _publication(delivery: Delivery, queue: str, headers: Mapping[str, Header]) -> Publication:
    publication = Publication(
        topology.RELAY,
        queue,
        delivery.body,
        delivery.content_type or "",
        delivery.message_id or "",
        headers=headers,
        content_encoding=delivery.content_encoding,
    )
    return with_properties_of(delivery, publication)


def _read_time(value: Header) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _fields(delivery: Delivery) -> Mapping[str, object]:
    """Read a JSON object without any of the checks of a request; nothing where the body is none."""
    given = finished(decompress(delivery))
    body = None if isinstance(given, str) or excess(given, grown=True) else json_object(without_mark(given))
    return body or {}


def message_ids(dead_letter: DeadLetter) -> tuple[str, ...]:
    """List the messages of a dead letter, in order and each once; total.

    A body that killed workers or met a defect is read as plain JSON alone, so ids that the relay would create are
    left out.
    """
    names = list(_given_message_ids(dead_letter.delivery))
    if dead_letter.reason not in _UNREAD_REASONS:
        history = read_history(dead_letter.delivery.headers, datetime.fromtimestamp(0, UTC))
        parsed = finished(parse(dead_letter.delivery, history, lambda: ""))
        names += parsed.request.message_ids if parsed.request else ()
        names += [rejection.message_id for rejection in parsed.rejections]
    return tuple(dict.fromkeys(names))


def _given_message_ids(delivery: Delivery) -> tuple[str, ...]:
    """Return the ids that stand in a body of JSON, in order and each once, without parsing it as a request."""
    fields = _fields(delivery)
    entries = fields.get("destinations")
    given = [fields, *(entries if isinstance(entries, list) else ())]
    names = [entry.get("messageId") for entry in given if isinstance(entry, Mapping)]
    return tuple(dict.fromkeys(name for name in names if is_message_id(name)))


def _text(value: Header) -> str:
    return value if isinstance(value, str) else ""
