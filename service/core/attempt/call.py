"""The calls that a request needs, and how calls with equal contents are batched into one.

A request needs one call, or several if it has too many messages for one. A batch is one call for several requests
that differ in nothing but their destinations. Each request keeps its identity, events, metadata, deadline and
settlement. The outcome of a batch is the outcome of each of its messages, an ambiguous one too. Only a refusal of the
whole batch may be the fault of a single request, so a refused batch is split.

This file has more than 250 lines since planning, merging and splitting have to agree about every field of a call.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field, replace
from datetime import datetime
from functools import lru_cache
from typing import Final

from pydantic_core import to_json

from service.core.attempt.claim import Claim
from service.core.attempt.outcome import MaySend, Outcome, Rejected, Unavailable, always
from service.core.attempt.retry import Policy
from service.core.delivery import ALWAYS_OURS, Ownership
from service.core.history import History
from service.core.identity import bulk_id, digest
from service.core.omni.content import Content
from service.core.request.request import Message, SendRequest
from service.core.topology import NORMAL, Lane
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
    ownership: Ownership = field(default=ALWAYS_OURS, compare=False)
    """Of the delivery that asks for it."""
    may_send: MaySend = field(default=always, compare=False)
    """Everything that may forbid the call. Asked immediately before its bytes are written."""
    is_alone: bool = field(default=False, compare=False)
    """Whether it must not share a call: a probe whose outcome is unknown must concern one request only."""
    members: tuple["OmniCall", ...] = field(default=(), compare=False)
    """The calls that it was merged from; empty if it was not."""
    seal: Callable[[], "OmniCall"] | None = field(default=None, compare=False)
    """Set for a batch that others may still join: returns the call that it has become, and lets no more join."""
    lane: Lane = field(default=NORMAL, compare=False)
    record: Claim | None = field(default=None, compare=False)
    """The record of its start in the shared memory, with its delivery's claim."""
    request: SendRequest | None = field(default=None, repr=False, compare=False)
    """The request that its messages belong to; None if it was merged from several calls."""

    @property
    def content_json(self) -> bytes:
        """The content as JSON. It is `written` already, unless it is not that of the request."""
        return self.written or self.content.to_json()

    @property
    def is_first(self) -> bool:
        """Whether no earlier call can have been about these messages, unless the broker redelivered them."""
        return self.attempt == 1 and self.redrives == 0 and self.denials == 0

    def guarded(
        self, may_send: MaySend, *, is_alone: bool = False, seal: Callable[[], "OmniCall"] | None = None
    ) -> "OmniCall":
        """Return a copy with other conditions for sending it. Faster than `replace`, on the hot path."""
        return OmniCall(
            self.content,
            self.messages,
            self.request_id,
            self.attempt,
            self.expires_at,
            self.published,
            self.traces,
            self.written,
            self.redrives,
            self.denials,
            self.notify,
            self.is_part,
            self.is_measured,
            self.ownership,
            may_send,
            is_alone,
            self.members,
            seal,
            self.lane,
            self.record,
            self.request,
        )

    def measured(self) -> "OmniCall":
        """Return a copy whose waiting time and size are not measured again."""
        members = tuple([member.measured() for member in self.members])
        return replace(self, is_measured=True, members=members)

    def to_json(self) -> bytes:
        """Render the body. Every destination has a `messageId`, by which the answer is read."""
        content = self.written or self.content_json
        separator = b"," if len(content) > len(b"{}") else b""
        destinations = [{"to": message.to, "messageId": message.message_id} for message in self.messages]
        return b'%b%b%b"destinations":%b}' % (content[:-1], separator, self.notify, to_json(destinations))


Send = Callable[[OmniCall], Awaitable[Outcome]]
"""Makes a call. `NOT_SENT` if `may_send` forbade it when everything was ready for writing."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The delivery that a request came in."""

    published: datetime | None = None
    trace: str | None = None
    """A `traceparent`."""
    ownership: Ownership = field(default=ALWAYS_OURS, compare=False)
    lane: Lane = NORMAL
    record: Claim | None = field(default=None, compare=False)
    """See `OmniCall.record`."""


def plan(request: SendRequest, history: History, origin: Origin, policy: Policy) -> tuple[OmniCall, ...]:
    """Plan one call about all messages, or several if they are too many for one.

    Each of several has a bulkId of our own: OMNI would treat calls with the same one as one bulk.
    """
    content, messages, written = request.content, request.messages, request.written
    if content.scenario_key is None and policy.scenario_key is not None:
        written = None
        content = content.model_copy(update={"scenario_key": policy.scenario_key})
    if policy.hold_scheduled and content.send_at is not None:
        written = None
        content = content.model_copy(update={"send_at": None})
    whole = OmniCall(
        content,
        messages,
        request.request_id,
        history.attempts + 1,
        request.expires_at,
        origin.published,
        () if origin.trace is None else (origin.trace,),
        written,
        history.redrives,
        history.denials,
        b"" if policy.notify_url is None else notify_members(policy.notify_url, content),
        ownership=origin.ownership,
        lane=origin.lane,
        record=origin.record,
        request=request,
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
    measured = replace(call, is_measured=True, members=())
    return _part(measured, messages[:middle]), _part(measured, messages[middle:])


def is_too_large(outcome: Outcome) -> bool:
    """Return whether a call was refused for its size, by OMNI or by a gateway before it with a lower limit."""
    return isinstance(outcome, (Rejected, Unavailable)) and outcome.cause == _TOO_LARGE


def _part(call: OmniCall, messages: tuple[Message, ...]) -> OmniCall:
    own_bulk = bulk_id(call.request_id, messages[0].message_id, digest(call.content_json))
    content = call.content.model_copy(update={"bulk_id": own_bulk})
    return replace(call, content=content, messages=messages, written=None, is_part=True)


def content_key(call: OmniCall) -> bytes | None:
    """Return equal keys for equal contents of one lane; None if the call has a bulkId already: it is never batched."""
    if call.content.bulk_id is not None:
        return None
    written = call.written or call.content_json
    return written if call.lane is NORMAL else b"%b %b" % (call.lane.name.encode(), written)


def group(calls: Sequence[OmniCall], most: int) -> list[list[int]]:
    """Group calls with equal contents, up to `most` messages each. Returns the calls' positions, group by group."""
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


def ids_of(call: OmniCall) -> set[str]:
    """Return the ids of its messages."""
    return {message.message_id for message in call.messages}


def fits(taken: set[str], ids: set[str], most: int) -> bool:
    """Return whether two sets of messages fit into one call. No message may be in a call twice."""
    return len(taken) + len(ids) <= most and taken.isdisjoint(ids)


def merge(calls: Sequence[OmniCall]) -> OmniCall:
    """Make one call of several with equal contents. It may be sent only while each of them may. OMNI names the bulk."""
    first = calls[0]
    if len(calls) == 1:
        return first
    checks = tuple(dict.fromkeys([call.may_send for call in calls]))
    return OmniCall(
        first.content,
        tuple([message for call in calls for message in call.messages]),
        first.request_id,
        first.attempt,
        traces=tuple([trace for call in calls for trace in call.traces]),
        written=first.written,
        notify=first.notify,
        ownership=first.ownership,
        may_send=checks[0] if len(checks) == 1 else lambda: all(check() for check in checks),
        members=tuple([member for call in calls for member in call.members or (call,)]),
        lane=first.lane,
    )
