"""The memory that all workers share, in use: a worker keeps a lease in it, and records what it starts.

See `core.attempt.start_record` for what a record means. Where the memory is not available, work waits until the lease
has ended, and then goes on without records; if the memory is required, it pauses.

This file has more than 250 lines since the lease and all that relies on it have to be read together.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Final

from service.adapters.settings import Settings, SettingsError
from service.core.attempt.call import OmniCall, Send
from service.core.attempt.cancellation import LIST, MOST_BYTES, VERSION
from service.core.attempt.claim import AWAY, DONE, Claim, claim_of, written
from service.core.attempt.outcome import DUPLICATE, NOT_SENT, Outcome
from service.core.attempt.start_record import (
    NOT_DONE,
    RENEWAL,
    STARTED,
    ClockReading,
    Holder,
    MemoryUnavailableError,
    clock_step,
    distrust_until,
    end_of_lease,
    has_ended,
    holding_worker,
    lease,
    proves_untouched,
    record_name,
    untouched,
)
from service.core.delivery import Delivery
from service.core.handler import Job
from service.core.headers import may_be_duplicate
from service.core.poison import times_handed_out
from service.core.result.event import StatusEvent
from service.core.result.origin import write_origins
from service.core.result.repetition import write_ends
from service.worker.cancellation import Cancellations
from service.worker.claims import start_claims
from service.worker.telemetry import Telemetry

if TYPE_CHECKING:  # without the setting, its package is not loaded
    from service.adapters.memory import Confirmed, MemoryConnection

    Give = Callable[[MemoryConnection, Confirmed | None], Awaitable[bytes | None]]
    Connect = Callable[[Callable[[MemoryUnavailableError], None]], Awaitable[tuple[MemoryConnection, str]]]

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts to connect. They double: a memory that works for moments only would stop sending for a
whole lease each time."""
_STEADY: Final = 60.0
"""Seconds after which a connection counts as steady, so that the next pause is short again."""
_LAST_TRY: Final = 1.0
"""Seconds before the end of the lease, at which it is tried at the latest: after that, work goes on without records."""
_SHORTEST_TIMER: Final = 0.001
_UNRECORDED: Final = 10_000
"""Ends that are kept while the memory is away."""
_LEASE_KEPT: Final = 60.0
"""Seconds for which the memory keeps a lease. It ends by the times that are written in it."""


class _Ending:
    """An end that is being recorded. It has begun, so that others share its command."""

    def __init__(self, memory: "SharedMemory", give: "Give") -> None:
        self._memory = memory
        self._give = give
        self._begun = memory.begin(give)

    def __await__(self) -> Generator[Any, None, bytes]:
        found = None if self._begun is None else (yield from self._begun.__await__())
        return found if found is not None else (yield from self._memory.end_later(self._give).__await__())


