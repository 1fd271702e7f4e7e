"""One POST the plan asks for."""

from dataclasses import field
from datetime import datetime

from pydantic_core import to_json

from service.core.omni.content import Content
from service.core.request.request import Message
from service.core.value import dataclass


@dataclass(frozen=True, slots=True)
class OmniCall:
    """What is posted to `/omni/1/advanced`, and what a log line or a metric wants to know of it."""

    content: Content
    messages: tuple[Message, ...]
    request_id: str
    attempt: int
    """From 1 on."""
    expires_at: datetime | None = None
    """Never post it after that."""
    published: datetime | None = None
    """When the request was published, where its producer says so."""
    traces: tuple[str, ...] = ()
    """The `traceparent` of each request it is about, as far as they have one."""
    written: bytes | None = field(default=None, compare=False)
    """The content as it is posted, where it has been rendered already."""
    redrives: int = 0
    """Times a person has replayed the request from among the dead letters."""
    denials: int = 0
    """Times a call about these messages was denied; see `History.denials`."""
    is_part: bool = field(default=False, compare=False)
    """Whether the request has too many messages for one call, and takes several."""
    is_measured: bool = field(default=False, compare=False)
    """Whether it is a part of a call that has been made: how long it waited and what it holds has been measured."""

    @property
    def content_json(self) -> bytes:
        """Render the content, unless that is done."""
        return self.content.to_json() if self.written is None else self.written

    @property
    def is_first(self) -> bool:
        """Tell whether no earlier call can have been about these messages, unless the broker says otherwise."""
        return self.attempt == 1 and self.redrives == 0 and self.denials == 0

    def to_json(self) -> bytes:
        """Render the body. Every destination carries a `messageId`: answers are read by it."""
        content = self.content_json
        separator = b"," if len(content) > len(b"{}") else b""
        destinations = [{"to": message.to, "messageId": message.message_id} for message in self.messages]
        written = to_json(destinations, by_alias=True, exclude_none=True)
        return b'%b%b"destinations":%b}' % (content[:-1], separator, written)
