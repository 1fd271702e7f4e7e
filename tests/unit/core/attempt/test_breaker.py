from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.core.attempt.breaker import (
    OPEN,
    ROW,
    VOLUME,
    CircuitBreaker,
    Signal,
    hear,
    look,
    read_signal,
    seconds_since_healthy,
)
from service.core.attempt.outcome import Accepted, Denied, NotAttempted, Outcome, Rejected, Unavailable, Unknown
from tests.support.builder import a_status
from tests.unit.strategy import law

NOW = 1000.0
"""Seconds on a clock that only goes forward."""
CLOSED = CircuitBreaker("closed", "http_401", denied=True, until=NOW + 1, closings=1)
PROBING = CircuitBreaker("probing", "http_401", denied=True, closings=1)
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
def test_every_outcome_says_something_about_omni_unless_no_call_was_made(
    outcome: Outcome, signal: Signal | None
) -> None:
    assert read_signal(outcome) == signal


def test_a_denied_message_denies_us_all_unless_another_one_of_the_call_was_taken() -> None:
    taken, denied, refused = a_status(), a_status(5, 12), a_status(5, 6)

    assert read_signal(Accepted({"m-1": refused, "m-2": denied})) == Signal("denied", "status_12")
    assert read_signal(Accepted({"m-1": denied, "m-2": taken})) == HEALTHY
    assert read_signal(Accepted({"m-1": refused})) == HEALTHY


def test_it_is_told_that_a_request_was_denied_before() -> None:
    assert read_signal(Denied("http_403"), again=True) == Signal("denied", "http_403", again=True)
    assert read_signal(Accepted({"m": a_status(5, 12)}), again=True) == Signal("denied", "status_12", again=True)
    assert read_signal(Accepted({"m": a_status()}), again=True) == HEALTHY


def denied(times: int, *, every: float, after: float = 0.0) -> CircuitBreaker:
    """Deny so many calls, the first so many seconds after one that went well."""
    breaker = hear(OPEN, HEALTHY, NOW, 0.0)
    for number in range(times):
        breaker = hear(breaker, DENIED, later(after + number * every), 0.0)
        if breaker.mode == "closed":
            break
    return breaker


@pytest.mark.parametrize(
    ("times", "every", "after", "mode"),
    [
        (19, 1.0, 0.0, "open"),
        (20, 1.0, 0.0, "closed"),
        (1, 0.0, 60.0, "open"),
        (1, 0.0, 60.1, "closed"),
        (1000, 0.001, 0.0, "open"),
        (1100, 0.001, 0.0, "closed"),
    ],
)
def test_denials_close_it_only_if_no_other_call_has_gone_well_lately(
    times: int, every: float, after: float, mode: str
) -> None:
    assert denied(times, every=every, after=after).mode == mode


@pytest.mark.parametrize("status", [400, 403, 404, 451])
def test_what_a_gateway_refuses_closes_it_only_if_no_other_call_has_gone_well_lately(status: int) -> None:
    """One producer whose content a gateway refuses must not stop all others; a wrong base URL stops everyone."""
    refused = read_signal(Unavailable(f"http_{status}", 300.0))
    assert refused is not None
    breaker = hear(OPEN, HEALTHY, later(0), 0.0)
    for _ in range(19):
        breaker = hear(breaker, refused, later(30), 0.0)
    assert breaker.mode == "open"
    assert hear(hear(breaker, HEALTHY, later(30), 0.0), refused, later(31), 0.0).mode == "open"

    closed = hear(breaker, refused, later(30), 0.0)
    assert (closed.mode, closed.denied) == ("closed", False)

    breaker = OPEN
    for _ in range(4):
        breaker = hear(breaker, refused, later(0), 0.0)
    assert breaker.mode == "open"  # nothing is known yet
    assert hear(breaker, refused, later(0), 0.0).mode == "closed"


@pytest.mark.parametrize("status", [408, 425, 429])
def test_a_4xx_that_says_too_much_to_do_is_a_failure(status: int) -> None:
    assert read_signal(Unavailable(f"http_{status}")) == Signal("failing", f"http_{status}")


def test_however_many_calls_are_denied_it_stays_open_while_others_go_well() -> None:
    """Nineteen in twenty are denied; ten in a second go well."""
    breaker = OPEN
    for number in range(12_000):
        breaker = hear(breaker, DENIED if number % 20 else HEALTHY, later(number * 0.005), 0.0)
        assert breaker.mode == "open"


