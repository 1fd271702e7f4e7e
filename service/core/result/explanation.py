"""A dry run: what the worker would do with one request, by the same functions.

OMNI is not asked, so nothing is known about the existence of a number, nor about the scenario.
"""

from dataclasses import field
from datetime import datetime
from typing import Final

from pydantic_core import from_json

from service.core.attempt.call import Origin, plan
from service.core.attempt.retry import Policy
from service.core.delivery import Delivery
from service.core.headers import read_history
from service.core.omni.channel.sms_parts import EXTENSION, GSM, Parts
from service.core.omni.xml import XmlError
from service.core.omni.xml_writing import write_xml
from service.core.request.decoding import finished
from service.core.request.parsing import parse
from service.core.request.request import Fault, Message, OnUnknown, Rejection
from service.core.value import dataclass

_MARKS: Final = b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"
_MADE_UP: Final = "(made up by the worker)"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would happen to a request."""

    request_id: str | None
    """None if the worker would make one up."""
    faults: tuple[Fault, ...] = ()
    """Of a request that names no readable message."""
    rejections: tuple[Rejection, ...] = ()
    """Messages that are rejected."""
    messages: tuple[Message, ...] = ()
    """Messages that are posted, with the addresses as they are posted."""
    calls: tuple[bytes, ...] = ()
    """The body of each call, in JSON."""
    sms: Parts | None = None
    sms_outside: tuple[str, ...] = ()
    """The characters of the SMS that the GSM alphabet and its extension do not have, in their order."""
    send_at: datetime | None = None
    is_held: bool = False
    """Whether the relay holds it until `send_at`."""
    expires_at: datetime | None = None
    is_late: bool = False
    """Whether its deadline has passed, so that nothing would be posted."""
    on_unknown: OnUnknown = "resend"
    is_own_policy: bool = False
    """Whether `on_unknown` is the request's own."""
    max_attempts: int = 0
    retry_seconds: float = 0.0
    """The sum of the maximum delays between the attempts."""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def is_refused(self) -> bool:
        """Whether some part of it would not be posted."""
        return bool(self.faults or self.rejections or self.is_late)

    def document(self) -> dict[str, object]:
        """Return all of it as values of JSON."""
        sms = self.sms and {
            "encoding": self.sms.encoding,
            "units": sum(self.sms.units),
            "outsideGsm": list(self.sms_outside),
            "parts": [
                {"units": units, "text": text} for text, units in zip(self.sms.texts, self.sms.units, strict=True)
            ],
        }
        return {
            "requestId": self.request_id,
            "refused": self.is_refused,
            "faults": [_fault(fault) for fault in self.faults],
            "rejections": [
                {"messageId": one.message_id, "to": dict(one.to), "faults": [_fault(fault) for fault in one.faults]}
                for one in self.rejections
            ],
            "messages": [{"messageId": one.message_id, "to": dict(one.to)} for one in self.messages],
            "calls": [from_json(call) for call in self.calls],
            "sms": sms,
            "sendAt": self.send_at and self.send_at.isoformat(),
            "expiresAt": self.expires_at and self.expires_at.isoformat(),
            "late": self.is_late,
            "onUnknown": self.on_unknown,
            "maxAttempts": self.max_attempts,
            "retrySeconds": self.retry_seconds,
            "metadata": self.metadata,
        }


def explain(delivery: Delivery, policy: Policy, now: datetime, *, as_xml: bool = False) -> Explanation:
    """Explain a delivery as if it arrived now for the first time. `as_xml`: calls are posted as XML."""
    history = read_history({}, now)
    parsed = finished(parse(delivery, history, lambda: _MADE_UP))
    request_id = parsed.request_id if parsed.identified else None
    request = parsed.request
    if request is None:
        return Explanation(request_id, parsed.faults, parsed.rejections, metadata=dict(parsed.metadata))
    calls = tuple(call.to_json() for call in plan(request, history, Origin(), policy))
    if as_xml and (fault := _xml_fault(calls)):
        return Explanation(request_id, (Fault("$", fault),), parsed.rejections, metadata=dict(parsed.metadata))
    due = request.content.send_at if policy.hold_scheduled else None
    is_late = request.expires_at is not None and request.expires_at <= max(now, due or now)
    sms = request.content.sms
    return Explanation(
        request_id,
        rejections=parsed.rejections,
        messages=() if is_late else request.messages,
        calls=() if is_late else calls,
        sms=sms.parts if sms else None,
        sms_outside=tuple(dict.fromkeys(one for one in sms.text if one not in GSM | EXTENSION)) if sms else (),
        send_at=request.content.send_at,
        is_held=due is not None,
        expires_at=request.expires_at,
        is_late=is_late,
        on_unknown=request.on_unknown or policy.on_unknown,
        is_own_policy=request.on_unknown is not None,
        max_attempts=policy.retry.max_attempts,
        retry_seconds=policy.retry.span,
        metadata=dict(request.metadata),
    )


def _xml_fault(calls: tuple[bytes, ...]) -> str | None:
    """Return why a call cannot be written as XML."""
    try:
        for call in calls:
            write_xml("request", from_json(call))
    except XmlError as error:
        return f"{error}, and RELAY_OMNI_FORMAT is xml"
    return None


def content_type_of(name: str, body: bytes) -> str:
    """Return the content type of a file by its name, or else by its first character."""
    lower = name.lower().removesuffix(".gz")
    if lower.endswith(".xml") or (not lower.endswith(".json") and body.lstrip(_MARKS)[:1] == b"<"):
        return "application/xml"
    return "application/json"


def visible(text: str) -> str:
    """Escape characters that a terminal would obey or not show, as JSON does."""
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(character: str) -> str:
    raw = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{raw[at : at + 2].hex()}" for at in range(0, len(raw), 2))


def _fault(fault: Fault) -> dict[str, str]:
    return {"path": fault.path, "message": fault.message}
