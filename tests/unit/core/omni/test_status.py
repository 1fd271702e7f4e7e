from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.omni.status import CATALOGUE, GROUPS, disposition_of, group_of
from tests.unit.strategy import law


@pytest.mark.parametrize(
    ("group_id", "name", "group"),
    [
        (0, None, 0),
        (5, "PENDING", 5),
        (77, "REJECTED", 5),
        (77, "rejected", 5),
        (9, "MESSAGE_ACCEPTED", 0),
        (9, None, -1),
    ],
)
def test_a_group_is_known_by_its_id_else_by_its_name(group_id: int, name: str | None, group: int) -> None:
    assert group_of(group_id, name) == group


def test_every_group_that_refuses_refuses_unless_an_entry_says_otherwise() -> None:
    for group_id, name in enumerate(GROUPS):
        assert disposition_of(group_id, 4711) == (
            "refused" if name in {"UNDELIVERABLE", "EXPIRED", "REJECTED"} else "taken"
        )


def test_an_entry_counts_only_in_its_own_group() -> None:
    """Ids move between editions of the vendor's tables."""
    assert disposition_of(5, 12) == "denied"
    assert disposition_of(2, 12) == "refused"
    assert disposition_of(1, 12) == "taken"


def test_each_status_is_listed_once_for_each_product() -> None:
    listed = Counter((entry.group_id, entry.id, entry.product) for entry in CATALOGUE)

    assert listed.most_common(1)[0][1] == 1
    for entry in CATALOGUE:
        expected = "refused" if entry.disposition == "duplicate" else entry.disposition
        assert disposition_of(entry.group_id, entry.id) == expected


@law
@given(group_id=st.integers(), status_id=st.none() | st.integers(), name=st.none() | st.text())
def test_every_status_has_a_disposition(group_id: int, status_id: int | None, name: str | None) -> None:
    assert disposition_of(group_id, status_id, name) in {"taken", "refused", "again", "later", "denied"}
