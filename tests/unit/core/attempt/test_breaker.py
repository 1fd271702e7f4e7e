from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.core.attempt.breaker import (
    CLOSED,
    FAILURES_IN_ROW,
    VOLUME,
    CircuitBreaker,
    Signal,
    advance,
    probe_kind,
    probe_order,
    read_signal,
    record_outcome,
    seconds_since_healthy,
)
from service.core.attempt.outcome import Accepted, Denied, NotAttempted, Outcome, Rejected, Unavailable, Unknown
from tests.support.builder import a_status
from tests.unit.strategy import law

NOW = 1000.0
"""Seconds on a clock that only goes forward."""
OPEN = CircuitBreaker("open", "http_401", denied=True, until=NOW + 1, openings=1)
HALF_OPEN = CircuitBreaker("half_open", "http_401", denied=True, openings=1)
HEALTHY, FAILING, DENIED = Signal("healthy"), Signal("failing", "http_503"), Signal("denied", "http_401")


def later(seconds: float) -> float:
    return NOW + seconds


@pytest.mark.parametrize(
    ("outcome", "signal"),
    [
        (Accepted({}), HEALTHY),
        (Rejected("http_400", "HTTP 400"), HEALTHY),
        (Unavailable("http_503"), FAILING),
        (Unavailable("http_429", 7.0), Signal("failing", "http_429", 7.0)),
        (Unknown("timeout"), Signal("failing", "timeout")),
        (Denied("http_401"), DENIED),
        (NotAttempted("http_503"), None),
    ],
)
def test_every_outcome_is_a_signal_unless_no_call_was_made(outcome: Outcome, signal: Signal | None) -> None:
    assert read_signal(outcome) == signal


def test_a_denied_message_is_a_denial_unless_another_one_of_the_call_was_accepted() -> None:
    taken, denied, refused = a_status(), a_status(5, 12), a_status(5, 6)

    assert read_signal(Accepted({"m-1": refused, "m-2": denied})) == Signal("denied", "status_12")
    assert read_signal(Accepted({"m-1": denied, "m-2": taken})) == HEALTHY
    assert read_signal(Accepted({"m-1": refused})) == HEALTHY


def test_a_signal_says_whether_the_request_was_denied_before() -> None:
    assert read_signal(Denied("http_403"), again=True) == Signal("denied", "http_403", again=True)
    assert read_signal(Accepted({"m": a_status(5, 12)}), again=True) == Signal("denied", "status_12", again=True)
    assert read_signal(Accepted({"m": a_status()}), again=True) == HEALTHY


def denied(times: int, *, every: float, after: float = 0.0) -> CircuitBreaker:
    """Deny so many calls, the first so many seconds after one that went well."""
    breaker = record_outcome(CLOSED, HEALTHY, NOW, 0.0)
    for number in range(times):
        breaker = record_outcome(breaker, DENIED, later(after + number * every), 0.0)
        if breaker.state == "open":
            break
    return breaker


@pytest.mark.parametrize(
    ("times", "every", "after", "state"),
    [
        (19, 1.0, 0.0, "closed"),
        (20, 1.0, 0.0, "open"),
        (1, 0.0, 60.0, "closed"),
        (1, 0.0, 60.1, "open"),
        (1000, 0.001, 0.0, "closed"),
        (1100, 0.001, 0.0, "open"),
    ],
)
def test_denials_open_it_only_if_no_other_call_has_succeeded_lately(
    times: int, every: float, after: float, state: str
) -> None:
    assert denied(times, every=every, after=after).state == state


