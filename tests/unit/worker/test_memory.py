"""The shared memory in use, with servers that restart, forget, answer late and have clocks that step."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import pytest
from prometheus_client.samples import Sample

from service.adapters.metrics import Metrics
from service.core.attempt.claim import Claim
from service.core.attempt.start_record import LEASE, MARGIN, MemoryUnavailableError
from service.core.delivery import Delivery
from service.core.result.event import StatusEvent
from service.worker.memory import SharedMemory
from service.worker.telemetry import Telemetry
from tests.support.builder import NOW
from tests.support.loop import loop_time

if TYPE_CHECKING:
    from service.adapters.memory import MemoryConnection

ANSWER = 0.5
DELIVERY = Delivery(b"body", message_id="r")
AGAIN = replace(DELIVERY, redelivered=True, headers={"x-delivery-count": 1})


@dataclass(eq=False)
class Server:
    """A memory whose faults a test decides. `delay` is the time from giving a command to its being applied."""

    values: dict[str, bytes] = field(default_factory=dict)
    snapshot: dict[str, bytes] = field(default_factory=dict)
    generation: int = 1
    clock_offset: float = 1_000_000.0
    is_down: bool = False
    is_full: bool = False
    delay: Callable[[], float] = lambda: 0.001
    connections: "list[Connection]" = field(default_factory=list)

    def time(self) -> float:
        return self.clock_offset + loop_time()

    def return_(self) -> None:
        """Accept connections again."""
        self.is_down = False

    def restart(self) -> None:
        """Come back with the data of the latest snapshot."""
        self.generation += 1
        self.values = dict(self.snapshot)
        for connection in tuple(self.connections):
            connection.break_off(is_server_gone=True)

    def claim(self, name: str, claim: str, wanted: bytes, value: bytes) -> bytes:
        """Make a claim, and record a start if that is possible."""
        known = self.values.setdefault(claim, wanted)
        if known.startswith(wanted):
            self.values[name] = value
            return b""
        return known

    def end(self, claim: str, lines: tuple[str, str], ends: str, record: str) -> bytes:
        """Append to a claim, unless another holder has it."""
        before, after = (line.encode() for line in lines)
        known = self.values.get(claim, before)
        if known.startswith(before):
            self.values[claim] = after + known[len(before) :] + ends.encode()
            if record != claim:
                self.values.pop(record, None)
        elif known.split()[0] == before.split()[0] and ends.encode() not in known:
            return known
        return b""

    async def connect(self, on_lost: Callable[[MemoryUnavailableError], None]) -> "tuple[MemoryConnection, str]":
        if self.is_down:
            raise MemoryUnavailableError("no_connection")
        connection = Connection(self, on_lost)
        return cast("MemoryConnection", connection), await connection.generation()


@dataclass(eq=False)
class Connection:
    """Applies commands in their order. One that is not answered in time is applied all the same."""

    server: Server
    on_lost: Callable[[MemoryUnavailableError], None]
    error: MemoryUnavailableError | None = None
    is_server_gone: bool = False
    free_at: float = 0.0

    def __post_init__(self) -> None:
        self.server.connections.append(self)

    async def _ask(self, apply: Callable[[Server], object]) -> object:
        if self.error is not None:
            raise self.error
        answer = asyncio.get_running_loop().create_future()

        def run() -> None:
            if not self.is_server_gone:
                value = apply(self.server)
                if not answer.done():
                    answer.set_result(value)

        self.free_at = max(self.free_at, loop_time()) + self.server.delay()
        asyncio.get_running_loop().call_at(self.free_at, run)
        try:
            async with asyncio.timeout(ANSWER):  # `wait_for` may ignore that a worker dies in the same moment
                return cast("object", await answer)
        except TimeoutError:
            self.break_off()
        assert self.error is not None
        raise self.error

    def break_off(self, *, is_server_gone: bool = False) -> None:
        self.is_server_gone |= is_server_gone
        if self.error is None:
            self.error = MemoryUnavailableError("timeout")
            self.server.connections.remove(self)
            self.on_lost(self.error)

    def close(self) -> None:
        self.break_off()

    async def generation(self) -> str:
        return str(await self._ask(lambda server: f"run-{server.generation}"))

    async def time(self) -> float:
        return cast("float", await self._ask(lambda server: server.time()))

    async def get(self, name: str) -> bytes | None:
        return cast("bytes | None", await self._ask(lambda server: server.values.get(name)))

    async def get_changed(self, name: str, version: str, length: int, _: int) -> bytes | None:
        def apply(server: Server) -> bytes | None:
            value = server.values.get(name, b"")
            return None if value[:length] == version.encode() else value

        return cast("bytes | None", await self._ask(apply))

    async def exchange(self, name: str, before: bytes, after: str, _: float) -> bool:
        def apply(server: Server) -> bool:
            if server.values.get(name) != before:
                return False
            server.values[name] = after.encode()
            return True

        return bool(await self._ask(apply))

    def put_if_absent(self, name: str, value: str, _: float) -> None:
        self.free_at = max(self.free_at, loop_time()) + self.server.delay()

        def run() -> None:
            if not self.is_server_gone:
                self.server.values.setdefault(name, value.encode())

        asyncio.get_running_loop().call_at(self.free_at, run)

    async def put(self, names: Sequence[str], value: str, _: float) -> None:
        if self.server.is_full:
            self.break_off()
            raise MemoryUnavailableError("full")
        await self._ask(lambda server: server.values.update(dict.fromkeys(names, value.encode())))

    async def start(
        self, names: Sequence[str], claims: Sequence[tuple[str, str, str]], value: str, _: float
    ) -> list[bytes]:
        if self.server.is_full:
            self.break_off()
            raise MemoryUnavailableError("full")

        def apply(server: Server) -> list[bytes]:
            server.values.update(dict.fromkeys(names, value.encode()))
            return [server.claim(name, claim, wanted.encode(), value.encode()) for name, claim, wanted in claims]

        return cast("list[bytes]", await self._ask(apply))

    def claim(self, name: str, claim: str, wanted: str, value: str, _: float) -> Awaitable[bytes | None]:
        async def ask() -> bytes | None:
            with contextlib.suppress(MemoryUnavailableError):
                (found,) = await self.start((), ((name, claim, wanted),), value, 0)
                return found
            return None

        return ask()

    def give_late(self, give: Callable[["Connection", None], Awaitable[bytes | None]]) -> Awaitable[bytes | None]:
        return give(self, None)

    def end(
        self, name: str, claim: str, lines: tuple[str, str], ends: str, _: float, **__: None
    ) -> Awaitable[bytes | None]:
        return self._begin(lambda server: server.end(claim, lines, ends, name))

    def end_part(
        self, claims: Sequence[str], values: tuple[str, str, str, str, str], _: float, **__: None
    ) -> Awaitable[bytes | None]:
        before, after, ends, first, events = values

        def apply(server: Server) -> bytes:
            if len(claims) > 1 and (found := server.end(claims[1], (before, after), ends, claims[2])):
                return found
            whole = server.values.get(claims[0], first.encode())
            if whole.split()[0] == first.encode().split()[0]:
                server.values[claims[0]] = whole + events.encode()
            return b""

        return self._begin(apply)

    def put_each(self, pairs: Sequence[tuple[str, str]], _: float) -> None:
        for name, value in pairs:
            self.put_if_absent(name, value, 0)

    def release(self, claim: str, before: str, after: str, _: float) -> Awaitable[bytes | None]:
        def apply(server: Server) -> bytes:
            known = server.values.get(claim, b"")
            if known.startswith(before.encode()):
                server.values[claim] = known.replace(before.encode(), after.encode(), 1)
            return b""

        return self._begin(apply)

    def _begin(self, apply: Callable[[Server], bytes]) -> Awaitable[bytes | None]:
        async def ask() -> bytes | None:
            with contextlib.suppress(MemoryUnavailableError):
                return cast("bytes", await self._ask(apply))
            return None

        return asyncio.create_task(ask())


@asynccontextmanager
async def working(
    server: Server, on_missing: Callable[[bool], None] | None = None, metrics: Metrics | None = None
) -> AsyncIterator[SharedMemory]:
    """Run a worker's part; it dies at the end."""
    telemetry = Telemetry(metrics or Metrics(), lambda: NOW, loop_time)
    memory = SharedMemory(server.connect, telemetry, loop_time, kept=1000, on_missing=on_missing)
    running = asyncio.create_task(memory.run())
    await memory.tried.wait()
    try:
        yield memory
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_delivery_that_was_not_started_is_taken_over_once() -> None:
    server, metrics = Server(), Metrics()
    async with working(server) as first:
        first.receive(DELIVERY)
        await asyncio.sleep(1)
    async with working(server, metrics=metrics) as second, working(server) as third:
        assert await second.take_untouched(AGAIN)
        assert not await third.take_untouched(AGAIN)
        assert await third.take_untouched(replace(AGAIN, headers={"x-delivery-count": 2}))
    assert metrics.registry.get_sample_value("omni_relay_untouched_redeliveries_total") == 1


