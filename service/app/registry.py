"""What this process has done or is doing about deliveries that may be handed to it again.

When a connection drops, the broker hands out again all that was not settled, though its calls may still be running or
their acks were lost on the way. Served anew, each would ring a phone twice: so it joins the one that is running, or is
given the settlement that is known already.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Hashable
from datetime import UTC, datetime

from service.rules.history import ATTEMPT, FIRST_SEEN, PARKED, REDRIVES, read_history
from service.rules.parse import parse
from service.words.delivery import Delivery, Settlement

Promise = asyncio.Future[Settlement]


class Registry:
    """Remembers deliveries by what they are; the broker gives a redelivery another tag."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._promises: OrderedDict[Hashable, Promise] = OrderedDict()

    def find(self, delivery: Delivery) -> Promise | None:
        """Give what is known of a delivery that was handed out before; nothing of a new one, or one without a name.

        Two equal requests without a name may be two, so they are never taken for one.
        """
        if not delivery.redelivered or (promise := self._promises.get(_key(delivery))) is None:
            return None
        return promise if not promise.cancelled() and _is_named(delivery) else None

    def enter(self, delivery: Delivery) -> Promise:
        """Remember a delivery that is going to be served; its settlement is promised."""
        promise: Promise = asyncio.get_running_loop().create_future()
        self._promises[_key(delivery)] = promise
        while len(self._promises) > self._size:
            self._promises.popitem(last=False)
        return promise


def _key(delivery: Delivery) -> Hashable:
    mine = tuple(repr(delivery.headers.get(name)) for name in (ATTEMPT, FIRST_SEEN, PARKED, REDRIVES))
    return delivery.message_id, mine, hashlib.blake2b(delivery.body, digest_size=16).digest()


def _is_named(delivery: Delivery) -> bool:
    if delivery.message_id:
        return True
    now = delivery.timestamp or datetime.now(UTC)
    return parse(delivery, read_history(delivery.headers, now), str).identified