@pytest.mark.parametrize("status", [400, 403, 404, 451])
def test_refusals_of_a_gateway_open_it_only_if_no_other_call_has_succeeded_lately(status: int) -> None:
    """One producer whose content a gateway refuses must not stop all others; a wrong base URL stops everyone."""
    refused = read_signal(Unavailable(f"http_{status}", 300.0))
    assert refused is not None
    breaker = record_outcome(CLOSED, HEALTHY, later(0), 0.0)
    for _ in range(19):
        breaker = record_outcome(breaker, refused, later(30), 0.0)
    assert breaker.state == "closed"
    assert record_outcome(record_outcome(breaker, HEALTHY, later(30), 0.0), refused, later(31), 0.0).state == "closed"

    opened = record_outcome(breaker, refused, later(30), 0.0)
    assert (opened.state, opened.denied) == ("open", False)

    breaker = CLOSED
    for _ in range(4):
        breaker = record_outcome(breaker, refused, later(0), 0.0)
    assert breaker.state == "closed"  # nothing is known yet
    assert record_outcome(breaker, refused, later(0), 0.0).state == "open"


@pytest.mark.parametrize("status", [408, 425, 429])
def test_a_4xx_for_overload_is_a_failure(status: int) -> None:
    assert read_signal(Unavailable(f"http_{status}")) == Signal("failing", f"http_{status}")


def test_however_many_calls_are_denied_it_stays_closed_while_others_succeed() -> None:
    """Nineteen in twenty are denied; ten in a second go well."""
    breaker = CLOSED
    for number in range(12_000):
        breaker = record_outcome(breaker, DENIED if number % 20 else HEALTHY, later(number * 0.005), 0.0)
        assert breaker.state == "closed"


def test_denied_calls_are_no_failures() -> None:
    breaker = denied(19, every=1.0)

    assert (breaker.failures_in_row, breaker.bad) == (0, 0.0)
    assert record_outcome(breaker, FAILING, later(19), 0.0).state == "closed"


def test_a_probe_that_is_denied_lets_another_try_if_calls_have_succeeded_lately() -> None:
    breaker = replace(HALF_OPEN, healthy_at=NOW)

    assert record_outcome(breaker, DENIED, later(1), 0.0) == replace(breaker, denials=1)
    assert record_outcome(breaker, DENIED, later(61), 0.0).state == "open"


def test_a_request_denied_again_lengthens_no_pause() -> None:
    again = replace(DENIED, again=True)
    breaker = record_outcome(CLOSED, again, NOW, 0.0)
    assert (breaker.until, breaker.openings) == (later(0.5), 1)
    for _ in range(5):
        breaker = record_outcome(advance(breaker, later(1)), again, later(1), 0.0)
        assert (breaker.until, breaker.openings) == (later(1.5), 1)
        breaker = replace(breaker, until=later(1))
    assert record_outcome(advance(breaker, later(1)), DENIED, later(1), 0.0).openings == 2


def test_it_knows_how_long_ago_a_call_succeeded() -> None:
    assert seconds_since_healthy(CLOSED, NOW) == inf
    assert seconds_since_healthy(record_outcome(CLOSED, HEALTHY, NOW, 0.0), later(3)) == 3
    assert (
        seconds_since_healthy(
            record_outcome(record_outcome(CLOSED, HEALTHY, NOW, 0.0), FAILING, later(1), 0.0), later(3)
        )
        == 3
    )
    assert seconds_since_healthy(record_outcome(OPEN, HEALTHY, NOW, 0.0), later(3)) == 3


def test_a_denial_of_our_account_opens_it_at_once() -> None:
    assert record_outcome(CLOSED, DENIED, NOW, 0.0) == replace(OPEN, until=later(0.5))


def test_calls_that_fail_in_a_row_open_it() -> None:
    breaker = CLOSED
    for number in range(1, FAILURES_IN_ROW):
        breaker = record_outcome(breaker, FAILING, later(3600 * number), 0.0)
        assert (breaker.state, breaker.failures_in_row) == ("closed", number)

    now = 3600.0 * FAILURES_IN_ROW
    assert record_outcome(breaker, FAILING, later(now), 0.0) == CircuitBreaker(
        "open", "http_503", until=later(now + 0.5), openings=1
    )
    assert record_outcome(breaker, HEALTHY, later(now), 0.0).failures_in_row == 0