async def test_a_started_delivery_is_not_untouched() -> None:
    server = Server()
    async with working(server) as first, working(server) as second:
        assert await first.start([Claim(first.receive(DELIVERY))])
        first.receive(DELIVERY)
        await asyncio.sleep(1)
        assert not await second.take_untouched(AGAIN)


@pytest.mark.parametrize(
    "delivery", [replace(DELIVERY, redelivered=True), replace(DELIVERY, headers={"omni-republished": True})]
)
async def test_a_delivery_that_another_worker_may_have_had_is_not_recorded_as_untouched(delivery: Delivery) -> None:
    server = Server()
    async with working(server) as first, working(server) as second:
        first.receive(delivery)
        await asyncio.sleep(1)
        assert not await second.take_untouched(AGAIN)


async def test_a_broker_that_does_not_count_deliveries_leaves_them_ambiguous() -> None:
    server = Server()
    async with working(server) as first:
        first.receive(DELIVERY)
        assert not await first.take_untouched(replace(AGAIN, headers={}))


async def test_a_memory_that_forgot_proves_nothing() -> None:
    server = Server()
    async with working(server) as first:
        first.receive(DELIVERY)
        await asyncio.sleep(1)
        server.values.clear()
        await asyncio.sleep(3)  # the lease is there again
        assert not await first.take_untouched(AGAIN)


