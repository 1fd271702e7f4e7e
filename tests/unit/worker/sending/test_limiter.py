import asyncio
from dataclasses import replace

import pytest

from service.core.attempt.call import OmniCall
from service.core.attempt.concurrency import Limit
from service.core.attempt.outcome import NOT_SENT, Accepted, Outcome, Unavailable
from service.core.topology import URGENT
from service.worker.sending.limiter import Limiter, limited
from tests.support.builder import a_call, a_message
from tests.support.loop import loop_time, settled


class World:
    """A limiter around a function that holds each call until it is let go."""

    def __init__(self, size: int, rate: float | None = None, *, fixed: bool = True) -> None:
        self.sizes: list[float] = []
        self.limiter = Limiter(
            Limit(size, size if fixed else 100, fixed=fixed),
            rate,
            lambda limit: self.sizes.append(limit.size),
            loop_time,
        )
        self.sent: list[str] = []
        self.go = asyncio.Event()
        self.outcomes: list[Outcome] = []
        self._send = limited(self._hold, self.limiter)

    async def _hold(self, call: OmniCall) -> Outcome:
        self.sent.append(call.request_id)
        await self.go.wait()
        return self.outcomes.pop(0) if self.outcomes else Accepted({})

    def call(self, name: str, messages: int = 1, **fields: object) -> "asyncio.Task[Outcome]":
        call = a_call(*(a_message(f"{name}-{number}") for number in range(messages)))
        call = replace(call, request_id=name, **fields)  # type: ignore[arg-type]  # its own
        return asyncio.ensure_future(self._send(call))


async def test_no_more_calls_are_made_at_once_than_there_are_slots_and_they_go_in_order() -> None:
    world = World(2)
    tasks = [world.call(name) for name in "abcde"]
    await settled()
    assert world.sent == ["a", "b"]
    assert world.limiter.waiting == 3
    tasks[2].cancel()
    world.go.set()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert world.sent == ["a", "b", "d", "e"]
    assert world.sizes == [2]


async def test_a_call_that_is_cancelled_in_the_turn_in_which_it_gets_its_slot_gives_it_on() -> None:
    limiter = World(1).limiter
    await limiter.acquire(a_call())
    second, third = (asyncio.create_task(limiter.acquire(a_call())) for _ in range(2))
    await settled()
    limiter.release()
    second.cancel()
    await asyncio.wait_for(third, 1)

    assert second.cancelled()
    limiter.release()
    await asyncio.wait_for(limiter.acquire(a_call()), 1)


async def test_a_higher_limit_lets_in_calls_that_wait() -> None:
    world = World(3, fixed=False)
    for _ in range(3):
        await world.limiter.acquire(a_call())
    tasks = [world.call(name) for name in "abcd"]
    await settled()
    world.limiter.release(Accepted({}), 0.01)  # a slot is free, and there is one more
    await settled()
    assert world.sent == ["a", "b"]

    world.limiter.release(Unavailable("http_429"), 0.01)
    world.limiter.release(Unavailable("http_503"), 0.01)  # shows nothing about the limit
    world.limiter.begin_anew()
    assert world.sizes == [3, 4, 2]
    world.go.set()
    await asyncio.gather(*tasks)


async def test_the_outcome_of_a_call_changes_the_limit() -> None:
    world = World(4, fixed=False)
    world.outcomes = [Unavailable("http_429")]
    world.go.set()
    await world.call("a")

    assert world.sizes == [4, 2]


async def test_messages_go_at_the_rate() -> None:
    world = World(10, rate=100)
    world.go.set()
    started = loop_time()
    await asyncio.gather(*(world.call(name, 5) for name in "abcde"))

    assert loop_time() - started == pytest.approx(0.2, abs=0.01)


async def test_large_calls_take_turns_with_small_ones_and_hold_no_more_than_one_slot_while_they_wait() -> None:
    world = World(3, rate=100)
    world.go.set()
    large = [world.call(f"large-{number}", 10) for number in range(10)]
    await settled()
    assert world.limiter.waiting == 0
    small = [world.call(f"small-{number}") for number in range(3)]
    await asyncio.gather(*large, *small)

    assert {world.sent.index(f"small-{number}") for number in range(3)} <= set(range(1, 6))
    assert [name for name in world.sent if name.startswith("large")] == [f"large-{number}" for number in range(10)]


async def test_a_large_call_lets_the_next_one_wait_for_the_rate_while_it_is_made() -> None:
    """While OMNI answers slowly, the rate is still fully used."""
    world = World(3, rate=1000)
    tasks = [world.call(name, 100) for name in "abc"]
    await asyncio.sleep(1)

    assert len(world.sent) == 3
    world.go.set()
    await asyncio.gather(*tasks)


