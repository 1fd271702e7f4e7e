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
from typing import Final

from service.rules.history import ATTEMPT, FIRST_SEEN, PARKED, REDRIVES, read_history
from service.rules.parse import parse
from service.words.delivery import Delivery, Settlement

Promise = asyncio.Future[Settlement]

_MINE: Final = (ATTEMPT, FIRST_SEEN, PARKED, REDRIVES)
_NONE: Final = (repr(None),) * len(_MINE)
"""As the headers are read where the broker has added its own to none."""


class Registry:
    """Remembers deliveries by what they are, since the broker gives a redelivery another tag.

    Those that are running are remembered for as long as they run; of those that are done, so many.
    """

    def __init__(self, done: int) -> None:
        self._most = done
        self._running: dict[Hashable, Promise] = {}
        self._done: OrderedDict[Hashable, Promise] = OrderedDict()

    def find(self, delivery: Delivery) -> Promise | None:
        """Give what is known of a delivery that was handed out before; nothing of a new one, or one without a name.

        Two equal requests may be two, so they are never taken for one; two equal letters are copies of one.
        """
        if not delivery.redelivered and PARKED not in delivery.headers:
            return None
        key = _key(delivery)
        promise = self._running.get(key) or self._done.get(key)
        return promise if promise is not None and not promise.cancelled() and _is_named(delivery) else None

    def enter(self, delivery: Delivery) -> Promise:
        """Remember a delivery that is going to be served; its settlement is promised."""
        promise: Promise = asyncio.get_running_loop().create_future()
        key = _key(delivery)
        self._running[key] = promise
        promise.add_done_callback(lambda _: self._finish(key, promise))
        return promise

    def _finish(self, key: Hashable, promise: Promise) -> None:
        if self._running.get(key) is promise:
            del self._running[key]
        if not promise.cancelled():
            self._done[key] = promise
            while len(self._done) > self._most:
                self._done.popitem(last=False)


def _key(delivery: Delivery) -> Hashable:
    headers = delivery.headers
    mine = tuple(repr(headers.get(name)) for name in _MINE) if headers else _NONE
    return delivery.message_id, mine, hashlib.blake2b(delivery.body, digest_size=16).digest()


def _is_named(delivery: Delivery) -> bool:
    if delivery.message_id:
        return True
    now = delivery.timestamp or datetime.now(UTC)
    return parse(delivery, read_history(delivery.headers, now), str).identified
