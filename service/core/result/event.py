"""A fact the relay publishes about a message, or about a request that names none."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Final, Literal

from service.core.omni.one_status import Status
from service.core.value import dataclass

EventType = Literal[
    "message.accepted",
    "message.rejected",
    "message.deferred",
    "message.failed",
    "message.expired",
    "message.unknown",
    "request.rejected",
]

LAST_WORDS: Final[frozenset[EventType]] = frozenset(
    {
        "message.accepted",
        "message.rejected",
        "message.failed",
        "message.expired",
        "message.unknown",
        "request.rejected",
    }
)

ReasonCode = Literal["invalid", "refused", "unavailable", "doubtful", "denied", "expired", "defect"]
"""Why an event is not simply good news.

invalid      the request is wrong; `faults` names each place
refused      OMNI refused it and would again
unavailable  OMNI could not be reached, or asked us to wait
doubtful     the call may or may not have been taken
denied       OMNI refuses our credentials or our account; sending is paused
expired      no attempt was possible before `expiresAt`
defect       the relay broke on it; the request is among the dead letters
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where. `message` never repeats the offending value."""

    path: str
    message: str


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