def test_calls_that_are_denied_are_no_failures() -> None:
    breaker = denied(19, every=1.0)

    assert (breaker.row, breaker.bad) == (0, 0.0)
    assert hear(breaker, FAILING, later(19), 0.0).mode == "open"


def test_a_probe_that_is_denied_lets_another_try_if_calls_have_gone_well_lately() -> None:
    breaker = replace(PROBING, healthy_at=NOW)

    assert hear(breaker, DENIED, later(1), 0.0) == replace(breaker, denials=1)
    assert hear(breaker, DENIED, later(61), 0.0).mode == "closed"


def test_a_request_denied_again_lengthens_no_pause() -> None:
    again = replace(DENIED, again=True)
    breaker = hear(OPEN, again, NOW, 0.0)
    assert (breaker.until, breaker.closings) == (later(0.5), 1)
    for _ in range(5):
        breaker = hear(look(breaker, later(1)), again, later(1), 0.0)
        assert (breaker.until, breaker.closings) == (later(1.5), 1)
        breaker = replace(breaker, until=later(1))
    assert hear(look(breaker, later(1)), DENIED, later(1), 0.0).closings == 2


def test_it_knows_how_long_ago_a_call_went_well() -> None:
    assert seconds_since_healthy(OPEN, NOW) == inf
    assert seconds_since_healthy(hear(OPEN, HEALTHY, NOW, 0.0), later(3)) == 3
    assert seconds_since_healthy(hear(hear(OPEN, HEALTHY, NOW, 0.0), FAILING, later(1), 0.0), later(3)) == 3
    assert seconds_since_healthy(hear(CLOSED, HEALTHY, NOW, 0.0), later(3)) == 3


def test_a_refusal_of_our_account_closes_it_at_once() -> None:
    assert hear(OPEN, DENIED, NOW, 0.0) == replace(CLOSED, until=later(0.5))


def test_calls_that_fail_in_a_row_close_it() -> None:
    breaker = OPEN
    for number in range(1, ROW):
        breaker = hear(breaker, FAILING, later(3600 * number), 0.0)
        assert (breaker.mode, breaker.row) == ("open", number)

    now = 3600.0 * ROW
    assert hear(breaker, FAILING, later(now), 0.0) == CircuitBreaker(
        "closed", "http_503", until=later(now + 0.5), closings=1
    )
    assert hear(breaker, HEALTHY, later(now), 0.0).row == 0


def failing_share(failed: int, calls: int, seconds: float) -> CircuitBreaker:
    """Hear so many calls, of which some fail, never in a row, at such distances."""
    breaker = OPEN
    for number in range(calls):
        signal = FAILING if (number + 1) * failed // calls > number * failed // calls else HEALTHY
        breaker = hear(breaker, signal, later(number * seconds), 0.0)
        if breaker.mode == "closed":
            break
    return breaker


@pytest.mark.parametrize(
    ("failed", "calls", "seconds", "mode"),
    [
        (50, 100, 0.1, "closed"),
        (40, 100, 0.1, "open"),
        (50, 100, 60, "open"),  # too few at a time to tell
        (4, 8, 0, "open"),  # the same
    ],
)
def test_a_good_share_of_many_failed_calls_closes_it(failed: int, calls: int, seconds: float, mode: str) -> None:
    assert failing_share(failed, calls, seconds).mode == mode
    assert VOLUME > 8


def test_requests_refused_for_their_own_fault_never_close_it() -> None:
    breaker = OPEN
    for _ in range(1000):
        signal = read_signal(Rejected("http_400", ""))
        assert signal is not None
        breaker = hear(breaker, signal, NOW, 0.0)

    assert breaker.mode == "open"


@pytest.mark.parametrize(("asked", "seconds"), [(7, 7), (0.1, 0.5), (0, 0.5), (86400, 300)])
def test_when_omni_asks_for_time_nobody_calls_until_then(asked: float, seconds: float) -> None:
    breaker = hear(OPEN, Signal("failing", "http_429", asked), NOW, 0.0)

    assert (breaker.mode, breaker.until) == ("closed", later(seconds))


@pytest.mark.parametrize("signal", [HEALTHY, FAILING, DENIED])
def test_calls_that_were_under_way_when_it_was_closed_change_nothing(signal: Signal) -> None:
    assert replace(hear(CLOSED, signal, NOW, 0.9), healthy_at=None) == CLOSED


