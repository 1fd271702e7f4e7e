"""One call for several requests that differ in nothing but their destinations.

Requests keep what is their own: identity, events, metadata, deadline, settlement. What OMNI says of a merged call holds
for each of its messages, a doubt too; only a refusal of the whole may be the fault of one, so such a call is split.
"""

from collections.abc import Sequence

from service.words.call import OmniCall
from service.words.omni.payload import AdvancedPayload


def content_key(call: OmniCall) -> bytes | None:
    """Tell equal contents by equal keys; none where a request has named its own bulk, or is a part of one."""
    if call.payload.bulk_id is not None:
        return None
    return call.payload.model_dump_json(by_alias=True, exclude_none=True, exclude={"destinations"}).encode()


def merge(calls: Sequence[OmniCall]) -> OmniCall:
    """Make one call of several with equal contents. OMNI names the bulk."""
    first = calls[0]
    if len(calls) == 1:
        return first
    given = {name: getattr(first.payload, name) for name in type(first.payload).model_fields}
    given["destinations"] = tuple(one for call in calls for one in call.payload.destinations)
    return OmniCall(
        AdvancedPayload.model_construct(None, **given),
        tuple(message for call in calls for message in call.messages),
        first.request_id,
        first.attempt,
    )
