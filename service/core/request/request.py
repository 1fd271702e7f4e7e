"""A valid send request, whichever of the three shapes it came in."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Literal

from service.core.omni.content import Content
from service.core.omni.destination import To
from service.core.value import dataclass

OnUnknown = Literal["resend", "park"]
"""What to do about an attempt in doubt: post again with the same messageId, or leave it to a person."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where. `message` never repeats the offending value."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Message:
    """One destination, with the id it keeps for life."""

    message_id: str
    to: To


@dataclass(frozen=True, slots=True)
class SendRequest:
    """What the relay acts upon: normalised, complete, and all of it valid."""

    request_id: str
    content: Content
    messages: tuple[Message, ...]
    expires_at: datetime | None = None
    """Never attempt after it."""
    on_unknown: OnUnknown | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    written: bytes | None = field(default=None, compare=False)
    """The content as it is posted, where it has been rendered already."""
    content_digest: str = ""
    """Stands for the content; the same in every retry."""

    @property
    def message_ids(self) -> tuple[str, ...]:
        """List the ids, in the order of the destinations."""
        return tuple(message.message_id for message in self.messages)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that cannot be sent, with what could be read of it."""

    message_id: str
    to: Mapping[str, str]
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a delivery's body says: the valid part, the messages that are not, or why it says nothing."""

    request_id: str
    identified: bool
    """Whether the producer gave it an id: one without cannot be recognised when it is redelivered."""
    request: SendRequest | None = None
    rejections: tuple[Rejection, ...] = ()
    faults: tuple[Fault, ...] = ()
    """Of a body that names no readable message."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_digest: str = ""
    """Stands for the content, also where it cannot be sent; for the body where that names no readable message."""
