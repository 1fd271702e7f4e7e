from dataclasses import replace

import pytest

from service.core.poison import is_suspected, rank, times_handed_out
from service.core.topology import LANES, NORMAL, URGENT, Lane
from tests.support.builder import a_delivery


@pytest.mark.parametrize(
    ("count", "suspected"), [(None, False), (0, False), (1, False), (2, True), (20, True), ("2", False)]
)
def test_a_message_delivered_more_than_once_before_is_quarantined(count: object, *, suspected: bool) -> None:
    delivery = replace(a_delivery(), headers={"x-delivery-count": count})

    assert is_suspected(replace(delivery, redelivered=True)) is suspected
    assert not is_suspected(delivery)  # a producer may have written it: not to be let into the slow lane


@pytest.mark.parametrize("lane", LANES)
def test_the_innocent_survive_a_killer_among_them(lane: Lane) -> None:
    """A hundred prefetched with it, in the eighteen lives that are left of twenty."""
    innocent = {f"m-{number}" for number in range(100)}
    killer = replace(a_delivery(), message_id="killer", lane=lane)
    for count in range(2, 20):
        headers = {"x-delivery-count": count}
        dared = rank(replace(killer, headers=headers))
        innocent = {name for name in innocent if rank(replace(a_delivery(), message_id=name, headers=headers)) > dared}

    assert innocent == set()


def test_urgent_messages_are_first_in_the_first_round() -> None:
    suspected = [replace(a_delivery(), message_id=f"m-{number}") for number in range(20)]
    suspected[::2] = [replace(delivery, lane=URGENT) for delivery in suspected[::2]]

    def order(count: int) -> list[Lane]:
        counted = [replace(delivery, headers={"x-delivery-count": count}) for delivery in suspected]
        return [delivery.lane for delivery in sorted(counted, key=rank)]

    assert order(2) == [URGENT] * 10 + [NORMAL] * 10
    assert order(3) != order(2)


@pytest.mark.parametrize(
    ("headers", "times"),
    [
        ({}, None),
        ({"x-delivery-count": "2"}, None),
        ({"x-delivery-count": 2}, 2),
        ({"x-delivery-count": 1, "x-acquired-count": 3}, 3),  # RabbitMQ 4.3
    ],
)
def test_the_number_of_earlier_deliveries_is_known_if_the_broker_counts_them(
    headers: dict[str, object], times: int | None
) -> None:
    delivery = replace(a_delivery(), headers=headers)

    assert times_handed_out(replace(delivery, redelivered=True)) == times
    assert times_handed_out(delivery) == 0  # a producer may have written it
