"""Reports that OMNI pushes about accepted messages, and the status events that they become.

A push is `{"results": [...]}`, or the same in XML. One result that cannot be read does not affect the others. Most
status groups end a step of the message's scenario; the groups ACCEPTED and PENDING are intermediate and give no event.
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import field
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from service.core import topology
from service.core.delivery import Publication
from service.core.identity import uuid5
from service.core.omni.charset import charset_parameter, without_mark
from service.core.omni.delivery_report import CHANNELS, Result
from service.core.omni.status import GROUPS, group_of
from service.core.omni.xml import XmlError
from service.core.omni.xml_tree import Node, TooManyElementsError, read_tree
from service.core.request.body import holds_at_most
from service.core.result.origin import UNKNOWN, Origin
from service.core.result.publication import CLOUD_EVENT, envelope
from service.core.value import dataclass

MAX_PUSH: Final = 4 * 2**20
"""Bytes of a push."""
MAX_RESULTS: Final = 5000
"""Results in a push. OMNI pushes up to 2,000."""
MAX_VALUES: Final = 60 * MAX_RESULTS
"""Values in a push; a result has about thirty."""

ReportEventType = Literal["message.delivered", "message.undelivered", "message.seen"]
ReportOutcome = Literal["delivered", "undelivered", "seen", "intermediate", "unreadable"]
Refusal = Literal["not_a_report", "too_large", "unsupported_type"]

_EVENTS: Final = UUID("6f6d6e69-7265-4c61-8179-7265706f7274").bytes
_OUTCOMES: Final[Mapping[str, ReportOutcome]] = {
    "ACCEPTED": "intermediate",
    "PENDING": "intermediate",
    "UNDELIVERABLE": "undelivered",
    "DELIVERED": "delivered",
    "EXPIRED": "undelivered",
    "REJECTED": "undelivered",
}
_TYPES: Final[Mapping[ReportOutcome, ReportEventType]] = {
    "delivered": "message.delivered",
    "undelivered": "message.undelivered",
    "seen": "message.seen",
}
_ADDRESSES: Final = ("phoneNumber", "emailAddress", "pushRegistrationId", "whatsAppUserId")
_PHONE: Final = re.compile(r"[+]?[0-9]{3,20}", re.ASCII)
_WHATSAPP_ID: Final = re.compile(r"[A-Z]{2}\.[A-Za-z0-9]+", re.ASCII)
_STEP: Final = 100
"""Results read in one step."""
_RESULTS: Final = "results"
_EPOCH_YEAR: Final = 1970
_SURROGATE: Final = re.compile(
    rb"(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""In JSON: backslashes that mean themselves, then an escaped pair of surrogates or half of one."""
_HALF: Final = len(rb"\ud83d")
_MAX_SURROGATES: Final = 100_000
"""Replacing more would take too long."""


@dataclass(frozen=True, slots=True)
class ReportEvent:
    """A fact from one result."""

    type: ReportEventType
    id: str
    time: datetime
    result: Result

    @property
    def delivery_seconds(self) -> float | None:
        """Return the seconds from sending to delivery, where OMNI gives both times and they are in order."""
        sent, done = self.result.sent_at, self.result.done_at
        if self.type != "message.delivered" or sent is None or done is None or done < sent:
            return None
        return (done - sent).total_seconds()


@dataclass(frozen=True, slots=True)
class Push:
    """What a push reports: events in its order, and a count of all results by channel and outcome."""

    events: tuple[ReportEvent, ...]
    counts: Mapping[tuple[str, ReportOutcome], int] = field(default_factory=dict)


def channel_label(channel: str | None) -> str:
    """Return the channel's name for a metric: one of `CHANNELS`, or `other`."""
    return channel if channel in CHANNELS else "other"


