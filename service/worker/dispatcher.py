"""Deliveries served: together where they are one call, and settled in one place.

Each delivery gets a task of our own: one run inside the library's callback would be cancelled in mid-call when
the connection drops. Cancelled, a task settles nothing: when its channel closes, the broker has the delivery
again. The prefetch bounds how many there are.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from service.adapters.logging import describe, get_logger
from service.adapters.metrics import Metrics, exemplar
from service.adapters.rabbitmq import Acknowledger, BrokerErrors
from service.core.attempt.call import OmniCall, group
from service.core.delivery import Delivery
from service.core.handler import Handler, Job, Settlement
from service.core.poison import is_suspected, rank
from service.core.request.parsing import is_small
from service.core.trace_context import read_trace, trace_id
from service.worker.custody import SESSION, HandedBackError, UntouchedError
from service.worker.deduplicator import Handled, Registry, is_new

T = TypeVar("T")

_GATHERING: Final = 0.1
"""Seconds for all suspects to arrive before one is chosen."""
_QUIET: Final = 0.1
"""Seconds without a new delivery after which none is on its way; far longer than the broker takes to send one."""
_ROUNDS: Final = 10
"""Times to wait for that at most: where the queue is empty, new requests may come in for ever."""
_APPLIED: Final = 0.3
"""Seconds from the last ack to the end of its channel. A channel of RabbitMQ passes 32 acks at a time on to a quorum
queue, the next ones when those are applied, and forgets the rest when it is closed (its module `rabbit_fifo_client`):
then what was served is handed out again."""


class Dispatcher:
    """Takes deliveries, and has each served and settled."""

    def __init__(
        self,
        handler: Handler,
        metrics: Metrics,
        prefetch: int,
        most: int | None = None,
        on_done: Callable[[Delivery], None] = lambda _: None,
    ) -> None:
        """Put at most `most` messages into a merged call; None merges none. `on_done` hears what is done with."""
        self._handler = handler
        self._metrics = metrics
        self._most = most
        self._on_done = on_done
        self._log = get_logger()
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._registry = Registry(3 * prefetch)  # acks lost with the connection: no more than unsettled ones
        self._arrived: list[tuple[Delivery, Acknowledger]] = []
        self._suspected: list[tuple[Delivery, Acknowledger]] = []
        self._may_settle = asyncio.Event()
        self._may_settle.set()
        metrics.deliveries_in_flight.set_function(lambda: self.in_flight)

    @property
    def in_flight(self) -> int:
        """Count the deliveries that were taken and are not done with."""
        return self._in_flight

    def receive(self, delivery: Delivery, acknowledger: Acknowledger) -> None:
        """Take a delivery; it will be settled, unless its connection ends or the process does."""
        self._in_flight += 1
        if self._most and is_new(delivery) and is_small(delivery):
            self._await_others(delivery, acknowledger)
        elif not is_suspected(delivery):
            self._start(self._serve(delivery, acknowledger))
        else:
            self._suspected.append((delivery, acknowledger))
            if len(self._suspected) == 1:
                self._start(self._serve_suspects())

    def _await_others(self, delivery: Delivery, acknowledger: Acknowledger) -> None:
        """Keep a delivery until all that came with it, in the same read of the socket, are here."""
        if self._arrived and self._arrived[0][1].broken is not acknowledger.broken:
            self._sort()
        self._arrived.append((delivery, acknowledger))
        if len(self._arrived) == 1:
            asyncio.get_running_loop().call_soon(self._sort)

    def _sort(self) -> None:
        """Start what has arrived: what may be one call together, and all else by itself."""
        arrived, self._arrived = self._arrived, []
        if len(arrived) == 1:
            self._start(self._serve(*arrived[0]))
            return
        jobs: list[tuple[Job, Acknowledger]] = []
        calls: list[OmniCall] = []
        for delivery, acknowledger in arrived:
            job = call = None
            try:
                job = self._handler.read(delivery)
                call = self._handler.only_call(job)
            except Exception:  # noqa: BLE001, S110 - a defect of ours: met again, and told, where it is served
                pass
            if job is None or call is None:
                self._start(self._serve(delivery, acknowledger, job))
            else:
                jobs.append((job, acknowledger))
                calls.append(call)
        groups = [[place] for place in range(len(calls))]
        with contextlib.suppress(Exception):  # as above, and no reason to leave the others unserved
            groups = group(calls, self._most or 0)
        for places in groups:
            self._start(self._serve_all([jobs[place] for place in places], [calls[place] for place in places]))

    async def _serve_suspects(self) -> None:
        await asyncio.sleep(_GATHERING)
        while self._suspected:
            self._suspected.sort(key=lambda suspect: rank(suspect[0]))
            delivery, acknowledger = self._suspected[0]
            if acknowledger.broken.is_set():
                self._leave(delivery)  # it comes again, with its count
            else:
                await self._serve(delivery, acknowledger)
                with contextlib.suppress(*BrokerErrors):
                    await acknowledger.sync()  # an ack that dies with us would not have been one
            del self._suspected[0]

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, delivery: Delivery, acknowledger: Acknowledger, job: Job | None = None) -> None:
        SESSION.set(acknowledger)
        started = time.perf_counter()
        try:
            end = await _met(self._end(delivery, job))
        except BaseException:
            self._tell(delivery, "abandoned", started, {})
            raise
        await self._settle(delivery, acknowledger, end, started)

    async def _serve_all(self, jobs: Sequence[tuple[Job, Acknowledger]], calls: Sequence[OmniCall]) -> None:
        """Serve those whose calls are one."""
        SESSION.set(jobs[0][1])
        started = time.perf_counter()
        promises = [self._registry.enter(job.delivery) for job, _ in jobs]
        work = [(job, call) for (job, _), call in zip(jobs, calls, strict=True)]
        try:
            met = await _met(self._handler.handle_all(work))
        except BaseException:
            for (job, _), promise in zip(jobs, promises, strict=True):
                self._registry.give_up(promise)
                self._tell(job.delivery, "abandoned", started, {})
            raise
        ends: Sequence[Settlement | Exception] = [met] * len(jobs) if isinstance(met, Exception) else met
        for (job, _), promise, end in zip(jobs, promises, ends, strict=True):
            self._remember(promise, end)
            if isinstance(end, HandedBackError) and not job.is_touched:
                self._registry.hand_back(job.delivery)
        for (job, acknowledger), end in zip(jobs, ends, strict=True):
            await self._settle(job.delivery, acknowledger, end, started)

    async def _settle(
        self, delivery: Delivery, acknowledger: Acknowledger, end: Settlement | Exception, started: float
    ) -> None:
        """Settle a delivery as it ended, and tell."""
        settled = "lost"  # a normal end when the connection goes: the broker hands the delivery out again
        facts: Mapping[str, object] = {}
        try:
            if isinstance(end, Settlement):
                facts = self._facts(end)
                if not self._may_settle.is_set():
                    await self._may_settle.wait()
                await acknowledger.ack()
                settled = "acked"
            elif not isinstance(end, HandedBackError):
                facts = describe(end)
                await self._may_settle.wait()
                await acknowledger.dead_letter()
                settled = "dead_lettered"
        except BrokerErrors:
            pass
        except BaseException:
            settled = "abandoned"
            raise
        finally:
            self._tell(delivery, settled, started, facts)

    async def _end(self, delivery: Delivery, job: Job | None) -> Settlement | Exception:
        """Serve a delivery, or take over what is or was done about it before it was handed out again."""
        while known := self._registry.find(delivery):
            if end := await known.wait():
                self._metrics.joined.inc()
                return end
        promise = self._registry.enter(delivery)
        is_new = self._registry.is_untouched(delivery)
        end = None
        try:
            first = replace(delivery, redelivered=False) if is_new and delivery.redelivered else delivery
            end = await _met(self._handle(first, job))
        finally:
            self._remember(promise, end)
        if isinstance(end, UntouchedError):
            self._registry.hand_back(delivery)
        return end

    async def _handle(self, delivery: Delivery, job: Job | None) -> Settlement:
        job = job or await self._handler.read_in_steps(delivery)
        try:
            return await self._handler.handle(job)
        except HandedBackError as error:
            raise error if job.is_touched else UntouchedError from None

    def release(self, delivery: Delivery) -> None:
        """Hear of a delivery that was not begun before its session ended."""
        self._registry.hand_back(delivery)

    def _remember(self, promise: Handled, end: Settlement | Exception | None) -> None:
        if end is None or isinstance(end, HandedBackError):
            self._registry.give_up(promise)
        else:
            self._registry.keep(promise, end)

    def _facts(self, settlement: Settlement) -> Mapping[str, object]:
        metrics = self._metrics
        if not settlement.identified:
            metrics.unidentified.inc()
        if not settlement.valid:
            metrics.invalid.inc()
        if settlement.resolution is not None:
            metrics.doubts[settlement.resolution].inc()
        if "message.accepted" in settlement.event_counts:
            metrics.acceptance_seconds.observe(settlement.age)
        return {
            "request_id": settlement.request_id,
            "attempts": settlement.attempts,
            "events": settlement.event_counts,
        }

    def _tell(self, delivery: Delivery, settled: str, started: float, facts: Mapping[str, object]) -> None:
        seconds = time.perf_counter() - started
        trace = read_trace(delivery.headers) if delivery.headers else None
        self._leave(delivery)
        self._metrics.deliveries[settled].inc()
        self._metrics.handling_seconds.observe(seconds, exemplar(trace) if trace else None)
        write: Callable[..., object] = self._log.error if settled == "dead_lettered" else self._log.info
        write(
            "delivery.settled",
            settlement=settled,
            seconds=round(seconds, 4),
            **facts,
            redelivered=delivery.redelivered,
            **({"trace_id": trace_id(trace)} if trace else {}),
        )

    def _leave(self, delivery: Delivery) -> None:
        self._in_flight -= 1
        self._on_done(delivery)

    async def settle_later(self, cancelling: Awaitable[None], arrived: Callable[[], int]) -> None:
        """Settle nothing until the consumer is cancelled, which is done when no delivery is on its way to it any more.

        The broker sends one delivery for each that is settled. A consumer that is cancelled while deliveries are on
        their way makes the broker hand these out again, as redelivered, and so as ambiguous. Settling nothing keeps
        the consumer at its prefetch limit. Where the queue is empty, a request that is published in the very moment of
        the cancellation can still be caught. `arrived` counts the deliveries that have come so far.
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
        """Finish what is in flight until the loop's clock shows `deadline` or somebody insists, then give up on it."""
        self._sort()
        patience = asyncio.create_task(aborted.wait())
        while self._tasks and not patience.done() and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait({*self._tasks, patience}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        patience.cancel()
        abandoned = [task for task in self._tasks if task.cancel()]
        if abandoned:
            await asyncio.wait(abandoned, timeout=1)
        if not aborted.is_set():
            await asyncio.sleep(_APPLIED)
        self._log.info("intake.drained", abandoned=len(abandoned))


async def _met(work: Awaitable[T]) -> T | Exception:
    """Give what came of it, or the defect of ours that it met: the delivery is kept for a person, and all goes on."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
