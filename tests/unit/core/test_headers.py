import ast
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import service as service_package
from service.core.attempt.retry import is_used_up
from service.core.delivery import Header, Publication
from service.core.headers import (
    dead_letter_reason,
    history_of,
    is_republication,
    mark_republished,
    publication_key,
    read_history,
    write_history,
    write_progress,
)
from service.core.history import History
from tests.support.builder import NOW, a_delivery
from tests.unit.strategy import headers, instants, law


def test_a_request_never_seen_is_seen_now() -> None:
    assert read_history({}, NOW) == History(NOW, attempts=0, ambiguous=False)


def test_the_past_is_written_in_headers_of_our_own() -> None:
    seen = datetime(2026, 11, 22, 12, 0, 0, 123_999, tzinfo=UTC)

    assert write_history(History(seen, 3, ambiguous=True)) == {
        "omni-attempt": 3,
        "omni-first-seen": 1_795_348_800_123,
        "omni-ambiguous": True,
        "omni-redrive-count": 0,
    }


@pytest.mark.parametrize("attempts", [-1, 1_000_001, 2**64, "3", b"3", 3.0, True, None, [], {}])
def test_a_nonsensical_count_is_no_count(attempts: object) -> None:
    assert read_history({"omni-attempt": attempts}, NOW).attempts == 0


@pytest.mark.parametrize("seen", [-1, 253_402_300_799_001, 2**64, "1", 1.5, True, NOW, None])
def test_a_nonsensical_time_is_now(seen: object) -> None:
    assert read_history({"omni-first-seen": seen}, NOW).first_seen == NOW


@pytest.mark.parametrize("ambiguous", [1, "true", "yes", None, [True]])
def test_only_true_is_true(ambiguous: object) -> None:
    assert not read_history({"omni-ambiguous": ambiguous}, NOW).ambiguous


@law
@given(
    history=st.builds(
        History,
        instants,
        attempts=st.integers(0, 1_000_000),
        ambiguous=st.booleans(),
        log_checks=st.integers(0, 9),
        resolved=st.booleans(),
        retries=st.integers(0, 9),
        redeliveries=st.integers(0, 9),
        denials=st.integers(0, 9),
    )
)
def test_a_written_history_is_read_as_itself(history: History) -> None:
    assert read_history({**write_history(history), **write_progress(history)}, NOW) == history


def test_a_redelivery_may_have_been_posted_by_a_worker_that_died() -> None:
    """So it counts as an ambiguous attempt, whatever was decided about the attempts before."""
    headers = {"omni-attempt": 2, "omni-ambiguous": True, "omni-resolved": True, "omni-log-checks": 3}
    delivery = replace(a_delivery(), headers=headers)

    assert history_of(delivery, NOW) == History(NOW, 2, ambiguous=True, resolved=True, log_checks=3)
    assert history_of(replace(delivery, redelivered=True), NOW) == History(NOW, 3, ambiguous=True, redeliveries=1)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("name", ["x-delivery-count", "x-acquired-count"])
def test_two_redeliveries_of_one_message_in_turn_do_not_stay_in_step(name: str, before: int, count: int) -> None:
    """The first may have left a retry message before its worker died."""
    first, second = (redelivered({"omni-redeliveries": before, name: number}) for number in (count, count + 1))

    assert first.leaves_step is not second.leaves_step
    assert first.redeliveries == second.redeliveries == before + 1


def test_a_retry_message_that_was_published_twice_is_not_in_step_with_the_first() -> None:
    """The first is not marked, and takes no first delay."""
    headers = {"omni-attempt": 1, "omni-redeliveries": 1, "omni-republished": True}

    assert history_of(replace(a_delivery(), headers=headers), NOW).leaves_step
    assert not redelivered({}).leaves_step  # nothing can be in step with it


def redelivered(headers: dict[str, Header]) -> History:
    return history_of(replace(a_delivery(), redelivered=True, headers={"omni-attempt": 1, **headers}), NOW)


@pytest.mark.parametrize(
    ("ambiguous", "resolved", "is_unresolved"),
    [(False, False, False), (True, False, True), (True, True, False)],
)
def test_an_ambiguous_attempt_is_unresolved_until_a_decision(
    *, ambiguous: bool, resolved: bool, is_unresolved: bool
) -> None:
    assert History(NOW, ambiguous=ambiguous, resolved=resolved).is_unresolved is is_unresolved


