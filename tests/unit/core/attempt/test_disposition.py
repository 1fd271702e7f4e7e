from dataclasses import replace
from datetime import timedelta

import pytest

from service.core.attempt.disposition import MessageOutcome, is_final, judge, judge_logged
from service.core.attempt.outcome import Accepted, Denied, NotAttempted, Outcome, Rejected, Unavailable, Unknown
from service.core.omni.answer import LogEntry
from service.core.omni.status import Status
from tests.support.builder import NOW, OTHER_PHONE, PHONE, a_call, a_message, a_status

ONE, TWO = a_message("m-1"), a_message("m-2")


@pytest.mark.parametrize(
    ("outcome", "message_outcome"),
    [
        (
            Rejected("http_400", "HTTP 400, Bad request"),
            MessageOutcome(ONE, "refused", "http_400", "HTTP 400, Bad request"),
        ),
        (Unavailable("http_503", 7.0), MessageOutcome(ONE, "again", "http_503", retry_after=7.0)),
        (Unavailable("no_connection"), MessageOutcome(ONE, "again", "no_connection")),
        (
            Unavailable("untrusted_certificate"),
            MessageOutcome(ONE, "not_attempted", "untrusted_certificate"),
        ),
        (Unknown("timeout"), MessageOutcome(ONE, "ambiguous", "timeout")),
        (Denied("http_401"), MessageOutcome(ONE, "denied", "http_401")),
    ],
)
def test_a_call_that_ended_without_an_answer_ends_the_same_for_each_message(
    outcome: Outcome, message_outcome: MessageOutcome
) -> None:
    assert judge((ONE, TWO), outcome, ambiguous=False) == (message_outcome, replace(message_outcome, message=TWO))


def test_an_answer_has_a_status_for_each_message() -> None:
    taken, refused = a_status(1, 7, "PENDING_ENROUTE"), a_status(5, 6, "REJECTED_NETWORK")
    outcome = Accepted({"m-1": taken, "m-2": refused}, "bulk-1")

    assert judge((ONE, TWO), outcome, ambiguous=False) == (
        MessageOutcome(ONE, "taken", "accepted", "PENDING_ENROUTE", taken, "bulk-1"),
        MessageOutcome(TWO, "refused", "status_6", "REJECTED_NETWORK", refused, "bulk-1"),
    )


def test_a_message_that_the_answer_does_not_name_is_ambiguous() -> None:
    message_outcomes = judge((ONE, TWO), Accepted({"m-1": a_status()}), ambiguous=False)

    assert message_outcomes[1] == MessageOutcome(TWO, "ambiguous", "not_in_answer")


@pytest.mark.parametrize(
    ("status", "disposition"),
    [
        (a_status(0, 0, "MESSAGE_ACCEPTED"), "taken"),
        (a_status(1, 7), "taken"),
        (a_status(1, 26), "taken"),
        (a_status(1, None, None), "taken"),
        (a_status(3, 2), "taken"),
        (a_status(3, 5), "taken"),
        (a_status(77, 12), "taken"),
        (a_status(-1, None, None), "taken"),
        (a_status(2, 9), "refused"),
        (a_status(4, 15), "refused"),
        (a_status(5, 6), "refused"),
        (a_status(5, 4711), "refused"),
        (a_status(5, None, None), "refused"),
        (a_status(5, 12), "denied"),
        (a_status(5, 17), "denied"),
        (a_status(5, 21), "again"),
        (a_status(5, 23), "refused"),
        (Status(group_id=77, group_name="rejected", id=6), "refused"),
    ],
)
def test_the_group_decides_unless_the_table_knows_better(status: Status, disposition: str) -> None:
    """A group nobody has seen counts as taken: to send again could reach the person twice."""
    (message_outcome,) = judge((ONE,), Accepted({"m-1": status}), ambiguous=False)

    assert message_outcome.disposition == disposition
    assert message_outcome.status == status


def test_a_message_the_flooding_filter_refused_is_tried_after_an_hour() -> None:
    """The filter counts refused messages too, so to try sooner prolongs the refusal."""
    (message_outcome,) = judge((ONE,), Accepted({"m-1": a_status(5, 20)}), ambiguous=False)

    assert message_outcome.disposition == "later"


@pytest.mark.parametrize(("ambiguous", "disposition"), [(True, "taken"), (False, "refused")])
def test_a_duplicate_id_means_that_the_ambiguous_attempt_was_accepted(disposition: str, *, ambiguous: bool) -> None:
    (message_outcome,) = judge((ONE,), Accepted({"m-1": a_status(5, 23)}), ambiguous=ambiguous)

    assert message_outcome.disposition == disposition


@pytest.mark.parametrize(
    ("status_id", "cause"),
    [(6, "status_6"), (999, "status_999"), (1000, "status_other"), (-1, "status_other"), (None, "status_other")],
)
def test_a_cause_is_a_word_of_a_closed_list(status_id: int | None, cause: str) -> None:
    (message_outcome,) = judge((ONE,), Accepted({"m-1": a_status(5, status_id, None)}), ambiguous=False)

    assert (message_outcome.cause, message_outcome.detail) == (cause, "")


