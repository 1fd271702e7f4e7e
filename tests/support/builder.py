"""Valid values to start from. A test changes what it is about, with arguments here or with `dataclasses.replace`."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from service.core.attempt.call import OmniCall
from service.core.attempt.disposition import MessageOutcome
from service.core.attempt.retry import Policy, RetryPolicy
from service.core.delivery import Delivery
from service.core.handler import Effects
from service.core.history import History
from service.core.omni.channel.email import Email
from service.core.omni.channel.sms import Sms
from service.core.omni.content import Content
from service.core.omni.destination import To
from service.core.omni.status import Disposition, Status
from service.core.request.decoding import finished
from service.core.request.parsing import parse
from service.core.request.request import Message, Parsed, SendRequest
from service.core.result.decision import Attempt
from service.core.result.event import StatusEvent
from service.core.result.publication import publish_report
from service.core.result.report import Report

NOW: Final = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PHONE: Final = "41793026727"
OTHER_PHONE: Final = "41793026731"
EMAIL: Final = "email@example.com"
MADE_UP: Final = "made-up"
"""The id that `parsed` gives to a request that came without one."""


async def _no_effect(*_: object) -> Any:  # noqa: ANN401 - of any type
    raise AssertionError("this handler has no effects")


NO_EFFECTS: Final = Effects(_no_effect, _no_effect, _no_effect, lambda: NOW, lambda: 0.5, str)


def a_destination(phone: str = PHONE, message_id: str | None = None) -> dict[str, object]:
    """Build a destination as a producer writes it."""
    named: dict[str, object] = {} if message_id is None else {"messageId": message_id}
    return {**named, "to": {"phoneNumber": phone}}


def a_body(changes: Mapping[str, object] | None = None, /, **more: object) -> dict[str, object]:
    """Build the body of a valid advanced request to one person; a change to `...` leaves the field out."""
    whole = {"requestId": "order-1", "destinations": [a_destination()], "sms": {"text": "Hello"}}
    body = {**whole, **(changes or {}), **more}
    return {name: value for name, value in body.items() if value is not ...}


def a_delivery(body: object = None) -> Delivery:
    """Build a delivery of `body`, which is written as JSON unless it is bytes; without one, of a valid request."""
    return Delivery(body if isinstance(body, bytes) else json.dumps(a_body() if body is None else body).encode())


def a_history(attempts: int = 0, *, ambiguous: bool = False) -> History:
    """Build the history of a request: by default that of a new one."""
    return History(NOW, attempts, ambiguous)


def parsed(delivery: Delivery | object, history: History | None = None) -> Parsed:
    """Parse a delivery, or a body."""
    given = delivery if isinstance(delivery, Delivery) else a_delivery(delivery)
    return finished(parse(given, history or a_history(), lambda: MADE_UP))


def a_message(message_id: str = "m-1", phone: str | None = PHONE, email: str | None = None) -> Message:
    """Build a message."""
    return Message(message_id, To(phone_number=phone, email_address=email).written())


def a_content() -> Content:
    """Build a content for two channels."""
    return Content(sms=Sms(text="Hello"), email=Email(text="Hello", subject="A greeting"))


def a_request(*messages: Message) -> SendRequest:
    """Build a request about `messages`, or about one."""
    return SendRequest("order-1", a_content(), messages or (a_message(),))


def a_call(*messages: Message) -> OmniCall:
    """Build the first call about `messages`, or about one."""
    about = messages or (a_message(),)
    return OmniCall(Content(sms=Sms(text="Hello")), about, "order-1", 1)


def a_status(group_id: int = 1, status_id: int | None = 7, name: str | None = "PENDING_ENROUTE") -> Status:
    """Build a status of OMNI: by default that it accepted the message."""
    groups = {0: "ACCEPTED", 1: "PENDING", 2: "UNDELIVERABLE", 3: "DELIVERED", 4: "EXPIRED", 5: "REJECTED"}
    return Status(group_id=group_id, group_name=groups.get(group_id), id=status_id, name=name)


def an_entry(
    message_id: str | None = "m-1", to: Mapping[str, str] | None = None, group_id: int = 1
) -> dict[str, object]:
    """Build one message of OMNI's answer."""
    entry = {"messageId": message_id, "to": to, "status": {"groupId": group_id, "id": 7, "name": "PENDING_ENROUTE"}}
    return {name: value for name, value in entry.items() if value is not None}


def an_answer(*entries: Mapping[str, object], bulk_id: str | None = None) -> bytes:
    """Build the body OMNI answers with."""
    answer: dict[str, object] = {"messages": entries or (an_entry(),)}
    return json.dumps(answer if bulk_id is None else {"bulkId": bulk_id, **answer}).encode()


def an_attempt(request: SendRequest | None = None, history: History | None = None, jitter: float = 0.5) -> Attempt:
    """Build an attempt under the default policy."""
    return Attempt(request or a_request(), history or a_history(), Policy(RetryPolicy()), NOW, jitter)


def a_message_outcome(disposition: Disposition, message: Message | None = None) -> MessageOutcome:
    """Build the outcome of a message, by default of one there is."""
    return MessageOutcome(message or a_message(), disposition, f"cause_{disposition}")


def rendered(event: StatusEvent) -> bytes:
    """Render an event as it is published."""
    return publish_report(Report((event,)), a_delivery(), NOW)[0].body
