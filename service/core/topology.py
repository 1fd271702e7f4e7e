"""The names of the relay's queues and exchanges. Producers and operators rely on them."""

from typing import Final, Literal

from service.core.value import dataclass

LaneName = Literal["normal", "urgent"]


@dataclass(frozen=True, slots=True)
class Lane:
    """A way from producers to OMNI. A message never changes its lane."""

    name: LaneName
    requests: str
    """Exchange (topic) and queue (quorum) of its send requests."""

    def delay_queue(self, seconds: float) -> str:
        """Return the queue whose messages return to the request queue after `seconds`."""
        return f"{self.requests}.delay.{f'{seconds:.3f}'.rstrip('0').rstrip('.')}"


NORMAL: Final = Lane("normal", "omni.requests")
URGENT: Final = Lane("urgent", "omni.requests.urgent")
"""Goes first wherever something waits: see `core.lanes`."""
LANES: Final = (NORMAL, URGENT)

REQUESTS: Final = NORMAL.requests

RESULTS: Final = "omni.results"
"""Exchange (topic) of status events."""

DEAD: Final = "omni.dead"
"""Exchange (fanout) and queue (quorum) of dead letters."""

DIED: Final = "omni.dead.notifications"
"""Queue of copies of the dead letters. A worker publishes the final event of those that have had none."""

REPLAY_LOCK: Final = "omni.dead.lock"
"""Exclusive queue of a command that removes dead letters. Two at once could take two copies of one."""

REPLAY_JOURNAL: Final = "omni.dead.replay"
"""Queue that lists the dead letters which a replay was about to publish. A replay that ends properly deletes it."""

RELAY: Final = "omni.relay"
"""Exchange (direct) through which the relay reaches its own queues; each is bound by its own name.

Retries go through it into the delay queues and out of them, and replays into the request queues. Producers have no
write permission for it, and the broker names a delivery's exchange. So our headers count on messages that came this
way.
"""

DIRECT: Final = ""
"""The broker's default exchange: its routing key is the name of a queue."""


def lane_of(queue: object) -> Lane:
    """Return the lane of a request queue or a delay queue; the normal one for any other name."""
    is_urgent = isinstance(queue, str) and f"{queue}.".startswith(f"{URGENT.requests}.")
    return URGENT if is_urgent else NORMAL


def is_own_queue(name: str) -> bool:
    """Return whether a queue is the relay's own: an event there would return as a request, or be a dead letter."""
    return name in {REQUESTS, DEAD} or name.startswith((f"{REQUESTS}.", f"{DEAD}."))
