import itertools
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.settings import Settings
from service.core.attempt.lookup import Answered, Forbidden, LookupResult, ResolutionKind, Unanswered
from service.core.attempt.retry import Policy, RetryPolicy, lookup_delay
from service.core.history import History, mark_ambiguous
from service.core.omni.answer import LogEntry
from service.core.request.request import OnUnknown
from service.core.result.decision import Attempt
from service.core.result.event import FINAL_EVENTS
from service.core.result.reconciliation import NOT_ASKED, resolve
from tests.support.builder import NOW, OTHER_PHONE, PHONE, a_history, a_message, a_request, a_status, an_attempt
from tests.unit.strategy import law

NOTHING, SILENCE, CLOSED = Answered({}), Unanswered("timeout"), Forbidden("http_403")


def found(*names: str) -> Answered:
    return Answered({name: (LogEntry(message_id=name, bulk_id="b-1", status=a_status(3, 5)),) for name in names})


def is_unresolved(log_checks: int = 0, attempts: int = 1, retries: int = 1, own: OnUnknown | None = None) -> Attempt:
    past = replace(a_history(attempts, ambiguous=True), log_checks=log_checks, retries=retries)
    return an_attempt(replace(a_request(a_message("m-1"), a_message("m-2")), on_unknown=own), past)


def test_a_found_message_is_accepted_under_the_number_of_the_ambiguous_attempt() -> None:
    resolution = resolve(is_unresolved(attempts=2), found("m-1", "m-2"))

    assert resolution.rest is None
    assert [(event.type, event.attempt, event.bulk_id) for event in resolution.report.events] == [
        ("message.accepted", 2, "b-1")
    ] * 2
    assert resolution.report.events[0].status == a_status(3, 5)
    assert (resolution.report.retries, resolution.report.dead_letters) == ((), ())


def test_messages_that_do_not_show_are_looked_up_again_and_the_others_are_reported() -> None:
    resolution = resolve(is_unresolved(), found("m-1"))

    assert [(event.message_id, event.type) for event in resolution.report.events] == [
        ("m-1", "message.accepted"),
        ("m-2", "message.deferred"),
    ]
    (retry,) = resolution.report.retries
    assert [message.message_id for message in retry.request.messages] == ["m-2"]
    assert retry.history == replace(a_history(1, ambiguous=True), log_checks=1, retries=2)
    assert retry.delay_seconds == 8
    deferred = resolution.report.events[1]
    assert deferred.next_attempt_at == NOW + timedelta(seconds=8)
    assert deferred.reason is not None
    assert (deferred.reason.code, deferred.attempt) == ("ambiguous", 1)
    assert resolution.rest is None


@pytest.mark.parametrize(
    ("attempt", "lookup_result", "kind"),
    [
        (is_unresolved(), found("m-1", "m-2"), "found"),
        (is_unresolved(), found("m-1"), "waiting"),
        (is_unresolved(log_checks=2), found("m-1"), "posted"),
        (is_unresolved(log_checks=2, own="park"), found("m-1"), "given_up"),
        (is_unresolved(), CLOSED, "posted"),
    ],
)
def test_the_kind_of_a_resolution_is_the_worst_of_its_messages(
    attempt: Attempt, lookup_result: LookupResult, kind: ResolutionKind
) -> None:
    assert resolve(attempt, lookup_result).kind == kind


def test_after_enough_lookups_it_is_posted_again_and_resolved() -> None:
    resolution = resolve(is_unresolved(log_checks=2), found("m-1"))

    assert resolution.rest is not None
    assert [message.message_id for message in resolution.rest.messages] == ["m-2"]
    assert (resolution.history.ambiguous, resolution.history.resolved, resolution.history.is_unresolved) == (
        True,
        True,
        False,
    )
    assert [event.type for event in resolution.report.events] == ["message.accepted"]


def a_copy(log_checks: int, jitter: float) -> Attempt:
    attempt = is_unresolved(log_checks)
    return replace(attempt, history=replace(attempt.history, redeliveries=1), jitter=jitter)


def waits(attempt: Attempt, lookup_result: LookupResult = NOTHING) -> list[float]:
    """List the delays of an ambiguous message until it is posted again."""
    delays: list[float] = []
    while (resolution := resolve(attempt, lookup_result)).rest is None:
        (retry,) = resolution.report.retries
        delays.append(retry.delay_seconds)
        attempt, lookup_result = replace(attempt, history=retry.history), NOTHING
    return delays


