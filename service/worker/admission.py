"""Memory for deliveries: which of them begin, which wait, and when no more are read from the broker.

A prefetch limits the number of deliveries, and AMQP has no limit in bytes that RabbitMQ implements. So when those in
flight exceed the limit, the connection that delivers is not read, and the broker keeps the rest. RabbitMQ ends a
connection that it cannot write to for 15 seconds (`tcp_listen_options.send_timeout`), and redelivers all of it.
Ordinary requests wait behind the large one that is not read. So the pause is short: large deliveries that have not
begun by then go into a delay queue, unread, until half of the memory is free. If only the last one did, the next large
one would cause the next pause.

A delivery that has waited for a minute also goes there. The broker redelivers what is not settled within half an hour
(`consumer_timeout`), and while sending is paused one large delivery may make the next one wait for a minute.

Small deliveries begin at once, so many bytes in a turn of the loop. Large ones begin one after the other, or a few
together: one costs many times its bytes when it is read. Among those that wait, the urgent lane goes first. A pause
holds both lanes up, since they share the connection.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from service.adapters.rabbitmq import Acknowledger, BrokerErrors, ConnectionLifetime, OnDelivery
from service.core.delivery import Delivery
from service.core.lanes import LaneQueue
from service.core.request.decoding import memory_of
from service.core.request.parsing import LARGE
from service.core.topology import LANES
from service.core.value import dataclass
from service.worker.telemetry import Telemetry

_AT_ONCE: Final = 2**20
"""Bytes of large deliveries that are handled at once. Ten thousand destinations: 400 kB at least, 15 MiB parsed."""
_TURN: Final = 2**15
"""Bytes of small deliveries that begin in one turn of the loop; finding all their faults may take 0.15 s."""
_LONGEST_PAUSE: Final = 0.3
"""Seconds without reading after which waiting deliveries are scheduled for retry: other requests wait meanwhile."""
_LONGEST_WAIT: Final = 60.0
"""Seconds after which a delivery that has not begun is scheduled for retry."""
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
    """When it is scheduled for retry, by the loop's clock."""


