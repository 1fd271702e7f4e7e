"""The headers of a producer that the relay publishes again.

A broker reads some headers: it routes by `CC` and `BCC`, and it writes and reads `x-…`. The relay reads its own,
`omni-…`. So every other header is chosen here and nothing else is copied. Source: rabbitmq.com/docs/sender-selected.
"""

from collections.abc import Mapping
from typing import Final

from service.rules.trace import TRACEPARENT, TRACESTATE, read_state, read_trace
from service.words.delivery import Header

_TRACE: Final = frozenset({TRACEPARENT, TRACESTATE})
_ROUTING: Final = frozenset({"cc", "bcc"})
_RESERVED: Final = ("x-", "omni-")


def trace_headers(headers: Mapping[str, Header]) -> dict[str, str]:
    """Choose the trace context, as far as it is valid: all that an event carries of a producer's headers."""
    if not headers or (parent := read_trace(headers)) is None:
        return {}
    state = read_state(headers)
    return {TRACEPARENT: parent} if state is None else {TRACEPARENT: parent, TRACESTATE: state}


def kept_headers(headers: Mapping[str, Header]) -> dict[str, Header]:
    """Choose what a retry and a dead letter carry: the trace context, then the application's headers.

    The order is the order of importance: what does not fit into one frame is left out from the end on.
    """
    return trace_headers(headers) | {name: value for name, value in headers.items() if _is_application(name)}


def _is_application(name: str) -> bool:
    """Tell whether a header is the application's own. The letter case does not count, to be on the safe side."""
    lower = name.lower()
    return not (lower in _ROUTING or lower in _TRACE or lower.startswith(_RESERVED))
