"""Slots for calls, and a rate for messages.

Where a rate is set, calls wait for it in one queue. Of large calls only one at a time waits in that queue. So a
producer with many messages takes turns with others, and does not make them wait until all of its messages are sent.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from service.core.attempt.call import OmniCall, Send
from service.core.attempt.concurrency import Limit, begin_anew, cut, grow, is_congestion, may_queue, reserve
from service.core.attempt.outcome import NOT_SENT, Accepted, Outcome


class Limiter:
    """Gives out slots, first come, first served; `rate` is messages per second, None for no limit."""

    def __init__(
        self,
        limit: Limit,
        rate: float | None,
        on_change: Callable[[Limit], None],
        clock: Callable[[], float],
    ) -> None:
        self.limit = limit
        self.clock = clock
        self.large = asyncio.Lock()
        """Held by the one large call that waits for a slot or the rate."""
        self.rate = rate
        self._on_change = on_change
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._free_at = 0.0
        on_change(limit)

    @property
    def waiting(self) -> int:
        """How many calls wait for a slot."""
        return len(self._waiting)

    def is_large(self, call: OmniCall) -> bool:
        """Whether a call waits for the rate only while no other large call does."""
        return not may_queue(len(call.messages), self.rate, is_part=call.is_part)

    async def acquire(self) -> None:
        """Wait for a slot."""
        if not self._waiting and self._in_flight < int(self.limit.size):
            self._in_flight += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # the slot was given in the same turn of the loop
            raise

    def release(self) -> None:
        """Give a slot back."""
        self._in_flight -= 1
        self._admit()

    async def wait_for_rate(self, messages: int) -> None:
        """Wait until so many messages may be sent."""
        if self.rate is not None:
            self._free_at, wait = reserve(self._free_at, self.clock(), messages, self.rate)
            await asyncio.sleep(wait)

    def record(self, outcome: Outcome, seconds: float) -> None:
        """Adapt the number of slots to a call that was made and took so long."""
        if isinstance(outcome, Accepted):
            self._set(grow(self.limit, seconds, self.waiting))
        elif is_congestion(outcome):
            self._set(cut(self.limit, self.clock()))

    def begin_anew(self) -> None:
        """Start over after a pause."""
        self._set(begin_anew(self.limit))

    def _set(self, limit: Limit) -> None:
        if int(limit.size) != int(self.limit.size):
            self._on_change(limit)
        self.limit = limit
        if self._waiting:
            self._admit()

    def _admit(self) -> None:
        while self._waiting and self._in_flight < int(self.limit.size):
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)


def limited(send: Send, limiter: Limiter) -> Send:
    """Send a call once it has a slot and its share of the rate. A batch is sealed when it has its slot.

    While it waited, its session may have become silent and must be asked. That happens here, where the slot is held and
    the rate is paid: a call that had to queue again for them could become silent again, and never be sent.
    """

    async def limited_send(call: OmniCall) -> Outcome:
        is_large = limiter.is_large(call)
        if is_large:
            await limiter.large.acquire()
        try:
            await limiter.acquire()
            try:
                call = call.seal() if call.seal else call
                if not (call.may_send() or await _is_allowed(call)):
                    return NOT_SENT
                await limiter.wait_for_rate(len(call.messages))
                if is_large:
                    is_large = False
                    limiter.large.release()
                while call.may_send() or await _is_allowed(call):
                    began = limiter.clock()
                    outcome = await send(call)
                    if outcome is not NOT_SENT:
                        limiter.record(outcome, limiter.clock() - began)
                        return outcome
                return NOT_SENT
            finally:
                limiter.release()
        finally:
            if is_large:
                limiter.large.release()

    return limited_send


async def _is_allowed(call: OmniCall) -> bool:
    """Ask the broker about the sessions that have been silent, and then everything once more."""
    for ownership in {member.ownership for member in call.members or (call,)}:
        await ownership.confirm()
    return call.may_send()
