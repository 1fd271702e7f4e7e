from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.rules.history import AMBIGUOUS, ATTEMPT, FIRST_SEEN, read_history, write_history
from service.words.delivery import History
from tests.support.builder import NOW
from tests.unit.strategy import headers, instants, law


def test_a_request_never_seen_is_seen_now() -> None:
    assert read_history({}, NOW) == History(NOW, attempts=0, ambiguous=False)


def test_the_past_is_written_in_headers_of_our_own() -> None:
    seen = datetime(2026, 11, 22, 12, 0, 0, 123_999, tzinfo=UTC)

    assert write_history(History(seen, 3, ambiguous=True)) == {
        "omni-attempt": 3,
        "omni-first-seen": 1_795_348_800_123,
        "omni-ambiguous": True,
    }


@pytest.mark.parametrize("attempts", [-1, 1_000_001, 2**64, "3", b"3", 3.0, True, None, [], {}])
def test_a_nonsensical_count_is_no_count(attempts: object) -> None:
    assert read_history({ATTEMPT: attempts}, NOW).attempts == 0


@pytest.mark.parametrize("seen", [-1, 253_402_300_799_001, 2**64, "1", 1.5, True, NOW, None])
def test_a_nonsensical_time_is_now(seen: object) -> None:
    assert read_history({FIRST_SEEN: seen}, NOW).first_seen == NOW


@pytest.mark.parametrize("ambiguous", [1, "true", "yes", None, [True]])
def test_only_true_is_true(ambiguous: object) -> None:
    assert not read_history({AMBIGUOUS: ambiguous}, NOW).ambiguous


@law
@given(seen=instants, attempts=st.integers(0, 1_000_000), ambiguous=st.booleans())
def test_what_is_written_is_read_again(seen: datetime, attempts: int, *, ambiguous: bool) -> None:
    history = History(seen, attempts, ambiguous)

    assert read_history(write_history(history), NOW) == history


@law
@given(seen=instants, rest=st.integers(0, 999))
def test_time_is_kept_to_the_millisecond(seen: datetime, rest: int) -> None:
    history = History(seen + timedelta(microseconds=rest))

    assert read_history(write_history(history), NOW).first_seen == seen


@law
@given(table=headers, value=st.one_of(st.none(), st.integers(), st.text(), st.floats(), st.binary()))
def test_any_table_can_be_read(table: dict[str, object], value: object) -> None:
    """Anyone may publish any header."""
    history = read_history({**table, ATTEMPT: value, FIRST_SEEN: value, AMBIGUOUS: value}, NOW)

    assert history.attempts >= 0
    assert history.first_seen.tzinfo is not None
