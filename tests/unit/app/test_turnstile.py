import asyncio
import time
from datetime import UTC, datetime, timedelta

from service.app.turnstile import RESULTS_STALLED, Turnstile
from service.rules.gate import Signal
from service.words.outcome import Held

HEALTHY, DENIED, FAILING = Signal("healthy"), Signal("denied", "http_401"), Signal("failing", "http_503")
PREFETCH = 100


def a_turnstile(patience: float = 5.0) -> tuple[Turnstile, list[object]]:
    told: list[object] = []
    return Turnstile(lambda gate: told.append(gate.mode), told.append, patience), told


def far(seconds: float) -> Signal:
    return Signal("failing", "http_429", datetime.now(UTC) + timedelta(seconds=seconds))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Callers:
    """Some who want to make a call, and say when they may."""

    def __init__(self, turnstile: Turnstile, count: int) -> None:
        self.through: list[int] = []
        self.go = asyncio.Event()
        self._turnstile = turnstile
        self.tasks = [asyncio.create_task(self._call(number)) for number in range(count)]

    async def _call(self, number: int) -> Held | None:
        try:
            if held := await self._turnstile.enter():
                return held
            self.through.append(number)
            await self.go.wait()
            return None
        finally:
            self._turnstile.leave()

    async def end(self) -> list[Held | None]:
        self.go.set()
        return await asyncio.gather(*self.tasks)


async def test_at_first_it_is_open() -> None:
    turnstile, told = a_turnstile()

    assert await turnstile.enter() is None
    assert (turnstile.passes(), turnstile.pause, turnstile.appetite(PREFETCH)) == (True, None, PREFETCH)
    assert told == []


async def test_good_news_while_open_is_no_news() -> None:
    turnstile, told = a_turnstile()
    turnstile.notice(HEALTHY)

    assert told == []
    assert turnstile.appetite(PREFETCH) == PREFETCH


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

    while turnstile.gate.mode == "closed":  # noqa: ASYNC110  # a timer
        await asyncio.sleep(0.02)
    await settle()
    assert callers.through == [0]
    assert turnstile.appetite(PREFETCH) == PREFETCH  # a short pause stops nobody from consuming

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


async def test_in_a_long_pause_consuming_stops_and_then_those_who_wait_are_sent_away() -> None:
    """What is not on its way yet goes back to the broker: a process that holds it may die."""
    patience = 0.5
    turnstile, told = a_turnstile(patience)
    turnstile.notice(far(patience + 0.5))
    callers = Callers(turnstile, 2)
    started = time.monotonic()
    while turnstile.appetite(PREFETCH):
        await asyncio.wait_for(turnstile.moves(), patience + 1)
    assert not any(task.done() for task in callers.tasks)
    assert time.monotonic() - started > patience - 0.05

    held = await callers.end()
    assert [one and (one.cause, one.denied, one.until) for one in held] == [
        ("http_429", False, turnstile.gate.until)
    ] * 2

    while turnstile.gate.mode == "closed":
        await asyncio.wait_for(turnstile.moves(), 5)
    assert turnstile.appetite(PREFETCH) == 1
    assert await turnstile.enter() is None
    turnstile.notice(HEALTHY)
    assert turnstile.appetite(PREFETCH) == PREFETCH
    assert told == ["closed", "probing", "open"]


async def test_while_results_are_stuck_no_call_is_made_and_nobody_is_sent_away() -> None:
    turnstile, told = a_turnstile()
    turnstile.stall(stalled=True)
    turnstile.stall(stalled=True)
    callers = Callers(turnstile, 2)
    await settle()
    assert callers.through == []
    assert (turnstile.pause, turnstile.passes()) == (RESULTS_STALLED, False)

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

    assert await callers.end() == [Held("stopping")] * 2
    assert turnstile.appetite(PREFETCH) == 0
    assert not turnstile.passes()
