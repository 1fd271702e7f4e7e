from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from math import inf
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.attempt.disposition import MessageOutcome
from service.core.attempt.retry import HOUR, Policy, RetryPolicy
from service.core.omni.status import Disposition
from service.core.request.request import Fault, OnUnknown, Parsed, Rejection
from service.core.result.decision import Attempt, report_attempt
from service.core.result.event import FINAL_EVENTS, Reason
from service.core.result.publication import event_id
from service.core.result.report import DeadLetterMessage, Report, RetryMessage, report_expiry, report_rejections, slices
from tests.support.builder import (
    NOW,
    OTHER_PHONE,
    PHONE,
    a_body,
    a_destination,
    a_history,
    a_message,
    a_message_outcome,
    a_request,
    a_status,
    an_attempt,
    parsed,
)
from tests.unit.strategy import law


def words_of(report: Report) -> list[str]:
    return [event.type for event in report.events]


# What is wrong from the start


def test_a_body_that_names_no_message_has_one_event() -> None:
    (event,) = report_rejections(replace(parsed(b"nonsense"), metadata={"k": "v"}), a_history(2), NOW).events

    assert (event.type, event.message_id, event.attempt, event.metadata) == ("request.rejected", None, 2, {"k": "v"})
    assert event.reason is not None
    assert (event.reason.code, event.reason.detail) == ("invalid", "names no readable message")
    assert [fault.path for fault in event.reason.faults] == ["$"]


def test_each_message_that_cannot_be_sent_has_one() -> None:
    fault = Fault("destinations[0].to", "is required")
    rejections = (Rejection("m-1", {"phoneNumber": "x"}, (fault,)), Rejection("m-2", {}, (fault,)))

    report = report_rejections(Parsed("order-1", identified=True, rejections=rejections), a_history(), NOW)

    assert [(event.type, event.message_id, event.to) for event in report.events] == [
        ("message.rejected", "m-1", {"phoneNumber": "x"}),
        ("message.rejected", "m-2", {}),
    ]
    assert {event.reason for event in report.events} == {Reason("invalid", "the request is not valid", (fault,))}
    assert (report.retries, report.dead_letters) == ((), ())


def test_a_request_that_came_too_late_has_expired_for_each_message() -> None:
    request = replace(a_request(a_message("m-1"), a_message("m-2")), metadata={"k": "v"})

    report = report_expiry(request, a_history(3), NOW)

    assert words_of(report) == ["message.expired"] * 2
    assert [event.message_id for event in report.events] == ["m-1", "m-2"]
    assert {event.attempt for event in report.events} == {3}
    assert {event.reason and event.reason.code for event in report.events} == {"expired"}
    assert (report.retries, report.dead_letters) == ((), ())


# What an attempt came to


def test_an_accepted_message_has_omnis_status() -> None:
    message_outcome = replace(a_message_outcome("taken"), status=a_status(), bulk_id="bulk-1")

    report = report_attempt(an_attempt(replace(a_request(), metadata={"k": "v"}), a_history(1)), [message_outcome])

    (event,) = report.events
    assert (event.type, event.attempt, event.status, event.bulk_id) == ("message.accepted", 2, a_status(), "bulk-1")
    assert (event.reason, event.next_attempt_at, event.to) == (None, None, {"phoneNumber": PHONE})
    assert event.metadata == {"k": "v"}
    assert (report.retries, report.dead_letters) == ((), ())


def test_an_event_carries_the_requests_bulk_id_where_omni_answered_with_none() -> None:
    request = replace(a_request(), content=a_request().content.model_copy(update={"bulk_id": "ours"}))

    for disposition in set(get_args(Disposition)) - {"not_attempted"}:
        (event,) = report_attempt(an_attempt(request), [a_message_outcome(disposition)]).events
        assert event.bulk_id == "ours"


