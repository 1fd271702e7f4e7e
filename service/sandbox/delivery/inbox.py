"""The inbox of the page: a row for each message, its state at a time, and the search.

state       the message
----------  ---------------------------------------------------------------
scheduled   is sent later
accepted    was sent by the channel of the present step, without an outcome yet
delivered   reached the person
seen        was read
failed      reached the person by no channel
refused     was refused when it was posted
"""

from datetime import datetime, timedelta
from enum import StrEnum

from service.sandbox.delivery.report import status_at
from service.sandbox.delivery.simulation import DELIVERED, Step
from service.sandbox.delivery.store import Message

_SHOWN = 140  # characters of a text in a row
_REJECTED = 5  # group of statuses


class State(StrEnum):
    """The states of a message."""

    SCHEDULED = "scheduled"
    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    SEEN = "seen"
    FAILED = "failed"
    REFUSED = "refused"


def state_at(message: Message, now: datetime) -> State:
    """Return the state of a message."""
    step, status = status_at(message, now)
    if now < step.sent_at:
        return State.SCHEDULED
    if status.group_id == _REJECTED:
        return State.REFUSED
    if now < step.done_at:
        return State.ACCEPTED
    if status is not DELIVERED:
        return State.FAILED
    seen_at = message.simulation.seen_at
    return State.SEEN if seen_at is not None and seen_at <= now else State.DELIVERED


def failed_over(message: Message, now: datetime) -> bool:
    """Whether a step failed and another one has begun."""
    return message.simulation.step_at(now) is not message.simulation.steps[0]


def row(message: Message, now: datetime) -> dict[str, object]:
    """Return a message as a row of the list."""
    step = message.simulation.step_at(now)
    return {
        "messageId": message.message_id,
        "call": message.call,
        "to": step.to,
        "channel": step.channel,
        "text": step.text[:_SHOWN],
        "state": state_at(message, now),
        "failedOver": failed_over(message, now),
        "times": message.times,
        "receivedAt": message.received_at.isoformat(timespec="milliseconds"),
    }


def timeline(message: Message, now: datetime) -> list[dict[str, object]]:
    """Return the steps that have begun, and the first one in any case."""
    begun = [step for step in message.simulation.steps if step.sent_at <= now] or message.simulation.steps[:1]
    return [_step(step, now) for step in begun]


def _step(step: Step, now: datetime) -> dict[str, object]:
    done = step.done_at <= now
    return {
        "channel": step.channel,
        "from": step.sender,
        "to": step.to,
        "text": step.text,
        "sentAt": step.sent_at.isoformat(timespec="milliseconds"),
        "doneAt": step.done_at.isoformat(timespec="milliseconds"),
        "status": step.status.document() if done else None,
    }


def next_change(message: Message, now: datetime) -> datetime | None:
    """Return when the state of a message changes next without anyone's doing."""
    if max(message.simulation.steps[-1].done_at, message.simulation.seen_at or now) <= now:
        return None  # the usual case, fast: a search asks for it for each message
    times = [moment for step in message.simulation.steps for moment in (step.sent_at, step.done_at)]
    seen_at = message.simulation.seen_at
    return min((moment for moment in (*times, seen_at) if moment is not None and moment > now), default=None)


def matches(message: Message, text: str) -> bool:
    """Whether a number, an address or an id of a message contains a text, which is that of `search_text`.

    `#7` finds the messages of the seventh call.
    """
    if not text:
        return True
    if text.startswith("#"):
        return text == f"#{message.call}"
    known = (*message.to.values(), message.message_id, message.bulk_id or "", message.notice.callback_data or "")
    return text in "\n".join(known).casefold()


def search_text(text: str) -> str:
    """Return a search without what people write into phone numbers."""
    digits = text.strip().removeprefix("+").translate(dict.fromkeys(map(ord, " ()/.-")))
    return digits if digits.isdecimal() else text.strip().casefold()


def whole_milliseconds(moment: datetime) -> datetime:
    """Round down to what the API writes."""
    return moment - timedelta(microseconds=moment.microsecond % 1000)
