"""Which calls a request needs."""

from datetime import datetime

from service.rules.identity import bulk_id
from service.rules.policy import Policy
from service.words.call import OmniCall
from service.words.delivery import History
from service.words.request import SendRequest


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
    number, deadline = history.attempts + 1, request.expires_at
    traces = () if trace is None else (trace,)
    if len(messages) <= policy.call_size:
        return (OmniCall(content, messages, request.request_id, number, deadline, published, traces, written),)
    calls = []
    for start in range(0, len(messages), policy.call_size):
        part = messages[start : start + policy.call_size]
        own = content.model_copy(update={"bulk_id": bulk_id(request.request_id, part[0].message_id)})
        calls.append(OmniCall(own, part, request.request_id, number, deadline, published, traces))
    return tuple(calls)
