import pytest

from service.core.result.unstored import GAP, ON_THE_WAY, Unstored, arrive, restored


def asked(state: Unstored, *arrivals: float) -> list[bool]:
    answers = []
    for at in arrivals:
        answer, state = arrive(state, at)
        answers.append(answer)
    return answers


def test_while_the_queue_exists_every_dead_letter_is_stored() -> None:
    assert asked(Unstored(), 0.0, 5.0) == [False, False]


def test_dead_letters_that_had_arrived_when_the_queue_was_restored_are_not_stored() -> None:
    assert asked(restored(100.0, 0), 99.0, 100.0, 100.0 + ON_THE_WAY) == [True, True, True]
    assert asked(restored(100.0, 0), 100.1 + ON_THE_WAY) == [False]


def test_dead_letters_that_waited_unread_or_were_on_their_way_are_not_stored() -> None:
    late = 100.0 + ON_THE_WAY
    arrivals = (99.0, late + 1, late + 2, late + 2.5, late + 3.1)

    assert asked(restored(100.0, 2), *arrivals) == [True, True, True, True, False]


def test_each_of_those_is_counted_once_however_early_it_comes() -> None:
    assert asked(restored(100.0, 2), 100.1, 100.2, 105.0) == [True, True, False]


@pytest.mark.parametrize(("gap", "unstored"), [(GAP, True), (GAP + 0.1, False)])
def test_dead_letters_that_other_workers_have_read_are_not_awaited_for_ever(gap: float, *, unstored: bool) -> None:
    assert asked(restored(100.0, 5), 100.0 + gap) == [unstored]
