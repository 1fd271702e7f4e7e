from datetime import UTC, datetime, timedelta

from service.app.turnstile import Turnstile
from service.rules.gate import OPEN, Gate

PAST = Gate("closed", 3, "http_401", datetime(2026, 1, 1, tzinfo=UTC) - timedelta(days=3650))


def a_turnstile() -> tuple[Turnstile, list[str]]:
    told: list[str] = []
    return Turnstile(lambda gate: told.append(gate.mode)), told


async def test_at_first_it_is_open() -> None:
    turnstile, told = a_turnstile()

    assert await turnstile.passable() == OPEN
    assert told == []
    assert not turnstile.moved.is_set()


def test_good_news_while_open_is_no_news() -> None:
    turnstile, told = a_turnstile()
    turnstile.notice(None)

    assert (turnstile.gate, told, turnstile.moved.is_set()) == (OPEN, [], False)


def test_a_refusal_closes_it_and_is_told_once() -> None:
    turnstile, told = a_turnstile()
    turnstile.notice("http_401")
    turnstile.notice("http_401")
    turnstile.notice(None)

    assert (turnstile.gate.mode, turnstile.gate.cause, turnstile.gate.failures) == ("closed", "http_401", 1)
    assert told == ["closed"]
    assert turnstile.moved.is_set()


async def test_when_its_time_has_come_a_probe_may_pass() -> None:
    turnstile, told = a_turnstile()
    turnstile.gate = PAST
    turnstile.moved.set()

    gate = await turnstile.passable()

    assert gate == Gate("probing", 3, "http_401")
    assert told == ["probing"]
    assert not turnstile.moved.is_set()


async def test_a_probe_that_passes_opens_it() -> None:
    turnstile, told = a_turnstile()
    turnstile.gate = PAST
    await turnstile.passable()
    turnstile.notice(None)

    assert turnstile.gate == OPEN
    assert told == ["probing", "open"]
    assert turnstile.moved.is_set()


async def test_a_probe_that_is_refused_closes_it_for_longer() -> None:
    turnstile, told = a_turnstile()
    turnstile.gate = PAST
    await turnstile.passable()
    turnstile.notice("status_12")

    assert (turnstile.gate.mode, turnstile.gate.failures, turnstile.gate.cause) == ("closed", 4, "status_12")
    assert told == ["probing", "closed"]
