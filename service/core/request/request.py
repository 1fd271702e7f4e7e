"""A valid send request, from any of the three shapes, and the faults of an invalid one."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Literal

from service.core.omni.content import Content
from service.core.value import dataclass

OnUnknown = Literal["resend", "park"]
"""What to do about an ambiguous attempt that no lookup shows: post it again with the same messageId, or park it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and its place. `message` never repeats the invalid value."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Message:
    """One recipient. The id never changes, however often the message is retried."""

    message_id: str
    to: Mapping[str, str] = field(hash=False)
    """The addresses that are given, by OMNI's names in the order of `ADDRESSES`."""


@dataclass(frozen=True, slots=True)
class SendRequest:
    """A normalised, complete and valid request."""

    request_id: str
    content: Content
    messages: tuple[Message, ...]
    expires_at: datetime | None = None
    """It is never attempted after that."""
    on_unknown: OnUnknown | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    written: bytes | None = field(default=None, compare=False)
    """The content as it is posted, if it has been rendered already."""
    content_digest: str = ""
    """A digest of the content, the same in every retry."""

    @property
    def message_ids(self) -> tuple[str, ...]:
        """The ids, in the order of the destinations."""
        return tuple(message.message_id for message in self.messages)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that cannot be sent, with its readable addresses."""

    message_id: str
    to: Mapping[str, str]
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Parsed:
    """The result of parsing: the valid part, the rejected messages, or the faults of a body that names none."""

    request_id: str
    identified: bool
    """Whether the producer gave it an id. A request without one cannot be recognised when it is redelivered."""
    request: SendRequest | None = None
    rejections: tuple[Rejection, ...] = ()
    faults: tuple[Fault, ...] = ()
    """Of a body that names no readable message."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_digest: str = ""
    """A digest of the content, even if it cannot be sent; of the body if that names no readable message."""
