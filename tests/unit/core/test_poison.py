from dataclasses import replace

import pytest

from service.core.poison import is_suspected, rank, times_handed_out
from tests.support.builder import a_delivery


@pytest.mark.parametrize(
    ("count", "suspected"), [(None, False), (0, False), (1, False), (2, True), (20, True), ("2", False)]
)
def test_a_message_delivered_more_than_once_before_is_quarantined(count: object, *, suspected: bool) -> None:
    delivery = replace(a_delivery(), headers={"x-delivery-count": count})

    assert is_suspected(replace(delivery, redelivered=True)) is suspected
    assert not is_suspected(delivery)  # a producer may have written it: not to be let into the slow lane


def test_the_innocent_survive_a_killer_among_them() -> None:
    """A hundred prefetched with it, in the eighteen lives that are left of twenty."""
    innocent = {f"m-{number}" for number in range(100)}
    killer = replace(a_delivery(), message_id="killer")
    for count in range(2, 20):
        headers = {"x-delivery-count": count}
        dared = rank(replace(killer, headers=headers))
        innocent = {name for name in innocent if rank(replace(a_delivery(), message_id=name, headers=headers)) > dared}

    assert innocent == set()


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
