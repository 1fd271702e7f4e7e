"""One POST the plan asks for.

Which calls a request needs.

One call for several requests that differ in nothing but their destinations.

Requests keep what is their own: identity, events, metadata, deadline, settlement. What OMNI says of a merged call holds
for each of its messages, a doubt too; only a refusal of the whole may be the fault of one, so such a call is split.
"""

from collections.abc import Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import Final

from pydantic_core import to_json

from service.core.attempt.outcome import Outcome, Rejected, Unavailable
from service.core.attempt.retry import Policy
from service.core.history import History
from service.core.identity import bulk_id, digest
from service.core.omni.content import Content
from service.core.request.request import Message, SendRequest
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


TOO_LARGE: Final = "http_413"


def plan(
    request: SendRequest,
    history: History,
    published: datetime | None,
    policy: Policy,
    trace: str | None = None,
) -> tuple[OmniCall, ...]:
    """Ask for one call about all messages, or for several where they are too many for one.

    Each of several has a bulkId of our own: OMNI would take the same one for one bulk.
    """
    content, messages, written = request.content, request.messages, request.written
    if content.scenario_key is None and policy.scenario_key is not None:
        written = None
        content = content.model_copy(update={"scenario_key": policy.scenario_key})
    number, deadline, redrives = history.attempts + 1, request.expires_at, history.redrives
    denials = history.denials
    traces = () if trace is None else (trace,)
    if len(messages) <= policy.call_size:
        known = (number, deadline, published, traces, written, redrives, denials)
        return (OmniCall(content, messages, request.request_id, *known),)
    whole = OmniCall(
        content, messages, request.request_id, number, deadline, published, traces, written, redrives, denials
    )
    starts = range(0, len(messages), policy.call_size)
    return tuple(_part(whole, messages[start : start + policy.call_size]) for start in starts)


def split(call: OmniCall, outcome: Outcome) -> tuple[OmniCall, ...]:
    """Ask for the halves of a call that was too large; nothing where it was not, or is about one message."""
    messages = call.messages
    if not is_too_large(outcome) or len(messages) == 1:
        return ()
    middle = len(messages) // 2
    known = replace(call, is_measured=True)
    return _part(known, messages[:middle]), _part(known, messages[middle:])


def is_too_large(outcome: Outcome) -> bool:
    """Tell whether a call was refused for its size, by OMNI or by a gateway before it, which may allow less."""
    return isinstance(outcome, (Rejected, Unavailable)) and outcome.cause == TOO_LARGE


def _part(call: OmniCall, messages: tuple[Message, ...]) -> OmniCall:
    name = bulk_id(call.request_id, messages[0].message_id, digest(call.content_json))
    own = call.content.model_copy(update={"bulk_id": name})
    return replace(call, content=own, messages=messages, written=None, is_part=True)


def content_key(call: OmniCall) -> bytes | None:
    """Tell equal contents by equal keys; none where a request has named its own bulk, or is a part of one."""
    return call.content_json if call.content.bulk_id is None else None


def group(calls: Sequence[OmniCall], most: int) -> list[list[int]]:
    """Put together, by their places, calls that may be made as one, of up to `most` messages."""
    groups: list[list[int]] = []
    begun: dict[bytes, tuple[list[int], set[str]]] = {}
    for place, call in enumerate(calls):
        key, ids = content_key(call), ids_of(call)
        places, taken = begun.get(key, ([], set())) if key is not None else ([], set())
        if places and fits(taken, ids, most):
            places.append(place)
            taken |= ids
            continue
        groups.append([place])
        if key is not None:
            begun[key] = groups[-1], ids
    return groups


def ids_of(*calls: OmniCall) -> set[str]:
    """Give the ids of the messages that calls are about."""
    return {message.message_id for call in calls for message in call.messages}


def fits(taken: set[str], ids: set[str], most: int) -> bool:
    """Tell whether a call about some messages may be made as one with one about others: none of them twice."""
    return len(taken) + len(ids) <= most and taken.isdisjoint(ids)


def merge(calls: Sequence[OmniCall]) -> OmniCall:
    """Make one call of several with equal contents. OMNI names the bulk."""
    first = calls[0]
    if len(calls) == 1:
        return first
    messages = tuple(message for call in calls for message in call.messages)
    traces = tuple(trace for call in calls for trace in call.traces)
    return OmniCall(first.content, messages, first.request_id, first.attempt, traces=traces, written=first.written)
