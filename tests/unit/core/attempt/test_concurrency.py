from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.attempt.concurrency import (
    START,
    Limit,
    begin_anew,
    charge,
    cut,
    grow,
    is_congestion,
    may_queue,
    most_in_a_call,
    room_at,
)
from service.core.attempt.outcome import Accepted, Denied, Outcome, Rejected, Unavailable, Unknown
from tests.unit.strategy import law

LIMIT = Limit(16, 100)
FIXED = Limit(50, 50, fixed=True)


@pytest.mark.parametrize(
    ("outcome", "congested"),
    [
        (Unavailable("http_429"), True),
        (Unavailable("connect_timeout"), True),
        (Unknown("timeout"), True),
        (Unavailable("http_503"), False),
        (Unavailable("no_connection"), False),
        (Unknown("connection_lost"), False),
        (Denied("http_401"), False),
        (Rejected("http_400", ""), False),
        (Accepted({}), False),
    ],
)
def test_too_much_and_too_late_are_congestion(outcome: Outcome, *, congested: bool) -> None:
    assert is_congestion(outcome) is congested


def test_it_grows_by_each_call_until_the_first_congestion_and_by_one_a_round_from_then_on() -> None:
    grown = grow(LIMIT, 0.1, 16)
    assert grown.size == 17
    assert cut(grown, 0.0).size == 8.5

    steady = cut(grown, 0.0)
    for _ in range(8):
        steady = grow(steady, 0.1, 8)
    assert 9 < steady.size < 9.6


def test_the_rate_has_room_again_once_the_time_of_what_was_sent_has_passed() -> None:
    assert charge(3.0, 3.0, 10, 4, waited=True) == 5.5
    assert charge(5.0, 3.0, 10, 4, waited=False) == 7.5  # urgent, in advance
    assert charge(2.98, 3.0, 10, 4, waited=True) == pytest.approx(5.48)  # a timer that was late loses nothing


def test_a_rate_that_was_not_used_is_not_made_up_for() -> None:
    assert charge(1.0, 3.0, 10, 4, waited=False) == 5.5
    assert charge(1.0, 3.0, 10, 4, waited=True) == pytest.approx(5.45)


def test_an_urgent_call_does_not_wait_for_the_end_of_the_call_before_it() -> None:
    assert (room_at(5.0, urgent=False), room_at(5.0, urgent=True)) == (5.0, 4.5)


def test_it_does_not_grow_past_what_there_is_to_call_for() -> None:
    assert grow(replace(LIMIT, size=100), 0.1, 100).size == 100
    assert grow(LIMIT, 0.1, 2).size == 17
    assert grow(LIMIT, 0.1, 1).size == grow(LIMIT, 0.1, 0).size == 16  # what waits is one campaign, or nothing


@pytest.mark.parametrize(("seconds", "grows"), [(0.1, True), (0.2, True), (0.21, False), (5, False)])
def test_it_grows_only_while_latency_holds(seconds: float, *, grows: bool) -> None:
    usual = replace(LIMIT, usual=0.1)

    assert (grow(usual, seconds, 16).size > 16) is grows


def test_a_few_milliseconds_more_are_no_sign() -> None:
    assert grow(replace(LIMIT, usual=0.001), 0.03, 16).size > 16


def test_a_lasting_slowness_becomes_usual() -> None:
    limit = replace(LIMIT, usual=0.1)
    for _ in range(200):
        limit = grow(limit, 1.0, 16)

    assert limit.size > 16


def test_those_who_were_under_way_together_count_once() -> None:
    once = cut(replace(LIMIT, size=64), 10.0)

    assert once.size == 32
    assert cut(once, 10.9) == once
    assert cut(once, 11.0).size == 16
    assert cut(replace(LIMIT, size=1), 0.0).size == 1


def test_after_a_pause_it_starts_small() -> None:
    assert begin_anew(replace(LIMIT, size=80, slow_start=False)) == replace(LIMIT, size=START)
    assert begin_anew(replace(LIMIT, size=3)).size == 3


def test_a_number_that_is_set_is_kept_to() -> None:
    assert grow(FIXED, 0.1, 50).size == cut(FIXED, 9.0).size == begin_anew(FIXED).size == 50


@law
@given(
    calls=st.lists(
        st.tuples(st.sampled_from(["good", "bad", "pause"]), st.floats(0.001, 30), st.integers(0, 100)), max_size=50
    )
)
def test_it_stays_between_one_and_the_most(calls: list[tuple[str, float, int]]) -> None:
    limit, now = LIMIT, 0.0
    for kind, seconds, waiting in calls:
        now += seconds
        match kind:
            case "good":
                limit = grow(limit, seconds, waiting)
            case "bad":
                limit = cut(limit, now)
            case _:
                limit = begin_anew(limit)
        assert 1 <= limit.size <= 100


@law
@given(
    rate=st.floats(0.1, 1000),
    takers=st.lists(st.tuples(st.floats(0, 10), st.integers(1, 500)), min_size=1, max_size=30),
)
def test_no_call_is_made_before_the_time_of_all_messages_before_it_has_passed(
    rate: float, takers: list[tuple[float, int]]
) -> None:
    free_at = now = 0.0
    sent = 0
    for pause, count in takers:
        asked_at, room = now + pause, room_at(free_at, urgent=False)
        now = max(asked_at, room)
        assert sent <= now * rate * 1.001 + 1e-6
        free_at = charge(free_at, now, count, rate, waited=room > asked_at)
        sent += count


@pytest.mark.parametrize(
    ("most", "rate", "call"),
    [
        (500, None, 500),
        (500, 0.01, 1),
        (500, 1.0, 1),
        (500, 10.0, 5),
        (500, 999.0, 499),
        (500, 5000.0, 500),
        (3, 10.0, 3),
    ],
)
def test_a_call_takes_half_a_second_of_the_rate_at_most(most: int, rate: float | None, call: int) -> None:
    assert most_in_a_call(most, rate) == call


@pytest.mark.parametrize(
    ("messages", "rate", "small"),
    [(10_000, None, True), (1, 0.01, True), (1, 10.0, True), (2, 10.0, False), (10, 1000.0, True), (11, 1000.0, False)],
)
def test_a_call_is_small_if_it_takes_a_hundredth_of_a_second_or_has_one_message(
    messages: int, rate: float | None, *, small: bool
) -> None:
    assert may_queue(messages, rate, is_part=False) is small
    assert may_queue(messages, rate, is_part=True) is (rate is None)
