"""A report as messages for the broker: names, properties, headers and bytes that consumers and operators rely on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from pydantic_core import to_json

from service.core import topology
from service.core.delivery import Delivery, Header, Publication, Unaccepted
from service.core.headers import dead_letter_headers, retry_headers, unread_retry_headers
from service.core.history import History
from service.core.identity import uuid5
from service.core.omni.content import Content
from service.core.request.body import RequestBody
from service.core.request.deadline import deadline
from service.core.request.request import SendRequest
from service.core.result.event import FINAL_EVENTS, UNACCEPTED_EVENTS, EventType, Reason, StatusEvent
from service.core.result.reply_to import kept_reply_to
from service.core.result.report import DeadLetterMessage, Report, RetryMessage, report_each
from service.core.trace_context import trace_headers

SOURCE: Final = "/omni-relay"
CLOUD_EVENT: Final = "application/cloudevents+json"
JSON: Final = "application/json"

_EVENTS: Final = UUID("6f6d6e69-7265-4c61-8179-6576656e7473").bytes
_UNPUBLISHABLE: Final = "the broker does not take what the relay has to publish about it"


def publish_report(report: Report, delivery: Delivery, now: datetime) -> tuple[Publication, ...]:
    """Render a whole report: events first, for the sake of consumers that see them arrive."""
    publications = [publication for event in report.events for publication in _publish_event(event, delivery)]
    publications += [_publish_retry(retry, delivery) for retry in report.retries]
    publications += [_publish_dead_letter(dead_letter, delivery, now) for dead_letter in report.dead_letters]
    return tuple(publications)


def publish_instead(
    report: Report, delivery: Delivery, now: datetime, refused: Sequence[Publication]
) -> tuple[Publication, ...]:
    """Render replacements for publications that the broker never accepts, so that each message has a final event.

    * A final event is rendered without the values of the producer: metadata, headers, ids other than its own.
    * Instead of a retry, its messages get their final event.
    * A dead letter has had its final event, and an event that is not final needs no replacement.
    """
    keys = {_key(publication) for publication in refused}
    plain = replace(delivery, headers={}, correlation_id=None, reply_to=None, app_id=None)
    events = [
        _reduced(event)
        for event in report.events
        if event.type in FINAL_EVENTS and _key(_publish_event(event, delivery)[0]) in keys
    ]
    for retry in report.retries:
        if _key(_publish_retry(retry, delivery)) in keys:
            type_: EventType = "message.unknown" if retry.history.ambiguous else "message.failed"
            given_up = report_each(type_, retry.request, retry.history, now, Reason("defect", _UNPUBLISHABLE))
            events += map(_reduced, given_up.events)
    return tuple(publication for event in events for publication in _publish_event(event, plain))


def _key(publication: Publication) -> tuple[str, str, str, bytes]:
    return publication.exchange, publication.routing_key, publication.message_id, publication.body


def _reduced(event: StatusEvent) -> StatusEvent:
    reason = event.reason and replace(event.reason, detail=_UNPUBLISHABLE, faults=())
    return replace(event, metadata={}, bulk_id=None, reason=reason)


def envelope(
    type_: str, id_: str, time: datetime, subject: str | None, data: Mapping[str, object]
) -> dict[str, object]:
    """Put the data of an event into the attributes of CloudEvents 1.0."""
    attributes: dict[str, object] = {
        "specversion": "1.0",
        "id": id_,
        "source": SOURCE,
        "type": f"omni.{type_}",
        "time": time,
        "datacontenttype": JSON,
        "data": data,
    }
    if subject is not None:
        attributes["subject"] = subject
    return attributes


def render_request(request: SendRequest) -> bytes:
    """Render a request in the advanced shape with every id, so that parsing it again gives the same request."""
    content = {name: getattr(request.content, name) for name in Content.model_fields}
    body = RequestBody.model_construct(
        None,
        **content,
        request_id=request.request_id,
        expires_at=request.expires_at,
        on_unknown=request.on_unknown,
        metadata=dict(request.metadata) or None,
    )
    written = body.model_dump_json(by_alias=True, exclude_none=True).encode()
    destinations = to_json([{"to": message.to, "messageId": message.message_id} for message in request.messages])
    return b'%b,"destinations":%b}' % (written[:-1], destinations)


def schedule_unread_retry(delivery: Delivery, history: History, delay_seconds: float, id_: str) -> Publication:
    """Render a delivery that nobody has parsed as a retry message. No attempt is counted."""
    history = replace(history, retries=history.retries + 1)
    publication = Publication(
        topology.RELAY,
        delivery.lane.delay_queue(delay_seconds),
        delivery.body,
        delivery.content_type or "",
        delivery.message_id or id_,
        headers=unread_retry_headers(history, delivery, deadline(None, delivery, history)),
        content_encoding=delivery.content_encoding,
    )
    return with_properties_of(delivery, publication)


def with_properties_of(delivery: Delivery, publication: Publication) -> Publication:
    """Copy the properties that the request keeps for life, and its lane."""
    return replace(
        publication,
        correlation_id=delivery.correlation_id,
        reply_to=kept_reply_to(delivery.reply_to),
        timestamp=delivery.timestamp,
        priority=delivery.priority,
        app_id=delivery.app_id,
        lane=delivery.lane,
    )


def _publish_event(event: StatusEvent, delivery: Delivery) -> list[Publication]:
    id_ = event_id(event)
    data: dict[str, object] = {
        "requestId": event.request_id,
        "bulkId": event.bulk_id,
        "messageId": event.message_id,
        "to": event.to,
        "status": event.status,
        "attempt": event.attempt,
        "nextAttemptAt": event.next_attempt_at,
        "reason": event.reason,
        "metadata": event.metadata,
    }
    if event.message_ids:
        data["messageIds"] = event.message_ids
    if delivery.app_id is not None:
        data["appId"] = delivery.app_id
    publication = Publication(
        topology.RESULTS,
        event.type,
        to_json(envelope(event.type, id_, event.time, event.message_id, data), by_alias=True),
        CLOUD_EVENT,
        id_,
        type=f"omni.{event.type}",
        correlation_id=delivery.correlation_id or event.request_id,
        timestamp=event.time,
        headers=trace_headers(delivery.headers) if delivery.headers else {},
        must_arrive=False,
        unaccepted=_unaccepted(event, delivery) if event.type in UNACCEPTED_EVENTS else None,
        lane=delivery.lane,
    )
    if not delivery.reply_to:
        return [publication]
    copy = replace(publication, exchange=topology.DIRECT, routing_key=delivery.reply_to, is_copy=True)
    return [publication, copy]


def event_id(event: StatusEvent) -> str:
    """Derive the id of an event from the fact, so that a repeated event has the id it had.

    * A final event is published once for a message, so its id does not depend on the attempt: two workers that reach it
      on different attempts publish the same id. A deferral depends on the attempt and its time.
    * Two producers may use the same ids, and one may use them twice. So content and recipient count too.

    Any change here gives other ids to events that consumers may already have.
    """
    parts: list[object] = [event.request_id, event.message_id or "", event.type, event.content_digest, event.to]
    if event.next_attempt_at is not None:
        parts += [event.attempt, event.next_attempt_at.isoformat()]
    return uuid5(_EVENTS, to_json(parts))


def _unaccepted(event: StatusEvent, delivery: Delivery) -> Unaccepted:
    return Unaccepted(
        event.request_id,
        event.message_id,
        event.reason.code if event.reason else "",
        event.attempt,
        event.status.id if event.status else None,
        delivery.app_id,
    )


def _publish_retry(retry: RetryMessage, delivery: Delivery) -> Publication:
    headers = retry_headers(retry.history, delivery)
    queue = delivery.lane.delay_queue(retry.delay_seconds)
    return _publish_request(retry.request, delivery, topology.RELAY, queue, headers)


def _publish_dead_letter(dead_letter: DeadLetterMessage, delivery: Delivery, now: datetime) -> Publication:
    headers = dead_letter_headers(dead_letter.history, delivery, dead_letter.reason, dead_letter.cause, now)
    return _publish_request(dead_letter.request, delivery, topology.DEAD, "", headers)


def _publish_request(
    request: SendRequest, delivery: Delivery, exchange: str, routing_key: str, headers: Mapping[str, Header]
) -> Publication:
    publication = Publication(exchange, routing_key, render_request(request), JSON, request.request_id, headers=headers)
    return with_properties_of(delivery, publication)