def test_a_refused_message_says_why() -> None:
    message_outcome = replace(a_message_outcome("refused"), detail="REJECTED_NETWORK", status=a_status(5, 6))

    (event,) = report_attempt(an_attempt(), [message_outcome]).events

    assert event.type == "message.rejected"
    assert event.reason == Reason("refused", "OMNI refused the message: REJECTED_NETWORK")


@pytest.mark.parametrize(
    ("disposition", "code", "attempts", "ambiguous"),
    [
        ("again", "unavailable", 1, False),
        ("ambiguous", "ambiguous", 1, True),
        ("denied", "denied", 0, False),
    ],
)
def test_a_message_to_be_retried_is_deferred_and_scheduled(
    disposition: Disposition, code: str, attempts: int, *, ambiguous: bool
) -> None:
    """An attempt that failed for our account's sake is not counted against the message."""
    report = report_attempt(an_attempt(), [a_message_outcome(disposition)])

    (event,), (retry,) = report.events, report.retries
    assert (event.type, event.attempt) == ("message.deferred", 1)
    assert event.next_attempt_at == NOW + timedelta(seconds=retry.delay_seconds)
    assert event.reason is not None
    assert event.reason.code == code
    assert event.reason.detail.endswith(f": cause_{disposition}")
    denials = int(disposition == "denied")
    assert retry.history == replace(a_history(attempts, ambiguous=ambiguous), retries=1, denials=denials)
    assert retry.request == a_request()


def test_a_message_that_was_not_attempted_is_scheduled_without_an_event() -> None:
    """It comes back at once, since it has waited for the end of a pause already."""
    report = report_attempt(an_attempt(jitter=0.99), [a_message_outcome("not_attempted")])

    assert report == Report((), (RetryMessage(a_request(), replace(a_history(), retries=1), 1.0),))


@pytest.mark.parametrize("disposition", ["again", "ambiguous", "denied", "not_attempted"])
def test_an_ambiguous_attempt_is_never_forgotten(disposition: Disposition) -> None:
    (retry,) = report_attempt(
        an_attempt(history=a_history(1, ambiguous=True)), [a_message_outcome(disposition)]
    ).retries

    assert retry.history.ambiguous


@pytest.mark.parametrize("own", ["resend", "park"])
@pytest.mark.parametrize("used", [0, 7])
def test_an_ambiguous_message_is_looked_up_before_anything_is_decided(own: OnUnknown, used: int) -> None:
    """Neither the policy, nor the attempts used up, nor a deadline says what OMNI has."""
    history = replace(a_history(used, ambiguous=True), resolved=True, log_checks=2)
    request = replace(a_request(), on_unknown=own, expires_at=NOW + timedelta(seconds=1))

    report = report_attempt(an_attempt(request, history), [a_message_outcome("ambiguous")])

    assert words_of(report) == ["message.deferred"]
    (retry,) = report.retries
    assert retry == RetryMessage(request, replace(a_history(used + 1, ambiguous=True), retries=1), 4.0)


def test_a_message_has_failed_when_its_attempts_are_used_up() -> None:
    report = report_attempt(an_attempt(history=a_history(7)), [a_message_outcome("again")])

    assert words_of(report) == ["message.failed"]
    (dead_letter,) = report.dead_letters
    assert (dead_letter.reason, dead_letter.cause, dead_letter.history.attempts) == (
        "failed",
        "cause_again",
        8,
    )


def test_a_message_refused_for_our_fault_waits_however_often() -> None:
    """Also one that came back from the dead with all its attempts used up."""
    for used in (7, 8, 9):
        history = a_history(used)
        for _ in range(100):
            (retry,) = report_attempt(an_attempt(history=history), [a_message_outcome("denied")]).retries
            history = retry.history

        assert replace(history, retries=0) == replace(a_history(used), denials=1)


