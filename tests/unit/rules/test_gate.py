from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.rules.gate import OPEN, Gate, admit, look, refuse
from tests.support.builder import NOW

CLOSED = Gate("closed", 1, "http_401", NOW + timedelta(seconds=1))
PROBING = Gate("probing", 1, "http_401")


def test_a_refusal_closes_it_for_a_while() -> None:
    assert refuse(OPEN, "http_401", NOW, 0.0) == Gate("closed", 1, "http_401", NOW + timedelta(seconds=0.5))


def test_late_refusals_change_nothing() -> None:
    """They come from calls that were under way when it was closed."""
    assert refuse(CLOSED, "http_403", NOW, 0.9) == CLOSED


@pytest.mark.parametrize(
    ("failures", "shortest", "longest"), [(0, 0.5, 1), (1, 1, 2), (5, 16, 32), (6, 30, 60), (1000, 30, 60)]
)
def test_it_is_looked_at_ever_more_rarely_with_jitter(failures: int, shortest: float, longest: float) -> None:
    gate = replace(PROBING, failures=failures)

    assert refuse(gate, "x", NOW, 0.0).until == NOW + timedelta(seconds=shortest)
    assert refuse(gate, "x", NOW, 1.0).until == NOW + timedelta(seconds=longest)
    assert refuse(gate, "x", NOW, 0.5).failures == failures + 1


@pytest.mark.parametrize(
    ("gate", "seconds", "mode"),
    [
        (OPEN, 99, "open"),
        (CLOSED, 0.9, "closed"),
        (CLOSED, 1, "probing"),
        (CLOSED, 99, "probing"),
        (PROBING, 9, "probing"),
    ],
)
def test_a_closed_gate_lets_a_probe_through_once_its_time_has_come(gate: Gate, seconds: float, mode: str) -> None:
    assert look(gate, NOW + timedelta(seconds=seconds)).mode == mode


def test_a_probe_remembers_why_the_gate_was_closed() -> None:
    assert look(CLOSED, NOW + timedelta(seconds=1)) == PROBING


@pytest.mark.parametrize(("gate", "after"), [(OPEN, OPEN), (PROBING, OPEN), (CLOSED, CLOSED)])
def test_only_a_probe_that_was_not_refused_opens_it(gate: Gate, after: Gate) -> None:
    assert admit(gate) == after


class GateMachine(RuleBasedStateMachine):
    """Refusals, admissions and looks in any order, as time goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.gate = OPEN
        self.refusals = 0

    @rule(seconds=st.floats(0, 120))
    def time_passes(self, seconds: float) -> None:
        """Let time go on."""
        self.now += timedelta(seconds=seconds)

    @rule(draw=st.floats(0, 1, exclude_max=True), cause=st.sampled_from(["http_401", "status_12"]))
    def is_refused(self, draw: float, cause: str) -> None:
        """Refuse a call for our account's sake."""
        before = self.gate
        self.gate = refuse(before, cause, self.now, draw)
        if before.mode == "closed":
            assert self.gate is before
        else:
            self.refusals += 1
            assert self.gate.until is not None
            pause = (self.gate.until - self.now).total_seconds()
            assert 0.5 <= pause <= 60
            assert self.gate.cause == cause

    @rule()
    def is_admitted(self) -> None:
        """Let a call through."""
        self.gate = admit(self.gate)
        if self.gate.mode == "open":
            self.refusals = 0

    @rule()
    def is_looked_at(self) -> None:
        """Somebody asks whether it is time."""
        before = self.gate
        self.gate = look(before, self.now)
        due = before.until is not None and before.until <= self.now
        assert self.gate.mode == ("probing" if due else before.mode)

    @invariant()
    def knows_when_it_is_tried_again_only_while_closed(self) -> None:
        """Only a closed gate has a time."""
        assert (self.gate.until is not None) is (self.gate.mode == "closed")

    @invariant()
    def counts_refusals_in_a_row(self) -> None:
        """Only an open gate has none."""
        assert self.gate.failures == self.refusals
        assert (self.gate == OPEN) is (self.refusals == 0)


GateMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None, derandomize=True)
TestGate = GateMachine.TestCase
