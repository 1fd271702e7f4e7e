"""One POST the plan asks for."""

from dataclasses import dataclass
from datetime import datetime

from service.words.omni.payload import AdvancedPayload
from service.words.request import Message


@dataclass(frozen=True, slots=True)
class OmniCall:
    """A payload, the messages it is about, and what a log line or a metric wants to know of it."""

    payload: AdvancedPayload
    messages: tuple[Message, ...]
    request_id: str
    attempt: int
    """From 1 on."""
    expires_at: datetime | None = None
    """Never post it after that."""
    published: datetime | None = None
    """When the request was published, where its producer says so."""