class SharedMemory:
    """Keeps a connection to the memory, and a lease in it."""

    def __init__(  # noqa: PLR0913 - its settings
        self,
        connect: "Connect",
        telemetry: Telemetry,
        clock: Callable[[], float],
        *,
        kept: float,
        on_missing: Callable[[bool], None] | None = None,
        name: str = "",
    ) -> None:
        """`kept`: seconds for which a record is kept. `clock` is monotonic, also while the machine sleeps.

        `on_missing`: only if the memory is required; gets whether it is missing. `name`: of the worker, for people.
        """
        self._connect = connect
        self._telemetry = telemetry
        self._clock = clock
        self._kept = kept
        self._on_missing = on_missing
        self._name = name
        self.cancellations = Cancellations(clock, telemetry.orders_changed)
        self._worker = secrets.token_hex(8)
        self._connections = 0
        self._connection: MemoryConnection | None = None
        self._holder = Holder(self._worker, 0, "")
        self._untouched = ""
        """The record of a new delivery."""
        self._reading: ClockReading | None = None
        self._lease_ends = 0.0
        self._distrusted_until = 0.0
        self._numbers = 0
        self._unrecorded: deque[Give] = deque(maxlen=_UNRECORDED)
        """Ends that were published without being recorded."""
        self._held: set[str] = set()
        """The holders of claims that are ours: from before such a claim is written until its end is, in that order.
        Otherwise a redelivered duplicate, in the same turn of the loop, would take it over."""
        self._changed = asyncio.Event()
        self._is_replaced = False
        """Whether to connect again at once."""
        self._is_missing = False
        self.tried = asyncio.Event()
        """Set once it is connected, or known to be unavailable. Redeliveries that come before that prove nothing."""

    async def run(self) -> None:
        """Stay connected until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            began, connections = self._clock(), self._connections
            try:
                await self._serve()
            except MemoryUnavailableError as error:
                self._telemetry.memory_failed(error)
            except Exception:  # noqa: BLE001 - whatever a server answers, sending does not depend on it
                self._telemetry.memory_failed(MemoryUnavailableError("refused"))
            finally:
                self._drop()
            self.tried.set()
            left = self._lease_ends - self._clock()
            if self._clock() - began >= _STEADY:
                pause = _FIRST_PAUSE
            elif left <= 0 or self._connections > connections:  # while sending waits, trying costs nothing
                pause = min(2 * pause, _LONGEST_PAUSE)
            self._note_missing()
            if not self._is_replaced:
                await self._wait(_until_next_try(pause, left))
            self._is_replaced = False
            self._note_missing()

    def use(self, connect: "Connect", *, elsewhere: bool) -> None:
        """Connect in another way from now on. `elsewhere`: the connection that is open is given up for it."""
        self._connect = connect
        if elsewhere and self._connection is not None:
            self._is_replaced = True
            self._drop()
        elif self._connection is None:
            self._wake()  # it need not wait for the end of a pause

    def receive(self, delivery: Delivery) -> str:
        """Record that a delivery is untouched, unless another worker may have it. Returns the name of its record."""
        name = record_name(delivery)
        if self._connection is not None and not may_be_duplicate(delivery):
            self._connection.put_if_absent(name, self._untouched, self._kept)
        return name

    def note(self, job: Job, *, redelivered: bool) -> None:
        """Record that nothing has been done about a delivery yet, and prepare its claim.

        It needs an id, by which it can be recognised when it is redelivered. `redelivered`: by the broker's mark.
        """
        parsed, delivery = job.parsed, job.delivery
        if not parsed.identified:
            return
        name = self.receive(delivery)
        if parsed.request is None:
            job.record = Claim(name)
            return
        number = self._numbers = self._numbers + 1
        job.record = claim_of(
            name,
            parsed.request,
            job.history,
            delivery.headers,
            f"{self._worker}.{number}",
            redelivered=redelivered,
            kept=self._kept,
            worker=self._name,
        )

    async def start_one(self, claim: Claim) -> bool:
        """Do as `start` does. Almost all are claims of new requests, which none has: then it takes fewer steps."""
        connection = self._connection
        if connection is not None and claim.kind == "whole" and claim.name:
            self._held.add(claim.holder)
            found = await connection.claim(claim.record, claim.name, claim.value, STARTED, self._kept)
            if found == b"":
                claim.known, claim.is_started = found, True
                return True
        return await self.start((claim,))

    async def start(self, claims: Sequence[Claim]) -> bool:
        """Record that something is going to be done about deliveries. Returns whether it may be.

        Each is then started, or refused since another delivery has the claim. While the lease lasts, other workers rely
        on it that nothing is done without a record.
        """
        self._held.update([claim.holder for claim in claims if claim.is_claiming])
        try:
            while True:
                if self._connection is not None:
                    with contextlib.suppress(MemoryUnavailableError):
                        await start_claims(self._connection, claims, self._kept, self._is_gone)
                        return True
                    continue
                left = self._lease_ends - self._clock()
                if left <= 0:
                    is_required = self._on_missing is not None
                    for claim in claims:  # those that another worker may have served wait for the memory, if they must
                        claim.is_refused = claim.kind == "waiting" or (is_required and claim.is_checked_first)
                    self._note_missing()
                    return self._on_missing is None
                await self._wait(left)
        finally:
            self._held.difference_update([claim.holder for claim in claims if not claim.is_held])

    def end(
        self, claim: Claim, events: Sequence[StatusEvent], messages: str, /, *, is_whole: bool, is_complete: bool
    ) -> Awaitable[bytes]:
        """Begin to record all that is going to be published, and delete the record of the start if nothing is left.

        A duplicate with the same properties has the same record, and would find itself untouched.

        While the lease lasts, other workers rely on it that this is recorded before it is published. Later it is
        recorded once the memory is available: duplicates wait for it.
        """
        notes, claim.notes, kept = claim.notes, "", self._kept
        before, away = claim.first_line, written(claim.meaning, AWAY)
        after = away if is_complete else before
        record = claim.record if is_complete else ""

        def give(connection: "MemoryConnection", confirmed: "Confirmed | None" = None) -> Awaitable[bytes | None]:
            if is_complete:
                self._held.discard(claim.holder)
            ends = notes + write_ends(events, is_whole=is_whole)
            connection.put_each(write_origins(events), kept)
            if not claim.request:
                return connection.end(record, claim.name, (before, after), ends + messages, kept, confirmed=confirmed)
            own = (claim.name, record or claim.name) if claim.name else ()
            values = (before, after, ends + messages, away, ends)
            return connection.end_part((claim.request, *own), values, kept, confirmed=confirmed)

        return _Ending(self, give)

    async def end_later(self, give: "Give") -> bytes:
        """Record an end when there is a connection, or once the lease has ended."""
        while True:
            left = self._lease_ends - self._clock()
            if self._connection is not None:
                if (found := await give(self._connection, None)) is not None:
                    return found
            elif left <= 0:
                self._unrecorded.append(give)
                return b""
            else:
                await self._wait(left)

    def begin(self, give: "Give") -> Awaitable[bytes | None] | None:
        """Give a command, if there is a connection."""
        return None if self._connection is None else self._connection.give_late(give)

    def release(self, claim: Claim, holder: str) -> Awaitable[object]:
        """Begin to replace the holder of a claim, which is this delivery."""
        self._held.discard(claim.holder)
        if self._connection is None:
            return DONE
        return self._connection.release(claim.name, claim.first_line, written(claim.meaning, holder), self._kept)

    async def _is_gone(self, connection: "MemoryConnection", holder: str) -> bool:
        """Return whether the holder of a claim does nothing about it any more."""
        worker = holder.partition(".")[0]
        if worker == self._worker:
            return holder not in self._held
        its_lease, time = await asyncio.gather(connection.get(_lease_name(worker)), connection.time())
        return self._clock() >= self._distrusted_until and has_ended(its_lease, time)

    async def take_untouched(self, delivery: Delivery) -> bool:
        """Return whether nothing was done about a redelivered delivery, and take it over if so."""
        times, connection, holder = times_handed_out(delivery), self._connection, self._holder
        if not times or connection is None or self._clock() < self._distrusted_until:
            return False
        name = record_name(delivery)
        with contextlib.suppress(MemoryUnavailableError):
            record = await connection.get(name)
            worker = holding_worker(record)
            if record is None or worker is None:
                return False
            its_lease, time, generation = await asyncio.gather(
                connection.get(_lease_name(worker)), connection.time(), connection.generation()
            )
            if proves_untouched(record, its_lease, times, generation, time):
                is_taken = await connection.exchange(name, record, untouched(holder, times), self._kept)
                if is_taken:
                    self._telemetry.untouched_taken()
                return is_taken
        return False

    async def _serve(self) -> None:
        """Connect, and renew the lease until the connection is replaced. Raises `MemoryUnavailableError` if it ends."""
        connection, generation = await self._connect(lambda _: self._drop())
        self._connections += 1
        self._holder = Holder(self._worker, self._connections, generation)
        self._untouched = untouched(self._holder, 0)
        self._reading = None
        try:
            began = self._clock()
            await self._renew(connection)
            if connection.error is not None:  # it ended in the moment of the last answer
                raise connection.error
            self._connection = connection
            while self._unrecorded:
                self._unrecorded.popleft()(connection, None)
            self._telemetry.memory_connected()
            self.tried.set()
            self._note_missing()
            self._wake()
            while True:
                await self._wait(began + RENEWAL - self._clock())  # orders are read in time, also if answers are slow
                if self._is_replaced:
                    return
                began = self._clock()
                await self._renew(connection)
        finally:
            connection.close()

    async def _renew(self, connection: "MemoryConnection") -> None:
        """Renew the lease. Raises `MemoryUnavailableError`, also if the server is not the same any more."""
        orders = self.cancellations
        reading, listed = await asyncio.gather(
            self._read_clock(connection), connection.get_changed(LIST, orders.version, VERSION, MOST_BYTES)
        )
        if listed is not None:
            orders.read(listed, reading)
        sent, before = self._clock(), self._lease_ends
        self._lease_ends = max(before, end_of_lease(sent))
        try:
            await connection.put((_lease_name(self._worker),), lease(self._holder, reading, sent), _LEASE_KEPT)
        except MemoryUnavailableError as error:
            if self._connection is None and error.cause in NOT_DONE:  # the error can be about nothing else
                self._lease_ends = before
            raise
        if await connection.generation() != self._holder.generation:
            raise MemoryUnavailableError("changed")

    async def _read_clock(self, connection: "MemoryConnection") -> ClockReading:
        time = await connection.time()
        reading = ClockReading(time, self._clock())
        if self._reading is not None and (step := clock_step(self._reading, reading)):
            self._distrusted_until = max(self._distrusted_until, distrust_until(step, self._clock()))
        self._reading = reading
        return reading

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            self._wake()

    def _note_missing(self) -> None:
        """Report whether work goes on without the memory, or pauses for it."""
        is_missing = self._connection is None and self._clock() >= self._lease_ends
        if is_missing != self._is_missing:
            self._is_missing = is_missing
            if self._on_missing is not None:
                self._on_missing(is_missing)

    async def _wait(self, seconds: float) -> None:
        """Wait for so many seconds, or until the connection begins or ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, _SHORTEST_TIMER)):
                await self._changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _until_next_try(pause: float, left: float) -> float:
    """Return the seconds to wait before connecting again, if the lease lasts for `left` seconds more."""
    if left <= 0:
        return pause
    # A memory that ends each connection has the longest pause, and does not prolong the lease again.
    is_late = pause == _LONGEST_PAUSE or left <= _LAST_TRY
    return min(pause, left if is_late else left - _LAST_TRY)


