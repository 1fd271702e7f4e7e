"""The names of everything the relay owns in RabbitMQ. Producers and operators rely on them."""

from typing import Final

REQUESTS: Final = "omni.requests"
"""Exchange (topic) and queue (quorum) of send requests."""

RESULTS: Final = "omni.results"
"""Exchange (topic) of status events."""

DEAD: Final = "omni.dead"
"""Exchange (fanout) and queue (quorum) of dead letters."""

DIED: Final = "omni.dead.notifications"
"""Queue of copies of the dead letters, for the relay's own eyes: it says the last word of those that had none."""

REPLAY_LOCK: Final = "omni.dead.lock"
"""Exclusive queue that a command has while it takes dead letters away: two at once could take two copies of one."""

REPLAY_JOURNAL: Final = "omni.dead.replay"
"""Queue that names the dead letters which a replay was about to publish. A replay that ends properly deletes it."""

RELAY: Final = "omni.relay"
"""Exchange (direct) through which the relay reaches its own queues; each is bound by its own name.

Retries go through it into the delay queues and out of them, and replays into the request queue. Producers have no write
permission for it. The broker names a delivery's exchange, so the relay believes its own headers on what came this way.
"""

DIRECT: Final = ""
"""The broker's default exchange: its routing key is the name of a queue."""


def delay_queue(seconds: float) -> str:
    """Name the queue whose messages go back to the request queue after `seconds`."""
    return f"{REQUESTS}.delay.{f'{seconds:.3f}'.rstrip('0').rstrip('.')}"


def is_own_queue(name: str) -> bool:
    """Tell the relay's own queues: an event there would come back as a request, or lie among dead letters."""
    return name in {REQUESTS, DEAD} or name.startswith((f"{REQUESTS}.", f"{DEAD}."))
