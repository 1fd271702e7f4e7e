"""A status event: a fact about a message, or about a request that names none."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Final, Literal

from service.core.omni.status import Status
from service.core.request.request import Fault
from service.core.value import dataclass

EventType = Literal[
    "message.accepted",
    "message.rejected",
    "message.deferred",
    "message.failed",
    "message.expired",
    "message.unknown",
    "message.cancelled",
    "request.rejected",
]

FINAL_EVENTS: Final[frozenset[EventType]] = frozenset(
    {
        "message.accepted",
        "message.rejected",
        "message.failed",
        "message.expired",
        "message.unknown",
        "message.cancelled",
        "request.rejected",
    }
)

UNACCEPTED_EVENTS: Final[frozenset[EventType]] = FINAL_EVENTS - {"message.accepted", "message.cancelled"}
"""Final events of messages that OMNI should have accepted, but has not as far as the relay knows."""

ReasonCode = Literal[
    "invalid", "conflict", "refused", "unavailable", "ambiguous", "denied", "expired", "cancelled", "defect"
]
"""Why a message was not accepted.

invalid      the request is wrong; `faults` names each place
conflict     the request id names another request already
refused      OMNI refused it and would again
unavailable  OMNI could not be reached, or asked us to wait
ambiguous    OMNI may or may not have accepted the call
denied       OMNI refuses our credentials or our account; sending is paused
expired      no attempt was possible before `expiresAt`
cancelled    an operator cancelled it, and it was not posted
defect       the relay failed to handle it; the request is a dead letter
"""


@dataclass(frozen=True, slots=True)
class Reason:
    """An explanation for the producer. It may contain what the producer sent."""

    code: ReasonCode
    detail: str
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """One fact. Its id is a function of these values, so that a repeated event is recognisable."""

    type: EventType
    time: datetime
    request_id: str
    attempt: int
    """Attempts made so far."""
    message_id: str | None = None
    to: Mapping[str, str] = field(default_factory=dict)
    bulk_id: str | None = None
    status: Status | None = None
    next_attempt_at: datetime | None = None
    reason: Reason | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_digest: str = ""
    """A digest of the content, or of the body of a request that names no message. It is not published."""
    message_ids: tuple[str, ...] = ()
    """The ids in the body of a request that the broker gave up, as far as it can be read. They are not in the id."""
