import pytest

from service.core import topology


def test_names_are_those_that_producers_and_operators_rely_on() -> None:
    assert (topology.REQUESTS, topology.RESULTS, topology.DEAD) == ("omni.requests", "omni.results", "omni.dead")


@pytest.mark.parametrize(
    ("seconds", "name"),
    [
        (1, "omni.requests.delay.1"),
        (300.0, "omni.requests.delay.300"),
        (0.25, "omni.requests.delay.0.25"),
        (86400.0, "omni.requests.delay.86400"),
    ],
)
def test_a_delay_queue_is_named_for_its_seconds(seconds: float, name: str) -> None:
    assert topology.delay_queue(seconds) == name


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("omni.requests", True),
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
