import pytest

from service.core.attempt.log_sharing import IN_A_ROW, LATELY, MOST, WHOLE, Sharing, may_concern_one, record_lookup
from service.core.attempt.lookup import Answered, Forbidden, LookupResult, Unanswered

REFUSED = Unanswered("http_403")


@pytest.mark.parametrize(
    ("lookup_result", "expected"),
    [
        (Answered({}), False),
        (Forbidden("http_403"), False),
        (Unanswered("http_403"), True),
        (Unanswered("http_414"), True),
        (Unanswered("http_500"), True),
        (Unanswered("http_500", 3.0), False),
        (Unanswered("http_429"), False),
        (Unanswered("http_503"), False),
        (Unanswered("timeout"), False),
        (Unanswered("no_connection"), False),
        (Unanswered("connection_lost"), True),
        (Unanswered("answer_to_others"), True),
    ],
)
def test_which_lookups_may_have_failed_because_of_one_id(lookup_result: LookupResult, *, expected: bool) -> None:
    assert may_concern_one(lookup_result) is expected


def test_a_failed_lookup_is_made_again_in_halves_until_one_is_answered() -> None:
    sharing, following = record_lookup(WHOLE, REFUSED, 40, 1.0)
    assert (sharing.most, following) == (20, "divide")
    sharing, following = record_lookup(sharing, REFUSED, 20, 2.0)
    assert (sharing.most, following) == (10, "divide")
    sharing, following = record_lookup(sharing, Answered({}), 10, 3.0)
    assert (sharing, following) == (Sharing(20, 0, 3.0), "settle")


def test_an_answer_never_allows_more_than_a_lookup_holds() -> None:
    assert record_lookup(WHOLE, Answered({}), MOST, 1.0)[0].most == MOST


def test_a_failure_that_concerns_everybody_changes_nothing() -> None:
    assert record_lookup(WHOLE, Unanswered("timeout"), 40, 1.0) == (WHOLE, "settle")


def test_logs_that_are_closed_to_everybody_are_asked_two_lookups_for_all_that_wait() -> None:
    sharing, steps = WHOLE, []
    for _ in range(IN_A_ROW + 4):
        questions = min(sharing.most, 100)
        sharing, following = record_lookup(sharing, REFUSED, questions, 1.0)
        steps.append((questions, following))

    assert steps[-4:] == [(100, "sample"), (1, "settle"), (100, "sample"), (1, "settle")]


def test_the_logs_are_open_for_some_time_after_an_answer() -> None:
    sharing, _ = record_lookup(WHOLE, Answered({}), 1, 10.0)
    assert not WHOLE.is_open(10.0)
    assert sharing.is_open(10.0 + LATELY - 1)
    assert not sharing.is_open(10.0 + LATELY)
