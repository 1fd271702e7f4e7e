"""The gate in use: its state, and a way to wait for it."""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime

from service.rules.gate import OPEN, Gate, admit, look, refuse


class Turnstile:
    """Holds the gate and tells when it moves."""

    def __init__(self, on_change: Callable[[Gate], None]) -> None:
        self.gate = OPEN
        self.moved = asyncio.Event()
        self._on_change = on_change

    def notice(self, cause: str | None) -> None:
        """Hear why a call was refused for our account's sake, or that it was not."""
        now = datetime.now(UTC)
        self._set(refuse(self.gate, cause, now, random.random()) if cause else admit(self.gate))  # noqa: S311 - jitter

    async def passable(self) -> Gate:
        """Wait while it is closed; gives it open, or probing."""
        while self.gate.mode == "closed" and self.gate.until is not None:
            await asyncio.sleep(max(0.0, (self.gate.until - datetime.now(UTC)).total_seconds()))
            self._set(look(self.gate, datetime.now(UTC)))
        self.moved.clear()
        return self.gate

    def _set(self, gate: Gate) -> None:
        if gate.mode != self.gate.mode:
            self.gate = gate
            self.moved.set()
            self._on_change(gate)
