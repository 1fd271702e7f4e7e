import pytest

from service.core.attempt.log_access import RECHECK_AFTER, LogAccess, record_answer
from service.core.attempt.lookup import Answered, Forbidden, LookupResult, Unanswered

REFUSED, SILENCE, ANSWERED = Forbidden("http_403"), Unanswered("timeout"), Answered({})
NO_ANSWER = Unanswered("http_403")


def meanings(*answers: tuple[float, LookupResult]) -> list[LookupResult]:
    """Return the meaning of each answer; they come with the seconds at which they came."""
    access, meant = LogAccess(), []
    for now, lookup_result in answers:
        access, meaning = record_answer(access, lookup_result, now)
        meant.append(meaning)
    return meant


def test_one_refusal_is_no_answer() -> None:
    assert meanings((0, REFUSED)) == [NO_ANSWER]


def test_refusals_in_a_row_over_some_seconds_deny_access() -> None:
    assert meanings((0, REFUSED), (4, REFUSED), (5, REFUSED)) == [NO_ANSWER, NO_ANSWER, REFUSED]


def test_refusals_of_one_moment_deny_nothing() -> None:
    assert meanings(*((at, REFUSED) for at in (0, 1, 2, 3, 4.9))) == [NO_ANSWER] * 5


def test_two_refusals_close_nothing_however_far_apart() -> None:
    assert meanings((0, REFUSED), (3600, REFUSED)) == [NO_ANSWER] * 2


def test_an_answer_between_them_begins_the_row_anew() -> None:
    assert meanings((0, REFUSED), (4, REFUSED), (5, ANSWERED), (6, REFUSED)) == [
        NO_ANSWER,
        NO_ANSWER,
        ANSWERED,
        NO_ANSWER,
    ]


def test_no_answer_between_them_proves_nothing() -> None:
    assert meanings((0, REFUSED), (2, SILENCE), (4, REFUSED), (6, REFUSED))[-1] == REFUSED


@pytest.mark.parametrize(("answer", "denied"), [(REFUSED, True), (ANSWERED, False), (SILENCE, False)])
def test_denied_logs_are_asked_again_after_a_while(answer: LookupResult, *, denied: bool) -> None:
    access = LogAccess(3, 0.0, denied_until=100.0)

    access, lookup_result = record_answer(access, answer, 100.0)

    assert lookup_result == answer
    assert access.denied_until == (100.0 + RECHECK_AFTER if denied else None)