async def test_a_memory_that_came_back_with_old_data_proves_nothing() -> None:
    server = Server()
    async with working(server) as first, working(server) as second:
        first.receive(DELIVERY)
        await asyncio.sleep(1)
        server.snapshot = dict(server.values)
        assert await first.start([Claim("x")])
        server.restart()
        await asyncio.sleep(30)
        assert not await second.take_untouched(AGAIN)


async def test_a_redelivery_after_the_lease_is_ambiguous() -> None:
    server = Server()
    async with working(server) as second:
        async with working(server) as first:
            first.receive(DELIVERY)
            await asyncio.sleep(1)
        await asyncio.sleep(LEASE + MARGIN)
        assert not await second.take_untouched(AGAIN)


async def test_no_lease_is_trusted_after_the_clock_of_the_memory_was_set_back() -> None:
    server = Server()
    async with working(server) as second:
        async with working(server) as first:
            first.receive(DELIVERY)
            await asyncio.sleep(1)
        await asyncio.sleep(LEASE)
        server.clock_offset -= LEASE
        await asyncio.sleep(2)
        assert not await second.take_untouched(AGAIN)


async def test_work_goes_on_without_a_memory_once_the_lease_has_ended() -> None:
    server, metrics = Server(), Metrics()
    value = metrics.registry.get_sample_value
    async with working(server, metrics=metrics) as memory:
        await asyncio.sleep(10)
        server.is_down = True
        server.restart()
        began = loop_time()
        assert await memory.start([Claim("x")])
        assert LEASE - 1 <= loop_time() - began <= LEASE + MARGIN
        began = loop_time()
        assert await memory.start([Claim("y")])
        assert loop_time() == began
        assert value("omni_relay_memory_unavailable") == 1
        server.is_down = False
        await asyncio.sleep(60)
        assert value("omni_relay_memory_unavailable") == 0
        assert await memory.start([Claim("z")])
        assert server.values["z"] == b"started"
        assert "x" not in server.values


ACCEPTED = StatusEvent("message.accepted", NOW, "r", 1, "m-1")


async def claimed(memory: SharedMemory) -> Claim:
    claim = Claim("x", "r", "m", "w.1")
    assert await memory.start([claim])
    return claim


