"""The JSON Schema of the status events, for consumers in other languages.

Objects are open: the relay may add fields, and a consumer ignores those that it does not know. Lists of types and of
reason codes are closed.
"""

from collections.abc import Mapping
from typing import Any, Final, get_args

from service.core.omni.delivery_report import CHANNELS, Price, ReportError
from service.core.omni.destination import ADDRESSES
from service.core.omni.model import Lenient
from service.core.omni.status import Status
from service.core.request.json_schema import DIALECT
from service.core.result.delivery_report import ReportEventType
from service.core.result.event import EventType, ReasonCode
from service.core.result.publication import JSON, SOURCE

Schema = dict[str, Any]

EVENT_TYPES: Final[Mapping[EventType | ReportEventType, str]] = {
    "message.accepted": "OMNI took the message. Final.",
    "message.rejected": "The message is invalid, or OMNI refused it permanently. Final.",
    "message.deferred": "An attempt failed; nextAttemptAt is the time of the next one.",
    "message.failed": "The attempts are used up. Final.",
    "message.expired": "No further attempt fitted before expiresAt. Final.",
    "message.unknown": "OMNI may or may not have taken it, and the policy is to park it. Final.",
    "message.cancelled": "An operator cancelled the message, and it was not posted. Final.",
    "request.rejected": "The body contains no readable message, or the relay failed on it. Final.",
    "message.delivered": "OMNI reports that the message was delivered. Follows the final event.",
    "message.undelivered": "OMNI reports that a step failed; a later step of the scenario may still deliver.",
    "message.seen": "OMNI reports that the person has read the message.",
}
"""Each type of event, and when it is published."""

REASONS: Final[Mapping[ReasonCode, str]] = {
    "invalid": "the request is wrong; faults names each place",
    "conflict": "the request id names another request already",
    "refused": "OMNI refused the message permanently",
    "unavailable": "OMNI could not be reached, or asked the relay to wait",
    "ambiguous": "OMNI may or may not have taken the attempt",
    "denied": "OMNI refuses the relay's credentials, its account, or this request; the attempt is not counted",
    "expired": "expiresAt came first",
    "cancelled": "an operator cancelled it before it was posted",
    "defect": "the relay failed on the request; it is a dead letter",
}
REPORTED: Final = tuple(f"omni.{type_}" for type_ in get_args(ReportEventType))

_INSTANT: Final = {"type": "string", "format": "date-time"}


def _or_null(schema: Schema) -> Schema:
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _object(description: str, properties: Mapping[str, Schema], *optional: str) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "description": description, "properties": dict(properties), "required": required}


def _model(model: type[Lenient], description: str) -> Schema:
    """Build the schema of a part of OMNI's answer, as it is published: with all fields, which may be null."""
    generated = model.model_json_schema(mode="serialization")["properties"]
    properties = {}
    for name, schema in generated.items():
        types = [one["type"] for one in schema.get("anyOf", (schema,))]
        properties[name] = {"type": types[0] if len(types) == 1 else types}
    return _object(description, properties)


def _text(description: str, **more: object) -> Schema:
    return {"type": "string", "description": description, **more}