def denied_at(times: list[float], success_at: Callable[[float], float]) -> list[str]:
    """Deny a request at these times; return the event and the delay of each time."""
    history, reported = a_history(), []
    for time in times:
        attempt = replace(an_attempt(history=history), since_success=time - success_at(time))
        report = report_attempt(attempt, [a_message_outcome("denied")])
        (event,) = report.events
        assert event.reason is not None
        reported.append(f"{event.type.removeprefix('message.')} {event.reason.code}")
        for retry in report.retries:
            reported[-1] += f" {retry.delay_seconds:g}"
            history = retry.history
    return reported


def test_a_third_denial_while_others_succeed_is_a_refusal() -> None:
    reported = denied_at([0, 8, 16], lambda time: time - 7.9)

    assert reported == ["deferred denied 8", "deferred denied 8", "rejected refused"]


def test_a_denial_while_no_other_call_succeeds_does_not_count_towards_a_refusal() -> None:
    """It may be denied for the account's fault, as often as it takes to mend that."""
    assert denied_at([0, 32, 64, 96], lambda _: -inf) == ["deferred denied 32"] * 4
    assert denied_at([0, 8, 16, 24, 32], lambda _: -1.0) == ["deferred denied 8"] * 5
    ends = denied_at([0, 32, 64, 72], lambda time: time if time > 32 else -inf)
    assert ends == ["deferred denied 32", "deferred denied 32", "deferred denied 8", "rejected refused"]


def test_each_message_is_denied_for_itself() -> None:
    attempt = replace(an_attempt(history=replace(a_history(), denials=2)), since_success=0.0)
    message_outcomes = [a_message_outcome("denied", a_message("m-1")), a_message_outcome("taken", a_message("m-2"))]

    types = {event.message_id: event.type for event in report_attempt(attempt, message_outcomes).events}
    assert types == {"m-1": "message.rejected", "m-2": "message.accepted"}


@pytest.mark.parametrize(
    ("expires", "type_", "code"), [(None, "message.failed", "ambiguous"), (NOW, "message.expired", "expired")]
)
def test_an_ambiguous_attempt_stays_ambiguous_after_a_later_one_was_refused(
    expires: datetime | None, type_: str, code: str
) -> None:
    request = replace(a_request(), expires_at=expires)
    used_up = 7 if expires is None else 1

    (clear,) = report_attempt(an_attempt(request, a_history(used_up)), [a_message_outcome("again")]).events
    (event,) = report_attempt(
        an_attempt(request, a_history(used_up, ambiguous=True)), [a_message_outcome("again")]
    ).events

    assert clear.reason is not None
    assert "may have been taken" not in clear.reason.detail
    assert event.type == type_
    assert event.reason is not None
    assert event.reason.code == code
    assert event.reason.detail.endswith("; an earlier attempt may have been taken")


@pytest.mark.parametrize("disposition", ["again", "denied", "not_attempted"])
def test_a_message_that_would_be_late_by_then_has_expired_now(disposition: Disposition) -> None:
    (retry,) = report_attempt(an_attempt(), [a_message_outcome(disposition)]).retries
    deferred = NOW + timedelta(seconds=retry.delay_seconds)

    late = report_attempt(an_attempt(replace(a_request(), expires_at=deferred)), [a_message_outcome(disposition)])
    in_time = replace(a_request(), expires_at=deferred + timedelta(microseconds=1))

    assert words_of(late) == ["message.expired"]
    assert late.retries == ()
    assert late.events[0].reason is not None
    assert late.events[0].reason.code == "expired"
    assert len(report_attempt(an_attempt(in_time), [a_message_outcome(disposition)]).retries) == 1


@pytest.mark.parametrize(
    ("seconds", "delay_seconds"), [(0, 128), (100, 32), (127, 1), (9999, 1), (-30, 128), (-1e6, 128)]
)
def test_jitter_never_makes_the_last_attempt_early(seconds: float, delay_seconds: float) -> None:
    """Eight attempts of the default schedule span two minutes and more: an outage of two fails nobody."""
    history = replace(a_history(6), first_seen=NOW - timedelta(seconds=seconds))

    (retry,) = report_attempt(an_attempt(history=history, jitter=0.0), [a_message_outcome("again")]).retries
    assert retry.delay_seconds == delay_seconds