async def test_an_end_is_recorded_before_work_goes_on_if_the_memory_is_back_soon() -> None:
    server = Server()
    async with working(server) as memory:
        await asyncio.sleep(10)
        claim = await claimed(memory)
        server.restart()
        assert await memory.end(claim, [ACCEPTED], "", is_whole=True, is_complete=True) == b""
        assert server.values["r"].startswith(b'm ~\n["accepted"')


async def test_an_end_waits_for_the_memory_until_the_lease_has_ended_and_is_recorded_when_it_is_back() -> None:
    server = Server()
    async with working(server) as memory:
        await asyncio.sleep(10)
        claim = await claimed(memory)
        server.is_down = True
        server.restart()
        began = loop_time()
        assert await memory.end(claim, [ACCEPTED], "", is_whole=True, is_complete=True) == b""
        assert LEASE - 1 <= loop_time() - began <= LEASE + MARGIN
        assert "r" not in server.values
        server.is_down = False
        await asyncio.sleep(60)
        assert server.values["r"].startswith(b'm ~\n["accepted"')


async def test_an_end_that_was_applied_though_its_answer_was_lost_is_not_taken_for_that_of_another() -> None:
    server = Server()
    async with working(server) as memory:
        await asyncio.sleep(10)
        claim = await claimed(memory)
        ending = memory.end(claim, [ACCEPTED], "", is_whole=True, is_complete=True)
        (connection,) = server.connections
        asyncio.get_running_loop().call_later(0.0005, connection.break_off)  # it is applied a moment later
        assert await ending == b""
        assert server.values["r"].count(b"accepted") == 1


async def test_an_end_of_a_claim_that_another_one_has_taken_over_is_not_recorded() -> None:
    server = Server()
    async with working(server) as memory:
        claim = await claimed(memory)
        server.values["r"] = b"m w.2\n"
        assert await memory.end(claim, [ACCEPTED], "", is_whole=True, is_complete=True) == b"m w.2\n"
        assert server.values["r"] == b"m w.2\n"


async def test_a_required_memory_that_is_missing_forbids_starts_until_it_is_back() -> None:
    server, missing = Server(is_down=True), list[bool]()
    async with working(server, missing.append) as memory:
        assert not await memory.start([Claim("x")])
        assert missing == [True]
        redelivered = Claim("y", "r", "m", "w.1", may_take_over=True)
        assert not await memory.start([redelivered])
        assert redelivered.is_refused  # nothing is decided about what another worker may have ended
        server.is_down = False
        await asyncio.sleep(10)
        assert missing == [True, False]
        assert await memory.start([Claim("x")])


async def test_a_slow_memory_counts_as_unavailable() -> None:
    server, metrics = Server(), Metrics()
    async with working(server, metrics=metrics) as memory:
        server.delay = lambda: 2 * ANSWER
        began = loop_time()
        assert await memory.start([Claim("x")])
        assert loop_time() - began <= LEASE + MARGIN
    assert metrics.registry.get_sample_value("omni_relay_memory_failures_total", {"cause": "timeout"})


async def test_a_memory_that_is_full_does_not_delay_again_each_time_it_is_tried() -> None:
    async with working(Server(is_full=True)) as memory:
        for _ in range(60):
            began = loop_time()
            assert await memory.start([Claim("x")])
            assert loop_time() - began < 0.1
            await asyncio.sleep(1)


async def test_a_brief_interruption_is_waited_for() -> None:
    server = Server()
    async with working(server) as memory:
        await asyncio.sleep(1)
        server.restart()
        assert await memory.start([Claim("x")])
        assert server.values["x"] == b"started"


async def test_a_memory_that_is_back_soon_is_waited_for_also_at_the_third_interruption_in_a_minute() -> None:
    """It is tried before the lease ends, not when it ends: else work would go on without it in the same moment."""
    server = Server()
    async with working(server) as memory:
        for name in "abcd":
            await asyncio.sleep(8)
            server.is_down = True
            server.restart()
            asyncio.get_running_loop().call_later(4, server.return_)
            assert await memory.start([Claim(name)])
            assert server.values[name] == b"started"


async def test_a_memory_that_ends_each_connection_does_not_stop_work_for_long() -> None:
    server = Server()
    async with working(server) as memory:
        ending = asyncio.create_task(end_each_connection(server))
        began = loop_time()
        for number in range(20):
            assert await memory.start([Claim(f"x{number}")])
            await asyncio.sleep(5)
        assert loop_time() - began < 300
        ending.cancel()


