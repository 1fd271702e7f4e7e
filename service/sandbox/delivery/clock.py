"""The sandbox's own time, which can run faster than the world's, stand still, or be put forward.

Everything that has a moment (messages, reports, validity periods, retries, the logs' throttle) goes by it.
Only the waits of faults are told in the caller's seconds, since it is the caller who waits.
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
        """How many of its seconds pass in one of the world's."""
        return self._speed

    def now(self) -> datetime:
        """Tell the time."""
        return self._set_to + timedelta(seconds=(self._ticks() - self._set_at) * self._speed)

    def run_at(self, speed: float) -> None:
        """Run faster or slower from now on; 0 stands still."""
        self._set_to, self._set_at, self._speed = self.now(), self._ticks(), speed

    def advance(self, seconds: float) -> None:
        """Put it forward."""
        self._set_to += timedelta(seconds=seconds)

    def wait_for(self, moment: datetime) -> float | None:
        """Tell how many real seconds are left until a moment; None while the clock stands still."""
        left = (moment - self.now()).total_seconds()
        if left <= 0:
            return 0.0
        return left / self._speed if self._speed else None
