"""The limit in use: slots for calls, and a pace for messages.

Where a rate is set, calls wait for it in one line. Of large calls only one at a time stands in that line. So a producer
with many messages takes turns with others, and does not keep them waiting until all of its messages have gone.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Self

from service.core.attempt.concurrency import Limit, begin_anew, cut, grow, is_congestion, may_queue, reserve
from service.core.attempt.outcome import Accepted, Outcome


class Throttle:
    """Gives out slots, first come first served; `rate` is messages a second, None for as fast as they come."""

    def __init__(
        self,
        limit: Limit,
        rate: float | None,
        on_change: Callable[[Limit], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self._rate = rate
        self._on_change = on_change
        self._clock = clock
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._free_at = 0.0
        self._line = asyncio.Lock()
        """At most one large call waits for the rate; it holds this lock."""
        on_change(limit)

    @property
    def is_full(self) -> bool:
        """Tell whether a call would have to wait for a slot."""
        return bool(self._waiting) or self._in_flight >= int(self.limit.size)

    @property
    def waiting(self) -> int:
        """Count the calls that wait for a slot."""
        return len(self._waiting)

    def slot(self, messages: int, *, is_part: bool) -> "Throttle | _LargeCall":
        """Hold a slot for a call of so many messages while inside; `is_part`: it is one of several of a request."""
        return self if may_queue(messages, self._rate, is_part=is_part) else _LargeCall(self, self._line)

    async def __aenter__(self) -> Self:
        if self.is_full:
            await self._queue()
        else:
            self._in_flight += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._in_flight -= 1
        self._admit()

    async def pace(self, messages: int) -> None:
        """Wait until so many messages may go."""
        if self._rate is not None:
            self._free_at, wait = reserve(self._free_at, self._clock(), messages, self._rate)
            await asyncio.sleep(wait)

    def notice(self, outcome: Outcome, seconds: float) -> None:
        """Hear how a call went."""
        if isinstance(outcome, Accepted):
            self._set(grow(self.limit, seconds, self.waiting))
        elif is_congestion(outcome):
            self._set(cut(self.limit, self._clock()))

    def begin_anew(self) -> None:
        """Hear that calls were paused."""
        self._set(begin_anew(self.limit))

    def _set(self, limit: Limit) -> None:
        if int(limit.size) != int(self.limit.size):
            self._on_change(limit)
        self.limit = limit
        self._admit()

    async def _queue(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._in_flight -= 1  # its turn came in the same moment
                self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting and self._in_flight < int(self.limit.size):
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)


class _LargeCall:
    """A slot for a call that stands in the line for the rate while no other large call does."""

    def __init__(self, throttle: Throttle, line: asyncio.Lock) -> None:
        self._throttle = throttle
        self._line = line
        self._is_in_line = False

    async def __aenter__(self) -> Self:
        await self._line.acquire()
        self._is_in_line = True
        try:
            await self._throttle.__aenter__()
        except BaseException:
            self._leave_line()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave_line()
        await self._throttle.__aexit__()

    async def pace(self, messages: int) -> None:
        """Wait until so many messages may go; then the next large call gets in line, while this one is made."""
        await self._throttle.pace(messages)
        self._leave_line()

    def _leave_line(self) -> None:
        if self._is_in_line:
            self._is_in_line = False
            self._line.release()
