"""The gate in use: who may make a call now, who waits, and how many deliveries to ask for.

A short pause is waited out where one is, and one of those who wait is the probe: to stop and start consuming makes the
broker hand out again what was on its way, and that leaves doubts. In a long one consuming stops first, and only then is
handed back what waits: so nothing is on its way, and nothing is left in a process that may die.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from service.rules.gate import OPEN, Gate, Signal, hear, look
from service.words.outcome import Held

RESULTS_STALLED: Final = "results_stalled"
_PATIENCE: Final = 5.0
"""Seconds after which a pause is long, and consuming stops."""
_SHORTEST_TIMER: Final = 0.001
_STUCK: Final = 60.0
"""Seconds by which a pause may outlive its deadline before the worker counts as stuck."""
_PARTING: Final = 0.2
"""The share of that for the broker to hear of it before what waits is handed back."""


class Turnstile:
    """Holds the gate, and tells whoever waits when anything moves."""

    def __init__(
        self,
        on_turn: Callable[[Gate, float], None],
        on_stall: Callable[[bool], None],
        patience: float = _PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_turn` gets the gate and the seconds until it is tried again; `clock` must only go forward."""
        self._patience = patience
        self._clock = clock
        self.gate = OPEN
        self.stalled = False
        self._on_turn = on_turn
        self._on_stall = on_stall
        self._shut = False
        self._long = False
        self._sends_away = False
        self._pauses = 0
        self._waiting = 0
        self._probe: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._moved_at = clock()
        self._moved = asyncio.Event()

    @property
    def pause(self) -> str | None:
        """Why no calls are made, if that is so."""
        return RESULTS_STALLED if self.stalled else self.gate.cause or None

    def notice(self, signal: Signal) -> None:
        """Hear how a call went."""
        before, self.gate = self.gate, hear(self.gate, signal, self._clock(), random.random())  # noqa: S311 - jitter
        if self.gate.mode != before.mode:
            self._turn()
        self._set_timer()

    def stall(self, *, stalled: bool) -> None:
        """Hear whether what is to be published gets stuck: then no call is made whose end could not be told."""
        if stalled != self.stalled:
            self.stalled = stalled
            self._on_stall(stalled)
            self._move()

    def shut(self) -> None:
        """Let nobody through any more."""
        self._shut = True
        self._move()

    def appetite(self, prefetch: int) -> int:
        """Tell how many deliveries to ask for now."""
        if self._shut:
            return 0
        if not self._long:
            return prefetch
        return 1 if self.gate.mode == "probing" and not self._waiting else 0

    async def moves(self) -> None:
        """Wait until anything moves."""
        await self._moved.wait()

    def look(self) -> None:
        """Let a probe through if it is time. The timer calls it, and so does whoever does not rely on timers."""
        before, self.gate = self.gate, look(self.gate, self._clock())
        if self.gate.mode != before.mode:
            self._turn()
        elif self._probe is not None and self._probe.done():
            self._probe = None  # it ended without a word: another one may try
            self._move()
        self._set_timer()

    @property
    def is_stuck(self) -> bool:
        """Tell whether a pause has outlived its own deadline by a minute, or the one probe is a task that has ended."""
        overdue = self._clock() - _STUCK
        if self.gate.mode == "closed":
            return self.gate.until is not None and self.gate.until < overdue
        is_wanted = self.gate.mode == "probing" and self._waiting > 0 and not self.stalled
        is_probed = self._probe is not None and not self._probe.done()
        return is_wanted and not is_probed and self._moved_at < overdue

    async def enter(self) -> Held | None:
        """Wait for leave to make a call; gives why there is none. Whoever gets it calls `leave` afterwards."""
        if self.gate.mode == "open" and self.passes():
            return None
        self._waiting += 1
        try:
            while not self._shut:
                if self.passes():
                    return None
                if self._sends_away and not self.stalled and self.gate.mode == "closed":
                    return Held(self.gate.cause, self.gate.denied, self._seconds_left())
                await self._moved.wait()
            return Held("stopping")
        finally:
            self._waiting -= 1
            if self._long:
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
        if self.gate.mode == "open":
            return True
        if self.gate.mode == "probing" and (self._probe is None or self._probe.done()):
            self._probe = asyncio.current_task()
            return True
        return self._probe is asyncio.current_task()

    def _set_timer(self) -> None:
        """Have a closed gate looked at when its time comes. A timer may fire a little early: then it is set again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.gate.mode == "closed":
            wait = max(self._seconds_left(), _SHORTEST_TIMER)
            self._timer = asyncio.get_running_loop().call_later(wait, self.look)

    def _seconds_left(self) -> float:
        return 0.0 if self.gate.until is None else max(0.0, self.gate.until - self._clock())

    def _turn(self) -> None:
        self._probe = None
        if self.gate.mode == "open":
            self._long = self._sends_away = False
            self._pauses += 1
        elif self.gate.mode == "closed" and self.gate.closings == 1:
            loop, pause = asyncio.get_running_loop(), self._pauses
            loop.call_later(self._patience, self._grow_long, pause)
            loop.call_later(self._patience * (1 + _PARTING), self._send_away, pause)
        self._on_turn(self.gate, self._seconds_left())
        self._move()

    def _grow_long(self, pause: int) -> None:
        if pause == self._pauses:
            self._long = True
            self._move()

    def _send_away(self, pause: int) -> None:
        if pause == self._pauses:
            self._sends_away = True
            self._move()

    def _move(self) -> None:
        self._moved_at = self._clock()
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
