"""Slots for calls, and a rate for messages: calls wait for both in one queue, urgent ones first.

Where a rate is set, of the large calls of a lane only one at a time waits in that queue. So a producer with many
messages takes turns with others, and does not make them wait until all of its messages are sent.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from service.core.attempt.call import OmniCall, Send
from service.core.attempt.concurrency import (
    Limit,
    begin_anew,
    charge,
    cut,
    grow,
    is_congestion,
    may_queue,
    room_at,
)
from service.core.attempt.outcome import DUPLICATE, NOT_SENT, Accepted, Outcome
from service.core.lanes import LaneQueue
from service.core.topology import LANES, URGENT
from service.worker.cancellation import Cancellations

_SHORTEST_TIMER: Final = 0.001


@dataclass(eq=False, slots=True)
class _Waiting:
    """A call that waits; once its turn has come, as it was sealed."""

    call: OmniCall
    turn: asyncio.Future[None]
    is_dropped: bool = False
    """Whether it has neither a slot nor its share of the rate."""


class Limiter:
    """Gives out slots and the rate; `rate` is messages per second, None for no limit."""

    def __init__(
        self,
        limit: Limit,
        rate: float | None,
        on_change: Callable[[Limit], None],
        clock: Callable[[], float],
    ) -> None:
        self.limit = limit
        self.clock = clock
        self.large: Final = {lane: asyncio.Lock() for lane in LANES}
        """Held by the one large call of a lane that waits for a slot or the rate."""
        self.rate = rate
        self._on_change = on_change
        self._in_flight = 0
        self._slots = int(limit.size)
        self._waiting: LaneQueue[_Waiting] = LaneQueue()
        self._free_at = 0.0
        """When the rate has room."""
        self._timer: asyncio.TimerHandle | None = None
        on_change(limit)

    @property
    def waiting(self) -> int:
        """How many calls wait for a slot."""
        return 0 if self._in_flight < self._slots else self._waiting.size

    async def acquire(self, call: OmniCall) -> OmniCall | None:
        """Wait for a slot and for the rate of all messages; returns the call, sealed if it was open.

        None if it was dropped: then it has neither.
        """
        has_room = self.rate is None or self._seconds_to_room(urgent=call.lane is URGENT) <= 0
        if has_room and self._in_flight < self._slots and not self._waiting.size:
            return self._grant(call, waited=False)
        one = _Waiting(call, asyncio.get_running_loop().create_future())
        self._waiting.append(call.lane, one)
        self._admit()
        try:
            await one.turn
        except asyncio.CancelledError:
            if (
                one.turn.done() and not one.turn.cancelled() and not one.is_dropped
            ):  # its turn came in the same turn of the loop
                self.give_back(one.call)
                self.release()
            raise
        return None if one.is_dropped else one.call

    def drop(self, is_concerned: Callable[[OmniCall], bool]) -> None:
        """Give up calls that wait, except for batches, which give up their members by themselves."""

        def drop(one: _Waiting) -> bool:
            one.is_dropped = one.call.seal is None and not one.turn.done() and is_concerned(one.call)
            if one.is_dropped:
                one.turn.set_result(None)
            return one.is_dropped

        self._waiting.drop(drop)
        self._admit()

    def give_back(self, call: OmniCall) -> None:
        """Give back the rate of a call that was not made."""
        if self.rate is not None:
            self._free_at -= len(call.messages) / self.rate

    def release(self, outcome: Outcome | None = None, seconds: float = 0.0) -> None:
        """Give a slot back, and adapt the number of slots to the outcome of a call that was made and took so long."""
        limit = self.limit
        if isinstance(outcome, Accepted):
            limit = grow(limit, seconds, self._waiting.size if self._in_flight >= self._slots else 0)
        elif outcome is not None and is_congestion(outcome):
            limit = cut(limit, self.clock())
        self._in_flight -= 1
        self._set(limit)

    def begin_anew(self) -> None:
        """Start over after a pause."""
        self._set(begin_anew(self.limit))

    def _set(self, limit: Limit) -> None:
        self.limit, slots = limit, int(limit.size)
        if slots != self._slots:
            self._slots = slots
            self._on_change(limit)
        if self._waiting.size:
            self._admit()

    def _seconds_to_room(self, *, urgent: bool) -> float:
        return room_at(self._free_at, urgent=urgent) - self.clock()

    def _grant(self, call: OmniCall, *, waited: bool) -> OmniCall:
        call = call.seal() if call.seal else call
        self._in_flight += 1
        if self.rate is not None:
            self._free_at = charge(self._free_at, self.clock(), len(call.messages), self.rate, waited=waited)
        return call

    def _admit(self) -> None:
        """Admit calls as long as there are slots and the rate has room; come back when it has room again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting.size and self._in_flight < self._slots:
            urgent = bool(self._waiting.waiting(URGENT))
            if self.rate is not None and (seconds := self._seconds_to_room(urgent=urgent)) > 0:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(max(seconds, _SHORTEST_TIMER), self._admit)
                return
            self._waiting.take(self._use)

    def _use(self, one: _Waiting) -> float:
        """Admit a call; returns the units that it uses: messages where a rate is set, else one call."""
        if one.turn.done():
            return 0.0  # it was cancelled
        one.call = self._grant(one.call, waited=True)
        one.turn.set_result(None)
        return 1.0 if self.rate is None else float(len(one.call.messages))


def limited(
    send: Send,
    limiter: Limiter,
    record: Callable[[Outcome, int], None] = lambda _, __: None,
    orders: Cancellations | None = None,
) -> Send:
    """Send a call once it has a slot and its share of the rate. A batch is sealed when it has both.

    `record` gets the outcome of each call that was made, and how often its messages were denied before.

    While it waited, its session may have become silent and must be asked. That happens here, where the slot is held and
    the rate is paid: a call that had to queue again for them could become silent again, and never be sent.
    """
    if orders is not None:
        orders.listen(lambda: limiter.drop(orders.concerns))

    async def limited_send(call: OmniCall) -> Outcome:
        rate = limiter.rate
        if rate is not None and not may_queue(len(call.messages), rate, is_part=call.is_part):
            async with limiter.large[call.lane]:
                is_dropped = orders is not None and orders.concerns(call)
                admitted = None if is_dropped else await limiter.acquire(call)
        else:
            admitted = await limiter.acquire(call)
        if admitted is None:
            return NOT_SENT
        call = admitted if orders is None else orders.guarded(admitted)
        outcome: Outcome = NOT_SENT
        seconds = 0.0
        try:
            while outcome is NOT_SENT and (call.may_send() or await _is_allowed(call)):
                began = limiter.clock()
                outcome = await send(call)
                seconds = limiter.clock() - began
        except BaseException:
            limiter.release()
            raise
        if outcome is NOT_SENT or outcome is DUPLICATE:
            limiter.give_back(call)
            limiter.release()
        else:
            limiter.release(outcome, seconds)
            record(outcome, call.denials)
        return outcome

    return limited_send


async def _is_allowed(call: OmniCall) -> bool:
    """Ask the broker about the sessions that have been silent, and then everything once more."""
    for ownership in {member.ownership for member in call.members or (call,)}:
        await ownership.confirm()
    return call.may_send()