def _parts() -> dict[str, Schema]:
    """Build the schemas of the parts. It is long because it is one literal."""
    codes = "\n".join(f"- {code}: {meaning}" for code, meaning in REASONS.items())
    fault = _object(
        "A fault of the request, and its place. It never repeats the invalid value.",
        {"path": _text("Where, such as destinations[0].to.phoneNumber."), "message": _text("Why.")},
    )
    addresses = {name: {"type": "string"} for name in (*ADDRESSES, "address")}
    return {
        "Status": _model(Status, "OMNI's own status, complete. OMNI adds statuses and groups at any time."),
        "Fault": fault,
        "Reason": _object(
            "Why a message was not accepted.",
            {
                "code": {"enum": [*get_args(ReasonCode)], "description": codes},
                "detail": _text("For people. It may repeat what OMNI says."),
                "faults": {"type": "array", "items": {"$ref": "Fault"}},
            },
        ),
        "Addresses": _object(
            "The addresses as posted. `address` is one of an unknown kind, from a report.", addresses, *addresses
        ),
        "Price": _model(Price, "What a message of one part costs."),
        "ReportError": _model(ReportError, "Why a step failed, by the code of the operator or of OMNI."),
        "Report": _object(
            "What OMNI reports about one step.",
            {
                **{name: _or_null(_INSTANT) for name in ("sentAt", "doneAt", "seenAt")},
                "messageCount": {"type": ["integer", "null"]},
                "mccMnc": {"type": ["string", "null"], "description": "Country and network of the operator."},
                "price": _or_null({"$ref": "Price"}),
                "error": _or_null({"$ref": "ReportError"}),
            },
        ),
        "EventData": _object(
            "The fact.",
            {
                "requestId": {"type": ["string", "null"], "description": "As the producer gave it, or as made."},
                "bulkId": {"type": ["string", "null"], "description": "As OMNI answered, which may be the relay's."},
                "messageId": {"type": ["string", "null"], "description": "Null if the request names no message."},
                "to": {"$ref": "Addresses"},
                "status": _or_null({"$ref": "Status"}),
                "attempt": {
                    "type": ["integer", "null"],
                    "minimum": 0,
                    "description": "Attempts made so far; null in the event of a report.",
                },
                "nextAttemptAt": {**_or_null(_INSTANT), "description": "Of message.deferred only."},
                "reason": _or_null({"$ref": "Reason"}),
                "metadata": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "As the producer gave it.",
                },
                "channel": {
                    "type": ["string", "null"],
                    "description": f"Of a report: OMNI's name of the channel, such as {', '.join(CHANNELS[:4])}.",
                },
                "report": {"$ref": "Report"},
                "callbackData": {"type": ["string", "null"], "description": "Of a report: as the request gave it."},
            },
            "channel",
            "report",
            "callbackData",
        ),
    }


def event_schema(references: str = "#/$defs/{model}") -> tuple[Schema, dict[str, Schema]]:
    """Build the schema of an event, and those of its parts by name."""
    schema = _object(
        "A status event: CloudEvents 1.0 in structured JSON. It may arrive more than once with the same id.",
        {
            "specversion": {"const": "1.0"},
            "id": _text("A function of the fact. Drop an event whose id you have seen.", minLength=1),
            "source": {"const": SOURCE},
            "type": {"enum": [f"omni.{type_}" for type_ in EVENT_TYPES]},
            "subject": _text("The messageId; absent from omni.request.rejected."),
            "time": {**_INSTANT, "description": "When it happened: of a report doneAt or seenAt."},
            "datacontenttype": {"const": JSON},
            "data": {"$ref": "EventData"},
        },
        "subject",
    )
    rules = [
        _if(["omni.request.rejected"], _data({"messageId": {"type": "null"}}), {"required": ["subject"]}),
        _if(
            ["omni.message.deferred"],
            _data({"nextAttemptAt": {"type": "string"}, "reason": {"type": "object"}}),
            _data({"nextAttemptAt": {"type": "null"}}),
        ),
        _if(
            ["omni.message.accepted", *REPORTED],
            _data({"reason": {"type": "null"}}),
            _data({"reason": {"type": "object"}}),
        ),
        _if(
            [*REPORTED],
            _data({"attempt": {"type": "null"}}, "channel", "report", "callbackData"),
            _data({"attempt": {"type": "integer"}, "requestId": {"type": "string"}}),
        ),
    ]
    schema |= {"title": "StatusEvent", "allOf": rules}
    parts = {name: _referring(part, references) for name, part in _parts().items()}
    return _referring(schema, references), parts


def event_document() -> Schema:
    """Build the whole document, JSON Schema 2020-12."""
    schema, parts = event_schema()
    return {"$schema": DIALECT, "$id": "urn:omni-relay:status-event", **schema, "$defs": parts}


def _if(types: list[str], then: Schema, otherwise: Schema) -> Schema:
    return {"if": {"properties": {"type": {"enum": types}}}, "then": then, "else": otherwise}


def _data(properties: Schema, *required: str) -> Schema:
    data: Schema = {"properties": properties}
    if required:
        data["required"] = [*required]
    return {"properties": {"data": data}}


def _referring(value: Any, references: str) -> Any:  # noqa: ANN401 - JSON
    """Write each reference as the document needs it."""
    if isinstance(value, dict):
        return {
            name: references.format(model=inner) if name == "$ref" else _referring(inner, references)
            for name, inner in value.items()
        }
    return [_referring(inner, references) for inner in value] if isinstance(value, list) else value
