"""A task per delivery, settled in one place.

The task is our own: one run inside the library's callback would be cancelled in mid-call when the connection drops.
A cancelled task settles nothing: when its channel closes, the broker redelivers. The prefetch bounds the number of
tasks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Final

from service.adapters.rabbitmq import Acknowledger, BrokerErrors
from service.core.delivery import Delivery, DeliveryLostError
from service.core.handler import Handler, Settlement
from service.core.poison import is_suspected
from service.worker.deduplicator import DeliveryDeduplicator
from service.worker.ownership import SessionCheck
from service.worker.quarantine import Quarantine
from service.worker.telemetry import Telemetry

_QUIET: Final = 0.1
"""Seconds without a new delivery after which none is on its way; far longer than the broker takes to send one."""
_ROUNDS: Final = 10
"""Times to wait for that at most: where the queue is empty, new requests may arrive for ever."""
_APPLIED: Final = 0.3
"""Seconds from the last ack to the end of its channel. A channel of RabbitMQ passes 32 acks at a time on to a quorum
queue, the next ones when those are applied, and forgets the rest when it is closed (its module `rabbit_fifo_client`):
then deliveries that were settled are redelivered."""


class Dispatcher:
    """Takes deliveries, and has each handled and settled."""

    def __init__(
        self,
        handler: Handler,
        telemetry: Telemetry,
        check: SessionCheck,
        deduplicator: DeliveryDeduplicator,
        on_done: Callable[[Delivery], None] = lambda _: None,
    ) -> None:
        """`on_done` gets each delivery that is no longer in flight."""
        self._handler = handler
        self._telemetry = telemetry
        self._check = check
        self._on_done = on_done
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._deduplicator = deduplicator
        self._quarantine = Quarantine(self._serve, self._leave)
        self._may_settle = asyncio.Event()
        self._may_settle.set()
        telemetry.metrics.deliveries_in_flight.set_function(lambda: self.in_flight)

    @property
    def in_flight(self) -> int:
        """How many deliveries were taken and are not settled."""
        return self._in_flight

    def receive(self, delivery: Delivery, acknowledger: Acknowledger) -> None:
        """Take a delivery; it will be settled, unless its session or the process ends."""
        self._in_flight += 1
        if not is_suspected(delivery):
            self._start(self._serve(delivery, acknowledger))
        elif self._quarantine.add(delivery, acknowledger):
            self._start(self._quarantine.run())

    def release(self, delivery: Delivery) -> None:
        """Take note of a delivery that was not begun before its session ended."""
        self._deduplicator.note_untouched(delivery)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, delivery: Delivery, acknowledger: Acknowledger) -> None:
        started, settlement = self._telemetry.clock(), "abandoned"
        result: Settlement | Exception | None = None
        try:
            result = await self._result(delivery, acknowledger)
            settlement = await self._settle(acknowledger, result)
        finally:
            self._leave(delivery)
            self._telemetry.delivery_settled(delivery, settlement, self._telemetry.clock() - started, result)

    async def _settle(self, acknowledger: Acknowledger, result: Settlement | Exception) -> str:
        """Settle a delivery, here and nowhere else; returns how. Nothing is settled without a result."""
        if isinstance(result, DeliveryLostError):
            return "lost"
        if not self._may_settle.is_set():
            await self._may_settle.wait()
        try:
            if isinstance(result, Settlement):
                await acknowledger.ack()
                return "acked"
            await acknowledger.dead_letter()
        except BrokerErrors:
            return "lost"  # usual when the connection drops: the broker redelivers, and the duplicate gets this result
        return "dead_lettered"

    async def _result(self, delivery: Delivery, acknowledger: Acknowledger) -> Settlement | Exception:
        """Handle a delivery, or take over what is or was done about it before it was redelivered."""
        deduplicator = self._deduplicator
        while known := deduplicator.find(delivery):
            if result := await known.wait():
                self._telemetry.duplicate_joined()
                return result
        entry, result = deduplicator.enter(delivery), None
        try:
            result = await self._handle(delivery, acknowledger)
        finally:
            if result is None or isinstance(result, DeliveryLostError):
                deduplicator.give_up(entry)
            else:
                deduplicator.keep(entry, result)
        return result

    async def _handle(self, delivery: Delivery, acknowledger: Acknowledger) -> Settlement | Exception:
        """Return the settlement or the exception; on an exception that is a defect of ours, it is dead-lettered."""
        is_fresh = delivery.redelivered and self._deduplicator.is_untouched(delivery)
        job = None
        try:
            first = replace(delivery, redelivered=False) if is_fresh else delivery
            job = await self._handler.read_in_steps(first, self._check.ownership(acknowledger))
            return await self._handler.handle(job)
        except DeliveryLostError as error:
            if job is not None and not job.is_touched:
                self._deduplicator.note_untouched(delivery)  # when it is redelivered to us, it is as new as before
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is: the delivery is kept for a person, and work goes on
            return error

    def _leave(self, delivery: Delivery) -> None:
        self._in_flight -= 1
        self._on_done(delivery)

    async def settle_later(self, cancelling: Awaitable[None], arrived: Callable[[], int]) -> None:
        """Settle nothing until the consumer is cancelled, which is done when no delivery is on its way to it any more.

        The broker sends one delivery for each that is settled. A consumer that is cancelled while deliveries are on
        their way makes the broker redeliver these, and a redelivery is ambiguous. Settling nothing keeps the consumer
        at its prefetch limit. Where the queue is empty, a request that is published in the very moment of the
        cancellation can still be redelivered. `arrived` counts the deliveries that have come so far.
        """
        self._may_settle.clear()
        try:
            for _ in range(_ROUNDS):
                before = arrived()
                await asyncio.sleep(_QUIET)
                if arrived() == before:
                    break
            await cancelling
        finally:
            self._may_settle.set()

    async def drain(self, deadline: float, aborted: asyncio.Event) -> None:
        """Finish what is in flight until the loop's clock shows `deadline` or `aborted` is set, then give up on it."""
        aborting = asyncio.create_task(aborted.wait())
        while self._tasks and not aborting.done() and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait({*self._tasks, aborting}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        aborting.cancel()
        abandoned = [task for task in self._tasks if task.cancel()]
        if abandoned:
            await asyncio.wait(abandoned, timeout=1)
        if not aborted.is_set():
            await asyncio.sleep(_APPLIED)
        self._telemetry.drained(len(abandoned))