def _lease_name(worker: str) -> str:
    return f"worker:{worker}"


def noted(send: Send, memory: SharedMemory) -> Send:
    """Send a call once its start is recorded, for all its members at once."""

    async def noted_send(call: OmniCall) -> Outcome:
        if not call.members:
            claim = call.record
            if (
                claim is not None
                and not claim.is_started
                and not claim.is_refused
                and not await memory.start_one(claim)
            ):
                return NOT_SENT
            return DUPLICATE if claim is not None and claim.is_refused else await send(call)
        claims = [one.record for one in call.members if one.record is not None]
        starting = [claim for claim in claims if not claim.is_started and not claim.is_refused]
        if starting and not await memory.start(starting):
            return NOT_SENT
        if any(claim.is_refused for claim in claims):
            return DUPLICATE  # the others start over without it
        return await send(call)

    return noted_send


def shared_memory(
    settings: Settings,
    telemetry: Telemetry,
    clock: Callable[[], float],
    on_missing: Callable[[bool], None],
) -> SharedMemory | None:
    """Make the shared memory if it is set. Raises `SettingsError` if the package for it is not installed."""
    if settings.memory_url is None:
        return None
    return SharedMemory(
        connect_by(settings),
        telemetry,
        clock,
        kept=settings.memory_ttl,
        on_missing=on_missing if settings.memory_required else None,
        name=f"{socket.gethostname()}:{os.getpid()}",
    )


def connect_by(settings: Settings) -> "Connect":
    """Return what connects as the settings say. Raises `SettingsError` if the package for it is not installed."""
    try:
        from service.adapters.memory import connect  # noqa: PLC0415 - optional
    except ImportError:
        raise SettingsError("RELAY_MEMORY_URL: needs more to be installed: pip install 'omni-relay[memory]'") from None
    url = settings.memory_url.get_secret_value() if settings.memory_url else ""
    return lambda on_lost: connect(url, settings.ca_file, on_lost)
