"""Which deliveries may be poison, that is, kill workers; and in which order they are handled, one at a time.

The broker redelivers the messages of a worker that died, and counts. The count of the poison message grows, and so does
that of every other message that was prefetched with it, until the delivery limit removes them all. So a message that
was delivered often is handled alone, in an order that changes with the count. The messages that come before the poison
one are settled: about half of the others in each round. Long before the limit it is alone.

Urgent messages come first in the first round only. A poison one among them would kill the worker before any other
message is settled, in every round.
"""

import hashlib
from typing import Final

from service.core.delivery import Delivery
from service.core.topology import NORMAL

COUNT: Final = "x-delivery-count"
ACQUIRED: Final = "x-acquired-count"
"""The same in RabbitMQ 4.3 and later, where `COUNT` does not count messages that were returned on purpose."""
SUSPICIOUS: Final = 2
"""Times delivered before. Once is the usual crash, which should cost no time."""


def is_suspected(delivery: Delivery) -> bool:
    """Return whether it should be handled alone. In a first delivery the count is a producer's invention."""
    count = delivery.headers.get(COUNT)
    return delivery.redelivered and isinstance(count, int) and count >= SUSPICIOUS


def times_handed_out(delivery: Delivery) -> int | None:
    """Return how often it was delivered before; None if the broker does not say."""
    if not delivery.redelivered:
        return 0  # a count is a producer's invention then
    counts = (delivery.headers.get(name) for name in (COUNT, ACQUIRED))
    return max([count for count in counts if isinstance(count, int)], default=None)


def rank(delivery: Delivery) -> tuple[bool, bytes]:
    """Return its rank in the quarantine: pseudo-random, and another one with each count; urgent ones first at first."""
    count = delivery.headers.get(COUNT)
    text = f"{count}\n{delivery.message_id}\n".encode()
    is_later = delivery.lane is NORMAL or count != SUSPICIOUS
    return is_later, hashlib.blake2b(text + delivery.body, digest_size=8).digest()
