"""The gate in use: who may make a call now, who waits, and how many deliveries to ask for.

What waits longer than a moment is handed back, so that a pause leaves nothing in a process that may die; a moment is
worth the wait, and one of those who wait is the probe.
"""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from service.rules.gate import OPEN, Gate, Signal, hear, look
from service.words.outcome import Held

RESULTS_STALLED: Final = "results_stalled"
PATIENCE: Final = 5.0
"""Seconds to wait at a closed gate: as long as it takes to see OMNI come back."""


class Turnstile:
    """Holds the gate, and tells whoever waits when anything moves."""

    def __init__(self, on_turn: Callable[[Gate], None], on_stall: Callable[[bool], None]) -> None:
        self.gate = OPEN
        self.stalled = False
        self._on_turn = on_turn
        self._on_stall = on_stall
        self._shut = False
        self._waiting = 0
        self._probe: asyncio.Task[object] | None = None
        self._moved = asyncio.Event()

    @property
    def pause(self) -> str | None:
        """Why no calls are made, if that is so."""
        return RESULTS_STALLED if self.stalled else self.gate.cause or None

    def notice(self, signal: Signal) -> None:
        """Hear how a call went."""
        now = datetime.now(UTC)
        before, self.gate = self.gate, hear(self.gate, signal, now, random.random())  # noqa: S311 - jitter
        if self.gate.mode == "closed" and self.gate.until != before.until and self.gate.until is not None:
            asyncio.get_running_loop().call_later((self.gate.until - now).total_seconds(), self._look)
        if self.gate.mode != before.mode:
            self._turn()

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
        if self._shut or self.stalled or self.gate.mode == "closed":
            return 0
        if self.gate.mode == "open":
            return prefetch
        return 0 if self._waiting else 1

    async def moves(self) -> None:
        """Wait until anything moves."""
        await self._moved.wait()

    async def enter(self) -> Held | None:
        """Wait for leave to make a call; gives why there is none. Whoever gets it calls `leave` afterwards."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        self._waiting += 1
        try:
            while not self._shut:
                if self.passes():
                    return None
                left = deadline - asyncio.get_running_loop().time()
                if not self.stalled and (left <= 0 or _is_long(self.gate)):
                    return Held(self.gate.cause, self.gate.denied, self.gate.until)
                moved = asyncio.create_task(self._moved.wait())
                await asyncio.wait({moved}, timeout=None if self.stalled else left)
                moved.cancel()
            return Held("stopping")
        finally:
            self._waiting -= 1
            if self.gate.mode != "open":
                self._move()

    def leave(self) -> None:
        """Make room for another probe, if this was one and told nothing."""
        if self._probe is asyncio.current_task():
            self._probe = None
            self._move()

    def passes(self) -> bool:
        """Tell whether the one who asks may make a call right now."""
        if self._shut or self.stalled:
            return False
        if self.gate.mode == "probing" and (self._probe is None or self._probe.done()):
            self._probe = asyncio.current_task()
            return True
        return self.gate.mode == "open" or self._probe is asyncio.current_task()

    def _look(self) -> None:
        before, self.gate = self.gate, look(self.gate, datetime.now(UTC))
        if self.gate.mode != before.mode:
            self._turn()

    def _turn(self) -> None:
        self._probe = None
        self._on_turn(self.gate)
        self._move()

    def _move(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def _is_long(gate: Gate) -> bool:
    return gate.until is not None and (gate.until - datetime.now(UTC)).total_seconds() > PATIENCE
