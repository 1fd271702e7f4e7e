import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from service.core.attempt.breaker import Signal
from service.core.attempt.outcome import NotAttempted
from service.worker.sending.circuit_breaker import RESULTS_STALLED, Turnstile
from tests.support.loop import loop_time

HEALTHY, DENIED = Signal("healthy"), Signal("denied", "http_401")
NEVER = float("inf")


def a_turnstile(clock: Callable[[], float] = loop_time) -> tuple[Turnstile, list[object]]:
    told: list[object] = []
    return Turnstile(lambda breaker, _: told.append(breaker.mode), told.append, clock), told


@dataclass
class Clock:
    """A clock that the test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def is_stuck(turnstile: Turnstile) -> bool:
    return turnstile.is_stuck


def far(seconds: float) -> Signal:
    return Signal("failing", "http_429", seconds)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Callers:
    """Some who want to make a call, and say when they may."""

    def __init__(self, turnstile: Turnstile, count: int, until: float = NEVER, *, again: bool = False) -> None:
        self.through: list[int] = []
        self.go = asyncio.Event()
        self._turnstile = turnstile
        self._until = until
        self._again = again
        self.tasks = [asyncio.create_task(self._call(number)) for number in range(count)]

    async def _call(self, number: int) -> NotAttempted | None:
        try:
            if held := await self._turnstile.enter(self._until, again=self._again):
                return held
            self.through.append(number)
            await self.go.wait()
            return None
        finally:
            self._turnstile.leave()

    async def end(self) -> list[NotAttempted | None]:
        self.go.set()
        return await asyncio.gather(*self.tasks)


async def test_at_first_it_is_open() -> None:
    turnstile, told = a_turnstile()

    assert await turnstile.enter(NEVER) is None
    assert (turnstile.is_open, turnstile.passes(), turnstile.pause) == (True, True, None)
    assert told == []


async def test_good_news_while_open_is_no_news() -> None:
    turnstile, told = a_turnstile()
    turnstile.notice(HEALTHY)

    assert told == []
    assert turnstile.is_open


async def test_a_refusal_closes_it_and_is_told_once() -> None:
    turnstile, told = a_turnstile()
    for signal in (DENIED, DENIED, HEALTHY):
        turnstile.notice(signal)

    assert (turnstile.pause, turnstile.passes()) == ("http_401", False)
    assert told == ["closed"]


async def test_of_those_who_wait_one_is_the_probe_and_the_others_follow_when_it_went_well() -> None:
    turnstile, told = a_turnstile()
    turnstile.notice(DENIED)
    callers = Callers(turnstile, 3)
    await settle()
    assert callers.through == []

    while turnstile.breaker.mode == "closed":  # noqa: ASYNC110  # a timer
        await asyncio.sleep(0.02)
    await settle()
    assert callers.through == [0]

    turnstile.notice(HEALTHY)
    await settle()
    assert callers.through == [0, 1, 2]
    assert told == ["closed", "probing", "open"]
    assert await callers.end() == [None] * 3


async def test_a_probe_that_tells_nothing_makes_room_for_another() -> None:
    turnstile, _ = a_turnstile()
    turnstile.notice(DENIED)
    callers = Callers(turnstile, 2)
    while not callers.through:  # noqa: ASYNC110  # a timer
        await asyncio.sleep(0.02)
    (first,) = callers.through
    callers.tasks[first].cancel()
    await settle()

    assert sorted(callers.through) == [0, 1]
    await asyncio.wait(callers.tasks, timeout=0)
    callers.go.set()
    await asyncio.wait(callers.tasks)


async def test_one_that_was_denied_before_is_the_probe_only_where_no_other_waits() -> None:
    turnstile, _ = a_turnstile()
    turnstile.notice(DENIED)
    denied, other = Callers(turnstile, 1, again=True), Callers(turnstile, 1, loop_time() + 2)
    while not (denied.through or other.through):  # noqa: ASYNC110  # a timer
        await asyncio.sleep(0.02)
    await settle()
    assert (denied.through, other.through) == ([], [0])

    assert await other.end() == [None]
    await settle()
    assert denied.through == [0]
    turnstile.notice(HEALTHY)
    assert turnstile.seconds_since_healthy < 1
    assert await denied.end() == [None]


async def test_whoever_has_waited_long_enough_is_sent_away_and_the_others_wait_on() -> None:
    turnstile, _ = a_turnstile()
    turnstile.notice(far(300))
    hasty, patient = Callers(turnstile, 2, loop_time() + 0.1), Callers(turnstile, 1)

    assert await hasty.end() == [NotAttempted("http_429")] * 2
    assert not patient.tasks[0].done()
    turnstile.shut()
    assert await patient.end() == [NotAttempted("stopping")]


async def test_while_another_is_the_probe_a_wait_comes_to_its_end_too() -> None:
    turnstile, _ = a_turnstile()
    turnstile.notice(DENIED)
    probe = Callers(turnstile, 1)
    while not probe.through:  # noqa: ASYNC110  # a timer
        await asyncio.sleep(0.02)

    assert await turnstile.enter(loop_time() + 0.05) == NotAttempted("http_401")
    assert await probe.end() == [None]


async def test_while_results_are_stuck_no_call_is_made_and_nobody_is_sent_away() -> None:
    turnstile, told = a_turnstile()
    turnstile.stall(stalled=True)
    turnstile.stall(stalled=True)
    callers = Callers(turnstile, 2, loop_time() - 1)
    await settle()
    assert callers.through == []
    assert not any(task.done() for task in callers.tasks)
    assert (turnstile.pause, turnstile.is_open, turnstile.passes()) == (RESULTS_STALLED, False, False)

    turnstile.stall(stalled=False)
    await settle()
    assert callers.through == [0, 1]
    assert told == [True, False]
    assert await callers.end() == [None, None]


async def test_when_it_is_shut_those_who_wait_are_sent_away_at_once() -> None:
    turnstile, _ = a_turnstile()
    turnstile.stall(stalled=True)
    callers = Callers(turnstile, 2)
    await settle()
    turnstile.shut()

    assert await callers.end() == [NotAttempted("stopping")] * 2
    assert not turnstile.is_open
    assert not turnstile.passes()


async def test_a_timer_that_fires_before_its_time_does_not_lose_the_probe() -> None:
    """The clock is one on which every timer of the event loop comes too early, ten times over."""
    turnstile, told = a_turnstile(clock=lambda: loop_time() / 10)
    turnstile.notice(far(0.01))
    turnstile.notice(far(0.05))
    async with asyncio.timeout(20):
        while turnstile.breaker.mode == "closed":  # noqa: ASYNC110  # a timer
            await asyncio.sleep(0.02)

    assert told == ["closed", "probing"]


async def test_a_pause_that_outlives_its_deadline_is_noticed_and_ended_by_whoever_looks() -> None:
    clock = Clock()
    turnstile, told = a_turnstile(clock=clock)
    turnstile.notice(far(300))
    clock.now += 359
    assert not is_stuck(turnstile)
    clock.now += 2
    assert is_stuck(turnstile)  # the loop's timers know nothing of this clock

    turnstile.look()
    assert not is_stuck(turnstile)
    assert told == ["closed", "probing"]


async def test_a_probe_that_ended_without_a_word_is_noticed_and_replaced_by_whoever_looks() -> None:
    clock, go = Clock(), asyncio.Event()
    turnstile, _ = a_turnstile(clock=clock)
    turnstile.notice(DENIED)
    clock.now += 60
    turnstile.look()

    async def probe() -> None:
        await turnstile.enter(NEVER)
        await go.wait()

    probing = asyncio.create_task(probe())
    await settle()
    callers = Callers(turnstile, 1)
    await settle()
    clock.now += 3600
    assert not is_stuck(turnstile)  # it may take its time
    go.set()
    await probing
    await settle()
    assert callers.through == []
    assert is_stuck(turnstile)

    turnstile.look()
    await settle()
    assert callers.through == [0]
    assert not is_stuck(turnstile)
    await callers.end()


async def test_a_pause_for_want_of_confirms_is_no_reason_for_a_restart() -> None:
    clock = Clock()
    turnstile, _ = a_turnstile(clock=clock)
    turnstile.notice(DENIED)
    clock.now += 60
    turnstile.look()
    turnstile.stall(stalled=True)
    callers = Callers(turnstile, 1)
    await settle()
    clock.now += 3600
    assert not is_stuck(turnstile)
    turnstile.stall(stalled=False)
    assert await callers.end() == [None]
