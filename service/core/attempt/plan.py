"""Which calls a request needs."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from service.core.attempt.call import OmniCall
from service.core.attempt.outcome import Outcome, Rejected, Unavailable
from service.core.attempt.policy import Policy
from service.core.delivery import History
from service.core.identity import bulk_id, digest
from service.core.request.request import Message, SendRequest

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
