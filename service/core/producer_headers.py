"""The headers of a producer that the relay publishes again, and the headers of the relay that it believes.

A broker reads some headers: it routes by `CC` and `BCC`, and it writes and reads `x-…`. The relay reads its own,
`omni-…`. So every other header is chosen here and nothing else is copied. Source: rabbitmq.com/docs/sender-selected.

Any producer may write `omni-…`. The relay believes these headers only on what came through the exchange `omni.relay`,
for which producers have no write permission. The broker names the exchange of a delivery. What left a delay queue comes
through `omni.relay` whoever put it there; then `x-death` names the exchange that it came into the delay queue by.

Seen: RabbitMQ 4.3 replaces an `x-death` that a client has published. RabbitMQ 3.10 counts up an entry for the same
queue and reason that a client has published, and keeps what else it says. So there a user who may write to the default
exchange, and hence to every queue, can publish into a delay queue what is believed.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from service.core import topology
from service.core.delivery import Delivery, Header
from service.core.trace_context import TRACEPARENT, TRACESTATE, read_state, read_trace

_TRACE: Final = frozenset({TRACEPARENT, TRACESTATE})
_ROUTING: Final = frozenset({"cc", "bcc"})
_OWN: Final = "omni-"
_REPLACES_DEATHS: Final = 4
"""The major version of RabbitMQ from which on a client's `x-death` is replaced."""
_BY_WORKERS: Final = ("delivery_limit", "rejected")
"""Reasons in `x-death` of what a worker had."""
_RESERVED: Final = ("x-", _OWN)


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


def believed(delivery: Delivery) -> Delivery:
    """Give a delivery of the request queue; one that a producer can have created comes without headers of the relay."""
    headers = delivery.headers
    for name in headers:
        if name[:1] in "oO" and _is_own(name):  # the first letter saves the call for almost every header
            break
    else:
        return delivery
    came_by = latest_death(headers).get("exchange", topology.RELAY)
    return delivery if delivery.exchange == topology.RELAY == came_by else without_own_headers(delivery)


def believed_dead(delivery: Delivery, *, forgeable: bool = False) -> Delivery:
    """Do the same with a dead letter: of the relay's own, or of a delivery of the request queue.

    The broker takes a delivery from the request queue to `omni.dead` and says in `x-death` how it had come. The relay
    publishes its own dead letters to `omni.dead`, and puts one back through `omni.relay`, without `x-death`.

    Where `x-death` is `forgeable`, it counts only on what a worker had. A producer alone can have brought anything else
    here, with an `expiration`. One of the relay's own comes here unread only where a policy takes it off the queue.
    """
    ways = (topology.DEAD, topology.RELAY)
    death = latest_death(delivery.headers)
    is_made_up = forgeable and bool(death) and death.get("reason") not in _BY_WORKERS
    if delivery.exchange in ways and death.get("exchange", topology.RELAY) == topology.RELAY and not is_made_up:
        return delivery
    return without_own_headers(delivery)


def can_be_forged(server: Mapping[str, object]) -> bool:
    """Tell whether a producer may have written a part of `x-death`, by what the broker says of itself."""
    major = str(server.get("version", "")).partition(".")[0]
    return not major.isdecimal() or int(major) < _REPLACES_DEATHS


def without_own_headers(delivery: Delivery) -> Delivery:
    """Take the relay's headers away."""
    return replace(delivery, headers={name: value for name, value in delivery.headers.items() if not _is_own(name)})


def latest_death(headers: Mapping[str, Header]) -> Mapping[str, Header]:
    """Give the latest entry of `x-death`, which the broker puts first; an empty one where there is none."""
    deaths = headers.get("x-death")
    first = deaths[0] if isinstance(deaths, list) and deaths else None
    return first if isinstance(first, dict) else {}


def _is_own(name: str) -> bool:
    """Tell whether a header's name is one of the relay's. The letter case does not count, to be on the safe side."""
    return name[: len(_OWN)].lower() == _OWN


def _is_application(name: str) -> bool:
    """Tell whether a header is the application's own. The letter case does not count, to be on the safe side."""
    lower = name.lower()
    return not (lower in _ROUTING or lower in _TRACE or lower.startswith(_RESERVED))