def failing_share(failed: int, calls: int, seconds: float) -> CircuitBreaker:
    """Record so many calls at such intervals, of which some fail, never in a row."""
    breaker = CLOSED
    for number in range(calls):
        signal = FAILING if (number + 1) * failed // calls > number * failed // calls else HEALTHY
        breaker = record_outcome(breaker, signal, later(number * seconds), 0.0)
        if breaker.state == "open":
            break
    return breaker


@pytest.mark.parametrize(
    ("failed", "calls", "seconds", "state"),
    [
        (50, 100, 0.1, "open"),
        (40, 100, 0.1, "closed"),
        (50, 100, 60, "closed"),  # too few at a time
        (4, 8, 0, "closed"),  # the same
    ],
)
def test_a_good_share_of_many_calls_that_fail_opens_it(failed: int, calls: int, seconds: float, state: str) -> None:
    assert failing_share(failed, calls, seconds).state == state
    assert VOLUME > 8


def test_requests_rejected_for_their_own_fault_never_open_it() -> None:
    breaker = CLOSED
    for _ in range(1000):
        signal = read_signal(Rejected("http_400", ""))
        assert signal is not None
        breaker = record_outcome(breaker, signal, NOW, 0.0)

    assert breaker.state == "closed"


@pytest.mark.parametrize(("asked", "seconds"), [(7, 7), (0.1, 0.5), (0, 0.5), (86400, 300)])
def test_a_retry_after_is_kept_up_to_the_longest(asked: float, seconds: float) -> None:
    breaker = record_outcome(CLOSED, Signal("failing", "http_429", asked), NOW, 0.0)

    assert (breaker.state, breaker.until) == ("open", later(seconds))


@pytest.mark.parametrize("signal", [HEALTHY, FAILING, DENIED])
def test_calls_that_were_in_flight_when_it_opened_change_nothing(signal: Signal) -> None:
    assert replace(record_outcome(OPEN, signal, NOW, 0.9), healthy_at=None) == OPEN


def test_a_call_that_was_in_flight_when_it_opened_may_bring_a_longer_retry_after() -> None:
    assert record_outcome(OPEN, replace(FAILING, retry_after=9), NOW, 0.0) == replace(OPEN, until=later(9))
    assert record_outcome(OPEN, replace(FAILING, retry_after=0.1), NOW, 0.0) == OPEN


@pytest.mark.parametrize(
    ("signal", "openings", "shortest", "longest"),
    [
        (DENIED, 0, 0.5, 1),
        (DENIED, 1, 1, 2),
        (DENIED, 5, 16, 32),
        (DENIED, 6, 30, 60),
        (DENIED, 1000, 30, 60),
        (FAILING, 0, 0.5, 1),
        (FAILING, 2, 2, 4),
        (FAILING, 1000, 2, 4),
    ],
)
def test_pauses_grow_with_jitter_and_stay_short_while_omni_fails(
    signal: Signal, openings: int, shortest: float, longest: float
) -> None:
    breaker = replace(HALF_OPEN, openings=openings)

    assert record_outcome(breaker, signal, NOW, 0.0).until == later(shortest)
    assert record_outcome(breaker, signal, NOW, 1.0).until == later(longest)
    assert record_outcome(breaker, signal, NOW, 0.5).openings == openings + 1


@pytest.mark.parametrize(
    ("breaker", "seconds", "state"),
    [
        (CLOSED, 99, "closed"),
        (OPEN, 0.9, "open"),
        (OPEN, 1, "half_open"),
        (OPEN, 99, "half_open"),
        (HALF_OPEN, 9, "half_open"),
    ],
)
def test_an_open_breaker_lets_a_probe_through_once_its_time_has_come(
    breaker: CircuitBreaker, seconds: float, state: str
) -> None:
    assert advance(breaker, later(seconds)).state == state


def test_a_half_open_breaker_remembers_why_it_opened() -> None:
    assert advance(OPEN, later(1)) == HALF_OPEN


