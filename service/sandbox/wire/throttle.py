"""So many calls a minute, and no more."""

from collections import deque
from datetime import datetime, timedelta

_PERIOD = timedelta(minutes=1)


class Throttle:
    """Counts the calls let through; those sent away do not count."""

    def __init__(self) -> None:
        self._let: deque[datetime] = deque()

    def lets(self, now: datetime, most: int) -> bool:
        """Whether one more call is within the limit."""
        while self._let and now - self._let[0] >= _PERIOD:
            self._let.popleft()
        if len(self._let) >= most:
            return False
        self._let.append(now)
        return True
