import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sandbox.delivery.scenario import BUILT_IN, FlowStep
from service.sandbox.delivery.simulation import (
    DELIVERED,
    DELIVERY_TAKES,
    EXPIRED,
    NOT_SENT,
    Answer,
    answer_of,
    simulate,
)
from service.sandbox.schema.request import Content, Destination, SendRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NUMBER = "41793026727"
SEED = {
    "viber": Content("v", timedelta(minutes=1)),
    "sms": Content("s", timedelta(seconds=90)),
    "email": Content("e", timedelta(hours=2)),
}


def request(contents: dict[str, Content], send_at: str | None = None) -> SendRequest:
    return SendRequest([], None, send_at, contents=contents)


def tried(to: dict[str, str], answer: Answer = Answer(0), send_at: str | None = None) -> list[tuple[str, float, int]]:  # noqa: B008  # frozen
    """Return each step's channel, seconds until it begins, and status."""
    simulation = simulate(request(SEED, send_at), Destination(to, "m"), BUILT_IN.flow, NOW, answer)
    return [(step.channel, (step.sent_at - NOW).total_seconds(), step.status.id) for step in simulation.steps]


def test_each_step_begins_when_the_validity_of_the_one_before_is_over() -> None:
    assert tried({"phoneNumber": NUMBER, "emailAddress": "e@example.com"}) == [
        ("VIBER", 0, EXPIRED.id),
        ("SMS", 60, EXPIRED.id),
        ("EMAIL", 150, EXPIRED.id),
    ]


@pytest.mark.parametrize(("step", "reached"), [(1, "VIBER"), (2, "SMS"), (3, "EMAIL")])
def test_nothing_is_tried_after_the_step_that_delivers(step: int, reached: str) -> None:
    steps = tried({"phoneNumber": f"417992{step}00", "emailAddress": "e@example.com"})

    assert len(steps) == step
    assert (steps[-1][0], steps[-1][2]) == (reached, DELIVERED.id)


def test_steps_without_an_address_take_no_time() -> None:
    assert tried({"emailAddress": "e@example.com"}, Answer(1)) == [("EMAIL", 0, DELIVERED.id)]


def test_a_message_without_an_address_for_any_step_is_not_sent() -> None:
    assert tried({"pushRegistrationId": "p"}) == [("PUSH", 0, NOT_SENT.id)]


@pytest.mark.parametrize(
    ("send_at", "seconds"), [("2026-01-01T02:00:00.000+0100", 3600), ("0001-01-01T00:00:00+14:00", 0)]
)
def test_send_at_delays_the_first_step_unless_it_is_past(send_at: str, seconds: float) -> None:
    assert tried({"phoneNumber": NUMBER}, Answer(1), send_at) == [("VIBER", seconds, DELIVERED.id)]


@pytest.mark.parametrize(
    ("number", "answer"),
    [
        ("4179392000", Answer(0)),
        ("4179392200", Answer(2)),
        ("4179392901", Answer(9, seen=True)),
        ("4179392202", Answer(7)),
        ("4179391200", Answer(7)),
        (NUMBER, Answer(7)),
        (None, Answer(7)),
    ],
)
def test_the_last_five_digits_choose_the_step_that_delivers(number: str | None, answer: Answer) -> None:
    assert answer_of(number, usual=Answer(7)) == answer


def test_a_message_is_read_only_if_it_was_delivered() -> None:
    def seen_at(number: str) -> datetime | None:
        return simulate(request(SEED), Destination({"phoneNumber": number}, "m"), BUILT_IN.flow, NOW, Answer()).seen_at

    assert seen_at("4179392101") is not None
    assert seen_at("4179392001") is None
    assert seen_at("4179392100") is None


@given(
    flow=st.lists(st.sampled_from(["VIBER", "SMS", "EMAIL", "VOICE"]), min_size=1, max_size=6),
    step=st.integers(0, 9),
)
def test_steps_follow_each_other_without_a_gap_and_only_the_last_may_deliver(flow: list[str], step: int) -> None:
    to = Destination({"phoneNumber": NUMBER, "emailAddress": "e@example.com"}, "m")
    steps = simulate(request(SEED), to, [FlowStep(channel) for channel in flow], NOW, Answer(step)).steps

    assert steps[0].sent_at == NOW
    assert all(one.done_at == other.sent_at for one, other in itertools.pairwise(steps))
    assert all(step.status is not DELIVERED for step in steps[:-1])
    if steps[-1].status is DELIVERED:
        assert steps[-1].done_at - steps[-1].sent_at == DELIVERY_TAKES
