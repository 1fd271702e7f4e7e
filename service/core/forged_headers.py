"""Which of the relay's own headers a producer may have forged. Those are removed before anything reads them.

Our headers count only on deliveries that a producer cannot create. These come through the exchange `omni.relay`, for
which producers have no write permission; the broker names the exchange of a delivery. A message that leaves a delay
queue also comes through `omni.relay`, no matter who published it; its `x-death` names the exchange through which it
entered the delay queue.

RabbitMQ 4.3 replaces an `x-death` that a client has published. RabbitMQ 3.10 increments a client's entry for the same
queue and reason, and keeps its other fields. So on 3.10 a user who may write to the default exchange, and hence to
every queue, can forge our headers by publishing into a delay queue.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from service.core import topology
from service.core.delivery import Delivery, Header
from service.core.headers import is_own

_FIRST_UNFORGEABLE: Final = 4
"""The major version of RabbitMQ from which on a client's `x-death` is replaced."""
_WORKER_REASONS: Final = ("delivery_limit", "rejected")
"""Reasons in `x-death` of messages that a worker had received."""


def without_forged_headers(delivery: Delivery) -> Delivery:
    """Remove our headers from a delivery of the request queue that a producer may have created."""
    headers = delivery.headers
    for name in headers:
        if name[:1] in "oO" and is_own(name):  # the first letter saves the call for almost every header
            break
    else:
        return delivery
    entered_by = latest_death(headers).get("exchange", topology.RELAY)
    return delivery if delivery.exchange == topology.RELAY == entered_by else _without_own_headers(delivery)


def dead_without_forged_headers(delivery: Delivery, *, forgeable: bool = False) -> Delivery:
    """Remove our headers from a dead letter that is neither the relay's nor a request that the relay had published.

    The broker moves a delivery from the request queue to `omni.dead` and records in `x-death` how it had come. The
    relay publishes its own dead letters to `omni.dead`, and stores one again through `omni.relay`, without `x-death`.

    `forgeable`: a producer may have written a part of `x-death`. Then it counts only on messages that a worker had
    received; a producer alone can have brought any other here, by an `expiration`. A dead letter of the relay's own is
    then lost to that rule only where a policy removes it from its queue.
    """
    death = latest_death(delivery.headers)
    is_suspect = forgeable and bool(death) and death.get("reason") not in _WORKER_REASONS
    is_ours = death.get("exchange", topology.RELAY) == topology.RELAY and not is_suspect
    return (
        delivery if delivery.exchange in {topology.DEAD, topology.RELAY} and is_ours else _without_own_headers(delivery)
    )


def can_be_forged(server: Mapping[str, object]) -> bool:
    """Return whether a producer can write a part of `x-death`, by the server properties of the broker."""
    major = str(server.get("version", "")).partition(".")[0]
    return not major.isdecimal() or int(major) < _FIRST_UNFORGEABLE


def latest_death(headers: Mapping[str, Header]) -> Mapping[str, Header]:
    """Return the latest entry of `x-death`, which the broker puts first; an empty one where there is none."""
    deaths = headers.get("x-death")
    first = deaths[0] if isinstance(deaths, list) and deaths else None
    return first if isinstance(first, dict) else {}


def _without_own_headers(delivery: Delivery) -> Delivery:
    return replace(delivery, headers={name: value for name, value in delivery.headers.items() if not is_own(name)})
