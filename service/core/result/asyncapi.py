"""The contract as AsyncAPI 3: what the relay receives from RabbitMQ, what it publishes, and the schemas of both.

The examples of events are rendered by the code that renders the events.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic_core import from_json

from service.core import topology
from service.core.delivery import Delivery
from service.core.omni.delivery_report import Price, ReportError, ReportStatus, Result
from service.core.omni.status import Status
from service.core.request.json_schema import REQUEST_EXAMPLES, request_schema
from service.core.request.request import Fault
from service.core.result.delivery_report import ReportEvent, ReportEventType, render
from service.core.result.event import EventType, Reason, StatusEvent
from service.core.result.json_schema import EVENT_TYPES, event_schema
from service.core.result.publication import CLOUD_EVENT, JSON, publish_report
from service.core.result.report import Report

Schema = dict[str, Any]

_REFERENCES: Final = "#/components/schemas/{model}"
_TIME: Final = datetime(2026, 11, 22, 6, 57, 9, tzinfo=UTC)
_ACCEPTED: Final = Status(group_id=1, group_name="PENDING", id=7, name="PENDING_ENROUTE")
_REASONS: Final[dict[str, Reason]] = {
    "message.rejected": Reason(
        "invalid",
        "the request is not valid",
        (Fault("destinations[0].to.phoneNumber", "must be an international number of 5 to 15 digits"),),
    ),
    "message.deferred": Reason("unavailable", "HTTP 503"),
    "message.failed": Reason("unavailable", "HTTP 503"),
    "message.expired": Reason("expired", "expiresAt passed before an attempt could be made"),
    "message.unknown": Reason("ambiguous", "no answer was read"),
    "message.cancelled": Reason("cancelled", "cancelled before it was posted"),
    "request.rejected": Reason("invalid", "names no readable message", (Fault("$", "should be an object"),)),
}
_HEADERS: Final = {
    "type": "object",
    "description": "W3C Trace Context, repeated in events.",
    "properties": {
        "traceparent": {
            "type": "string",
            "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
        },
        "tracestate": {"type": "string"},
    },
}


def document(version: str) -> Schema:
    """Build the AsyncAPI document of one version of the relay. It is long because it is one literal."""
    request, request_parts = request_schema(_REFERENCES)
    event, event_parts = event_schema(_REFERENCES)
    names = {type_: _camel(type_) for type_ in EVENT_TYPES}
    return {
        "asyncapi": "3.1.0",
        "id": "urn:omni-relay",
        "info": {
            "title": "OMNI Relay",
            "version": version,
            "description": "Takes send requests from RabbitMQ, posts them to Infobip's OMNI API, and publishes status "
            "events. Publish requests persistently, wait for the broker's confirmation, and set a "
            "requestId. Drop events whose id you have seen.",
            "tags": [{"name": "messaging"}],
        },
        "defaultContentType": JSON,
        "servers": {
            "rabbitmq": {
                "host": "{host}",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "description": "The RabbitMQ that your operators give you.",
                "variables": {"host": {"default": "localhost:5672", "description": "Name and port."}},
            }
        },
        "channels": {
            "requests": _requests(topology.NORMAL, "Send requests"),
            "urgentRequests": _requests(
                topology.URGENT, "Urgent send requests: they go first wherever something waits"
            ),
            **{
                name: {
                    "address": type_,
                    "title": f"Events {type_}",
                    "description": "Bind a queue to the exchange with this routing key, or with # for all events.",
                    "messages": {name: {"$ref": f"#/components/messages/{name}"}},
                    "bindings": _exchange(topology.RESULTS),
                }
                for type_, name in names.items()
            },
        },
        "operations": {
            "receiveRequest": _receive("requests", "The relay takes a request and posts it to OMNI."),
            "receiveUrgentRequest": _receive("urgentRequests", "The same, before requests that are not urgent."),
            **{
                f"publish{name[0].upper()}{name[1:]}": {
                    "action": "send",
                    "channel": {"$ref": f"#/channels/{name}"},
                    "summary": EVENT_TYPES[type_],
                    "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
                    "bindings": {"amqp": {"deliveryMode": 2, "bindingVersion": "0.3.0"}},
                }
                for type_, name in names.items()
            },
        },
        "components": {
            "messages": {
                "sendRequest": {
                    "name": "sendRequest",
                    "title": "Send request",
                    "summary": "One content for one or many recipients.",
                    "contentType": JSON,
                    "headers": _HEADERS,
                    "payload": {"$ref": _REFERENCES.format(model="SendRequest")},
                    "examples": [{"payload": example} for example in REQUEST_EXAMPLES],
                },
                **{name: _message(type_, name) for type_, name in names.items()},
            },
            "schemas": {"SendRequest": request, "StatusEvent": event, **request_parts, **event_parts},
        },
    }


def _requests(lane: topology.Lane, title: str) -> Schema:
    return {
        "address": "send",
        "title": title,
        "description": f"Publish to the exchange {lane.requests} with this routing key.",
        "messages": {"sendRequest": {"$ref": "#/components/messages/sendRequest"}},
        "bindings": _exchange(lane.requests),
    }


def _receive(channel: str, summary: str) -> Schema:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/sendRequest"}],
        "bindings": {"amqp": {"deliveryMode": 2, "ack": True, "bindingVersion": "0.3.0"}},
    }


def _message(type_: EventType | ReportEventType, name: str) -> Schema:
    this = {"properties": {"type": {"const": f"omni.{type_}"}}}
    return {
        "name": name,
        "title": f"Event {type_}",
        "summary": EVENT_TYPES[type_],
        "contentType": CLOUD_EVENT,
        "headers": _HEADERS,
        "payload": {"allOf": [{"$ref": _REFERENCES.format(model="StatusEvent")}, this]},
        "bindings": {"amqp": {"messageType": f"omni.{type_}", "bindingVersion": "0.3.0"}},
        "examples": [{"payload": from_json(_example(type_))}],
    }


def _example(type_: EventType | ReportEventType) -> bytes:
    if type_ in {"message.delivered", "message.undelivered", "message.seen"}:
        return _report_example(type_)
    about_message: dict[str, Any] = {
        "message_id": "shop-order-8812-1",
        "to": {"phoneNumber": "41793026727"},
        "bulk_id": "shop-order-8812",
    }
    event = StatusEvent(
        type_,  # type: ignore[arg-type]  # mypy does not narrow by the absence from a set
        _TIME,
        "shop-order-8812",
        1,
        **({} if type_ == "request.rejected" else about_message),
        status=_ACCEPTED if type_ == "message.accepted" else None,
        next_attempt_at=_TIME + timedelta(seconds=2) if type_ == "message.deferred" else None,
        reason=_REASONS.get(type_),
        metadata={"tenant": "acme"},
    )
    return publish_report(Report((event,)), Delivery(b""), _TIME)[0].body


def _report_example(type_: ReportEventType) -> bytes:
    is_delivered = type_ == "message.delivered"
    status = ReportStatus(group_id=3, group_name="DELIVERED", id=5, name="DELIVERED_TO_HANDSET")
    failed = ReportStatus(group_id=4, group_name="EXPIRED", id=15, name="EXPIRED_EXPIRED")
    result = Result(
        message_id="shop-order-8812-1",
        bulk_id="shop-order-8812",
        to="41793026727",
        channel="SMS",
        sent_at=_TIME,
        done_at=None if type_ == "message.seen" else _TIME,
        seen_at=_TIME if type_ == "message.seen" else None,
        message_count=1,
        price=Price(price_per_message=0.01, currency="EUR"),
        status=None if type_ == "message.seen" else status if is_delivered else failed,
        error=ReportError(group_id=0, group_name="OK", id=0, name="NO_ERROR", permanent=False),
    )
    return render(ReportEvent(type_, f"example-{type_}", _TIME, result)).body


def _exchange(name: str) -> Schema:
    exchange = {"name": name, "type": "topic", "durable": True, "autoDelete": False}
    return {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}}


def _camel(type_: str) -> str:
    subject, _, verb = type_.partition(".")
    return subject + verb.capitalize()
