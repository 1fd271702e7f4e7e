"""What this process has done or is doing about deliveries that may be handed to it again.

When a connection drops, the broker hands out again all that was not settled, though its calls may still be running or
their acks were lost on the way. Served anew, each would ring a phone twice: so it joins the one that is running, or is
given the settlement that is known already.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from service.core.delivery import Delivery
from service.core.handler import Settlement
from service.core.headers import is_republication, publication_key
from service.core.poison import times_handed_out
from service.core.request.identification import is_identified

T = TypeVar("T")

KEPT: Final = 3600.0
"""Seconds for which an end counts. A producer may use an id again later, and means another request."""


@dataclass(eq=False, slots=True)
class Promise(Generic[T]):
    """The end of something that is still running."""

    key: Hashable
    end: T | None = None
    ended_at: float = 0.0
    _over: asyncio.Event | None = None

    async def wait(self) -> T | None:
        """Give its end; nothing where it was given up."""
        if self.end is None:
            self._over = self._over or asyncio.Event()
            await self._over.wait()
        return self.end

    def tell(self) -> None:
        """Wake those who wait."""
        if self._over is not None:
            self._over.set()


class Memory(Generic[T]):
    """Remembers what is running for as long as it runs, and of what is done so much, and for so many seconds.

    A key has to name the content too: ids alone may be used again for something else.
    """

    def __init__(self, done: int, seconds: float = KEPT, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = done
        self._seconds = seconds
        self._clock = clock
        self._running: dict[Hashable, Promise[T]] = {}
        self._done: OrderedDict[Hashable, Promise[T]] = OrderedDict()

    def find(self, key: Hashable) -> Promise[T] | None:
        """Give what is running under a key, or else what is done and not too old."""
        if promise := self._running.get(key):
            return promise
        promise = self._done.get(key)
        is_fresh = promise is not None and self._clock() - promise.ended_at < self._seconds
        return promise if is_fresh else None

    def enter(self, key: Hashable) -> Promise[T]:
        """Remember what is going to run."""
        promise = self._running[key] = Promise(key)
        return promise

    def keep(self, promise: Promise[T], end: T) -> None:
        """Remember how what was running has ended."""
        promise.ended_at = self._clock()
        self.tell(promise, end)
        self._done.pop(promise.key, None)
        self._done[promise.key] = promise
        while len(self._done) > self._most:
            self._done.popitem(last=False)

    def tell(self, promise: Promise[T], end: T) -> None:
        """Give those who wait an end that nobody who comes later may use."""
        promise.end = end
        self.give_up(promise)

    def give_up(self, promise: Promise[T]) -> None:
        """Forget what was running: whoever waits for it does it anew."""
        if self._running.get(promise.key) is promise:
            del self._running[promise.key]
        promise.tell()


Handled = Promise[Settlement | Exception]
"""A delivery that is served: how it was settled, or the defect that it ran into."""


class Registry:
    """Remembers deliveries by what they are, since the broker gives a redelivery another tag."""

    def __init__(self, done: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._memory: Memory[Settlement | Exception] = Memory(done, clock=clock)
        self._most = done
        self._untouched: OrderedDict[Hashable, set[int]] = OrderedDict()
        """Deliveries about which nothing was done, by how often each had been handed out before."""

    def find(self, delivery: Delivery) -> Handled | None:
        """Give what is known of a delivery that was handed out before; nothing of a new one, or one without a name.

        Two equal requests may be two, so they are never taken for one; two equal letters are copies of one.
        """
        if is_new(delivery):
            return None
        promise = self._memory.find(_key(delivery))
        return promise if promise is not None and is_identified(delivery) else None

    def enter(self, delivery: Delivery) -> Handled:
        """Remember a delivery that is going to be served."""
        return self._memory.enter(_key(delivery))

    def keep(self, promise: Handled, end: Settlement | Exception) -> None:
        """Remember how one that was running has ended."""
        self._memory.keep(promise, end)

    def give_up(self, promise: Handled) -> None:
        """Forget one that was running: whoever waits for it does it anew."""
        self._memory.give_up(promise)

    def hand_back(self, delivery: Delivery) -> None:
        """Remember a delivery about which nothing was done before its session ended."""
        times = times_handed_out(delivery)
        if times is None or not is_identified(delivery):
            return
        key = _key(delivery)
        self._untouched.setdefault(key, set()).add(times)
        self._untouched.move_to_end(key)
        if len(self._untouched) > self._most:
            self._untouched.popitem(last=False)

    def is_untouched(self, delivery: Delivery) -> bool:
        """Tell whether nothing was done about a delivery before: each time it was handed out, it was to us, in vain.

        The broker counts how often it hands a delivery out. A count that is missing stands for another worker.
        """
        times = times_handed_out(delivery)
        if not times:
            return not delivery.redelivered
        return bool(self._untouched) and self._untouched.get(_key(delivery), set()).issuperset(range(times))


def is_new(delivery: Delivery) -> bool:
    """Tell whether nobody can have had a delivery before.

    The relay publishes a retry message or a replayed dead letter once; two that are alike are copies of one, which an
    interrupted publication left.
    """
    return not delivery.redelivered and not is_republication(delivery.headers)


def _key(delivery: Delivery) -> Hashable:
    """Name a delivery by all that stays the same when it is handed out again, except that the broker adds headers."""
    digest = hashlib.blake2b(delivery.body, digest_size=16).digest()
    return (
        delivery.message_id,
        delivery.timestamp,
        delivery.correlation_id,
        delivery.reply_to,
        delivery.content_type,
        delivery.content_encoding,
        publication_key(delivery.headers),
        digest,
    )
