from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.attempt.retry import HOUR, RetryPolicy, delay, denied_delay, due, lookup_delay, pause_delay
from tests.support.builder import NOW
from tests.unit.strategy import law

policies = st.builds(
    lambda base, more: RetryPolicy(8, base, base + more),
    st.floats(0.01, 3600, allow_nan=False),
    st.floats(0, 3600, allow_nan=False),
)
attempts = st.integers(1, 1000)
draws = st.floats(0, 1, exclude_max=True)
waits = st.floats(0, 400)


@pytest.mark.parametrize(
    ("policy", "ladder"),
    [
        (RetryPolicy(), (1, 2, 4, 8, 16, 32, 64, 128, 256, 300)),
        (RetryPolicy(8, 1, 1), (1,)),
        (RetryPolicy(8, 0.25, 1), (0.25, 0.5, 1)),
        (RetryPolicy(8, 10, 25), (10, 20, 25)),
    ],
)
def test_delays_double_up_to_the_longest(policy: RetryPolicy, ladder: tuple[float, ...]) -> None:
    assert policy.ladder == ladder
    assert policy.delays == (*ladder, HOUR)


@pytest.mark.parametrize(
    ("policy", "span"),
    [(RetryPolicy(), 127), (RetryPolicy(1), 0), (RetryPolicy(2, 3, 9), 3), (RetryPolicy(12, 1, 4), 1 + 2 + 9 * 4)],
)
def test_the_schedule_spans_all_its_waits(policy: RetryPolicy, span: float) -> None:
    assert policy.span == span


@pytest.mark.parametrize(("retries", "delay_seconds"), [(0, 4), (1, 8), (2, 16), (50, 300)])
def test_a_lookup_is_made_when_a_message_has_had_time_to_show(retries: int, delay_seconds: float) -> None:
    assert lookup_delay(RetryPolicy(), retries) == delay_seconds


def test_there_is_one_delay_queue_of_an_hour() -> None:
    assert RetryPolicy(8, 1800, 7200).delays == (1800, 3600, 7200)


@pytest.mark.parametrize(
    ("attempt", "draw", "delay_seconds"),
    [
        (1, 0.0, 1),
        (1, 0.99, 1),
        (2, 0.99, 2),
        (3, 0.5, 2),
        (3, 0.51, 4),
        (4, 0.99, 8),
        (9, 0.99, 256),
        (10, 0.99, 300),
        (1000, 0.99, 300),
        (1000, 0.0, 1),
    ],
)
def test_a_wait_is_drawn_below_a_ceiling_that_doubles(attempt: int, draw: float, delay_seconds: float) -> None:
    assert delay(RetryPolicy(), attempt, draw) == delay_seconds


@pytest.mark.parametrize(
    ("asked", "delay_seconds"), [(-5, 1), (0, 1), (1, 1), (1.5, 2), (60, 64), (299, 300), (86400, 300)]
)
def test_a_requested_wait_is_kept_in_full_up_to_the_longest_delay(asked: float, delay_seconds: float) -> None:
    assert delay(RetryPolicy(), 1, 0.0, asked) == delay_seconds


@law
@given(policy=policies, attempt=attempts, draw=draws, asked=waits)
def test_a_delay_has_a_delay_queue_and_is_no_shorter_than_omni_asks(
    policy: RetryPolicy, attempt: int, draw: float, asked: float
) -> None:
    delay_seconds = delay(policy, attempt, draw, asked)

    assert delay_seconds in policy.ladder
    assert delay_seconds >= min(asked, policy.ladder[-1])


@law
@given(policy=policies, attempt=attempts, draw=draws)
def test_a_delay_is_never_above_its_ceiling_rounded_up(policy: RetryPolicy, attempt: int, draw: float) -> None:
    ceiling = policy.ladder[min(attempt, len(policy.ladder)) - 1]

    assert delay(policy, attempt, draw) <= ceiling


@law
@given(policy=policies, attempt=attempts, one=draws, other=draws, asked=waits)
def test_a_higher_draw_never_waits_less(
    policy: RetryPolicy, attempt: int, one: float, other: float, asked: float
) -> None:
    assert delay(policy, attempt, min(one, other), asked) <= delay(policy, attempt, max(one, other), asked)


@pytest.mark.parametrize(
    ("policy", "delay_seconds", "shorter"),
    [(RetryPolicy(), 32, 8), (RetryPolicy(8, 1, 5), 5, 5), (RetryPolicy(8, 60, 300), 60, 60)],
)
def test_a_denied_request_waits_half_a_minute_or_less_where_others_succeed(
    policy: RetryPolicy, delay_seconds: float, shorter: float
) -> None:
    assert denied_delay(policy, others_succeed=False) == delay_seconds
    assert denied_delay(policy, others_succeed=True) == shorter


def test_a_delay_queue_releases_a_message_after_its_seconds() -> None:
    assert due(NOW, 0.25) == NOW + timedelta(milliseconds=250)


def test_a_fault_of_ours_is_waited_out_for_half_a_minute() -> None:
    assert pause_delay(RetryPolicy()) == 32
