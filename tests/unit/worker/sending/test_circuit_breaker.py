import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from service.core.attempt.outcome import Accepted, Denied, NotAttempted, Outcome, Unavailable
from service.worker.sending.circuit_breaker import Guard, Permission
from service.worker.telemetry import RESULTS_STALLED
from tests.support.loop import loop_time, settled

HEALTHY, DENIED = Accepted({}), Denied("http_401")
NEVER = float("inf")


def a_guard(clock: Callable[[], float] = loop_time) -> tuple[Guard, list[object]]:
    reported: list[object] = []
    return Guard(lambda breaker, _: reported.append(breaker.state), reported.append, clock, lambda: 0.0), reported


@dataclass
class Clock:
    """A clock that the test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def is_stuck(guard: Guard) -> bool:
    return guard.is_stuck


def retry_after(seconds: float) -> Outcome:
    return Unavailable("http_429", seconds)


class Callers:
    """Tasks that want to make a call, and note when they may."""

    def __init__(
        self, guard: Guard, count: int, until: float = NEVER, *, denied_before: bool = False, is_urgent: bool = False
    ) -> None:
        self.permitted: list[int] = []
        self.go = asyncio.Event()
        self._guard = guard
        self._until = until
        self._denied_before = denied_before
        self._is_urgent = is_urgent
        self.tasks = [asyncio.create_task(self._call(number)) for number in range(count)]

    async def _call(self, number: int) -> NotAttempted | None:
        entered = await self._guard.enter(self._until, denied_before=self._denied_before, is_urgent=self._is_urgent)
        if isinstance(entered, NotAttempted):
            return entered
        try:
            self.permitted.append(number)
            await self.go.wait()
        finally:
            self._guard.take_back(entered)
        return None

    async def end(self) -> list[NotAttempted | None]:
        self.go.set()
        return await asyncio.gather(*self.tasks)


async def test_at_first_every_call_is_permitted() -> None:
    guard, reported = a_guard()

    assert isinstance(await guard.enter(NEVER), Permission)
    assert (guard.is_closed, guard.pause) == (True, None)
    assert reported == []


async def test_a_success_while_closed_is_not_reported() -> None:
    guard, reported = a_guard()
    guard.record(HEALTHY)

    assert reported == []
    assert guard.is_closed


async def test_a_denial_opens_it_and_is_reported_once() -> None:
    guard, reported = a_guard()
    for outcome in (DENIED, DENIED, HEALTHY):
        guard.record(outcome)

    assert (guard.pause, guard.is_closed) == ("http_401", False)
    assert reported == ["open"]


async def test_of_calls_that_wait_one_is_the_probe_and_the_others_follow_when_it_succeeds() -> None:
    guard, reported = a_guard()
    guard.record(DENIED)
    callers = Callers(guard, 3)
    await settled()
    assert callers.permitted == []

    await asyncio.sleep(1)
    assert callers.permitted == [0]

    guard.record(HEALTHY)
    await settled()
    assert callers.permitted == [0, 1, 2]
    assert reported == ["open", "half_open", "closed"]
    assert await callers.end() == [None] * 3


async def test_a_probe_that_ends_without_an_outcome_gives_its_permission_to_another() -> None:
    guard, _ = a_guard()
    guard.record(DENIED)
    callers = Callers(guard, 2)
    await asyncio.sleep(1)
    (first,) = callers.permitted
    callers.tasks[first].cancel()
    await settled()

    assert sorted(callers.permitted) == [0, 1]
    callers.go.set()
    await asyncio.wait(callers.tasks)


async def test_a_permission_ends_with_the_state_that_it_was_given_in() -> None:
    guard, _ = a_guard()
    shared = await guard.enter(NEVER)
    guard.record(DENIED)
    assert isinstance(shared, Permission)
    assert not shared.is_valid()

    await asyncio.sleep(1)
    probe = await guard.enter(NEVER)
    assert isinstance(probe, Permission)
    assert (probe.is_valid(), shared.is_valid()) == (True, False)
    guard.set_stalled(stalled=True)
    assert not probe.is_valid()
    guard.set_stalled(stalled=False)
    guard.record(DENIED)
    await asyncio.sleep(3)
    another = await guard.enter(NEVER)
    assert isinstance(another, Permission)
    guard.take_back(probe)  # given back late, it does not end the other
    assert (probe.is_valid(), another.is_valid()) == (False, True)
    guard.stop()
    assert not another.is_valid()


async def test_a_call_that_was_denied_before_is_the_probe_only_if_no_other_waits() -> None:
    guard, _ = a_guard()
    guard.record(DENIED)
    denied, other = Callers(guard, 1, denied_before=True), Callers(guard, 1, loop_time() + 2)
    await asyncio.sleep(1)
    assert (denied.permitted, other.permitted) == ([], [0])

    assert await other.end() == [None]
    await settled()
    assert denied.permitted == [0]
    guard.record(HEALTHY)
    assert guard.seconds_since_healthy < 1
    assert await denied.end() == [None]


async def test_a_call_that_has_waited_long_enough_is_not_attempted_and_the_others_wait_on() -> None:
    guard, _ = a_guard()
    guard.record(retry_after(300))
    short, long = Callers(guard, 2, loop_time() + 0.1), Callers(guard, 1)

    assert await short.end() == [NotAttempted("http_429")] * 2
    assert not long.tasks[0].done()
    guard.stop()
    assert await long.end() == [NotAttempted("stopping")]


async def test_while_another_is_the_probe_a_wait_comes_to_its_end_too() -> None:
    guard, _ = a_guard()
    guard.record(DENIED)
    probe = Callers(guard, 1)
    await asyncio.sleep(1)

    assert await guard.enter(loop_time() + 0.05) == NotAttempted("http_401")
    assert await probe.end() == [None]


async def test_while_results_are_stalled_no_call_is_made_and_no_wait_ends() -> None:
    guard, reported = a_guard()
    guard.set_stalled(stalled=True)
    guard.set_stalled(stalled=True)
    callers = Callers(guard, 2, loop_time() - 1)
    await settled()
    assert callers.permitted == []
    assert not any(task.done() for task in callers.tasks)
    assert (guard.pause, guard.is_closed) == (RESULTS_STALLED, False)

    guard.set_stalled(stalled=False)
    await settled()
    assert callers.permitted == [0, 1]
    assert reported == [True, False]
    assert await callers.end() == [None, None]


async def test_when_the_worker_stops_calls_that_wait_are_not_attempted() -> None:
    guard, _ = a_guard()
    guard.set_stalled(stalled=True)
    callers = Callers(guard, 2)
    await settled()
    guard.stop()

    assert await callers.end() == [NotAttempted("stopping")] * 2
    assert not guard.is_closed


async def test_a_timer_that_fires_before_its_time_does_not_lose_the_probe() -> None:
    """The clock is one on which every timer of the event loop fires too early, ten times over."""
    guard, reported = a_guard(clock=lambda: loop_time() / 10)
    guard.record(retry_after(0.01))
    guard.record(retry_after(0.05))
    await asyncio.sleep(20)

    assert reported == ["open", "half_open"]


async def test_a_longer_retry_after_that_arrives_during_the_pause_moves_the_probe() -> None:
    guard, _ = a_guard()
    guard.record(retry_after(1))
    guard.record(retry_after(10))
    callers = Callers(guard, 1)
    await asyncio.sleep(9)
    assert callers.permitted == []
    await asyncio.sleep(2)
    assert callers.permitted == [0]
    await callers.end()


async def test_a_pause_that_outlives_its_deadline_is_noticed_and_ended_by_the_watchdog() -> None:
    clock = Clock()
    guard, reported = a_guard(clock=clock)
    guard.record(retry_after(300))
    clock.now += 359
    assert not is_stuck(guard)
    clock.now += 2
    assert is_stuck(guard)  # the loop's timers know nothing of this clock

    guard.advance()
    assert not is_stuck(guard)
    assert reported == ["open", "half_open"]


async def test_a_probe_may_take_its_time() -> None:
    clock = Clock()
    guard, _ = a_guard(clock=clock)
    guard.record(DENIED)
    clock.now += 60
    guard.advance()
    callers = Callers(guard, 2)
    await settled()
    clock.now += 3600

    assert callers.permitted == [0]
    assert not is_stuck(guard)
    callers.go.set()
    await asyncio.gather(*callers.tasks)


async def test_a_pause_because_of_stalled_results_is_no_reason_for_a_restart() -> None:
    clock = Clock()
    guard, _ = a_guard(clock=clock)
    guard.record(DENIED)
    clock.now += 60
    guard.advance()
    guard.set_stalled(stalled=True)
    callers = Callers(guard, 1)
    await settled()
    clock.now += 3600
    assert not is_stuck(guard)
    guard.set_stalled(stalled=False)
    assert await callers.end() == [None]


async def test_new_credentials_are_tried_at_once_where_the_old_ones_were_denied_and_nothing_else_is() -> None:
    denied, failing = a_guard()[0], a_guard()[0]
    denied.record(DENIED)
    failing.record(retry_after(300))
    for guard in (denied, failing):
        guard.retry_denied()

    assert (denied.breaker.state, failing.breaker.state) == ("half_open", "open")


async def test_an_urgent_call_is_the_probe_and_after_it_has_failed_a_normal_one() -> None:
    guard, _ = a_guard()
    guard.record(retry_after(1))
    normal, urgent = Callers(guard, 2), Callers(guard, 2, is_urgent=True)
    await asyncio.sleep(1.5)
    assert (normal.permitted, urgent.permitted) == ([], [0])

    guard.record(retry_after(1))
    await asyncio.sleep(2)
    assert (normal.permitted, urgent.permitted) == ([0], [0])

    guard.record(HEALTHY)
    await settled()
    assert (normal.permitted, urgent.permitted) == ([0, 1], [0, 1])
    assert [*await urgent.end(), *await normal.end()] == [None] * 4
