"""What there is to tell of a message: its reports, its seen report, its line in the logs.

Without `intermediateReport` there is one report, when the outcome is known: delivered by the channel that
reached the person, or expired with the last one. With it there also is one for every step when it begins
(`PENDING_WAITING_DELIVERY`) and one for every step that fails. How OMNI orders these is not published.
Every message is of one part, in one network, and costs the same wherever it was delivered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from service.sandbox.delivery.simulation import DELIVERED, EXPIRED, NOT_SENT, Leg
from service.sandbox.delivery.status import ENROUTE, Status, status_of
from service.sandbox.delivery.store import Message

MCC, MNC = "228", "01"

_WAITING, _SCHEDULED = status_of(3), status_of(26)
_NO_ERROR = (0, "OK", 0, "NO_ERROR", "No error")
_ERRORS = {
    EXPIRED.id: (3, "OPERATOR_ERRORS", 4098, "EC_VP_EXPIRED", "The validity period ended"),
    NOT_SENT.id: (2, "USER_ERRORS", 352, "EC_INVALID_REQUEST_DESTINATION", "No address for any channel"),
}
_PERMANENT = frozenset({NOT_SENT.id})


@dataclass(frozen=True, slots=True)
class Report:
    """One thing to tell, at its moment; of a message read, `status` is None."""

    at: datetime
    message: Message
    leg: Leg
    status: Status | None

    @property
    def seen(self) -> bool:
        """Whether it says that the message was read."""
        return self.status is None

    def document(self) -> dict[str, object]:
        """Write it as the API does."""
        if self.status is None:
            return _seen(self.message, self.leg, self.at)
        callback_data = self.message.notice.callback_data
        return {
            **_head(self.message, self.leg),
            **_outcome(self.leg, self.status),
            "error": _error(self.status),
            "channel": self.leg.channel,
            **({} if callback_data is None else {"callbackData": callback_data}),
        }


def reports_of(message: Message) -> Iterator[Report]:
    """List what will be told of a message, if anything is wanted."""
    if not message.notice.wanted:
        return
    legs = message.journey.legs
    for leg in legs:
        if message.notice.intermediate and leg.status is not NOT_SENT:
            yield Report(leg.sent_at, message, leg, _WAITING)
        if message.notice.intermediate or leg is legs[-1]:
            yield Report(leg.done_at, message, leg, leg.status)
    if message.journey.seen_at is not None:
        yield Report(message.journey.seen_at, message, legs[-1], None)


def status_at(message: Message, moment: datetime) -> tuple[Leg, Status]:
    """Tell how far a message is."""
    leg = message.journey.leg_at(moment)
    if moment < leg.sent_at:
        return leg, _SCHEDULED
    if moment < leg.done_at:
        return leg, ENROUTE
    return leg, leg.status


def log_line(message: Message, moment: datetime) -> dict[str, object]:
    """Write a message as the logs show it."""
    leg, status = status_at(message, moment)
    sender = {} if leg.sender is None else {"from": leg.sender}
    outcome = _outcome(leg, status)
    if status is not leg.status:
        outcome.pop("doneAt")
    return {**_head(message, leg), **sender, "text": leg.text, **outcome, "channel": leg.channel}


def _head(message: Message, leg: Leg) -> dict[str, object]:
    bulk = {} if message.bulk_id is None else {"bulkId": message.bulk_id}
    return {**bulk, "messageId": message.message_id, "to": leg.to}


def _outcome(leg: Leg, status: Status) -> dict[str, object]:
    return {
        "sentAt": _written(leg.sent_at),
        "doneAt": _written(leg.sent_at if status is _WAITING else leg.done_at),
        "messageCount": 1,
        "mccMnc": MCC + MNC,
        "price": {"pricePerMessage": 0.01 if status is DELIVERED else 0, "currency": "EUR"},
        "status": status.document(),
    }


def _error(status: Status) -> dict[str, object]:
    group_id, group, error_id, name, description = _ERRORS.get(status.id, _NO_ERROR)
    return {
        "groupId": group_id,
        "groupName": group,
        "id": error_id,
        "name": name,
        "description": description,
        "permanent": status.id in _PERMANENT,
    }


def _seen(message: Message, leg: Leg, at: datetime) -> dict[str, object]:
    sender = {} if leg.sender is None else {"from": leg.sender}
    return {
        "messageId": message.message_id,
        **sender,
        "to": leg.to,
        "sendAt": _written(leg.sent_at),
        "seenAt": _written(at),
    }


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}" + moment.strftime("%z")
