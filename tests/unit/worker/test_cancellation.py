"""The orders that a worker knows, while the memory changes, loses and regains its list."""

import asyncio
from itertools import count, cycle

from service.core.attempt.cancellation import Conditions, Named, Order, change_list, read_list, write_list
from service.core.attempt.start_record import ClockReading
from service.worker.cancellation import Cancellations
from tests.support.builder import a_request
from tests.support.loop import loop_time
from tests.unit.worker.test_memory import Server, working

MEMORY = 1_000_000.0
"""How far the memory's clock is ahead of the worker's."""
REQUEST = a_request()
ORDERS = Named(request_ids=(REQUEST.request_id,)).orders()
VERSIONS = count()


def list_of(*orders: Conditions, seconds: float = 10, undone: bool = False) -> bytes:
    """Write a list; each has a version of its own."""
    order = Order(MEMORY + loop_time(), MEMORY + loop_time() + seconds, undone)
    return write_list(dict.fromkeys(orders, order), f"{hash((orders, order)) % 10**16:016}").encode()


class Known:
    """A worker's orders, with a note of each change."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.changes = 0
        self.orders = Cancellations(loop_time, self.counts.append)
        self.orders.listen(self._note)

    def _note(self) -> None:
        self.changes += 1

    def read(self, text: bytes | None) -> None:
        self.orders.read(text, ClockReading(MEMORY + loop_time(), loop_time()))

    def cancelled(self) -> bool:
        return bool(self.orders.cancelled(REQUEST, REQUEST.messages))


async def test_an_order_ends_by_the_clock_of_the_memory_also_if_the_memory_is_away() -> None:
    known = Known()
    known.read(list_of(*ORDERS))
    await asyncio.sleep(9.9)
    assert known.cancelled()
    await asyncio.sleep(0.2)
    assert not known.cancelled()
    assert known.counts == [1, 0]
    assert known.changes == 2


async def test_what_a_memory_has_lost_stays_in_force_and_what_is_undone_does_not() -> None:
    known = Known()
    known.read(list_of(*ORDERS))
    known.read(b"")
    assert known.cancelled()
    known.read(list_of(*ORDERS, undone=True))
    assert not known.cancelled()
    known.read(b"")
    assert not known.cancelled()
    assert known.counts == [1, 0]


async def test_a_list_that_says_the_same_wakes_nobody() -> None:
    known = Known()
    known.read(list_of(*ORDERS))
    known.read(list_of(*ORDERS, seconds=20))
    assert known.changes == 1
    await asyncio.sleep(15)
    assert known.cancelled()


async def give(server: Server, *, undo: bool = False) -> None:
    """Do what the command does."""
    before = read_list(server.values.get("cancel"))
    change = change_list(before, ORDERS, server.time(), 30, undo=undo)
    server.values["cancel"] = write_list(change.listed, f"{next(VERSIONS):016x}").encode()


async def test_a_worker_reads_the_list_within_two_seconds_of_each_change() -> None:
    server = Server()
    async with working(server) as memory:
        for undo in (False, True):
            await asyncio.sleep(3)
            await give(server, undo=undo)
            await asyncio.sleep(1.5)
            assert bool(memory.cancellations.cancelled(REQUEST, REQUEST.messages)) is not undo


async def test_a_worker_reads_the_list_within_two_seconds_also_if_the_memory_is_nearly_too_slow() -> None:
    seconds = cycle((0.48, 0.24, 0.24, 0.48))  # generation, time and list together, lease
    server = Server(delay=lambda: next(seconds))
    async with working(server) as memory:
        for number in range(12):
            await asyncio.sleep(3 + 0.2 * number)
            await give(server, undo=number % 2 == 1)
            await asyncio.sleep(2)
            assert bool(memory.cancellations.cancelled(REQUEST, REQUEST.messages)) is (number % 2 == 0), number


async def test_a_worker_that_connects_again_knows_what_was_ordered_meanwhile_and_keeps_what_was_lost() -> None:
    server = Server()
    async with working(server) as memory:
        await give(server)
        await asyncio.sleep(1.5)
        server.restart()
        await asyncio.sleep(6)
        assert "cancel" not in server.values
        assert memory.cancellations.cancelled(REQUEST, REQUEST.messages)
        await give(server, undo=True)
        await asyncio.sleep(1.5)
        assert not memory.cancellations.cancelled(REQUEST, REQUEST.messages)
