import asyncio

from service.app.throttle import Throttle
from service.rules.concurrency import Limit
from service.words.outcome import Accepted, Unavailable
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
        async with self._throttle.slot():
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
        async with throttle.slot():
            await throttle.pace(5)

    await asyncio.gather(*(call() for _ in range(5)))

    assert 0.2 <= loop_time() - started < 2
