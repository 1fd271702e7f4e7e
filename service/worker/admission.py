"""Memory for deliveries: which of them begin, which wait, and when no more are read from the broker.

A prefetch limits deliveries in number, and AMQP has no limit in bytes that RabbitMQ keeps to. So where those in flight
take more than they may, the connection that delivers is not read: the broker keeps the rest. It ends a connection that
it cannot write to for 15 seconds (`tcp_listen_options.send_timeout`), and then hands all of it out again. Ordinary
requests wait behind the large one that is not read. So a pause is short: large deliveries that have not begun by then
go into a delay queue, unread, until half of the memory is free. If only the last were put aside, the next large one
would cause the next pause.

So does what has waited for a minute. The broker takes back what is not settled within half an hour
(`consumer_timeout`), and while sending is paused one large delivery may keep the next one waiting for a minute.

Small deliveries begin at once, so many bytes in a turn of the loop. Large ones begin one after the other, or a few
together: one costs many times its bytes when it is read.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from service.adapters.logging import get_logger
from service.adapters.metrics import Metrics
from service.adapters.rabbitmq import Acknowledger, BrokerErrors, ConnectionLifetime, OnDelivery
from service.core.delivery import Delivery
from service.core.request.compression import memory_of
from service.core.request.parsing import LARGE
from service.core.value import dataclass

_AT_ONCE: Final = 2**20
"""Bytes of large deliveries that are served at once. Ten thousand destinations are 400 kB at least, and 15 MiB then."""
_TURN: Final = 2**15
"""Bytes of small deliveries that begin in one turn of the loop; to find all their faults may take 0.15 s."""
_PATIENCE: Final = 0.3
"""Seconds of a pause after which deliveries that wait are put aside. An ordinary request may wait for one second."""
_LONGEST_WAIT: Final = 60.0
"""Seconds after which a delivery that has not begun is put aside."""
_SOON: Final = 0.01
"""Seconds by which a timer may fire too early, and more."""
_CHECK_INTERVAL: Final = 0.05
"""Seconds between two checks whether the broker has answered the cancellation of the consumer."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A large delivery that has not begun."""

    delivery: Delivery
    acknowledger: Acknowledger
    size: int
    overdue_at: float
    """When it is put aside, by the loop's clock."""


