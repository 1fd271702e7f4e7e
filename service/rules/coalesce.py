"""One call for several requests that differ in nothing but their destinations.

Requests keep what is their own: identity, events, metadata, deadline, settlement. What OMNI says of a merged call holds
for each of its messages, a doubt too; only a refusal of the whole may be the fault of one, so such a call is split.
"""

from collections.abc import Sequence

from service.words.call import OmniCall


def content_key(call: OmniCall) -> bytes | None:
    """Tell equal contents by equal keys; none where a request has named its own bulk, or is a part of one."""
    return call.content.to_json() if call.content.bulk_id is None else None


def merge(calls: Sequence[OmniCall]) -> OmniCall:
    """Make one call of several with equal contents. OMNI names the bulk."""
    first = calls[0]
    if len(calls) == 1:
        return first
    messages = tuple(message for call in calls for message in call.messages)
    return OmniCall(first.content, messages, first.request_id, first.attempt)
