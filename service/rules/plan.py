"""Which calls a request needs."""

from datetime import datetime

from service.words.call import OmniCall
from service.words.delivery import History
from service.words.omni.destination import Destination
from service.words.omni.payload import AdvancedPayload
from service.words.request import SendRequest


def plan(
    request: SendRequest, history: History, published: datetime | None, scenario_key: str | None
) -> tuple[OmniCall, ...]:
    """Ask for one call about all messages; `scenario_key` is for a request that names none."""
    content = request.content
    given = {name: getattr(content, name) for name in type(content).model_fields}
    given["scenario_key"] = content.scenario_key or scenario_key
    destinations = tuple(Destination(to=message.to, message_id=message.message_id) for message in request.messages)
    payload = AdvancedPayload.model_construct(None, **given, destinations=destinations)
    return (OmniCall(payload, request.messages, request.request_id, history.attempts + 1, published),)