class Admission:
    """Holds what has arrived; has deliveries served as there is memory for them."""

    def __init__(
        self,
        most: int,
        schedule_retry: Callable[[Delivery], Awaitable[None]],
        metrics: Metrics,
        patience: float = _PATIENCE,
        longest_wait: float = _LONGEST_WAIT,
    ) -> None:
        """Allow `most` bytes in flight; `put_aside` returns when the broker has a delivery in a waiting room."""
        self._most = most
        self._put_aside = schedule_retry
        self._patience = patience
        self._longest_wait = longest_wait
        self._log = get_logger()
        self._serve: OnDelivery = _nobody
        self._release: Callable[[Delivery], None] = lambda _: None
        self._bytes = 0
        self._begun = 0
        self._turn = 0
        self._later: deque[tuple[Delivery, Acknowledger]] = deque()
        self._waiting: deque[_Waiting] = deque()
        self._session: ConnectionLifetime | None = None
        """The session of the latest delivery."""
        self._unread: ConnectionLifetime | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._overdue_timer: asyncio.TimerHandle | None = None
        self._making_room: asyncio.Task[None] | None = None
        self._arrived = 0
        self._is_closing = False
        self._may_settle = asyncio.Event()
        self._may_settle.set()
        metrics.bytes_in_flight.set_function(lambda: self._bytes)

    def into(self, serve: OnDelivery, release: Callable[[Delivery], None] = lambda _: None) -> OnDelivery:
        """Give what takes deliveries, and has them served by `serve`; each is `done` some time.

        `release` hears of each that is not served, since its session has ended.
        """
        self._serve, self._release = serve, release
        return self.receive

    def receive(self, delivery: Delivery, acknowledger: Acknowledger) -> None:
        """Take a delivery."""
        self._arrived += 1
        self._session = acknowledger.broken
        size = memory_of(delivery)
        self._bytes += size
        if size > LARGE:
            overdue_at = asyncio.get_running_loop().time() + self._longest_wait
            self._waiting.append(_Waiting(delivery, acknowledger, size, overdue_at))
            self._admit()
            self._watch()
        elif self._later or self._turn + size > _TURN:
            self._later.append((delivery, acknowledger))
        else:
            self._begin(delivery, acknowledger, size)
        if self._bytes > self._most:
            self._stop_reading(acknowledger.broken)

    def done(self, delivery: Delivery) -> None:
        """Hear that a delivery that was served is no longer in flight."""
        size = memory_of(delivery)
        if size > LARGE:
            self._begun -= size
        self._leave(size)

    def hold(self) -> Callable[[], int]:
        """Settle nothing until `close`: the broker would send more for it. Gives what counts the deliveries so far."""
        self._is_closing = True
        self._may_settle.clear()
        return lambda: self._arrived

    async def close(self, seconds: float) -> None:
        """Put aside what has not begun and what still comes, as far as that is done in time: the process ends.

        The consumer has been cancelled. The broker's answer follows all deliveries that it has sent, and nobody reads
        it while reading is paused.
        """
        self._may_settle.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if self._making_room is not None:
                    await asyncio.wait({self._making_room})
                await self._put_all_aside()
                while self._session is not None and self._session.is_unanswered:
                    self._read_on()
                    await asyncio.sleep(_CHECK_INTERVAL)
                    await self._put_all_aside()

    async def _put_all_aside(self) -> None:
        while self._later:
            self._serve(*self._later.popleft())
        while self._waiting:
            await self._put_aside_one(self._waiting.pop())

    def _begin(self, delivery: Delivery, acknowledger: Acknowledger, size: int) -> None:
        if not self._turn:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._turn += size
        self._serve(delivery, acknowledger)

    def _next_turn(self) -> None:
        self._turn = 0
        while self._later and self._turn <= _TURN:
            delivery, acknowledger = self._later.popleft()
            self._begin(delivery, acknowledger, memory_of(delivery) or 1)

    def _admit(self) -> None:
        """Begin with large deliveries: as many as may be served at once, and always one."""
        while self._waiting:
            first = self._waiting[0]
            if self._begun and self._begun + first.size > _AT_ONCE and not first.acknowledger.broken.is_set():
                return
            self._waiting.popleft()
            if first.acknowledger.broken.is_set():
                self._bytes -= first.size  # the broker hands it out again
                self._release(first.delivery)
            else:
                self._begun += first.size
                self._serve(first.delivery, first.acknowledger)

    def _leave(self, size: int) -> None:
        self._bytes -= size
        self._admit()
        if self._unread is not None and self._bytes <= self._most:
            self._read_on()

    def _stop_reading(self, session: ConnectionLifetime) -> None:
        self._unread = session
        session.pause_reading()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._patience, self._lose_patience)

    def _read_on(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._unread is not None:
            self._unread.resume_reading()
            self._unread = None

    def _watch(self) -> None:
        """Have the first of those that wait looked at when it is overdue."""
        if self._waiting and self._overdue_timer is None:
            loop = asyncio.get_running_loop()
            self._overdue_timer = loop.call_at(self._waiting[0].overdue_at, self._look_for_overdue)

    def _look_for_overdue(self) -> None:
        self._overdue_timer = None
        self._lose_patience()

    def _lose_patience(self) -> None:
        if not self._is_closing and (self._making_room is None or self._making_room.done()):
            self._making_room = asyncio.create_task(self._make_room())

    async def _make_room(self) -> None:
        """Put aside what is overdue. Where there is too much, put aside what waits too, the latest first, down to half.

        Where all has begun read a little, or the broker thinks us dead.
        """
        now = asyncio.get_running_loop().time
        while self._waiting and self._waiting[0].overdue_at <= now() + _SOON and not self._is_closing:
            await self._put_aside_one(self._waiting.popleft())
        if self._bytes > self._most:
            while self._waiting and self._bytes > self._most // 2 and not self._is_closing:
                await self._put_aside_one(self._waiting.pop())
        self._read_on()
        self._watch()

    async def _put_aside_one(self, waiting: _Waiting) -> None:
        try:
            if waiting.acknowledger.broken.is_set():
                self._release(waiting.delivery)
            else:
                await self._put_aside(waiting.delivery)
                self._log.warning("delivery.set_aside", bytes=waiting.size)
                await self._may_settle.wait()
                with contextlib.suppress(*BrokerErrors):
                    await waiting.acknowledger.ack()
        finally:
            self._leave(waiting.size)


def _nobody(_: Delivery, __: Acknowledger) -> None:
    """Stand for what serves deliveries until that is there."""
