"""The sandbox's own time, which can run faster than real time, stand still, or be advanced.

Messages, reports, validity periods, retries of pushes and the rate limit of the logs follow it. Only the delays of
injected faults are real seconds, because the caller waits for them.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """A clock with a speed; `ticks` counts real seconds."""

    def __init__(self, speed: float = 1.0, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks = ticks
        self._speed = speed
        self._set_at = ticks()
        self._set_to = datetime.now(UTC)

    @property
    def speed(self) -> float:
        """Sandbox seconds in one real second."""
        return self._speed

    def now(self) -> datetime:
        """Return the time in UTC."""
        return self._set_to + timedelta(seconds=(self._ticks() - self._set_at) * self._speed)

    def run_at(self, speed: float) -> None:
        """Change the speed from now on; 0 stops the clock."""
        self._set_to, self._set_at, self._speed = self.now(), self._ticks(), speed

    def advance(self, seconds: float) -> None:
        """Move it forward."""
        self._set_to += timedelta(seconds=seconds)

    def wait_for(self, moment: datetime) -> float | None:
        """Return the real seconds until a time; None while the clock is stopped."""
        left = (moment - self.now()).total_seconds()
        if left <= 0:
            return 0.0
        return left / self._speed if self._speed else None
