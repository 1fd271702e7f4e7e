"""A person decides on the page: deliver, fail, see."""

from datetime import UTC, datetime, timedelta

import pytest

from service.sandbox.delivery.scenario import BUILT_IN
from service.sandbox.delivery.simulation import (
    DELIVERED,
    DELIVERY_TAKES,
    EXPIRED,
    READING_TAKES,
    Answer,
    Simulation,
    deliver,
    fail,
    see,
    simulate,
)
from service.sandbox.schema.request import Content, Destination, SendRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOON = NOW + timedelta(milliseconds=500)
LATER = NOW + timedelta(days=1)
CONTENTS = {
    "viber": Content("v", timedelta(minutes=1)),
    "sms": Content("s", timedelta(seconds=90)),
    "email": Content("e", timedelta(hours=2)),
}
TO = {"phoneNumber": "41793026727", "emailAddress": "e@example.com"}


def simulation(step: int, *, seen: bool = False, send_at: str | None = None) -> Simulation:
    """Simulate Viber, SMS and e-mail, of which one delivers; 0: none."""
    request = SendRequest([], None, send_at, contents=CONTENTS)
    return simulate(request, Destination(TO, "m"), BUILT_IN.flow, NOW, Answer(step, seen))


def steps(result: Simulation | None) -> list[tuple[str, float, float, int]]:
    """Return each step's channel, seconds until it begins and ends, and status."""
    assert result is not None
    return [
        (each.channel, (each.sent_at - NOW).total_seconds(), (each.done_at - NOW).total_seconds(), each.status.id)
        for each in result.steps
    ]


@pytest.mark.parametrize("step", [0, 1, 3])
def test_the_step_under_way_delivers_at_once(step: int) -> None:
    delivered = deliver(simulation(step), SOON)

    assert steps(delivered) == [("VIBER", 0, 0.5, DELIVERED.id)]


def test_the_step_under_way_fails_and_the_next_ones_come_earlier() -> None:
    assert steps(fail(simulation(0), SOON)) == [
        ("VIBER", 0, 0.5, EXPIRED.id),
        ("SMS", 0.5, 90.5, EXPIRED.id),
        ("EMAIL", 90.5, 90.5 + 7200, EXPIRED.id),
    ]


def test_if_the_step_that_delivers_fails_the_next_one_delivers() -> None:
    failed = fail(simulation(1, seen=True), SOON)

    assert steps(failed) == [("VIBER", 0, 0.5, EXPIRED.id), ("SMS", 0.5, 1.5, DELIVERED.id)]
    assert failed is not None
    assert failed.seen_at == SOON + DELIVERY_TAKES + READING_TAKES
    again = fail(failed, SOON)
    assert steps(again)[-1] == ("EMAIL", 0.5, 1.5, DELIVERED.id)
    last = fail(again, SOON) if again else None
    assert steps(last)[-1] == ("EMAIL", 0.5, 0.5, EXPIRED.id)
    assert last is not None
    assert last.seen_at is None


def test_a_delivery_that_fails_by_hand_can_be_delivered_by_hand() -> None:
    failed = fail(simulation(0), SOON)
    assert failed is not None

    assert steps(deliver(failed, SOON + timedelta(seconds=1))) == [
        ("VIBER", 0, 0.5, EXPIRED.id),
        ("SMS", 0.5, 1.5, DELIVERED.id),
    ]


def test_a_delivered_message_is_read_once() -> None:
    delivered = simulation(1)

    assert see(delivered, SOON) is None
    seen = see(delivered, LATER)
    assert seen is not None
    assert seen.seen_at == LATER
    assert see(seen, LATER) is None


def test_a_message_is_read_earlier_than_the_number_asks() -> None:
    seen = see(simulation(1, seen=True), NOW + timedelta(seconds=2))

    assert seen is not None
    assert seen.seen_at == NOW + timedelta(seconds=2)


@pytest.mark.parametrize("decide", [deliver, fail])
def test_a_decision_before_or_after_the_delivery_changes_nothing(decide: object) -> None:
    assert callable(decide)
    assert decide(simulation(1), LATER) is None
    assert decide(simulation(1, send_at="2026-06-01T00:00:00Z"), LATER) is None
    assert see(simulation(0), LATER + timedelta(days=9)) is None