def test_a_call_that_was_not_made_leaves_its_messages_not_attempted() -> None:
    assert judge((ONE,), NotAttempted("http_401"), ambiguous=False) == (
        MessageOutcome(ONE, "not_attempted", "http_401"),
    )


@pytest.mark.parametrize(
    ("statuses", "disposition", "position"),
    [
        ([a_status()], "taken", 0),
        ([a_status(4, 15)], "taken", 0),  # taken, whatever became of it since
        ([a_status(5, 6), a_status(3, 5)], "taken", 1),  # one step was rejected, another got through
        ([a_status(3, 5), a_status(5, 6)], "taken", 0),
        ([a_status(5, 6)], "refused", 0),
        ([a_status(5, 21), a_status(5, 6)], "refused", 1),
        ([a_status(5, 23)], "taken", 0),  # the ambiguous attempt was a second one
        ([a_status(5, 21)], None, 0),
        ([a_status(5, 20)], None, 0),
        ([a_status(5, 12)], None, 0),
        ([], None, 0),
    ],
)
def test_an_ambiguous_message_is_judged_by_its_entries_in_the_logs(
    statuses: list[Status], disposition: str | None, position: int
) -> None:
    entries = tuple(LogEntry(message_id="m-1", bulk_id="bulk-1", status=status) for status in statuses)

    message_outcome = judge_logged(ONE, entries, is_unresolved=True, since=None)

    if disposition is None:
        assert message_outcome is None
    else:
        assert message_outcome is not None
        assert (message_outcome.disposition, message_outcome.status, message_outcome.bulk_id) == (
            disposition,
            statuses[position],
            "bulk-1",
        )


@pytest.mark.parametrize(("status", "found"), [(a_status(), True), (a_status(5, 20), False), (a_status(5, 6), False)])
def test_a_refusal_before_a_further_attempt_is_no_answer_to_it(status: Status, *, found: bool) -> None:
    """Else one that the flooding filter refused would find its own refusal for ever."""
    entries = (LogEntry(message_id="m-1", status=status),)

    assert (judge_logged(ONE, entries, is_unresolved=False, since=None) is not None) is found


@pytest.mark.parametrize(
    ("outcome", "final"),
    [
        (Accepted({"m-1": a_status(), "m-2": a_status(5, 6)}), True),
        (Accepted({"m-1": a_status(), "m-2": a_status(5, 21)}), False),
        (Accepted({"m-1": a_status(), "m-2": a_status(5, 12)}), False),
        (Accepted({"m-1": a_status()}), False),
        (Rejected("http_400", ""), True),
        (Unavailable("http_503"), False),
        (Unknown("timeout"), False),
        (Denied("http_401"), False),
        (NotAttempted("stopping"), False),
    ],
)
def test_an_outcome_is_final_where_no_message_of_the_call_is_posted_again(outcome: Outcome, *, final: bool) -> None:
    assert is_final(a_call(ONE, TWO), outcome) is final


@pytest.mark.parametrize(
    ("to", "minutes", "counts"),
    [
        (PHONE, 0, True),
        (PHONE, 5, True),
        (PHONE, -0.01, False),
        (PHONE, -1440, False),
        (PHONE, None, True),
        (None, 0, True),
        (None, None, True),
        (OTHER_PHONE, 0, False),
        (OTHER_PHONE, None, False),
    ],
)
@pytest.mark.parametrize("status", [a_status(), a_status(5, 6, "REJECTED_NETWORK")])
def test_an_entry_counts_with_the_address_and_from_the_time_of_the_message(
    status: Status, to: str | None, minutes: float | None, *, counts: bool
) -> None:
    """What the entry does not say contradicts nothing: the message id decides then."""
    sent_at = None if minutes is None else NOW + timedelta(minutes=minutes)
    entry = LogEntry(message_id="m-1", to=to, sent_at=sent_at, status=status)

    assert (judge_logged(ONE, (entry,), is_unresolved=True, since=NOW) is not None) is counts


def test_entries_of_others_with_the_same_id_do_not_hide_the_one_that_counts() -> None:
    others = [
        LogEntry(message_id="m-1", to=OTHER_PHONE, sent_at=NOW, status=a_status(5, 6)),
        LogEntry(message_id="m-1", to=PHONE, sent_at=NOW - timedelta(days=1), status=a_status(3, 5)),
    ]
    own = LogEntry(message_id="m-1", to=PHONE, sent_at=NOW, bulk_id="own", status=a_status())

    message_outcome = judge_logged(ONE, (*others, own), is_unresolved=True, since=NOW)

    assert message_outcome is not None
    assert (message_outcome.disposition, message_outcome.bulk_id) == ("taken", "own")
