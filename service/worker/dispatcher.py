"""A task per delivery, or per group of deliveries that need one call together; settled in one place.

New small deliveries that arrived in the same read of the socket and have equal contents form a group. A task, a
confirm and three wake-ups for each of them would cost half as much CPU again.

The task is our own: one run inside the library's callback would be cancelled in mid-call when the connection drops.
A cancelled task settles nothing: when its channel closes, the broker redelivers. The prefetch bounds the number of
tasks.

This file has more than 250 lines since every way that a delivery can take ends in one settlement.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Final

from service.adapters.rabbitmq import Acknowledger, BrokerErrors
from service.core.attempt.call import OmniCall, group
from service.core.delivery import Delivery, DeliveryLostError
from service.core.handler import Handler, Job, Settlement
from service.core.poison import is_suspected
from service.core.request.parsing import is_small
from service.worker.deduplicator import DeliveryDeduplicator, is_new
from service.worker.memory import SharedMemory
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
_Arrived = tuple[Delivery, Acknowledger]
_Member = tuple[Job, OmniCall, Acknowledger]


class Dispatcher:
    """Takes deliveries, and has each handled and settled."""

    def __init__(  # noqa: PLR0913 - the parts that it binds together
        self,
        handler: Handler,
        telemetry: Telemetry,
        check: SessionCheck,
        deduplicator: DeliveryDeduplicator,
        *,
        most: int | None,
        memory: SharedMemory | None = None,
        on_done: Callable[[Delivery], None] = lambda _: None,
    ) -> None:
        """`most`: messages that requests may share a call for; None if they share none.

        `on_done` gets each delivery that is no longer in flight.
        """
        self._handler = handler
        self._telemetry = telemetry
        self._check = check
        self._most = most
        self._memory = memory
        self._on_done = on_done
        self._tasks: set[asyncio.Task[None]] = set()
        self.in_flight = 0
        """How many deliveries were taken and are not settled."""
        self._deduplicator = deduplicator
        self._arrived: list[_Arrived] = []
        self._quarantine = Quarantine(self._serve, self._leave)
        self._may_settle = asyncio.Event()
        self._may_settle.set()
        telemetry.metrics.deliveries_in_flight.set_function(lambda: self.in_flight)

    def receive(self, delivery: Delivery, acknowledger: Acknowledger) -> None:
        """Take a delivery; it will be settled, unless its session or the process ends."""
        self.in_flight += 1
        if self._most and is_new(delivery) and is_small(delivery):
            # It is kept until all that arrived in the same read of the socket, and of its session, are here.
            if self._arrived and self._arrived[0][1].broken is not acknowledger.broken:
                self._start_arrived()
            self._arrived.append((delivery, acknowledger))
            if len(self._arrived) == 1:
                asyncio.get_running_loop().call_soon(self._start_arrived)
        elif not is_suspected(delivery):
            self._start(self._serve(delivery, acknowledger))
        elif self._quarantine.add(delivery, acknowledger):
            self._start(self._quarantine.run())

    def _start_arrived(self) -> None:
        """Start a task for each group of what has arrived, and one for each other delivery."""
        arrived, self._arrived = self._arrived, []
        if not arrived:
            return
        ownership = self._check.ownership(arrived[0][1])
        members: list[_Member] = []
        # A defect of ours is met again, and reported, where the delivery is handled by itself.
        jobs: list[Job | None] = []
        for delivery, _ in arrived:
            try:
                jobs.append(self._handler.read(delivery, ownership))
            except Exception:  # noqa: BLE001 - as in `_result`
                jobs.append(None)
        if self._memory is not None:
            jobs = [self._noted(job) for job in jobs]  # in a loop of its own: half as much CPU
        for (delivery, acknowledger), job in zip(arrived, jobs, strict=True):
            call = None
            if job is not None and len(arrived) > 1:
                with contextlib.suppress(Exception):
                    call = self._handler.shareable_call(job)
            if job is None or call is None:
                self._start(self._serve(delivery, acknowledger, job))
            else:
                members.append((job, call, acknowledger))
        if not members:
            return
        groups = [[place] for place in range(len(members))]
        with contextlib.suppress(Exception):  # as above, and no reason not to handle the others
            groups = group([call for _, call, _ in members], self._most or 0)
        for places in groups:
            self._start(self._serve_group([members[place] for place in places]))

    def _noted(self, job: Job | None) -> Job | None:
        """Note a job in the memory. None on a defect of ours, as above: nothing is sent that is not noted."""
        try:
            if job is not None and self._memory is not None:
                self._memory.note(job, redelivered=False)
        except Exception:  # noqa: BLE001 - as in `_result`
            return None
        return job

    def release(self, delivery: Delivery) -> None:
        """Take note of a delivery that was not begun before its session ended."""
        self._deduplicator.note_untouched(delivery)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_group(self, members: Sequence[_Member]) -> None:
        """Handle deliveries by one call; each by itself if that is refused because of one of them."""
        if len(members) == 1:
            ((job, _, acknowledger),) = members
            await self._serve(job.delivery, acknowledger, job)
            return
        started, left = self._telemetry.clock(), deque(members)
        try:
            results = await self._results(members)
            if results is None:
                while left:
                    job, _, acknowledger = left.popleft()
                    self._start(self._serve(job.delivery, acknowledger, job))
                return
            for result in results:
                job, _, acknowledger = left.popleft()
                await self._settle(job.delivery, acknowledger, started, result)
        except BaseException:
            for job, _, acknowledger in left:
                await self._settle(job.delivery, acknowledger, started, None)
            raise

    async def _results(self, members: Sequence[_Member]) -> Sequence[Settlement | Exception] | None:
        """Handle deliveries by one call. Returns each one's result; None if each has to be handled by itself."""
        entries = [self._deduplicator.enter(job.delivery) for job, _, _ in members]
        results: Sequence[Settlement | Exception] | None
        try:
            jobs, calls = [job for job, _, _ in members], [call for _, call, _ in members]
            results = await self._handler.handle_together(jobs, calls)
        except Exception as error:  # noqa: BLE001 - as in `_result`
            results = [error] * len(members)
        except BaseException:
            for entry in entries:
                self._deduplicator.end(entry, None)
            raise
        for place, (job, _, _) in enumerate(members):
            kept = None if results is None else results[place]
            if isinstance(kept, DeliveryLostError) and not job.is_touched:
                self._deduplicator.note_untouched(job.delivery)
            is_waiting = isinstance(kept, Settlement) and kept.duplicate == "waiting"
            is_open = isinstance(kept, DeliveryLostError) or is_waiting
            self._deduplicator.end(entries[place], None if is_open else kept)
        return results

    async def _serve(self, delivery: Delivery, acknowledger: Acknowledger, job: Job | None = None) -> None:
        started = self._telemetry.clock()
        try:
            result = await self._result(delivery, acknowledger, job)
        except BaseException:
            await self._settle(delivery, acknowledger, started, None)
            raise
        await self._settle(delivery, acknowledger, started, result)

    async def _settle(
        self, delivery: Delivery, acknowledger: Acknowledger, started: float, result: Settlement | Exception | None
    ) -> None:
        """Settle a delivery, here and nowhere else. One without a result is abandoned, without a wait."""
        settlement = "abandoned"
        try:
            if isinstance(result, DeliveryLostError):
                settlement = "lost"
            elif result is not None:
                if not self._may_settle.is_set():
                    await self._may_settle.wait()
                if isinstance(result, Settlement):
                    await acknowledger.ack()
                    settlement = "acked"
                else:
                    await acknowledger.dead_letter()
                    settlement = "dead_lettered"
        except BrokerErrors:
            # Usual when the connection drops: the broker redelivers, and the duplicate gets this result.
            settlement = "lost"
        finally:
            self.in_flight -= 1
            self._on_done(delivery)
            self._telemetry.delivery_settled(delivery, settlement, self._telemetry.clock() - started, result)

    async def _result(self, delivery: Delivery, acknowledger: Acknowledger, job: Job | None) -> Settlement | Exception:
        """Handle a delivery, or take over what is or was done about it before it was redelivered.

        One that has a job already is new. Returns the settlement or an exception. On one that is a defect of ours, the
        delivery is kept for a person as a dead letter, and work goes on.
        """
        deduplicator = self._deduplicator
        while job is None and (known := deduplicator.find(delivery)):
            if result := await known.wait():
                self._telemetry.duplicate_joined()
                return result
        entry = deduplicator.enter(delivery)
        try:
            job = job or await self._read(delivery, acknowledger)
            settlement = await self._handler.handle(job)
        except DeliveryLostError as lost:
            if job is not None and not job.is_touched:
                deduplicator.note_untouched(delivery)  # when it is redelivered to us, it is as new as before
            deduplicator.end(entry, None)
            return lost
        except Exception as defect:  # noqa: BLE001 - whatever it is
            deduplicator.end(entry, defect)
            return defect
        except BaseException:
            deduplicator.end(entry, None)
            raise
        # One that waits is not kept: a twin may have the claim.
        deduplicator.end(entry, None if settlement.duplicate == "waiting" else settlement)
        return settlement

    async def _read(self, delivery: Delivery, acknowledger: Acknowledger) -> Job:
        """Parse a delivery; one that was redelivered counts as new if nothing was done about it."""
        is_fresh = delivery.redelivered and await self._is_untouched(delivery)
        first = replace(delivery, redelivered=False) if is_fresh else delivery
        job = await self._handler.read_in_steps(first, self._check.ownership(acknowledger))
        if self._memory is not None:
            self._memory.note(job, redelivered=delivery.redelivered)
        return job

    async def _is_untouched(self, delivery: Delivery) -> bool:
        """Return whether nothing was done about a redelivered delivery: by us, or by any worker that had it before."""
        if self._deduplicator.is_untouched(delivery):
            return True
        return self._memory is not None and await self._memory.take_untouched(delivery)

    def _leave(self, delivery: Delivery) -> None:
        self.in_flight -= 1
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
        self._start_arrived()
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
