"""The gate in use: who may make a call now, and who waits.

Whoever wants to make a call waits here for the end of a pause, and one of those who wait is the probe. The consumer is
never cancelled for a pause: the broker would hand out again, as redelivered, what was on its way to it, and nobody can
tell that from what a dead worker may have posted. Whoever has waited for long is sent away and comes back through a
delay queue, so no delivery is held for as long as the broker's own limit (`consumer_timeout`, half an hour).
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from service.core.attempt.breaker import OPEN, CircuitBreaker, Signal, hear, look, seconds_since_healthy
from service.core.attempt.outcome import NotAttempted

RESULTS_STALLED: Final = "results_stalled"
STOPPING: Final = "stopping"
LONGEST_WAIT: Final = 60.0
"""Seconds that a call waits for the end of a pause. A worker that dies meanwhile leaves its deliveries ambiguous."""
_SHORTEST_TIMER: Final = 0.001
_STUCK: Final = 60.0
"""Seconds by which a pause may outlive its deadline before the worker counts as stuck."""


class Turnstile:
    """Holds the gate, and tells whoever waits when anything moves."""

    def __init__(
        self,
        on_turn: Callable[[CircuitBreaker, float], None],
        on_stall: Callable[[bool], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_turn` gets the gate and the seconds until it is tried again; `clock` must only go forward."""
        self.clock = clock
        self.breaker = OPEN
        self.stalled = False
        self._on_turn = on_turn
        self._on_stall = on_stall
        self._shut = False
        self._waiting = 0
        self._waiting_first = 0
        self._probe: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._moved_at = clock()
        self._moved = asyncio.Event()

    @property
    def pause(self) -> str | None:
        """Why no calls are made, if that is so."""
        return RESULTS_STALLED if self.stalled else self.breaker.cause or None

    @property
    def is_open(self) -> bool:
        """Tell whether everybody may make calls."""
        return self.breaker.mode == "open" and not self.stalled and not self._shut

    @property
    def is_stuck(self) -> bool:
        """Tell whether a pause has outlived its own deadline by a minute, or the one probe is a task that has ended."""
        overdue = self.clock() - _STUCK
        if self.breaker.mode == "closed":
            return self.breaker.until is not None and self.breaker.until < overdue
        is_wanted = self.breaker.mode == "probing" and self._waiting > 0 and not self.stalled
        is_probed = self._probe is not None and not self._probe.done()
        return is_wanted and not is_probed and self._moved_at < overdue

    @property
    def seconds_since_healthy(self) -> float:
        """Tell how long ago a call last showed that OMNI takes calls of ours."""
        return seconds_since_healthy(self.breaker, self.clock())

    def notice(self, signal: Signal) -> None:
        """Hear how a call went."""
        before, self.breaker = self.breaker, hear(self.breaker, signal, self.clock(), random.random())  # noqa: S311 - jitter
        if self.breaker.mode != before.mode:
            self._turn()
        self._set_timer()

    def look(self) -> None:
        """Let a probe through if it is time. The timer calls it, and so does whoever does not rely on timers."""
        before, self.breaker = self.breaker, look(self.breaker, self.clock())
        if self.breaker.mode != before.mode:
            self._turn()
        elif self._probe is not None and self._probe.done():
            self._probe = None  # it ended without a word: another one may try
            self._move()
        self._set_timer()

    def retry_denied(self) -> None:
        """Let a probe through now if our credentials or set-up were refused: they have been replaced."""
        if self.breaker.mode == "closed" and self.breaker.denied:
            self.breaker = replace(self.breaker, until=self.clock())
            self.look()

    def stall(self, *, stalled: bool) -> None:
        """Hear whether what is to be published gets stuck: then no call is made whose end could not be told."""
        if stalled != self.stalled:
            self.stalled = stalled
            self._on_stall(stalled)
            self._move()

    @property
    def is_shut(self) -> bool:
        """Tell whether nobody gets through any more."""
        return self._shut

    def shut(self) -> None:
        """Let nobody through any more."""
        self._shut = True
        self._move()

    async def enter(self, until: float, *, again: bool = False) -> NotAttempted | None:
        """Wait for leave to make a call, until then by the clock; gives why there is none.

        Whoever gets it calls `leave` afterwards. One that was denied before (`again`) is not the probe where others
        wait: it may be denied for a reason of its own. While results are stalled nobody is sent away: a request could
        not be published to a delay queue either.
        """
        self._waiting += 1
        self._waiting_first += not again
        try:
            while not self._shut:
                if not (again and self._waiting_first and self.breaker.mode == "probing") and self.passes():
                    return None
                left = until - self.clock()
                if left <= 0 and not self.stalled:
                    return NotAttempted(self.breaker.cause)
                await self._moves(None if self.stalled else left)
            return NotAttempted(STOPPING)
        finally:
            self._waiting -= 1
            self._waiting_first -= not again
            if not again and not self._waiting_first and self.breaker.mode == "probing":
                self._move()

    def leave(self) -> None:
        """Make room for another probe, if this was one and told nothing."""
        if self._probe is not None and self._probe is asyncio.current_task():
            self._probe = None
            self._move()

    def passes(self) -> bool:
        """Tell whether the one who asks may make a call right now."""
        if self._shut or self.stalled:
            return False
        if self.breaker.mode == "open":
            return True
        if self.breaker.mode == "probing" and (self._probe is None or self._probe.done()):
            self._probe = asyncio.current_task()
            return True
        return self._probe is asyncio.current_task()

    def _turn(self) -> None:
        self._probe = None
        self._on_turn(self.breaker, self._seconds_left())
        self._move()

    def _set_timer(self) -> None:
        """Have a closed gate looked at when its time comes. A timer may fire a little early: then it is set again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.breaker.mode == "closed":
            wait = max(self._seconds_left(), _SHORTEST_TIMER)
            self._timer = asyncio.get_running_loop().call_later(wait, self.look)

    def _seconds_left(self) -> float:
        return 0.0 if self.breaker.until is None else max(0.0, self.breaker.until - self.clock())

    async def _moves(self, seconds: float | None) -> None:
        """Wait until anything moves, for so many seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if seconds is None else max(seconds, _SHORTEST_TIMER)):
                await self._moved.wait()

    def _move(self) -> None:
        self._moved_at = self.clock()
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
