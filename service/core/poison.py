"""Which deliveries may be killing workers, and in which order to dare them.

A broker hands out again what a dead worker held, and counts: the killer's count grows, and so does that of every
innocent that was prefetched with it, until the delivery limit takes them all for poison. So what has been handed out
often is served alone, in an order that changes with the count: whatever comes before the killer is done for good, about
half of the innocents in each life, and long before the limit the killer is left alone.
"""

import hashlib
from typing import Final

from service.core.delivery import Delivery

COUNT: Final = "x-delivery-count"
ACQUIRED: Final = "x-acquired-count"
"""The same in RabbitMQ 4.3 and later, where `COUNT` leaves out what was returned on purpose."""
SUSPICIOUS: Final = 2
"""Times handed out before. Once is the usual crash, which should cost no time."""


def is_suspected(delivery: Delivery) -> bool:
    """Tell whether it should be served alone. In a first delivery the count is a producer's invention."""
    count = delivery.headers.get(COUNT)
    return delivery.redelivered and isinstance(count, int) and count >= SUSPICIOUS


def times_handed_out(delivery: Delivery) -> int | None:
    """Tell how often a delivery was handed out before; None where the broker does not tell."""
    if not delivery.redelivered:
        return 0  # a count is a producer's invention then
    counts = (delivery.headers.get(name) for name in (COUNT, ACQUIRED))
    return max([count for count in counts if isinstance(count, int)], default=None)


def rank(delivery: Delivery) -> bytes:
    """Give its place among suspects: by chance, another one each time it is handed out."""
    text = f"{delivery.headers.get(COUNT)}\n{delivery.message_id}\n".encode()
    return hashlib.blake2b(text + delivery.body, digest_size=8).digest()