def test_but_for_a_longer_wait_that_omni_asks_for() -> None:
    assert hear(CLOSED, replace(FAILING, retry_after=9), NOW, 0.0) == replace(CLOSED, until=later(9))
    assert hear(CLOSED, replace(FAILING, retry_after=0.1), NOW, 0.0) == CLOSED


@pytest.mark.parametrize(
    ("signal", "closings", "shortest", "longest"),
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
def test_it_is_tried_ever_more_rarely_with_jitter_and_omnis_return_is_seen_soon(
    signal: Signal, closings: int, shortest: float, longest: float
) -> None:
    breaker = replace(PROBING, closings=closings)

    assert hear(breaker, signal, NOW, 0.0).until == later(shortest)
    assert hear(breaker, signal, NOW, 1.0).until == later(longest)
    assert hear(breaker, signal, NOW, 0.5).closings == closings + 1


@pytest.mark.parametrize(
    ("breaker", "seconds", "mode"),
    [
        (OPEN, 99, "open"),
        (CLOSED, 0.9, "closed"),
        (CLOSED, 1, "probing"),
        (CLOSED, 99, "probing"),
        (PROBING, 9, "probing"),
    ],
)
def test_a_closed_gate_lets_a_probe_through_once_its_time_has_come(
    breaker: CircuitBreaker, seconds: float, mode: str
) -> None:
    assert look(breaker, later(seconds)).mode == mode


def test_a_probe_remembers_why_the_gate_was_closed() -> None:
    assert look(CLOSED, later(1)) == PROBING


def test_a_probe_that_went_well_opens_it_and_the_past_is_forgotten() -> None:
    assert hear(PROBING, HEALTHY, NOW, 0.0) == replace(OPEN, healthy_at=NOW)


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
    now, breaker = begun, OPEN
    for seconds, log_checks, signal, draw in history:
        now += seconds
        breaker = hear(look(breaker, now) if log_checks else breaker, signal, now, draw)
        assert breaker.until is None or breaker.until <= now + 300
        assert look(breaker, now + 300).mode in {"open", "probing"}


class GateMachine(RuleBasedStateMachine):
    """Signals and looks in any order, as time goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.breaker = OPEN

    @rule(seconds=st.floats(0, 120))
    def time_passes(self, seconds: float) -> None:
        """Let time go on."""
        self.now += seconds

    @rule(draw=st.floats(0, 1, exclude_max=True), kind=st.sampled_from(["healthy", "failing", "denied"]))
    def a_call_ends(self, draw: float, kind: str) -> None:
        """Hear of it."""
        signal = {"healthy": HEALTHY, "failing": FAILING, "denied": DENIED}[kind]
        before, self.breaker = self.breaker, hear(self.breaker, signal, self.now, draw)
        if before.mode == "closed":
            assert replace(self.breaker, healthy_at=before.healthy_at) == before
        elif signal is HEALTHY:
            assert self.breaker.mode == "open"
        elif signal is DENIED and before.healthy_at is not None and self.now - before.healthy_at <= 1:
            assert self.breaker.mode == before.mode
        elif self.breaker.mode == "closed":
            assert self.breaker.until is not None
            assert 0.49 <= self.breaker.until - self.now <= (60.01 if signal is DENIED else 4.01)
            assert (self.breaker.cause, self.breaker.denied) == (signal.cause, signal is DENIED)

    @rule()
    def is_looked_at(self) -> None:
        """Somebody asks whether it is time."""
        before = self.breaker
        self.breaker = look(before, self.now)
        due = before.until is not None and before.until <= self.now
        assert self.breaker.mode == ("probing" if due else before.mode)

    @invariant()
    def knows_when_it_is_tried_again_only_while_closed(self) -> None:
        """Only a closed gate has a time, and only an open one has no cause."""
        assert (self.breaker.until is not None) is (self.breaker.mode == "closed")
        assert (self.breaker.cause == "") is (self.breaker.mode == "open") is (self.breaker.closings == 0)


GateMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None, derandomize=True)
TestGate = GateMachine.TestCase


def test_a_gateway_that_finds_a_call_too_large_says_nothing_about_omni() -> None:
    """Its halves follow: several refusals in a row come from one request."""
    assert read_signal(Unavailable("http_413")) is None
