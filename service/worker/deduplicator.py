"""Duplicates: a delivery, or a later attempt, joins what is running or done about the same one.

When a connection drops, the broker redelivers all that was not settled, though its calls may still be running or its
acks were lost on the way. Handled again, each would ring a phone twice. So a duplicate waits for the one that is in
flight, or gets its result.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from service.core.attempt.call import OmniCall, Send
from service.core.attempt.disposition import is_final
from service.core.attempt.outcome import Outcome
from service.core.delivery import Delivery
from service.core.handler import Settlement
from service.core.headers import NO_KEY, is_republication, publication_key
from service.core.poison import times_handed_out
from service.core.request.identification import is_identified

D = TypeVar("D")
T = TypeVar("T")

KEPT: Final = 3600.0
"""Seconds for which a result counts. A producer may use an id again later, for another request."""
_ATTEMPTS_KEPT: Final = 1000


class InFlight(Generic[T]):
    """Something that is running, and then its result."""

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.result: T | None = None
        self.ended_at = 0.0
        self.over: asyncio.Event | None = None
        """Set when it is over; None while none waits for it."""

    async def wait(self) -> T | None:
        """Return its result; None if it was given up."""
        if self.result is None:
            self.over = self.over or asyncio.Event()
            await self.over.wait()
        return self.result


class Deduplicator(Generic[D, T]):
    """Remembers what is in flight for as long as it runs, and `most` results for an hour.

    Results are evicted by number; what is in flight never is: a slow one would be handled twice. A key has to contain
    the content: an id alone may be used again for something else.
    """

    def __init__(self, most: int, clock: Callable[[], float], key: Callable[[D], Hashable]) -> None:
        self._most = most
        self._clock = clock
        self._key = key
        self._running: dict[Hashable, InFlight[T]] = {}
        self._done: OrderedDict[Hashable, InFlight[T]] = OrderedDict()

    def find(self, one: D) -> InFlight[T] | None:
        """Return what is in flight under the same key, or else what is done and not too old."""
        key = self._key(one)
        if running := self._running.get(key):
            return running
        done = self._done.get(key)
        return done if done is not None and self._clock() - done.ended_at < KEPT else None

    def enter(self, one: D) -> InFlight[T]:
        """Remember what is going to run."""
        key = self._key(one)
        entry = self._running[key] = InFlight(key)
        return entry

    def end(self, entry: InFlight[T], result: T | None, *, is_kept: bool = True) -> None:
        """Give the result to those that wait, and to later duplicates if it is kept; None: they start over."""
        entry.result = result
        if is_kept and result is not None:
            entry.ended_at = self._clock()
            self._done[entry.key] = entry
            self._done.move_to_end(entry.key)
            if len(self._done) > self._most:
                self._done.popitem(last=False)
        if self._running.get(entry.key) is entry:
            del self._running[entry.key]
        if entry.over is not None:
            entry.over.set()


class DeliveryDeduplicator(Deduplicator[Delivery, Settlement | Exception]):
    """Remembers deliveries by their content, since a redelivery has another tag."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        super().__init__(most, clock, _key)
        self._untouched: OrderedDict[Hashable, set[int]] = OrderedDict()
        """Deliveries about which nothing was done, with the numbers of times each had been handed out before."""

    def find(self, one: Delivery) -> InFlight[Settlement | Exception] | None:
        """Return what is known of a possible duplicate; None for a new delivery, or one without a name.

        Two equal requests without a name may be two requests. Two equal retry messages are duplicates.
        """
        entry = None if is_new(one) else super().find(one)
        return entry if entry is not None and is_identified(one) else None

    def note_untouched(self, delivery: Delivery) -> None:
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
        """Whether nothing can have been done about a delivery: each time before, it was handed to us, and not touched.

        The broker counts how often it hands a delivery out. A count that we have not seen stands for another worker.
        """
        times = times_handed_out(delivery)
        if not times:
            return not delivery.redelivered
        return bool(self._untouched) and self._untouched.get(_key(delivery), set()).issuperset(range(times))


def is_new(delivery: Delivery) -> bool:
    """Whether no worker can have had a delivery before.

    The relay publishes a retry message or a replayed dead letter once; two equal ones are duplicates, from an
    interrupted publication.
    """
    return not delivery.redelivered and not (delivery.headers and is_republication(delivery.headers))


def _key(delivery: Delivery) -> Hashable:
    """All that stays the same in a redelivery. The broker only adds headers."""
    return (
        delivery.message_id,
        delivery.timestamp,
        delivery.correlation_id,
        delivery.reply_to,
        delivery.content_type,
        delivery.content_encoding,
        publication_key(delivery.headers) if delivery.headers else NO_KEY,
        hashlib.blake2b(delivery.body, digest_size=16).digest(),
    )


def deduplicated(send: Send, clock: Callable[[], float], on_duplicate: Callable[[], None]) -> Send:
    """Give a later attempt that is a duplicate the outcome of the other.

    A delivery that was handed to two workers may have been scheduled for retry by both. The two retry messages may
    return in the same moment, when neither attempt shows in OMNI's logs yet.
    """
    attempts: Deduplicator[OmniCall, Outcome] = Deduplicator(_ATTEMPTS_KEPT, clock, _attempt_key)

    async def deduplicated_send(call: OmniCall) -> Outcome:
        if call.is_first:
            return await send(call)
        while other := attempts.find(call):
            if (known := await other.wait()) is not None:
                on_duplicate()
                return known
        entry = attempts.enter(call)
        try:
            outcome = await send(call)
        except BaseException:
            attempts.end(entry, None)
            raise
        # If it is not final, its own next attempt has an equal key and must be made.
        attempts.end(entry, outcome, is_kept=is_final(call, outcome))
        return outcome

    return deduplicated_send


def _attempt_key(call: OmniCall) -> Hashable:
    """All that identifies a later attempt, except for its number."""
    digest = hashlib.blake2b(call.to_json(), digest_size=16).digest()
    return call.request_id, call.redrives, call.published, digest
