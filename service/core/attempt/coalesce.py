"""One call for several requests that differ in nothing but their destinations.

Requests keep what is their own: identity, events, metadata, deadline, settlement. What OMNI says of a merged call holds
for each of its messages, a doubt too; only a refusal of the whole may be the fault of one, so such a call is split.
"""

from collections.abc import Sequence

from service.core.attempt.call import OmniCall


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