def test_a_possible_duplicate_is_always_later_than_the_original() -> None:
    """Otherwise both would be looked up, not found and posted in the same moment.

    Four seconds went by before the first lookup. The duplicate also waits longer than a call under way, by the
    defaults.
    """
    copy = a_copy(0, 0.0)

    assert waits(is_unresolved()) == [8, 16]
    assert waits(copy, NOT_ASKED) == [8, 8, 8, 16]
    assert waits(out_of_step(copy), NOT_ASKED) == [4, 8, 8, 16]
    for retry in (RetryPolicy(), RetryPolicy(8, 1, 1), RetryPolicy(8, 1, 4)):
        policy = Policy(retry)
        original = sum(waits(replace(is_unresolved(), policy=policy))) + lookup_delay(retry, 0)
        for one in (copy, out_of_step(copy)):
            assert sum(waits(replace(one, policy=policy), NOT_ASKED)) > original


def seconds_covered(log_checks: int, retry: RetryPolicy) -> float:
    """Add up the waits from an ambiguous attempt to the lookup after which it is posted again."""
    policy = Policy(retry, log_checks=log_checks)
    first = lookup_delay(retry, 0)
    return first + sum(waits(replace(is_unresolved(retries=0), policy=policy)))


def test_the_documents_say_how_many_seconds_the_lookups_cover() -> None:
    page = Path(__file__).parents[4] / "deploy/sending.md"
    rows = re.findall(r"^\| (\d+)( \(default\))? \| (\d+) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)

    assert {int(log_checks): int(seconds) for log_checks, _, seconds in rows} == {
        log_checks: seconds_covered(log_checks, RetryPolicy()) for log_checks in (1, 3, 5, 6, 8, 12)
    }
    assert [int(log_checks) for log_checks, marked, _ in rows if marked] == [
        Settings.model_fields["unknown_log_checks"].default
    ]


def test_minutes_can_be_covered_also_where_the_longest_wait_is_short() -> None:
    """The number of lookups has a limit too."""
    most = Settings(unknown_log_checks=1000).unknown_log_checks

    assert seconds_covered(most, RetryPolicy(8, 1, 1)) == 1000


@pytest.mark.parametrize(
    ("log_checks", "jitter", "wait"),
    [
        (2, 0.0, 16),
        (3, 0.0, None),
        (3, 0.19, None),
        (3, 0.2, 8),
        (3, 0.59, 8),
        (3, 0.61, 16),
        (3, 0.999, 16),
    ],
)
def test_possible_duplicates_are_posted_at_random(log_checks: int, jitter: float, wait: float | None) -> None:
    """They may be in step, having been scheduled in the same moment, and nothing else distinguishes them."""
    resolution = resolve(a_copy(log_checks, jitter), NOTHING)

    assert [retry.delay_seconds for retry in resolution.report.retries] == ([] if wait is None else [wait])
    assert (resolution.rest is None) is (wait is not None)


def test_a_possible_duplicate_that_follows_another_is_never_in_step_with_it() -> None:
    one, other = posting_times(a_copy(0, 0)), posting_times(out_of_step(a_copy(0, 0)))

    assert min(abs(time - another) for time in one for another in other) == 4
    assert sum(one.values()) == pytest.approx(1)
    assert sum(chance**2 for chance in one.values()) < 1 / 11  # of two that chance alone keeps out of step


def out_of_step(attempt: Attempt) -> Attempt:
    return replace(attempt, history=replace(attempt.history, leaves_step=True))


def posting_times(attempt: Attempt, draws: int = 10) -> dict[float, float]:
    """Give the probability of each number of seconds after which a possible duplicate is posted."""
    times: defaultdict[float, float] = defaultdict(float)
    waiting: Mapping[tuple[History, float], float] = {(attempt.history, 0.0): 1.0}
    lookup_result: LookupResult = NOT_ASKED
    while waiting:
        still_waiting: defaultdict[tuple[History, float], float] = defaultdict(float)
        for ((history, time), chance), draw in itertools.product(waiting.items(), range(draws)):
            resolution = resolve(replace(attempt, history=history, jitter=draw / draws), lookup_result)
            if resolution.rest is not None:
                times[time] += chance / draws
            for retry in resolution.report.retries:
                still_waiting[retry.history, time + retry.delay_seconds] += chance / draws
        waiting, lookup_result = still_waiting, NOTHING
    return times


def test_a_possible_duplicate_is_not_looked_up_for_ever() -> None:
    assert resolve(a_copy(14, 0.9), NOTHING).rest is None
    assert resolve(a_copy(15, 0.9), NOTHING).rest is not None


def test_a_possible_duplicate_is_scheduled_for_retry_and_nothing_is_decided() -> None:
    resolution = resolve(is_unresolved(log_checks=0, retries=7), NOT_ASKED)

    (retry,) = resolution.report.retries
    assert (retry.delay_seconds, retry.history.log_checks) == (8, 0)
    reason = resolution.report.events[0].reason
    assert reason is not None
    assert reason.detail.endswith(": redelivered")


@pytest.mark.parametrize(("log_checks", "lookup_result"), [(2, NOTHING), (0, CLOSED)])
def test_the_policy_may_leave_it_to_a_person(log_checks: int, lookup_result: LookupResult) -> None:
    resolution = resolve(is_unresolved(log_checks, own="park"), lookup_result)

    assert resolution.rest is None
    assert [event.type for event in resolution.report.events] == ["message.unknown"] * 2
    (dead_letter,) = resolution.report.dead_letters
    assert (dead_letter.reason, dead_letter.cause) == (
        "unknown",
        "not_in_logs" if lookup_result == NOTHING else "logs_forbidden",
    )


def test_a_requests_policy_takes_precedence_over_the_setting() -> None:
    park = Policy(RetryPolicy(), "park")

    assert resolve(replace(is_unresolved(2, own="resend"), policy=park), NOTHING).rest is not None
    assert resolve(replace(is_unresolved(2), policy=park), NOTHING).rest is None


def test_where_the_logs_are_closed_the_policy_applies_at_once() -> None:
    resolution = resolve(is_unresolved(), CLOSED)

    assert resolution.rest is not None
    assert resolution.history.resolved
    assert resolution.report.events == ()


@pytest.mark.parametrize("lookup_result", [NOTHING, CLOSED])
def test_attempts_used_up_end_in_failure_after_the_last_lookup(lookup_result: LookupResult) -> None:
    (event, _) = resolve(is_unresolved(log_checks=2, attempts=8), lookup_result).report.events

    assert (event.type, event.attempt) == ("message.failed", 8)
    assert event.reason is not None
    assert event.reason.code == "ambiguous"


@pytest.mark.parametrize("own", ["resend", "park"])
def test_without_an_answer_nothing_is_decided_however_often(own: OnUnknown) -> None:
    for log_checks, attempts, retries, delay_seconds in ((0, 1, 0, 4), (2, 8, 3, 32), (2, 8, 50, 300)):
        resolution = resolve(is_unresolved(log_checks, attempts, retries, own), SILENCE)

        (retry,) = resolution.report.retries
        assert (retry.history.log_checks, retry.history.retries, retry.delay_seconds) == (
            log_checks,
            retries + 1,
            delay_seconds,
        )
        assert {event.type for event in resolution.report.events} == {"message.deferred"}


@pytest.mark.parametrize(("own", "word"), [("park", "message.unknown"), ("resend", None)])
def test_when_the_logs_no_longer_go_back_so_far_the_policy_applies(own: OnUnknown, word: str | None) -> None:
    attempt = is_unresolved(own=own)
    old = replace(attempt, now=NOW + timedelta(hours=48))

    assert {event.type for event in resolve(old, SILENCE).report.events} == ({word} if word else set())


@pytest.mark.parametrize("lookup_result", [NOTHING, CLOSED])
def test_a_replayed_dead_letter_is_posted_after_one_lookup_whatever_the_policy(lookup_result: LookupResult) -> None:
    """A person has ordered it, and the logs have had their time."""
    ordered = is_unresolved(attempts=0, own="park")
    ordered = replace(ordered, history=replace(ordered.history, redrives=1))

    resolution = resolve(ordered, lookup_result)

    assert resolution.rest == ordered.request
    assert not resolution.history.is_unresolved


def test_a_replayed_dead_letter_is_not_posted_if_omni_has_it_or_does_not_answer() -> None:
    ordered = is_unresolved(attempts=0)
    ordered = replace(ordered, history=replace(ordered.history, redrives=1))

    assert resolve(ordered, found("m-1", "m-2")).rest is None
    assert resolve(ordered, SILENCE).rest is None


@pytest.mark.parametrize("lookup_result", [NOTHING, CLOSED, NOT_ASKED])
def test_an_unambiguous_message_is_posted_unless_it_shows(lookup_result: LookupResult) -> None:
    """It may be the second copy of a request whose first a dead worker has left behind."""
    attempt = an_attempt(a_request(), replace(a_history(3), retries=3))

    resolution = resolve(attempt, lookup_result)

    assert (resolution.rest, resolution.history) == (attempt.request, attempt.history)
    assert resolution.report.events == ()
    assert resolve(attempt, found("m-1")).rest is None


@pytest.mark.parametrize("lookup_result", [SILENCE, Unanswered("busy"), Answered({}, frozenset({"m-1"}))])
@pytest.mark.parametrize("ambiguous", [True, False])
def test_without_an_answer_of_the_logs_it_is_scheduled_a_few_times_before_it_is_posted(
    lookup_result: LookupResult, *, ambiguous: bool
) -> None:
    """Nothing has happened that a producer has to know of, and no attempt is counted."""
    past = replace(a_history(2, ambiguous=ambiguous), retries=5, resolved=ambiguous)
    attempt = an_attempt(a_request(), past)
    delays = []
    while (resolution := resolve(attempt, lookup_result)).rest is None:
        (retry,) = resolution.report.retries
        assert retry.request == attempt.request
        assert resolution.report.events == ()
        delays.append(retry.delay_seconds)
        attempt = replace(attempt, history=retry.history)

    assert delays == [4, 8, 16]
    assert resolution.rest == attempt.request
    assert resolution.history == replace(past, retries=8)


def test_messages_that_show_are_reported_and_the_rest_is_scheduled_for_retry() -> None:
    attempt = an_attempt(a_request(a_message("m-1"), a_message("m-2")), replace(a_history(1), retries=1))
    lookup_result = Answered(found("m-1").entries, frozenset({"m-1", "m-2"}))

    resolution = resolve(attempt, lookup_result)

    assert [(event.message_id, event.type) for event in resolution.report.events] == [("m-1", "message.accepted")]
    (retry,) = resolution.report.retries
    assert retry.request.message_ids == ("m-2",)


def test_a_full_page_that_does_not_show_a_message_decides_nothing() -> None:
    """It has more entries than an answer holds, all of them somebody else's: the one that counts may be missing."""
    resolution = resolve(is_unresolved(log_checks=2), Answered({}, frozenset({"m-2"})))

    assert resolution.rest is None
    (retry,) = resolution.report.retries
    assert retry.history.log_checks == 2


def test_a_post_that_was_decided_begins_the_count_of_lookups_anew() -> None:
    assert resolve(is_unresolved(log_checks=2), NOTHING).history.log_checks == 0


def logged(ago: timedelta, phone: str = PHONE) -> Answered:
    entry = LogEntry(message_id="m-1", to=phone, sent_at=NOW - ago, status=a_status(3, 5))
    return Answered({"m-1": (entry,)})


def test_a_clock_that_was_fast_when_a_request_was_first_seen_does_not_make_its_entry_too_old() -> None:
    """It has been set since, and lies behind the time that was written down."""
    history = replace(a_history(1, ambiguous=True), log_checks=2, first_seen=NOW + timedelta(hours=1))

    assert resolve(an_attempt(a_request(), history), logged(timedelta(seconds=10))).rest is None


def test_an_entry_about_another_phone_leaves_the_message_to_be_posted() -> None:
    attempt = an_attempt(a_request(), replace(a_history(1, ambiguous=True), log_checks=2))

    assert resolve(attempt, logged(timedelta(), OTHER_PHONE)).rest == attempt.request


@pytest.mark.parametrize(("minutes", "is_found"), [(-60, True), (0, True), (5, True), (5.01, False), (1440, False)])
def test_an_entry_older_than_the_request_leaves_the_message_to_be_posted(minutes: float, *, is_found: bool) -> None:
    """Older by more than clocks differ."""
    attempt = an_attempt(a_request(), replace(a_history(1, ambiguous=True), log_checks=2))

    assert (resolve(attempt, logged(timedelta(minutes=minutes))).rest is None) is is_found


@pytest.mark.parametrize(("redeliveries", "redrives"), [(1, 0), (0, 1)])
def test_of_a_request_that_may_be_older_than_it_seems_every_entry_counts(redeliveries: int, redrives: int) -> None:
    """A worker that died may have posted it hours ago, and the broker does not say when."""
    past = replace(a_history(1, ambiguous=True), redeliveries=redeliveries, redrives=redrives)
    attempt = an_attempt(a_request(), past)

    assert resolve(attempt, logged(timedelta(hours=9))).kind == "found"


@pytest.mark.parametrize(
    ("history", "purpose"),
    [
        (a_history(), None),
        (a_history(1, ambiguous=True), "required"),
        (replace(a_history(1, ambiguous=True), retries=1), "required"),
        (replace(a_history(), retries=1), "best_effort"),
        (replace(a_history(1, ambiguous=True), retries=1, resolved=True), "best_effort"),
    ],
)
def test_a_request_that_returns_or_is_ambiguous_is_looked_up(history: History, purpose: str | None) -> None:
    assert history.lookup_purpose == purpose


@law
@given(
    past=st.builds(
        History,
        st.just(NOW),
        attempts=st.integers(0, 9),
        ambiguous=st.booleans(),
        log_checks=st.integers(0, 5),
        redrives=st.integers(0, 1),
    ),
    own=st.sampled_from([None, "resend", "park"]),
    shown=st.sets(st.sampled_from(["m-1", "m-2", "m-3"])),
    lookup_result=st.sampled_from([None, SILENCE, CLOSED]),
)
def test_each_message_is_reported_once_or_left_to_be_posted(
    past: History, own: OnUnknown | None, shown: set[str], lookup_result: LookupResult | None
) -> None:
    attempt = replace(is_unresolved(own=own), history=past)

    resolution = resolve(attempt, lookup_result or found(*shown))

    reported = [event.message_id for event in resolution.report.events]
    left = [message.message_id for message in resolution.rest.messages] if resolution.rest else []
    scheduled = {m.message_id for retry in resolution.report.retries for m in retry.request.messages}
    without_event = scheduled.difference(map(str, reported))
    assert sorted([*map(str, reported), *left, *without_event]) == ["m-1", "m-2"]
    assert not (without_event and past.is_unresolved)
    final = {event.message_id for event in resolution.report.events if event.type in FINAL_EVENTS}
    accepted = {event.message_id for event in resolution.report.events if event.type == "message.accepted"}
    assert scheduled - without_event | final == set(reported)
    assert accepted == (set() if lookup_result else {"m-1", "m-2"} & shown)
    assert not (left and resolution.history.is_unresolved)


def a_replay(log_checks: int, jitter: float = 0.1, own: OnUnknown | None = None, copies: int = 1) -> Attempt:
    attempt = is_unresolved(log_checks, attempts=0, own=own)
    return replace(attempt, history=replace(attempt.history, redrives=1, redeliveries=copies), jitter=jitter)


@pytest.mark.parametrize("own", ["resend", "park"])
def test_a_replay_that_may_exist_twice_is_looked_up_as_often_as_any_duplicate_and_then_posted(own: OnUnknown) -> None:
    """The other copy may have been posted a moment ago; a person has ordered that one is."""
    assert waits(a_replay(0, own=own), NOT_ASKED) == [*waits(a_copy(0, 0.1), NOT_ASKED)]
    assert resolve(a_replay(3, jitter=0.9, own=own), NOTHING).rest is None
    assert resolve(a_replay(2, own=own), NOTHING).rest is None
    assert resolve(a_replay(0, own=own, copies=0), NOTHING).rest is not None
    assert resolve(a_replay(0, own=own), found("m-1", "m-2")).rest is None


def test_a_replay_that_may_exist_twice_waits_for_the_other_however_old_the_dead_letter_is() -> None:
    attempt = a_replay(0)
    old = replace(attempt, history=replace(attempt.history, first_seen=NOW - timedelta(days=9)))

    assert resolve(old, NOT_ASKED).rest is None
    assert resolve(old, SILENCE).rest is not None


@pytest.mark.parametrize(("own", "kind"), [("resend", "posted"), ("park", "given_up")])
def test_where_the_logs_are_closed_a_replay_that_may_exist_twice_goes_by_policy(
    own: OnUnknown, kind: ResolutionKind
) -> None:
    assert resolve(a_replay(0, own=own), CLOSED).kind == kind
    assert resolve(a_replay(0, own=own, copies=0), CLOSED).kind == "posted"


def test_waiting_for_the_send_at_makes_no_lookup_later() -> None:
    held = replace(mark_ambiguous(a_history(1)), retries=1002, holds=1000)
    (retry,) = resolve(an_attempt(a_request(), held), SILENCE).report.retries
    (other,) = resolve(an_attempt(a_request(), replace(held, retries=2, holds=0)), SILENCE).report.retries
    assert retry.delay_seconds == other.delay_seconds
    assert replace(a_history(), retries=3, holds=3).lookup_purpose is None
    assert replace(a_history(), retries=4, holds=3).lookup_purpose == "best_effort"
