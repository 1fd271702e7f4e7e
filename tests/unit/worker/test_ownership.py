import asyncio
from dataclasses import dataclass, field
from typing import cast

import pytest
from aiormq.abc import AbstractChannel

from service.adapters.rabbitmq import Acknowledger
from service.adapters.rabbitmq.lifetime import ConnectionLifetime
from service.core.delivery import DeliveryLostError
from service.worker.ownership import SessionCheck
from tests.support.loop import loop_time


@dataclass
class World:
    """A clock, a session, and a broker that answers."""

    now: float = 100.0
    life: ConnectionLifetime = field(default_factory=ConnectionLifetime)
    asked: int = 0
    answers: bool = True

    def __post_init__(self) -> None:
        self.life.confirmed_at = self.life.last_read_at = self.now
        self.check = SessionCheck(lambda: self.now)
        self.delivery = self.check.ownership(Acknowledger(cast("AbstractChannel", self), 1, self.life))

    async def queue_declare(self, _: str, *, passive: bool) -> None:
        assert passive
        self.asked += 1
        await asyncio.sleep(0)
        if not self.answers:
            raise ConnectionResetError

    def pass_time(self, seconds: float, *, sync: bool = True) -> None:
        """Let time pass while the process runs; `sync`: and the broker sends bytes."""
        for _ in range(round(seconds / 0.1)):
            self.now += 0.1
            self.delivery.is_certain()
        if sync:
            self.life.last_read_at = self.now


async def test_a_session_that_sent_bytes_is_certain_without_a_question() -> None:
    world = World()
    world.pass_time(60)

    assert world.delivery.is_certain()
    assert await world.delivery.confirm()
    assert world.asked == 0


async def test_deliveries_of_a_session_have_one_ownership_and_those_of_another_have_another() -> None:
    world = World()
    first, second = (Acknowledger(cast("AbstractChannel", world), tag, world.life) for tag in (2, 3))
    other = Acknowledger(cast("AbstractChannel", world), 1, ConnectionLifetime())

    assert world.check.ownership(first) is world.check.ownership(second)
    assert world.check.ownership(other) is not world.check.ownership(second)


@pytest.mark.parametrize(("silence", "valid"), [(0.9, True), (1.1, False)])
async def test_a_silent_session_is_valid_for_a_second(silence: float, *, valid: bool) -> None:
    """The shortest heartbeat is one second, and a broker gives up after two of them."""
    world = World()
    world.pass_time(silence, sync=False)

    assert world.delivery.is_certain() is valid
    assert await world.delivery.confirm()
    assert world.asked == (not valid)
    assert world.delivery.is_certain()


@pytest.mark.parametrize(("seconds", "asked"), [(0.4, 0), (0.6, 1), (3600.0, 1)])
async def test_after_a_suspension_the_broker_is_asked_once_for_all(seconds: float, asked: int) -> None:
    """Bytes that are read right afterwards were sent before, so they do not count."""
    world = World()
    world.now += seconds
    world.life.last_read_at = world.now

    assert world.delivery.is_certain() is not bool(asked)
    assert await asyncio.gather(*(world.delivery.confirm() for _ in range(5))) == [True] * 5
    assert world.asked == asked


async def test_a_suspension_that_is_long_over_still_counts_until_the_broker_has_answered() -> None:
    world = World()
    world.now += 60
    world.pass_time(60)

    assert not world.delivery.is_certain()
    assert await world.delivery.confirm()
    assert world.asked == 1


async def test_a_session_that_gives_no_answer_is_over_as_a_whole() -> None:
    world = World(answers=False)
    world.now += 60

    assert not await world.delivery.confirm()
    assert (world.life.is_set(), world.life.cause) == (True, "connection_lost")
    assert not world.delivery.is_certain()
    with pytest.raises(DeliveryLostError):
        await world.delivery.require()
    assert world.asked == 1


async def test_a_delivery_that_is_ours_is_required_without_a_question() -> None:
    world = World()
    await world.delivery.require()


async def test_a_process_that_runs_reads_the_clock_by_itself() -> None:
    life = ConnectionLifetime()
    life.confirmed_at = life.last_read_at = loop_time()
    owned = SessionCheck(loop_time).ownership(Acknowledger(cast("AbstractChannel", None), 1, life))
    await asyncio.sleep(0.7)  # longer than a suspension, and no time in which the loop did nothing
    assert owned.is_certain()


class Flow:
    """Stands for a transport."""

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self) -> None:
        """Do nothing."""


async def test_while_deliveries_are_left_unread_the_question_goes_over_the_other_connection() -> None:
    """Its answer would wait behind deliveries that are not read."""
    world, beside = World(), 0

    async def ask_beside() -> None:
        nonlocal beside
        beside += 1

    world.life.flow, world.life.ask_beside = Flow(), ask_beside
    world.life.pause_reading()
    world.pass_time(2, sync=False)
    assert await world.delivery.confirm()
    assert (world.asked, beside) == (0, 1)

    world.life.resume_reading()
    world.pass_time(2, sync=False)
    assert await world.delivery.confirm()
    assert (world.asked, beside) == (1, 1)


@pytest.mark.parametrize(("seconds", "ours"), [(9.0, True), (11.0, False)])
async def test_a_session_that_is_left_unread_for_long_is_over_whatever_the_other_connection_answers(
    seconds: float, *, ours: bool
) -> None:
    """The broker ends a connection that it cannot write to for 15 seconds, and that alone."""
    world = World()

    async def ask_beside() -> None:
        world.asked += 1

    world.life.flow, world.life.ask_beside = Flow(), ask_beside
    world.life.unread_since = world.now
    world.now += seconds

    assert await world.delivery.confirm() is ours
    assert world.asked == ours
    assert world.life.is_set() is not ours


async def test_an_answer_that_came_too_late_for_a_session_that_is_left_unread_does_not_count() -> None:
    world = World()

    async def ask_beside() -> None:
        world.now += 20

    world.life.flow, world.life.ask_beside = Flow(), ask_beside
    world.life.unread_since = world.now
    world.now += 2

    assert not await world.delivery.confirm()