def test_the_longest_wait_that_omni_asks_for_counts_for_all() -> None:
    message_outcomes = [
        replace(a_message_outcome("again", a_message("m-1")), retry_after=5.0),
        replace(a_message_outcome("again", a_message("m-2")), retry_after=50.0),
        a_message_outcome("again", a_message("m-3")),
    ]

    (retry,) = report_attempt(an_attempt(jitter=0.0), message_outcomes).retries

    assert retry.delay_seconds == 64
    assert [message.message_id for message in retry.request.messages] == ["m-1", "m-2", "m-3"]


def test_a_message_that_needs_an_hour_does_not_hold_back_its_neighbours() -> None:
    message_outcomes = [
        a_message_outcome("later", a_message("m-1")),
        a_message_outcome("again", a_message("m-2")),
    ]

    report = report_attempt(an_attempt(), message_outcomes)

    delays = {retry.request.messages[0].message_id: retry.delay_seconds for retry in report.retries}
    assert delays == {"m-1": HOUR, "m-2": 1}


# Laws

outcome_lists = st.lists(
    st.tuples(
        st.sampled_from(get_args(Disposition)),
        st.none() | st.floats(0, 2 * 86400),
        st.none() | st.just(a_status(5, 21)),
    ),
    min_size=1,
    max_size=6,
).map(
    lambda rows: [
        MessageOutcome(a_message(f"m-{number}"), disposition, "cause", status=status, retry_after=retry_after)
        for number, (disposition, retry_after, status) in enumerate(rows)
    ]
)
attempts = st.builds(
    lambda past, ambiguous, expires, own, policy, jitter: Attempt(
        replace(a_request(), expires_at=expires, on_unknown=own),
        a_history(past, ambiguous=ambiguous),
        policy,
        NOW,
        jitter,
    ),
    past=st.integers(0, 4),
    ambiguous=st.booleans(),
    expires=st.none() | st.timedeltas(timedelta(0), timedelta(hours=2)).map(lambda left: NOW + left),
    own=st.sampled_from([None, "resend", "park"]),
    policy=st.builds(
        Policy,
        st.builds(RetryPolicy, max_attempts=st.integers(1, 5)),
        on_unknown=st.sampled_from(["resend", "park"]),
    ),
    jitter=st.floats(0, 1, exclude_max=True),
)


@law
@given(attempt=attempts, message_outcomes=outcome_lists)
def test_after_any_outcome_each_message_has_its_final_event_or_a_retry(
    attempt: Attempt, message_outcomes: list[MessageOutcome]
) -> None:
    attempt = replace(
        attempt, request=replace(attempt.request, messages=tuple(one.message for one in message_outcomes))
    )

    report = report_attempt(attempt, message_outcomes)

    events_by_id = {event.message_id: event for event in report.events}
    retries = Counter(one.message_id for retry in report.retries for one in retry.request.messages)
    dead = Counter(one.message_id for dead_letter in report.dead_letters for one in dead_letter.request.messages)
    assert {retry.delay_seconds for retry in report.retries} <= set(attempt.policy.retry.delays)
    for message_outcome in message_outcomes:
        name = message_outcome.message.message_id
        if message_outcome.disposition == "not_attempted" and name not in events_by_id:
            assert (retries[name], dead[name]) == (1, 0)
            continue
        event = events_by_id.pop(name)
        assert retries[name] == (event.type == "message.deferred")
        assert (event.type in FINAL_EVENTS) is (not retries[name])
        assert dead[name] == (event.type in {"message.failed", "message.unknown"})
        assert (event.type == "message.accepted") is (message_outcome.disposition == "taken")
        assert (event.type == "message.rejected") is (message_outcome.disposition == "refused")
        assert (event.next_attempt_at is None) is (event.type != "message.deferred")
    assert not events_by_id


