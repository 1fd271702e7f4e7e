import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.lanes import LaneQueue, account, next_lane
from service.core.topology import NORMAL, URGENT, Lane
from tests.unit.strategy import law


@pytest.mark.parametrize(
    ("owed", "normal", "urgent", "lane"),
    [
        (0.0, False, True, URGENT),
        (0.0, True, True, URGENT),
        (0.9, True, True, URGENT),
        (1.0, True, True, NORMAL),
        (sum([1 / 7] * 7), True, True, NORMAL),
        (5.0, False, True, URGENT),
        (-5.0, True, False, NORMAL),
    ],
)
def test_urgent_goes_first_unless_the_normal_lane_is_owed_a_turn(
    owed: float, lane: Lane, *, normal: bool, urgent: bool
) -> None:
    assert next_lane(owed, normal_waits=normal, urgent_waits=urgent) is lane


@pytest.mark.parametrize(
    ("owed", "lane", "units", "other", "after"),
    [
        (0.0, URGENT, 7, True, 1.0),
        (0.0, URGENT, 7, False, 0.0),  # no normal one waits, so none is owed anything
        (0.5, URGENT, 7, False, 0.5),
        (-3.0, URGENT, 7, False, -2.0),  # what the normal lane had too much is still counted
        (1.0, NORMAL, 1, True, 0.0),
        (1.0, NORMAL, 10, True, -9.0),
        (0.0, NORMAL, 10, False, 0.0),  # no urgent one waits, so it takes nothing from them
        (1.5, NORMAL, 1, False, 0.5),
        (-3.0, NORMAL, 10, False, -3.0),
    ],
)
def test_the_normal_lane_is_owed_a_seventh_of_what_the_urgent_lane_uses(
    owed: float, lane: Lane, units: float, after: float, *, other: bool
) -> None:
    assert account(owed, lane, units, other_waits=other) == pytest.approx(after)


@law
@given(
    normal=st.lists(st.integers(1, 25), min_size=1, max_size=5),
    urgent=st.lists(st.integers(1, 25), min_size=1, max_size=5),
)
def test_while_both_lanes_wait_the_normal_lane_has_an_eighth_of_the_units(normal: list[int], urgent: list[int]) -> None:
    sizes = {NORMAL: itertools.cycle(normal), URGENT: itertools.cycle(urgent)}
    used, owed = {NORMAL: 0, URGENT: 0}, 0.0
    while sum(used.values()) < 20_000:
        lane = next_lane(owed, normal_waits=True, urgent_waits=True)
        units = next(sizes[lane])
        used[lane] += units
        owed = account(owed, lane, units, other_waits=True)

    assert used[NORMAL] / sum(used.values()) == pytest.approx(0.125, abs=0.01)


def test_a_normal_one_that_comes_one_at_a_time_does_not_get_more_than_its_share() -> None:
    """Of large calls only one waits, and the next one comes a moment later."""
    waiting: LaneQueue[Lane] = LaneQueue()
    used = {NORMAL: 0, URGENT: 0}
    for _ in range(1000):
        waiting.append(URGENT, URGENT)
    waiting.append(NORMAL, NORMAL)
    while waiting.waiting(URGENT):
        lane = waiting.take(lambda lane: 10 if lane is NORMAL else 1)
        used[lane] += 10 if lane is NORMAL else 1
        if not waiting.waiting(NORMAL):
            used[waiting.take()] += 1  # urgent, while no normal one waits
            waiting.append(NORMAL, NORMAL)

    assert 0.115 < used[NORMAL] / sum(used.values()) < 0.155


def test_within_a_lane_the_first_is_served_first_and_the_latest_normal_one_is_the_last() -> None:
    waiting: LaneQueue[str] = LaneQueue()
    for lane, one in ((NORMAL, "n1"), (URGENT, "u1"), (NORMAL, "n2"), (URGENT, "u2")):
        waiting.append(lane, one)

    assert (len(waiting), waiting.first, list(waiting.waiting(NORMAL))) == (4, "u1", ["n1", "n2"])
    assert waiting.take_last() == "n2"
    assert [waiting.take() for _ in range(3)] == ["u1", "u2", "n1"]
    waiting.append(URGENT, "u3")
    assert waiting.take_last() == "u3"
    assert not waiting


def test_some_can_be_removed_before_their_turn() -> None:
    waiting: LaneQueue[str] = LaneQueue()
    for lane, one in ((NORMAL, "n1"), (URGENT, "u1"), (NORMAL, "n2"), (NORMAL, "n3")):
        waiting.append(lane, one)

    waiting.drop(lambda one: one in {"u1", "n2"})
    assert (waiting.size, list(waiting.waiting(NORMAL)), list(waiting.waiting(URGENT))) == (2, ["n1", "n3"], [])
    assert waiting.take_first(NORMAL) == "n1"
    assert waiting.size == 1


def test_one_that_is_put_back_is_the_first_of_its_lane_again() -> None:
    waiting: LaneQueue[str] = LaneQueue()
    for one in ("n1", "n2"):
        waiting.append(NORMAL, one)

    waiting.put_back(NORMAL, waiting.take())
    assert (waiting.size, list(waiting.waiting(NORMAL))) == (2, ["n1", "n2"])
