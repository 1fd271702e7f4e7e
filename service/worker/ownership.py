"""Whether a delivery is still ours: its session may end while a task serves it, and another worker has it then.

The broker may end a session without our knowledge in two ways. Either way it redelivers to another worker, and our copy
must not be posted.

* The process is suspended (SIGSTOP, a virtual machine that is moved). Bytes that the broker sent meanwhile wait in the
  kernel and are read before the end of the connection is. So after a suspension the session counts again only once the
  broker has answered a question that was asked after it.
* The network is silent. A broker gives a client up after two heartbeat intervals without a byte from it, and the
  shortest interval is one second. So a session that has been silent for longer than `_SILENCE` is asked first.

While deliveries are left unread for want of memory, the broker is asked over the session's other connection. The broker
ends the connection for deliveries once it has not been able to write to it for 15 seconds. So after `_UNREAD` seconds
an answer on the other connection proves nothing, and the session is over.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from service.adapters.rabbitmq import Acknowledger, BrokerErrors
from service.core.delivery import Ownership

_BEAT: Final = 0.2
"""Seconds between two readings of the clock while nothing else reads it."""
_SUSPENSION: Final = 0.5
"""Seconds without a reading after which the process may have been suspended."""
_SILENCE: Final = 1.0
"""Seconds for which the latest bytes from the broker count."""
_UNREAD: Final = 10.0
"""Seconds for which deliveries may be left unread: two thirds of RabbitMQ's `tcp_listen_options.send_timeout`."""


class SessionCheck:
    """Whether the broker can have given our deliveries to another worker. Make it where a loop is running."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is in seconds and also counts the time for which the machine is suspended."""
        self.clock = clock
        self.resumed_at = float("-inf")
        """When the process was last seen to run again after a suspension."""
        self._read_at = clock()
        self._latest: SessionOwnership | None = None
        self._beat()

    def ownership(self, acknowledger: Acknowledger) -> Ownership:
        """Return the ownership of a delivery: the same for all of a session, so that it is asked about once."""
        latest = self._latest
        if latest is None or latest.life is not acknowledger.broken:
            latest = self._latest = SessionOwnership(self, acknowledger)
        return latest

    def read_clock(self) -> float:
        """Read the clock, and note a suspension."""
        now = self.clock()
        if now - self._read_at > _SUSPENSION:
            self.resumed_at = now
        self._read_at = now
        return now

    def _beat(self) -> None:
        self.read_clock()
        asyncio.get_running_loop().call_later(_BEAT, self._beat)


class SessionOwnership(Ownership):
    """The ownership of a session's deliveries, which ends with it."""

    def __init__(self, check: SessionCheck, acknowledger: Acknowledger) -> None:
        self.life = acknowledger.broken
        self._acknowledger = acknowledger
        self._check = check

    def is_certain(self) -> bool:
        """Return whether the session lives at this moment, without asking; False if only the broker knows."""
        check, life = self._check, self.life
        now = check.read_clock()
        return life.confirmed_at >= check.resumed_at and now - life.last_read_at <= _SILENCE and not life.is_set()

    async def confirm(self) -> bool:
        """Return whether the session lives; asks the broker if necessary, for as long as the session lasts."""
        check, life = self._check, self.life
        if self.is_certain():
            return True
        async with life.confirming:
            while not life.is_set() and not self.is_certain():
                asked_at = check.read_clock()
                try:
                    await self._ask()
                except BrokerErrors:
                    life.set("connection_lost")  # deliveries that may be another worker's are given back as a whole
                else:
                    life.confirmed_at, life.last_read_at = asked_at, check.read_clock()
        return not life.is_set()

    async def _ask(self) -> None:
        """Return when the broker has shown that the session lives. Raises one of `BrokerErrors`."""
        if not self._is_unread_too_long():
            await self._acknowledger.alive()
        if self._is_unread_too_long():
            raise TimeoutError

    def _is_unread_too_long(self) -> bool:
        """Return whether deliveries have been left unread so long that the broker may have redelivered them."""
        since = self.life.unread_since
        return since is not None and self._check.clock() - since > _UNREAD
