"""The reports of a message, its seen report, and its line in the logs.

* Without `intermediateReport` there is one report, when the outcome is known: delivered by the channel that reached
  the person, or expired with the last channel.
* With it there is also a report for every step when it begins (`PENDING_WAITING_DELIVERY`) and for every step that
  fails. How OMNI orders these is not published.
* Every message has one part, is in one network, and costs the same wherever it is delivered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from service.sandbox.delivery.simulation import DELIVERED, EXPIRED, NOT_SENT, Step
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
    """One report and when it is due; `status` is None for a seen report."""

    at: datetime
    message: Message
    step: Step
    status: Status | None

    @property
    def seen(self) -> bool:
        """Whether it reports that the message was read."""
        return self.status is None

    def document(self) -> dict[str, object]:
        """Return it as the API writes it."""
        if self.status is None:
            return _seen(self.message, self.step, self.at)
        callback_data = self.message.notice.callback_data
        return {
            **_head(self.message, self.step),
            **_outcome(self.step, self.status),
            "error": _error(self.status),
            "channel": self.step.channel,
            **({} if callback_data is None else {"callbackData": callback_data}),
        }


def reports_of(message: Message) -> Iterator[Report]:
    """Return all reports of a message, none if none are wanted."""
    if not message.notice.wanted:
        return
    steps = message.simulation.steps
    for step in steps:
        if message.notice.intermediate and step.status is not NOT_SENT:
            yield Report(step.sent_at, message, step, _WAITING)
        if message.notice.intermediate or step is steps[-1]:
            yield Report(step.done_at, message, step, step.status)
    if message.simulation.seen_at is not None:
        yield Report(message.simulation.seen_at, message, steps[-1], None)


def status_at(message: Message, moment: datetime) -> tuple[Step, Status]:
    """Return the step of a message at a time, and its status."""
    step = message.simulation.step_at(moment)
    if moment < step.sent_at:
        return step, _SCHEDULED
    if moment < step.done_at:
        return step, ENROUTE
    return step, step.status


def log_line(message: Message, moment: datetime) -> dict[str, object]:
    """Return a message as the logs show it at a time."""
    step, status = status_at(message, moment)
    sender = {} if step.sender is None else {"from": step.sender}
    outcome = _outcome(step, status)
    if status is not step.status:
        outcome.pop("doneAt")
    return {**_head(message, step), **sender, "text": step.text, **outcome, "channel": step.channel}


def _head(message: Message, step: Step) -> dict[str, object]:
    bulk = {} if message.bulk_id is None else {"bulkId": message.bulk_id}
    return {**bulk, "messageId": message.message_id, "to": step.to}


def _outcome(step: Step, status: Status) -> dict[str, object]:
    return {
        "sentAt": _written(step.sent_at),
        "doneAt": _written(step.sent_at if status is _WAITING else step.done_at),
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


def _seen(message: Message, step: Step, at: datetime) -> dict[str, object]:
    sender = {} if step.sender is None else {"from": step.sender}
    return {
        "messageId": message.message_id,
        **sender,
        "to": step.to,
        "sendAt": _written(step.sent_at),
        "seenAt": _written(at),
    }


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}" + moment.strftime("%z")
