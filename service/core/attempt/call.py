"""The calls that a request needs, and how calls with equal contents are batched into one.

A request needs one call, or several if it has too many messages for one. A batch is one call for several requests
that differ in nothing but their destinations. Each request keeps its identity, events, metadata, deadline and
settlement. The outcome of a batch is the outcome of each of its messages, an ambiguous one too. Only a refusal of the
whole batch may be the fault of a single request, so a refused batch is split.
"""

from collections.abc import Sequence
from dataclasses import field, replace
from datetime import datetime
from functools import lru_cache
from typing import Final

from pydantic_core import to_json

from service.core.attempt.outcome import Outcome, Rejected, Unavailable
from service.core.attempt.retry import Policy
from service.core.history import History
from service.core.identity import bulk_id, digest
from service.core.omni.content import Content
from service.core.request.request import Message, SendRequest
from service.core.value import dataclass

_TOO_LARGE: Final = "http_413"


@dataclass(frozen=True, slots=True)
class OmniCall:
    """A call to `/omni/1/advanced`, with the data of it that logs and metrics use."""

    content: Content
    messages: tuple[Message, ...]
    request_id: str
    attempt: int
    """From 1."""
    expires_at: datetime | None = None
    """It is never posted after that."""
    published: datetime | None = None
    """The producer's timestamp, if there is one."""
    traces: tuple[str, ...] = ()
    """The `traceparent` of each request that has one."""
    written: bytes | None = field(default=None, compare=False)
    """The content as it is posted, if it has been rendered already."""
    redrives: int = 0
    """Times an operator has replayed the request from the dead letters."""
    denials: int = 0
    """Times a call about these messages was denied; see `History.denials`."""
    notify: bytes = field(default=b"", repr=False, compare=False)
    """Members of the body that ask for reports. They hold a secret, and follow from the content and the settings: they
    are no part of what names a call or decides which calls are made as one."""
    is_part: bool = field(default=False, compare=False)
    """Whether the request has too many messages for one call."""
    is_measured: bool = field(default=False, compare=False)
    """Whether its waiting time and size have been measured, as a part of a call that was made before."""

    @property
    def content_json(self) -> bytes:
        """The content as JSON."""
        return self.content.to_json() if self.written is None else self.written

    @property
    def is_first(self) -> bool:
        """Whether no earlier call can have been about these messages, unless the broker redelivered them."""
        return self.attempt == 1 and self.redrives == 0 and self.denials == 0

    def to_json(self) -> bytes:
        """Render the body. Every destination has a `messageId`, by which the answer is read."""
        content = self.content_json
        separator = b"," if len(content) > len(b"{}") else b""
        destinations = [{"to": message.to, "messageId": message.message_id} for message in self.messages]
        written = to_json(destinations, by_alias=True, exclude_none=True)
        return b'%b%b%b"destinations":%b}' % (content[:-1], separator, self.notify, written)


def plan(
    request: SendRequest,
    history: History,
    published: datetime | None,
    policy: Policy,
    trace: str | None = None,
) -> tuple[OmniCall, ...]:
    """Return one call about all messages, or several if they are too many for one.

    Each of several has a bulkId of its own. OMNI would take calls with equal bulkIds for one bulk.
    """
    content, messages, written = request.content, request.messages, request.written
    if content.scenario_key is None and policy.scenario_key is not None:
        written = None
        content = content.model_copy(update={"scenario_key": policy.scenario_key})
    whole = OmniCall(
        content,
        messages,
        request.request_id,
        history.attempts + 1,
        request.expires_at,
        published,
        () if trace is None else (trace,),
        written,
        history.redrives,
        history.denials,
        b"" if policy.notify_url is None else notify_members(policy.notify_url, content),
    )
    if len(messages) <= policy.call_size:
        return (whole,)
    starts = range(0, len(messages), policy.call_size)
    return tuple(_part(whole, messages[start : start + policy.call_size]) for start in starts)


def notify_members(url: str, content: Content) -> bytes:
    """Render what asks OMNI to push reports to `url`; nothing where the request names an address, or wants none."""
    if content.notify is False or content.notify_url is not None:
        return b""
    return _notify_members(url, content.notify is None, content.notify_content_type is None)


@lru_cache(maxsize=4)
def _notify_members(url: str, says_nothing: bool, has_no_type: bool) -> bytes:  # noqa: FBT001 - to be remembered by
    members: dict[str, object] = {"notify": True} if says_nothing else {}
    members["notifyUrl"] = url
    if has_no_type:
        members["notifyContentType"] = "application/json"
    return to_json(members)[1:-1] + b","


def split(call: OmniCall, outcome: Outcome) -> tuple[OmniCall, ...]:
    """Return the halves of a call that was too large; nothing if it was not, or is about one message."""
    messages = call.messages
    if not is_too_large(outcome) or len(messages) == 1:
        return ()
    middle = len(messages) // 2
    measured = replace(call, is_measured=True)
    return _part(measured, messages[:middle]), _part(measured, messages[middle:])


def is_too_large(outcome: Outcome) -> bool:
    """Return whether a call was refused for its size, by OMNI or by a gateway before it with a lower limit."""
    return isinstance(outcome, (Rejected, Unavailable)) and outcome.cause == _TOO_LARGE


def _part(call: OmniCall, messages: tuple[Message, ...]) -> OmniCall:
    own_bulk = bulk_id(call.request_id, messages[0].message_id, digest(call.content_json))
    content = call.content.model_copy(update={"bulk_id": own_bulk})
    return replace(call, content=content, messages=messages, written=None, is_part=True)


def content_key(call: OmniCall) -> bytes | None:
    """Return equal keys for equal contents; None if the call has a bulkId already, and so is never batched."""
    return call.content_json if call.content.bulk_id is None else None


def group(calls: Sequence[OmniCall], most: int) -> list[list[int]]:
    """Batch calls with equal contents, up to `most` messages each. Returns the calls' positions, batch by batch."""
    groups: list[list[int]] = []
    begun: dict[bytes, tuple[list[int], set[str]]] = {}
    for position, call in enumerate(calls):
        key, ids = content_key(call), ids_of(call)
        positions, taken = begun.get(key, ([], set())) if key is not None else ([], set())
        if positions and fits(taken, ids, most):
            positions.append(position)
            taken |= ids
            continue
        groups.append([position])
        if key is not None:
            begun[key] = groups[-1], ids
    return groups


def ids_of(*calls: OmniCall) -> set[str]:
    """Return the ids of the messages of all calls."""
    return {message.message_id for call in calls for message in call.messages}


def fits(taken: set[str], ids: set[str], most: int) -> bool:
    """Return whether two sets of messages fit into one call. No message may be in a call twice."""
    return len(taken) + len(ids) <= most and taken.isdisjoint(ids)


def merge(calls: Sequence[OmniCall]) -> OmniCall:
    """Batch calls with equal contents into one. OMNI makes the bulkId."""
    first = calls[0]
    if len(calls) == 1:
        return first
    messages = tuple(message for call in calls for message in call.messages)
    traces = tuple(trace for call in calls for trace in call.traces)
    return OmniCall(
        first.content,
        messages,
        first.request_id,
        first.attempt,
        traces=traces,
        written=first.written,
        notify=first.notify,
    )