async def test_a_large_call_that_is_cancelled_lets_the_next_one_wait() -> None:
    world = World(1, rate=100)
    holding = world.call("holding")
    await settled()
    for_a_slot, in_line = world.call("a", 50), world.call("b", 50)
    await settled()
    for_a_slot.cancel()
    in_line.cancel()
    world.go.set()
    await holding

    await asyncio.wait_for(world.call("c", 50), 5)
    for_the_rate = world.call("d", 50)
    await settled()
    for_the_rate.cancel()
    await asyncio.wait_for(world.call("e", 50), 5)
    assert world.sent == ["holding", "c", "e"]


async def test_without_a_rate_no_call_is_large() -> None:
    world = World(3)
    for name in "abc":
        world.call(name, 500)
    await settled()

    assert world.sent == ["a", "b", "c"]


async def test_a_part_of_a_large_request_is_large_however_few_its_messages() -> None:
    """Where one message a second is allowed, no call has more than one."""
    world = World(4, rate=1)
    for name in "abc":
        world.call(name, is_part=True)
    small = world.call("small")
    await settled()
    assert world.sent == ["a"]
    await asyncio.sleep(1.5)
    assert world.sent == ["a", "b"]
    await asyncio.sleep(1)
    assert world.sent == ["a", "b", "small"]
    world.go.set()
    await small


async def test_a_call_that_is_not_allowed_when_it_has_its_slot_takes_nothing_of_the_rate() -> None:
    world = World(1, rate=1)
    world.go.set()
    for _ in range(5):
        assert await world.call("a", may_send=lambda: False) is NOT_SENT
    started = loop_time()
    await world.call("b")

    assert loop_time() == started
    assert world.sent == ["b"]


async def test_a_call_that_may_be_sent_again_keeps_its_slot_and_its_share_of_the_rate() -> None:
    world = World(1, rate=1)
    world.go.set()
    world.outcomes = [NOT_SENT, NOT_SENT, Accepted({})]
    started = loop_time()

    assert await world.call("a") == Accepted({})
    assert world.sent == ["a"] * 3
    assert loop_time() == started


async def test_an_urgent_call_has_the_next_slot_and_the_normal_lane_an_eighth_of_them() -> None:
    world = World(1)
    world.call("first")
    await settled()
    tasks = [world.call(f"normal-{number}") for number in range(3)]
    tasks += [world.call(f"urgent-{number}", lane=URGENT) for number in range(18)]
    await settled()
    world.go.set()
    await asyncio.gather(*tasks)

    assert [number for number, name in enumerate(world.sent) if name.startswith("normal")] == [8, 16, 21]


async def test_an_urgent_call_does_not_wait_for_the_rate_of_the_normal_call_before_it() -> None:
    world = World(10, rate=10)
    world.go.set()
    started = loop_time()
    normal = [world.call(f"normal-{number}", 5) for number in range(4)]
    await settled()
    assert await world.call("urgent", lane=URGENT) == Accepted({})
    assert loop_time() == pytest.approx(started, abs=0.01)
    await asyncio.gather(*normal)

    assert loop_time() - started == pytest.approx(1.6, abs=0.06)  # the urgent one is paid for later
    assert world.sent[:2] == ["normal-0", "urgent"]


async def test_urgent_calls_keep_the_rate_and_leave_the_normal_lane_an_eighth_of_it() -> None:
    world = World(100, rate=100)
    world.go.set()
    started = loop_time()
    normal = [world.call(f"normal-{number}", 10) for number in range(20)]
    urgent = [world.call(f"urgent-{number}", lane=URGENT) for number in range(900)]
    await asyncio.gather(*urgent)
    seconds = loop_time() - started
    sent = sum(10 for name in world.sent if name.startswith("normal"))
    for call in normal:
        call.cancel()

    assert (900 + sent) / seconds == pytest.approx(100, rel=0.1)
    assert 0.11 < sent / (900 + sent) < 0.15


async def test_a_large_urgent_call_does_not_wait_for_a_large_normal_one() -> None:
    world = World(10, rate=10)
    world.go.set()
    normal = [world.call(f"normal-{number}", 5) for number in range(3)]
    await settled()
    await world.call("urgent", 5, lane=URGENT)

    assert world.sent == ["normal-0", "urgent"]
    await asyncio.gather(*normal)


async def test_a_batch_is_sealed_when_the_rate_has_room_and_all_its_messages_count() -> None:
    world = World(10, rate=10)
    world.go.set()
    await world.call("first", 5)
    sealed_at: list[float] = []

    def seal() -> OmniCall:
        sealed_at.append(loop_time())
        return replace(a_call(*(a_message(f"m-{number}") for number in range(5))), request_id="batch")

    started = loop_time()
    await world.call("batch", seal=seal)
    assert sealed_at == [pytest.approx(started + 0.5, abs=0.06)]
    await world.call("last")
    assert loop_time() - started == pytest.approx(1.0, abs=0.06)
