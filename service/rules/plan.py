"""Which calls a request needs."""

from datetime import datetime

from service.rules.identity import bulk_id
from service.rules.policy import Policy
from service.words.call import OmniCall
from service.words.delivery import History
from service.words.omni.destination import Destination
from service.words.omni.payload import AdvancedPayload
from service.words.request import SendRequest


def plan(request: SendRequest, history: History, published: datetime | None, policy: Policy) -> tuple[OmniCall, ...]:
    """Ask for one call about all messages, or for several where they are too many for one.

    Each of several has a bulkId of our own: OMNI would take the same one for one bulk.
    """
    content = request.content
    given = {name: getattr(content, name) for name in type(content).model_fields}
    given["scenario_key"] = content.scenario_key or policy.scenario_key
    calls = []
    for start in range(0, len(request.messages), policy.call_size):
        part = request.messages[start : start + policy.call_size]
        if len(part) < len(request.messages):
            given["bulk_id"] = bulk_id(request.request_id, part[0].message_id)
        destinations = tuple(Destination(to=message.to, message_id=message.message_id) for message in part)
        payload = AdvancedPayload.model_construct(None, **given, destinations=destinations)
        calls.append(OmniCall(payload, part, request.request_id, history.attempts + 1, request.expires_at, published))
    return tuple(calls)
