"""Until when a request may be attempted."""

from datetime import datetime, timedelta
from typing import Final

from service.core.delivery import Delivery
from service.core.headers import read_deadline
from service.core.history import History

_MIN_LIFE: Final = 1.0
_MAX_LIFE: Final = 100 * 365 * 86400


def deadline(expires_at: datetime | None, delivery: Delivery, history: History) -> datetime | None:
    """Return the earlier of `expiresAt` and the AMQP expiration, which the broker forgets in a delay queue.

    The expiration counts from the producer's timestamp, with two exceptions:

    * A message that the broker delivers has not expired. If the timestamp says that it has, the producer's clock is
      slow, and the expiration counts from the first delivery. The same holds if that clock is fast.
    * With an expiration of 0 the broker delivers a message at once or never. One that is delivered has a second.

    A request that was scheduled for retry unread has its expiration in a header.
    """
    if delivery.headers and (kept := read_deadline(delivery.headers)) is not None:
        expires_at = min(expires_at, kept) if expires_at else kept
    if delivery.expiration is None:
        return expires_at
    seen = history.first_seen
    life = timedelta(seconds=min(delivery.expiration or _MIN_LIFE, _MAX_LIFE))
    try:
        lapses = min(delivery.timestamp or seen, seen) + life
        lapses = lapses if lapses > seen else seen + life
    except OverflowError:
        return expires_at  # first seen in the year 9900 or later, as a header says: no deadline can be kept
    lapses = lapses.replace(microsecond=lapses.microsecond // 1000 * 1000)  # as a header can hold it
    return min(expires_at, lapses) if expires_at else lapses
