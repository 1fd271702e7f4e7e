import pytest

from service.core import topology
from service.core.topology import NORMAL, URGENT, Lane, lane_of


def test_names_are_those_that_producers_and_operators_rely_on() -> None:
    assert [lane.requests for lane in topology.LANES] == ["omni.requests", "omni.requests.urgent"]
    assert (topology.REQUESTS, topology.RESULTS, topology.DEAD) == ("omni.requests", "omni.results", "omni.dead")


@pytest.mark.parametrize(
    ("lane", "seconds", "name"),
    [
        (NORMAL, 1, "omni.requests.delay.1"),
        (NORMAL, 300.0, "omni.requests.delay.300"),
        (NORMAL, 0.25, "omni.requests.delay.0.25"),
        (URGENT, 86400.0, "omni.requests.urgent.delay.86400"),
    ],
)
def test_a_delay_queue_is_named_for_its_lane_and_its_seconds(lane: Lane, seconds: float, name: str) -> None:
    assert lane.delay_queue(seconds) == name


@pytest.mark.parametrize(
    ("name", "lane"),
    [
        ("omni.requests", NORMAL),
        ("omni.requests.delay.1", NORMAL),
        ("omni.requests.urgent", URGENT),
        ("omni.requests.urgent.delay.1", URGENT),
        ("omni.requests.urgently", NORMAL),
        ("omni.dead", NORMAL),
        (None, NORMAL),
        (["omni.requests.urgent"], NORMAL),
    ],
)
def test_a_queue_shows_its_lane(name: object, lane: Lane) -> None:
    assert lane_of(name) is lane


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("omni.requests", True),
        ("omni.requests.urgent", True),
        ("omni.dead", True),
        ("omni.requests.delay.1", True),
        ("omni.requests.anything", True),
        ("omni.results", False),
        ("omni.requestsfoo", False),
        ("orders.replies", False),
        ("amq.gen-1", False),
        ("", False),
    ],
)
def test_the_relays_own_queues_are_known(name: str, *, own: bool) -> None:
    assert topology.is_own_queue(name) is own
