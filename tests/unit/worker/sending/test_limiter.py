import asyncio
from contextlib import AbstractAsyncContextManager

from service.core.attempt.concurrency import Limit
from service.core.attempt.outcome import Accepted, Unavailable
from service.worker.sending.limiter import Throttle
from tests.support.loop import loop_time


def a_throttle(size: int, rate: float | None = None, *, fixed: bool = True) -> tuple[Throttle, list[float]]:
    told: list[float] = []
    return Throttle(
        Limit(size, size if fixed else 100, fixed=fixed), rate, lambda limit: told.append(limit.size), loop_time
    ), told


class Calls:
    """Calls that hold their slot until they are let go."""

    def __init__(self, throttle: Throttle) -> None:
        self.running: list[int] = []
        self.go = asyncio.Event()
        self._throttle = throttle

    async def call(self, number: int) -> None:
        async with self._throttle.slot(1, is_part=False):
            self.running.append(number)
            await self.go.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_calls_are_under_way_than_there_are_slots_and_they_go_in_order() -> None:
    throttle, told = a_throttle(2)
    calls = Calls(throttle)
    tasks = [asyncio.create_task(calls.call(number)) for number in range(5)]
    await settle()
    assert calls.running == [0, 1]
    tasks[2].cancel()
    calls.go.set()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert calls.running == [0, 1, 3, 4]
    assert told == [2]


async def test_one_who_gives_up_in_the_moment_of_its_turn_hands_the_slot_on() -> None:
    throttle, _ = a_throttle(1)
    calls = Calls(throttle)
    first, second, third = (asyncio.create_task(calls.call(number)) for number in range(3))
    await settle()
    calls.go.set()
    await first
    second.cancel()
    await asyncio.wait_for(third, 1)

    assert calls.running[-1] == 2
    assert throttle.limit.size == 1


async def test_more_room_lets_those_in_who_wait() -> None:
    throttle, told = a_throttle(2, fixed=False)
    calls = Calls(throttle)
    tasks = [asyncio.create_task(calls.call(number)) for number in range(5)]
    await settle()
    throttle.notice(Accepted({}), 0.01)
    await settle()
    assert calls.running == [0, 1, 2]

    throttle.notice(Unavailable("http_429"), 0.01)
    throttle.notice(Unavailable("http_503"), 0.01)  # says nothing of how much is too much
    throttle.begin_anew()
    assert told == [2, 3, 1.5]
    calls.go.set()
    await asyncio.gather(*tasks)


async def test_messages_go_at_their_pace() -> None:
    throttle, _ = a_throttle(10, rate=100)
    started = loop_time()

    async def call() -> None:
        async with throttle.slot(5, is_part=False) as slot:
            await slot.pace(5)

    await asyncio.gather(*(call() for _ in range(5)))

    assert 0.2 <= loop_time() - started < 2


async def test_large_calls_take_turns_with_small_ones_and_hold_no_more_than_one_slot_while_they_wait() -> None:
    throttle, _ = a_throttle(3, rate=100)
    gone: list[str] = []

    async def call(name: str, messages: int) -> None:
        async with throttle.slot(messages, is_part=False) as slot:
            await slot.pace(messages)
            gone.append(name)

    large = [asyncio.create_task(call(f"large-{number}", 10)) for number in range(10)]
    await settle()
    assert throttle.waiting == 0
    assert not throttle.is_full
    small = [asyncio.create_task(call(f"small-{number}", 1)) for number in range(3)]
    await asyncio.gather(*large, *small)

    assert {gone.index(f"small-{number}") for number in range(3)} <= set(range(1, 6))
    assert [name for name in gone if name.startswith("large")] == [f"large-{number}" for number in range(10)]


async def test_a_large_call_lets_the_next_one_into_the_line_when_its_turn_has_come() -> None:
    """While OMNI answers slowly, the rate is still made full use of."""
    throttle, _ = a_throttle(3, rate=1000)
    calling, go = [], asyncio.Event()

    async def call(number: int) -> None:
        async with throttle.slot(100, is_part=False) as slot:
            await slot.pace(100)
            calling.append(number)
            await go.wait()

    tasks = [asyncio.create_task(call(number)) for number in range(3)]
    async with asyncio.timeout(5):
        while len(calling) < 3:  # noqa: ASYNC110 - the clock
            await asyncio.sleep(0.01)
    go.set()
    await asyncio.gather(*tasks)


async def test_a_large_call_that_is_given_up_leaves_the_line() -> None:
    throttle, _ = a_throttle(1, rate=100)
    calls = Calls(throttle)
    holding = asyncio.create_task(calls.call(0))
    await settle()

    async def call() -> None:
        async with throttle.slot(50, is_part=False) as slot:
            await slot.pace(50)

    for_a_slot, in_line = asyncio.create_task(call()), asyncio.create_task(call())
    await settle()
    for_a_slot.cancel()
    in_line.cancel()
    await asyncio.gather(for_a_slot, in_line, return_exceptions=True)
    calls.go.set()
    await holding

    await asyncio.wait_for(call(), 5)
    in_line = asyncio.create_task(call())
    await asyncio.sleep(0.05)
    in_line.cancel()
    await asyncio.gather(in_line, return_exceptions=True)
    async with asyncio.timeout(5), throttle.slot(50, is_part=False):
        pass


async def test_without_a_rate_no_call_is_large() -> None:
    throttle, _ = a_throttle(3)
    calls = [asyncio.create_task(Calls(throttle).call(number)) for number in range(2)]
    await settle()
    async with asyncio.timeout(5), throttle.slot(500, is_part=False) as slot:
        await slot.pace(500)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_a_part_of_a_large_request_is_large_however_few_its_messages() -> None:
    """Where one message a second may go, no call has more than one."""
    throttle, _ = a_throttle(3, rate=1)
    calls = Calls(throttle)
    first = throttle.slot(1, is_part=True)
    async with first as slot:
        await slot.pace(1)
        second = asyncio.create_task(calls.call(2))
        async with asyncio.timeout(1), throttle.slot(1, is_part=True):
            assert throttle.slot(1, is_part=False) is throttle
            third = asyncio.create_task(_enter(throttle.slot(1, is_part=True)))
            await settle()
            assert not third.done()
        await asyncio.wait_for(third, 1)
    calls.go.set()
    await second


async def _enter(slot: AbstractAsyncContextManager[object]) -> None:
    async with slot:
        pass