@pytest.mark.parametrize(("redrives", "attempts", "ordered"), [(0, 0, False), (1, 0, True), (1, 1, False)])
def test_a_replay_of_a_dead_letter_orders_one_attempt(redrives: int, attempts: int, *, ordered: bool) -> None:
    assert read_history({"omni-redrive-count": redrives, "omni-attempt": attempts}, NOW).is_replay is ordered


@law
@given(seen=instants, rest=st.integers(0, 999))
def test_time_is_kept_to_the_millisecond(seen: datetime, rest: int) -> None:
    history = History(seen + timedelta(microseconds=rest))

    assert read_history(write_history(history), NOW).first_seen == seen


@law
@given(table=headers, value=st.one_of(st.none(), st.integers(), st.text(), st.floats(), st.binary()))
def test_any_table_can_be_read(table: dict[str, object], value: object) -> None:
    """Anyone may publish any header."""
    history = read_history({**table, "omni-attempt": value, "omni-first-seen": value, "omni-ambiguous": value}, NOW)

    assert history.attempts >= 0
    assert history.first_seen.tzinfo is not None


@pytest.mark.parametrize(
    ("attempts", "redeliveries", "used_up"),
    [(7, 0, False), (8, 0, True), (8, 1, False), (9, 1, True), (20, 20, True), (19, 19, False)],
)
def test_redeliveries_are_allowed_on_top_and_not_for_ever(attempts: int, redeliveries: int, *, used_up: bool) -> None:
    assert is_used_up(History(NOW, attempts, redeliveries=redeliveries), 8) is used_up


def test_a_replay_that_may_exist_twice_is_ambiguous_and_stays_the_attempt_that_an_operator_ordered() -> None:
    replay = replace(
        a_delivery(),
        headers={"omni-redrive-count": 1, "omni-attempt": 0, "omni-ambiguous": True, "omni-republished": True},
    )

    copy, again = history_of(replay, NOW), history_of(replace(replay, redelivered=True), NOW)
    assert (copy.is_unresolved, copy.is_replay, copy.attempts, copy.redeliveries) == (True, True, 0, 1)
    assert (again.is_unresolved, again.is_replay, again.attempts) == (True, False, 1)  # a worker may have posted it


def texts(path: Path) -> set[str]:
    """List the texts in a file; none where it does not contain the start of the names."""
    source = path.read_text(encoding="utf-8")
    nodes = ast.walk(ast.parse(source if "omni-" in source else ""))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_only_one_file_knows_the_names_of_our_headers() -> None:
    service = Path(service_package.__file__).parent
    own = service / "core/headers.py"
    names = {text for text in texts(own) if text.startswith("omni-") and text.replace("-", "").isalpha()}

    assert len(names) > 15
    assert {str(path) for path in service.rglob("*.py") if path != own and texts(path) & names} == set()


@pytest.mark.parametrize(
    ("table", "republished"),
    [({}, False), ({"omni-attempt": 1}, False), ({"omni-retries": 0}, True), ({"omni-redrive-count": 1}, True)],
)
def test_retries_and_replays_are_published_by_the_relay(table: dict[str, object], *, republished: bool) -> None:
    assert is_republication(table) is republished


def test_headers_that_the_broker_adds_do_not_change_the_key_of_a_publication() -> None:
    assert publication_key({}) == publication_key({"x-delivery-count": 1})
    assert publication_key({"omni-retries": 1}) != publication_key({"omni-retries": 2})


def test_a_reason_that_is_no_text_is_none() -> None:
    assert dead_letter_reason({"omni-reason": 5}) == dead_letter_reason({}) == ""


def test_what_must_arrive_is_marked_once_when_it_is_published_again() -> None:
    retry = Publication(
        "omni.relay", "omni.requests.delay.1", b"", "application/json", "m", headers={"omni-attempt": 1}
    )
    marked = mark_republished(retry)

    assert marked.headers == {"omni-republished": True, "omni-attempt": 1}
    assert mark_republished(marked) is marked
    event = replace(retry, must_arrive=False)
    assert mark_republished(event) is event
