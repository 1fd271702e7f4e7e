"""Events and letters as messages for the broker: names, headers and bytes that others rely on."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, assert_never

from pydantic_core import to_json

from service.core import topology
from service.core.delivery import Delivery, Publication
from service.core.headers import dead_letter_headers, retry_headers, unread_retry_headers
from service.core.history import History
from service.core.omni.content import Content
from service.core.omni.destination import Destination
from service.core.request.body import RequestBody
from service.core.request.deadline import deadline
from service.core.request.request import SendRequest
from service.core.result.event import FINAL_EVENTS, Reason, StatusEvent, event_id
from service.core.result.reply_to import kept_reply_to
from service.core.result.report import DeadLetterMessage, Report, RetryMessage, StoredMessage
from service.core.trace_context import trace_headers

SOURCE: Final = "/omni-relay"
CLOUD_EVENT: Final = "application/cloudevents+json"
JSON: Final = "application/json"

_UNPUBLISHABLE: Final = "the broker does not take what the relay has to publish about it"


def publish_report(report: Report, delivery: Delivery, now: datetime) -> tuple[Publication, ...]:
    """Render all that a report says and puts aside."""
    events = [publication for event in report.events for publication in _publish_event(event, delivery)]
    return (*events, *(_publish_stored(stored_message, delivery, now) for stored_message in report.stored))


def publish_instead(
    report: Report, delivery: Delivery, now: datetime, refused: Sequence[Publication]
) -> tuple[Publication, ...]:
    """Render what is published in place of what the broker never takes, so that each message still has a final event.

    * A final event is rendered without what a producer has given: metadata, headers, ids beside its own.
    * In place of a retry, its messages get their final event.
    * A dead letter has had its final event, and an event that is not final needs nothing in its place.
    """
    names = {_name(publication) for publication in refused}
    plain = replace(delivery, headers={}, correlation_id=None, reply_to=None)
    events = [
        _reduced(event) for event in report.events if event.type in FINAL_EVENTS and _name_of(event, delivery) in names
    ]
    for stored_message in report.stored:
        if isinstance(stored_message, RetryMessage) and _name(_publish_stored(stored_message, delivery, now)) in names:
            events += _give_up(stored_message, now)
    return tuple(publication for event in events for publication in _publish_event(event, plain))


def _name(publication: Publication) -> tuple[str, str, str, bytes]:
    return publication.exchange, publication.routing_key, publication.message_id, publication.body


def _name_of(event: StatusEvent, delivery: Delivery) -> tuple[str, str, str, bytes]:
    return _name(_publish_event(event, delivery)[0])


def _reduced(event: StatusEvent) -> StatusEvent:
    reason = event.reason and replace(event.reason, detail=_UNPUBLISHABLE, faults=())
    return replace(event, metadata={}, bulk_id=None, reason=reason)


def _give_up(stored_message: RetryMessage, now: datetime) -> list[StatusEvent]:
    history, request = stored_message.history, stored_message.request
    return [
        StatusEvent(
            "message.unknown" if history.ambiguous else "message.failed",
            now,
            request.request_id,
            history.attempts,
            message_id=message.message_id,
            to=message.to.written(),
            reason=Reason("defect", _UNPUBLISHABLE),
            content_digest=request.content_digest,
        )
        for message in request.messages
    ]


def render_event(event: StatusEvent) -> bytes:
    """Render a CloudEvents 1.0 event in structured JSON."""
    return _render(event, event_id(event))


def _render(event: StatusEvent, id_: str) -> bytes:
    envelope = {
        "specversion": "1.0",
        "id": id_,
        "source": SOURCE,
        "type": f"omni.{event.type}",
        "time": event.time,
        "datacontenttype": JSON,
        "data": {
            "requestId": event.request_id,
            "bulkId": event.bulk_id,
            "messageId": event.message_id,
            "to": event.to,
            "status": event.status,
            "attempt": event.attempt,
            "nextAttemptAt": event.next_attempt_at,
            "reason": event.reason,
            "metadata": event.metadata,
        },
    }
    if event.message_id is not None:
        envelope["subject"] = event.message_id
    return to_json(envelope, by_alias=True)


def render_request(request: SendRequest) -> bytes:
    """Render a request in its normal form: advanced, every id written out, so that it is read as it was."""
    content = {name: getattr(request.content, name) for name in Content.model_fields}
    body = RequestBody.model_construct(
        None,
        **content,
        destinations=tuple(Destination(to=message.to, message_id=message.message_id) for message in request.messages),
        request_id=request.request_id,
        expires_at=request.expires_at,
        on_unknown=request.on_unknown,
        metadata=dict(request.metadata) or None,
    )
    return body.model_dump_json(by_alias=True, exclude_none=True).encode()


def schedule_unread_retry(delivery: Delivery, history: History, delay_seconds: float, id_: str) -> Publication:
    """Render a delivery that nobody has read for a waiting room; nothing is counted against it."""
    return Publication(
        topology.RELAY,
        topology.delay_queue(delay_seconds),
        delivery.body,
        delivery.content_type or "",
        delivery.message_id or id_,
        correlation_id=delivery.correlation_id,
        reply_to=kept_reply_to(delivery.reply_to),
        timestamp=delivery.timestamp,
        priority=delivery.priority,
        headers=unread_retry_headers(
            replace(history, retries=history.retries + 1), delivery, deadline(None, delivery, history)
        ),
        content_encoding=delivery.content_encoding,
    )


def _publish_event(event: StatusEvent, delivery: Delivery) -> list[Publication]:
    id_ = event_id(event)
    publication = Publication(
        topology.RESULTS,
        event.type,
        _render(event, id_),
        CLOUD_EVENT,
        id_,
        type=f"omni.{event.type}",
        correlation_id=delivery.correlation_id or event.request_id,
        timestamp=event.time,
        headers=trace_headers(delivery.headers),
        must_arrive=False,
    )
    if not delivery.reply_to:
        return [publication]
    copy = replace(publication, exchange=topology.DIRECT, routing_key=delivery.reply_to, is_copy=True)
    return [publication, copy]


def _publish_stored(stored_message: StoredMessage, delivery: Delivery, now: datetime) -> Publication:
    match stored_message:
        case RetryMessage():
            exchange, routing_key = topology.RELAY, topology.delay_queue(stored_message.delay_seconds)
            headers = retry_headers(stored_message.history, delivery)
        case DeadLetterMessage():
            exchange, routing_key = topology.DEAD, ""
            headers = dead_letter_headers(
                stored_message.history, delivery, stored_message.reason, stored_message.cause, now
            )
        case _:
            assert_never(stored_message)
    return Publication(
        exchange,
        routing_key,
        render_request(stored_message.request),
        JSON,
        stored_message.request.request_id,
        correlation_id=delivery.correlation_id,
        reply_to=kept_reply_to(delivery.reply_to),
        timestamp=delivery.timestamp,
        priority=delivery.priority,
        headers=headers,
    )