class Admission:
    """Holds what has arrived; has deliveries served as there is memory for them."""

    def __init__(
        self,
        most: int,
        schedule_retry: Callable[[Delivery], Awaitable[None]],
        telemetry: Telemetry,
        longest_pause: float = _LONGEST_PAUSE,
        longest_wait: float = _LONGEST_WAIT,
    ) -> None:
        """Allow `most` bytes in flight; `schedule_retry` returns when the broker has the delivery in a delay queue."""
        self._most = most
        self._schedule_retry = schedule_retry
        self._longest_pause = longest_pause
        self._longest_wait = longest_wait
        self._telemetry = telemetry
        self._serve: OnDelivery = lambda _, __: None
        self._release: Callable[[Delivery], None] = lambda _: None
        self._bytes = 0
        self._begun = 0
        self._turn = 0
        self._later: LaneQueue[tuple[Delivery, Acknowledger]] = LaneQueue()
        self._waiting: LaneQueue[_Waiting] = LaneQueue()
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
        telemetry.metrics.bytes_in_flight.set_function(lambda: self._bytes)

    def into(self, serve: OnDelivery, release: Callable[[Delivery], None] = lambda _: None) -> OnDelivery:
        """Return a function that takes deliveries and passes them on to `serve`, which calls `done` for each.

        `release` gets each delivery that is not served, since its session has ended.
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
            self._waiting.append(delivery.lane, _Waiting(delivery, acknowledger, size, overdue_at))
            self._admit()
            self._watch()
        else:
            # While others wait for the next turn, the limit is exceeded, so this one waits behind them.
            if not self._turn:
                asyncio.get_running_loop().call_soon(self._next_turn)
            self._turn += size or 1
            if self._turn > _TURN:
                self._later.append(delivery.lane, (delivery, acknowledger))
            else:
                self._serve(delivery, acknowledger)
        if self._bytes > self._most:
            self._stop_reading(acknowledger.broken)

    def done(self, delivery: Delivery) -> None:
        """Free the memory of a delivery that was served."""
        size = memory_of(delivery)
        self._bytes -= size
        if size > LARGE:
            self._begun -= size
        if self._waiting.size or self._unread is not None:
            self._go_on()

    def hold(self) -> Callable[[], int]:
        """Settle nothing until `close`: the broker would send more deliveries. Returns a counter of those so far."""
        self._is_closing = True
        self._may_settle.clear()
        return lambda: self._arrived

    async def close(self, seconds: float) -> None:
        """Schedule for retry what has not begun and what still arrives, for so many seconds: the process ends.

        The consumer has been cancelled. The broker's answer follows all deliveries that it has sent, and nobody reads
        it while reading is paused.
        """
        self._may_settle.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if self._making_room is not None:
                    await asyncio.wait({self._making_room})
                await self._schedule_all()
                while self._session is not None and self._session.is_unanswered:
                    self._read_on()
                    await asyncio.sleep(_CHECK_INTERVAL)
                    await self._schedule_all()

    async def _schedule_all(self) -> None:
        while self._later:
            self._serve(*self._later.take())
        while self._waiting:
            await self._schedule_one(self._waiting.take_last())

    def _next_turn(self) -> None:
        self._turn = 0
        while self._later.size and self._turn <= _TURN:
            delivery, acknowledger = self._later.take()
            if not self._turn:
                asyncio.get_running_loop().call_soon(self._next_turn)
            self._turn += memory_of(delivery) or 1
            self._serve(delivery, acknowledger)

    def _admit(self) -> None:
        """Begin with large deliveries: as many as may be served at once, and always one."""
        while self._waiting:
            first = self._waiting.first
            if self._begun and self._begun + first.size > _AT_ONCE and not first.acknowledger.broken.is_set():
                return
            self._waiting.take()
            if first.acknowledger.broken.is_set():
                self._bytes -= first.size  # the broker hands it out again
                self._release(first.delivery)
            else:
                self._begun += first.size
                self._serve(first.delivery, first.acknowledger)

    def _go_on(self) -> None:
        """Use the memory that has become free."""
        self._admit()
        if self._unread is not None and self._bytes <= self._most:
            self._read_on()

    def _stop_reading(self, session: ConnectionLifetime) -> None:
        self._unread = session
        session.pause_reading()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._longest_pause, self._start_making_room)

    def _read_on(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._unread is not None:
            self._unread.resume_reading()
            self._unread = None

    def _watch(self) -> None:
        """Set a timer for when the first of those that wait is overdue."""
        if self._waiting and self._overdue_timer is None:
            loop = asyncio.get_running_loop()
            overdue_at = min(waiting[0].overdue_at for lane in LANES if (waiting := self._waiting.waiting(lane)))
            self._overdue_timer = loop.call_at(overdue_at, self._find_overdue)

    def _find_overdue(self) -> None:
        self._overdue_timer = None
        self._start_making_room()

    def _start_making_room(self) -> None:
        if not self._is_closing and (self._making_room is None or self._making_room.done()):
            self._making_room = asyncio.create_task(self._make_room())

    async def _make_room(self) -> None:
        """Schedule overdue deliveries for retry; if there is too much, also others that wait, latest first, to half.

        Those of the urgent lane come last.

        Where all have begun, read a little, or the broker takes the connection for dead.
        """
        now = asyncio.get_running_loop().time
        for lane in LANES:
            waiting = self._waiting.waiting(lane)
            while waiting and waiting[0].overdue_at <= now() + _SOON and not self._is_closing:
                await self._schedule_one(self._waiting.take_first(lane))
        if self._bytes > self._most:
            while self._waiting and self._bytes > self._most // 2 and not self._is_closing:
                await self._schedule_one(self._waiting.take_last())
        self._read_on()
        self._watch()

    async def _schedule_one(self, waiting: _Waiting) -> None:
        try:
            if waiting.acknowledger.broken.is_set():
                self._release(waiting.delivery)
            else:
                await self._schedule_retry(waiting.delivery)
                self._telemetry.delivery_set_aside(waiting.size)
                await self._may_settle.wait()
                with contextlib.suppress(*BrokerErrors):
                    await waiting.acknowledger.ack()
        finally:
            self._bytes -= waiting.size
            self._go_on()
