"""A fact the relay publishes about a message, or about a request that names none."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from pydantic_core import to_json

from service.core.identity import uuid5
from service.core.omni.status import Status
from service.core.request.request import Fault
from service.core.value import dataclass

_EVENTS: Final = UUID("6f6d6e69-7265-4c61-8179-6576656e7473").bytes

EventType = Literal[
    "message.accepted",
    "message.rejected",
    "message.deferred",
    "message.failed",
    "message.expired",
    "message.unknown",
    "request.rejected",
]

FINAL_EVENTS: Final[frozenset[EventType]] = frozenset(
    {
        "message.accepted",
        "message.rejected",
        "message.failed",
        "message.expired",
        "message.unknown",
        "request.rejected",
    }
)

ReasonCode = Literal["invalid", "refused", "unavailable", "ambiguous", "denied", "expired", "defect"]
"""Why an event is not simply good news.

invalid      the request is wrong; `faults` names each place
refused      OMNI refused it and would again
unavailable  OMNI could not be reached, or asked us to wait
ambiguous    the call may or may not have been taken
denied       OMNI refuses our credentials or our account; sending is paused
expired      no attempt was possible before `expiresAt`
defect       the relay broke on it; the request is among the dead letters
"""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, for the producer's eyes."""

    code: ReasonCode
    detail: str
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """One fact. Its identity is a function of these values, so a repeat is recognisable."""

    type: EventType
    time: datetime
    request_id: str
    attempt: int
    """Attempts made at the message so far; 0 when it was never tried."""
    message_id: str | None = None
    to: Mapping[str, str] = field(default_factory=dict)
    bulk_id: str | None = None
    status: Status | None = None
    next_attempt_at: datetime | None = None
    reason: Reason | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_digest: str = ""
    """Stands for what the message says, or for the body of a request that names none. It is not published."""


def event_id(event: StatusEvent) -> str:
    """Name an event by what happened, and to which message; a final event is told once, so its name holds no attempt.

    Two producers may use the same ids, and one may use them twice. So what a message says and where it goes count too.
    """
    parts: list[object] = [event.request_id, event.message_id or "", event.type, event.content_digest, event.to]
    if event.next_attempt_at is not None:
        parts += [event.attempt, event.next_attempt_at.isoformat()]
    return uuid5(_EVENTS, to_json(parts))