def read_push(content_type: str, body: bytes, now: datetime) -> Generator[None, None, Push | Refusal]:
    """Read a push in steps; `now` is the time of events whose report has none. Total: any sender writes any body."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in {"application/json", "application/xml", "text/xml"}:
        return "unsupported_type"
    if len(body) > MAX_PUSH:
        return "too_large"
    results = _json_results(body) if kind == "application/json" else (yield from _xml_results(content_type, body))
    if isinstance(results, str):
        return results
    if len(results) > MAX_RESULTS:
        return "too_large"
    events: list[ReportEvent] = []
    counts: dict[tuple[str, ReportOutcome], int] = {}
    for place, result in enumerate(results, 1):
        channel, outcome, event = _read_result(result, now)
        counts[channel, outcome] = counts.get((channel, outcome), 0) + 1
        if event is not None:
            events.append(event)
        if place % _STEP == 0:
            yield
    if all(outcome == "unreadable" for _, outcome in counts):
        return "not_a_report"
    return Push(tuple(events), counts)


def render(event: ReportEvent, origin: Origin = UNKNOWN) -> Publication:
    """Render the CloudEvents 1.0 event for `omni.results`, as status events are rendered."""
    result = event.result
    data = {
        "requestId": origin.request_id,
        "bulkId": result.bulk_id,
        "messageId": result.message_id,
        "to": _to(result),
        "status": result.status,
        "attempt": None,
        "nextAttemptAt": None,
        "reason": None,
        "metadata": origin.metadata,
        "channel": result.channel,
        "report": {
            "sentAt": result.sent_at or result.send_at,
            "doneAt": result.done_at,
            "seenAt": result.seen_at,
            "messageCount": result.message_count,
            "mccMnc": result.mcc_mnc,
            "price": result.price,
            "error": result.error,
        },
        "callbackData": result.callback_data,
    }
    return Publication(
        topology.RESULTS,
        event.type,
        to_json(envelope(event.type, event.id, event.time, result.message_id, data), by_alias=True),
        CLOUD_EVENT,
        event.id,
        type=f"omni.{event.type}",
        correlation_id=origin.request_id,
        # AMQP counts from 1970 on.
        timestamp=event.time if event.time.year >= _EPOCH_YEAR else None,
        must_arrive=False,
    )


def _json_results(body: bytes) -> list[object] | Refusal:
    if not holds_at_most(MAX_VALUES, body):
        return "too_large"
    body = without_mark(body)
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError:
        try:
            document = from_json(_SURROGATE.sub(_whole_or_replaced, body, _MAX_SURROGATES), allow_inf_nan=False)
        except ValueError:
            return "not_a_report"
    results = document.get(_RESULTS) if isinstance(document, dict) else None
    return results if isinstance(results, list) and results else "not_a_report"


def _whole_or_replaced(found: re.Match[bytes]) -> bytes:
    """Replace half of a pair by U+FFFD. JSON allows it, where a text was cut, and UTF-8 has no form for it."""
    return found[0] if len(found[2]) > _HALF else found[1] + rb"\ufffd"


def _xml_results(content_type: str, body: bytes) -> Generator[None, None, list[object] | Refusal]:
    """Read the items of each `results` element, whatever the root and the items are called."""
    try:
        root = yield from read_tree(body, charset_parameter(content_type), MAX_VALUES)
    except TooManyElementsError:
        return "too_large"
    except XmlError:
        return "not_a_report"
    items: list[Node] = [item for child in root.children if child.name == _RESULTS for item in child.children]
    return [item.value() for item in items] or "not_a_report"


def _read_result(value: object, now: datetime) -> tuple[str, ReportOutcome, ReportEvent | None]:
    """Return the channel's label, the outcome, and the event if there is one."""
    try:
        result = Result.model_validate(value)
    except ValidationError:
        return "other", "unreadable", None
    label = channel_label(result.channel)
    if result.status is not None:
        group = group_of(result.status.group_id, result.status.group_name)
        outcome = _OUTCOMES[GROUPS[group]] if group >= 0 else "unreadable"
        time = result.done_at or result.sent_at or now
        status: list[object] = [group, result.status.name if result.status.id is None else result.status.id]
    else:
        outcome = "seen" if result.seen_at is not None else "unreadable"
        time = result.seen_at or now
        status = []
    if (type_ := _TYPES.get(outcome)) is None:
        return label, outcome, None
    id_ = uuid5(_EVENTS, to_json([result.message_id, result.channel, type_, *status]))
    return label, outcome, ReportEvent(type_, id_, time, result)


def _to(result: Result) -> dict[str, str]:
    """Return the address by its kind. OMNI writes one text; an object that names the kinds is taken too."""
    if isinstance(result.to, dict):
        return {name: value for name in _ADDRESSES if isinstance(value := result.to.get(name), str)}
    return {_kind(result.to, result.channel): result.to} if result.to else {}


def _kind(address: str, channel: str | None) -> str:
    """Return the name of the address; `address` if neither its form nor the channel decides the kind."""
    if "@" in address:
        return "emailAddress"
    if _PHONE.fullmatch(address):
        return "phoneNumber"
    if channel == "PUSH":
        return "pushRegistrationId"
    return "whatsAppUserId" if _WHATSAPP_ID.fullmatch(address) else "address"