def test_a_probe_that_succeeds_closes_it_and_the_past_is_forgotten() -> None:
    assert record_outcome(HALF_OPEN, HEALTHY, NOW, 0.0) == replace(CLOSED, healthy_at=NOW)


signals = st.builds(
    Signal,
    st.sampled_from(["healthy", "failing", "denied"]),
    st.just("cause"),
    st.none() | st.floats(0, 366 * 86400),
    st.booleans(),
)
steps = st.tuples(st.floats(0, 7200), st.booleans(), signals, st.floats(0, 1, exclude_max=True))


@law
@given(begun=st.floats(0, 1e9), history=st.lists(steps, max_size=40))
def test_no_signal_is_followed_by_a_pause_longer_than_the_longest(
    begun: float, history: list[tuple[float, bool, Signal, float]]
) -> None:
    """Whatever happened before: 300 seconds after the last call ended, a probe may go at the latest."""
    now, breaker = begun, CLOSED
    for seconds, log_checks, signal, jitter in history:
        now += seconds
        breaker = record_outcome(advance(breaker, now) if log_checks else breaker, signal, now, jitter)
        assert breaker.until is None or breaker.until <= now + 300
        assert advance(breaker, now + 300).state in {"closed", "half_open"}


class BreakerMachine(RuleBasedStateMachine):
    """Outcomes and advances in any order, as time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.breaker = CLOSED

    @rule(seconds=st.floats(0, 120))
    def time_passes(self, seconds: float) -> None:
        """Let time go on."""
        self.now += seconds

    @rule(jitter=st.floats(0, 1, exclude_max=True), kind=st.sampled_from(["healthy", "failing", "denied"]))
    def a_call_ends(self, jitter: float, kind: str) -> None:
        """Record it."""
        signal = {"healthy": HEALTHY, "failing": FAILING, "denied": DENIED}[kind]
        before, self.breaker = self.breaker, record_outcome(self.breaker, signal, self.now, jitter)
        if before.state == "open":
            assert replace(self.breaker, healthy_at=before.healthy_at) == before
        elif signal is HEALTHY:
            assert self.breaker.state == "closed"
        elif signal is DENIED and before.healthy_at is not None and self.now - before.healthy_at <= 1:
            assert self.breaker.state == before.state
        elif self.breaker.state == "open":
            assert self.breaker.until is not None
            assert 0.49 <= self.breaker.until - self.now <= (60.01 if signal is DENIED else 4.01)
            assert (self.breaker.cause, self.breaker.denied) == (signal.cause, signal is DENIED)

    @rule()
    def advances(self) -> None:
        """Advance it, as the timer and the watchdog do."""
        before = self.breaker
        self.breaker = advance(before, self.now)
        due = before.until is not None and before.until <= self.now
        assert self.breaker.state == ("half_open" if due else before.state)

    @invariant()
    def knows_when_it_is_tried_again_only_while_open(self) -> None:
        """Only an open breaker has a time, and only a closed one has no cause."""
        assert (self.breaker.until is not None) is (self.breaker.state == "open")
        assert (self.breaker.cause == "") is (self.breaker.state == "closed") is (self.breaker.openings == 0)


BreakerMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None, derandomize=True)
TestBreaker = BreakerMachine.TestCase


def test_a_call_that_is_too_large_for_a_gateway_is_no_signal() -> None:
    """Its halves follow: several refusals in a row come from one request."""
    assert read_signal(Unavailable("http_413")) is None


@pytest.mark.parametrize(("openings", "first"), [(1, True), (2, False), (3, True)])
def test_the_lanes_take_turns_as_the_probe_and_one_that_was_denied_before_comes_last(
    openings: int, *, first: bool
) -> None:
    ways = [(first, False), (not first, False), (first, True), (not first, True)]

    kinds = [probe_kind(is_urgent=urgent, denied_before=denied) for urgent, denied in ways]
    assert probe_order(openings) == tuple(kinds)
