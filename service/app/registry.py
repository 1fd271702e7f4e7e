"""What this process has done or is doing about deliveries that may be handed to it again.

When a connection drops, the broker hands out again all that was not settled, though its calls may still be running or
their acks were lost on the way. Served anew, each would ring a phone twice: so it joins the one that is running, or is
given the settlement that is known already.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from service.rules.history import ATTEMPT, FIRST_SEEN, PARKED, REDRIVES
from service.rules.parse import is_named
from service.words.delivery import Delivery, Settlement

_MINE: Final = (ATTEMPT, FIRST_SEEN, PARKED, REDRIVES)
_NONE: Final = (repr(None),) * len(_MINE)
"""As the headers are read where the broker has added its own to none."""


@dataclass(eq=False, slots=True)
class Promise:
    """What a delivery that is running will end in."""

    key: Hashable
    end: Settlement | Exception | None = None
    """How it was settled, or the defect that it ran into."""
    _over: asyncio.Event | None = None

    async def wait(self) -> Settlement | Exception | None:
        """Give its end; nothing where it was given up."""
        if self.end is None:
            self._over = self._over or asyncio.Event()
            await self._over.wait()
        return self.end

    def tell(self) -> None:
        """Wake those who wait."""
        if self._over is not None:
            self._over.set()


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
        if is_new(delivery):
            return None
        key = _key(delivery)
        promise = self._running.get(key) or self._done.get(key)
        return promise if promise is not None and is_named(delivery) else None

    def enter(self, delivery: Delivery) -> Promise:
        """Remember a delivery that is going to be served."""
        promise = Promise(_key(delivery))
        self._running[promise.key] = promise
        return promise

    def keep(self, promise: Promise, end: Settlement | Exception) -> None:
        """Remember how one that was running has ended."""
        promise.end = end
        self._leave(promise)
        self._done[promise.key] = promise
        while len(self._done) > self._most:
            self._done.popitem(last=False)

    def give_up(self, promise: Promise) -> None:
        """Forget one that was running: whoever waits for it does it anew."""
        self._leave(promise)

    def _leave(self, promise: Promise) -> None:
        if self._running.get(promise.key) is promise:
            del self._running[promise.key]
        promise.tell()


def is_new(delivery: Delivery) -> bool:
    """Tell whether nobody can have had a delivery before."""
    return not delivery.redelivered and PARKED not in delivery.headers


def _key(delivery: Delivery) -> Hashable:
    headers = delivery.headers
    mine = tuple(repr(headers.get(name)) for name in _MINE) if headers else _NONE
    return delivery.message_id, mine, hashlib.blake2b(delivery.body, digest_size=16).digest()
