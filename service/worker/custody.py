"""Whether a delivery is still ours: its session may end while a task serves it, and another worker has it then.

The broker ends a session without our knowledge in two ways. Either way it hands the deliveries to another worker, and
our copy of them must not be posted.

* The process stands still (SIGSTOP, a virtual machine that is moved). What the broker said meanwhile waits in the
  kernel, and old bytes are read before the end of the connection is. So after a standstill the session counts again
  only once the broker has answered a question that was asked after it.
* The network is silent. A broker gives a client up after two heartbeat intervals without a word from it, and the
  shortest interval is one second. So a session that has been silent for longer than `_SILENCE` is asked first.

While deliveries are left unread for want of memory, the broker is asked over the session's other connection. The broker
ends the one for deliveries once it has not been able to write to it for 15 seconds. So after `_UNREAD` seconds that
answer tells nothing, and the session is over.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from service.adapters.rabbitmq import Acknowledger, BrokerErrors, elapsed

_BEAT: Final = 0.2
"""Seconds between two looks at the clock while nothing else looks at it."""
_STANDSTILL: Final = 0.5
"""Seconds without a look after which the process may have stood still."""
_SILENCE: Final = 1.0
"""Seconds for which the last word from the broker counts."""
_UNREAD: Final = 10.0
"""Seconds for which deliveries may be left unread: two thirds of RabbitMQ's `tcp_listen_options.send_timeout`."""

SESSION: ContextVar[Acknowledger | None] = ContextVar("SESSION", default=None)
"""The receipt of the delivery that this task serves; its `broken` is set when the session is over."""


class HandedBackError(Exception):
    """The session went before a call was made: by now another worker may have the delivery, so none is."""


class UntouchedError(HandedBackError):
    """The same, and nothing at all was done about the delivery: when it comes back to us, it is as new as before."""


class SessionCheck:
    """Tells whether the broker can have handed our deliveries to another worker. Make it where a loop is running."""

    def __init__(self, clock: Callable[[], float] = elapsed) -> None:
        self._clock = clock
        self._looked_at = clock()
        self._resumed_at = float("-inf")
        self._beat()

    def is_valid(self, acknowledger: Acknowledger | None) -> bool:
        """Tell whether a delivery is ours this moment, without asking; False if only the broker can tell."""
        now = self._look()
        if acknowledger is None:
            return True
        life = acknowledger.broken
        return life.confirmed_at >= self._resumed_at and now - life.heard_at <= _SILENCE and not life.is_set()

    async def confirm(self, acknowledger: Acknowledger | None) -> bool:
        """Tell whether a delivery is ours; asks the broker if need be, for as long as the session lasts."""
        if acknowledger is None or self.is_valid(acknowledger):
            return True
        life = acknowledger.broken
        async with life.confirming:
            while not life.is_set() and not self.is_valid(acknowledger):
                asked_at = self._look()
                try:
                    await self._ask(acknowledger)
                except BrokerErrors:
                    life.set("connection_lost")  # what is not known to be ours is given back as a whole
                else:
                    life.confirmed_at, life.heard_at = asked_at, self._look()
        return not life.is_set()

    async def _ask(self, acknowledger: Acknowledger) -> None:
        """Return when the broker has shown that a session lives. Raises one of `BrokerErrors`."""
        if not self._is_left(acknowledger):
            await acknowledger.alive()
        if self._is_left(acknowledger):
            raise TimeoutError

    def _is_left(self, acknowledger: Acknowledger) -> bool:
        """Tell whether deliveries have been left unread for so long that the broker may have handed them to others."""
        since = acknowledger.broken.unread_since
        return since is not None and self._clock() - since > _UNREAD

    async def require(self) -> None:
        """Return if the delivery that this task serves is ours. Raises `HandedBackError`."""
        if not await self.confirm(SESSION.get()):
            raise HandedBackError

    def _look(self) -> float:
        """Look at the clock, and note a standstill; gives the time."""
        now = self._clock()
        if now - self._looked_at > _STANDSTILL:
            self._resumed_at = now
        self._looked_at = now
        return now

    def _beat(self) -> None:
        self._look()
        asyncio.get_running_loop().call_later(_BEAT, self._beat)