async def end_each_connection(server: Server) -> None:
    """End each connection as soon as a lease is written."""
    while True:
        await asyncio.sleep(0.05)
        for connection in tuple(server.connections):
            connection.break_off()


async def test_a_memory_that_works_for_moments_is_tried_less_and_less_often() -> None:
    server, tries = Server(is_down=True), list[float]()

    class Counting(Server):
        async def connect(self, on_lost: Callable[[MemoryUnavailableError], None]) -> "tuple[MemoryConnection, str]":
            tries.append(loop_time())
            return await server.connect(on_lost)

    async with working(Counting()):
        await asyncio.sleep(600)
    assert 15 < len(tries) < 40


async def break_often(server: Server, random_: random.Random) -> None:
    """Make faults until cancelled."""
    while True:
        await asyncio.sleep(random_.expovariate(1 / 4))
        match random_.randrange(5):
            case 0:
                server.snapshot = dict(server.values)
            case 1:
                server.restart()
            case 2:
                server.values.clear()
            case 3:
                server.is_down = not server.is_down
            case _:
                for connection in tuple(server.connections):
                    if random_.random() < 0.5:
                        connection.break_off()


@pytest.mark.parametrize("seed", range(12))  # more by hand, after a change
async def test_nothing_that_was_started_ever_looks_untouched(seed: int) -> None:
    """Workers die in the middle of anything, while the memory restarts, forgets, hangs and applies commands late."""
    random_ = random.Random(seed)  # noqa: S311 - no secret
    server, posted = Server(), set[str]()
    server.delay = lambda: (
        random_.choice((0.0, 0.001, 0.01, 0.2)) if random_.random() > hangs else random_.uniform(0, 12)
    )
    hangs = random_.choice((0.0, 0.02, 0.1))

    async def serve(memory: SharedMemory, delivery: Delivery) -> None:
        """Do what a worker does about a delivery: nothing is posted before its start is recorded."""
        name = str(delivery.message_id)
        record = memory.receive(delivery)
        await asyncio.sleep(random_.expovariate(1 / 3))
        if await memory.start([Claim(record)]):
            posted.add(name)
            await asyncio.sleep(random_.expovariate(1 / 3))

    breaking = asyncio.create_task(break_often(server, random_))
    taken = 0
    try:
        async with working(server) as survivor:
            for number in range(12):
                delivery = Delivery(b"body", message_id=f"r-{number}")
                async with working(server) as victim:
                    serving = asyncio.create_task(serve(victim, delivery))
                    await asyncio.sleep(random_.expovariate(1 / 5))
                    serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
                await asyncio.sleep(random_.choice((0.0, 0.1, 1, 4)))
                again = replace(AGAIN, message_id=delivery.message_id)
                if await survivor.take_untouched(again):
                    taken += 1
                    assert delivery.message_id not in posted
    finally:
        breaking.cancel()
        await asyncio.gather(breaking, return_exceptions=True)


async def test_a_memory_at_another_address_is_used_at_once_and_that_is_no_failure() -> None:
    old, new, metrics = Server(), Server(), Metrics()
    async with working(old, metrics=metrics) as memory:
        await asyncio.sleep(5)
        memory.use(old.connect, elsewhere=False)  # as when only an authority changed
        await asyncio.sleep(0.1)
        assert len(old.connections) == 1
        memory.use(new.connect, elsewhere=True)
        await asyncio.sleep(0.1)
        assert (len(old.connections), len(new.connections)) == (0, 1)
        assert await memory.start([Claim(memory.receive(DELIVERY))])
        assert {one.value for one in samples(metrics, "omni_relay_memory_failures_total")} == {0}


async def test_new_settings_of_the_memory_end_a_pause() -> None:
    old, new = Server(is_down=True), Server()
    async with working(old) as memory:
        await asyncio.sleep(300)  # the pauses are long by now
        memory.use(new.connect, elsewhere=True)
        await asyncio.sleep(0.1)
        assert len(new.connections) == 1


def samples(metrics: Metrics, name: str) -> list[Sample]:
    return [one for metric in metrics.registry.collect() for one in metric.samples if one.name == name]