@law
@given(attempt=attempts, message_outcomes=outcome_lists)
def test_attempts_are_counted_and_bounded(attempt: Attempt, message_outcomes: list[MessageOutcome]) -> None:
    dispositions = {one.message.message_id: one.disposition for one in message_outcomes}

    report = report_attempt(attempt, message_outcomes)
    parts: list[RetryMessage | DeadLetterMessage] = [*report.retries, *report.dead_letters]
    for part in parts:
        (disposition,) = {dispositions[one.message_id] for one in part.request.messages}
        assert part.history.attempts == attempt.history.attempts + (disposition not in {"denied", "not_attempted"})
        assert part.history.first_seen == attempt.history.first_seen
    for retry in report.retries:
        if retry.history.attempts > attempt.history.attempts and not retry.history.ambiguous:
            assert retry.history.attempts < attempt.policy.retry.max_attempts


@law
@given(attempt=attempts, message_outcomes=outcome_lists)
def test_a_repeated_event_carries_the_id_it_had_and_no_two_messages_share_one(
    attempt: Attempt, message_outcomes: list[MessageOutcome]
) -> None:
    ids = [event_id(event) for event in report_attempt(attempt, message_outcomes).events]

    assert len(set(ids)) == len(ids)
    assert ids == [event_id(event) for event in report_attempt(attempt, message_outcomes).events]


def ids_about(body: dict[str, object], how: str) -> set[str]:
    """Give the ids of the events about a request that ends in this way."""
    read = parsed(body)
    if read.request is None:
        return {event_id(event) for event in report_rejections(read, a_history(), NOW).events}
    if how == "expired":
        return {event_id(event) for event in report_expiry(read.request, a_history(), NOW).events}
    disposition: Disposition = "taken" if how == "accepted" else "again"
    message_outcomes = [a_message_outcome(disposition, message) for message in read.request.messages]
    return {event_id(event) for event in report_attempt(an_attempt(read.request), message_outcomes).events}


WAYS: dict[str, dict[str, object]] = {
    "accepted": {},
    "deferred": {},
    "expired": {},
    "rejected": {"sender": "unknown field"},
    "rejected as a whole": {"sender": "unknown field", "destinations": []},
}


@pytest.mark.parametrize("how", WAYS)
def test_events_about_requests_with_the_same_ids_have_ids_of_their_own(how: str) -> None:
    """Two producers may use the same ids; so may one whose counter starts anew."""
    named = a_body(WAYS[how], destinations=WAYS[how].get("destinations", [a_destination(PHONE, "m-1")]))
    changes: list[dict[str, object]] = [{"sms": {"text": "Goodbye"}}]
    if how != "rejected as a whole":
        changes.append({"destinations": [a_destination(OTHER_PHONE, "m-1")]})

    ids = ids_about(named, how)
    assert ids == ids_about(named, how)
    for change in changes:
        assert not ids & ids_about({**named, **change}, how)


@pytest.mark.parametrize("count", [0, 1, 16, 17, 1000])
def test_the_slices_of_a_report_contain_all_of_it_in_order(count: int) -> None:
    attempt = an_attempt(replace(a_request(), metadata={"tenant": "x" * 4000}))
    whole = report_attempt(attempt, [a_message_outcome("again", a_message(f"m-{number}")) for number in range(count)])

    parts = list(slices(whole))

    assert Report(sum((part.events for part in parts), ()), sum((part.retries for part in parts), ())) == whole
    assert parts[-1].retries == whole.retries


def test_a_part_of_a_report_takes_about_128_kib_and_no_part_is_empty() -> None:
    faults = (Fault("x" * 200, "y" * 100),) * 10
    rejections = tuple(Rejection(f"m-{number}", {}, faults) for number in range(1000))
    parsed = Parsed("order-1", identified=True, rejections=rejections, metadata={"tenant": "x" * 4000})

    parts = list(slices(report_rejections(parsed, a_history(), NOW)))

    assert all(0 < len(part.events) <= 17 for part in parts)
    assert len(parts) == 59
