import pytest

from service.core.delivery import Delivery
from service.core.request.decoding import memory_of


@pytest.mark.parametrize(
    ("delivery", "size"),
    [
        (Delivery(b""), 0),
        (Delivery(bytes(1000)), 1000),
        (Delivery(bytes(1000), headers={"a": 1, "b": None}), 1320),
        (Delivery(b"", headers={"a": {"b": {"c": "x"}}, "d": [1, [2, 3], {}]}), 160 * 4 + 64 * 5),
    ],
)
def test_the_memory_of_a_delivery_is_that_of_its_body_and_headers(delivery: Delivery, size: int) -> None:
    assert memory_of(delivery) == size


def test_headers_may_be_nested_as_deep_as_anybody_likes() -> None:
    inner: dict[str, object] = {}
    for _ in range(10_000):
        inner = {"n": inner}

    assert memory_of(Delivery(b"", headers=inner)) == 160 * 10_000
