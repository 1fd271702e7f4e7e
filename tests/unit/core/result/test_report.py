from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from math import inf
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.attempt.disposition import Standing, Verdict
from service.core.attempt.retry import HOUR, Policy, RetryPolicy
from service.core.request.request import Fault, OnUnknown, Parsed, Rejection
from service.core.result.event import LAST_WORDS, Reason, event_id
from service.core.result.report import (
    Attempt,
    Dead,
    Parked,
    Report,
    report_attempt,
    report_expiry,
    report_rejections,
    slices,
)
from tests.support.builder import (
    NOW,
    OTHER_PHONE,
    PHONE,
    a_body,
    a_destination,
    a_history,
    a_message,
    a_request,
    a_status,
    a_verdict,
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
    assert report.letters == ()


def test_a_request_that_came_too_late_has_expired_for_each_message() -> None:
    request = replace(a_request(a_message("m-1"), a_message("m-2")), metadata={"k": "v"})

    report = report_expiry(request, a_history(3), NOW)

    assert words_of(report) == ["message.expired"] * 2
    assert [event.message_id for event in report.events] == ["m-1", "m-2"]
    assert {event.attempt for event in report.events} == {3}
    assert {event.reason and event.reason.code for event in report.events} == {"expired"}
    assert report.letters == ()


# What an attempt came to


def test_an_accepted_message_carries_omnis_word() -> None:
    verdict = replace(a_verdict("taken"), status=a_status(), bulk_id="bulk-1")

    report = report_attempt(an_attempt(replace(a_request(), metadata={"k": "v"}), a_history(1)), [verdict])

    (event,) = report.events
    assert (event.type, event.attempt, event.status, event.bulk_id) == ("message.accepted", 2, a_status(), "bulk-1")
    assert (event.reason, event.next_attempt_at, event.to) == (None, None, {"phoneNumber": PHONE})
    assert event.metadata == {"k": "v"}
    assert report.letters == ()


def test_an_event_carries_the_requests_bulk_id_where_omni_answered_with_none() -> None:
    request = replace(a_request(), content=a_request().content.model_copy(update={"bulk_id": "ours"}))

    for standing in set(get_args(Standing)) - {"held"}:
        (event,) = report_attempt(an_attempt(request), [a_verdict(standing)]).events
        assert event.bulk_id == "ours"


def test_a_refused_message_says_why() -> None:
    verdict = replace(a_verdict("refused"), detail="REJECTED_NETWORK", status=a_status(5, 6))

    (event,) = report_attempt(an_attempt(), [verdict]).events

    assert event.type == "message.rejected"
    assert event.reason == Reason("refused", "OMNI refused the message: REJECTED_NETWORK")


@pytest.mark.parametrize(
    ("standing", "code", "attempts", "ambiguous"),
    [
        ("again", "unavailable", 1, False),
        ("doubtful", "doubtful", 1, True),
        ("denied", "denied", 0, False),
    ],
)
def test_a_message_to_be_tried_again_is_deferred_and_parked(
    standing: Standing, code: str, attempts: int, *, ambiguous: bool
) -> None:
    """An attempt that failed for our account's sake is not counted against the message."""
    report = report_attempt(an_attempt(), [a_verdict(standing)])

    (event,), (letter,) = report.events, report.letters
    assert isinstance(letter, Parked)
    assert (event.type, event.attempt) == ("message.deferred", 1)
    assert event.next_attempt_at == NOW + timedelta(seconds=letter.room)
    assert event.reason is not None
    assert event.reason.code == code
    assert event.reason.detail.endswith(f": cause_{standing}")
    denials = int(standing == "denied")
    assert letter.history == replace(a_history(attempts, ambiguous=ambiguous), parked=1, denials=denials)
    assert letter.request == a_request()


def test_one_that_was_not_even_tried_goes_back_without_a_word() -> None:
    """It comes back at once, since it has waited for the end of a pause already."""
    report = report_attempt(an_attempt(draw=0.99), [a_verdict("held")])

    assert report == Report((), (Parked(a_request(), replace(a_history(), parked=1), 1.0),))


@pytest.mark.parametrize("standing", ["again", "doubtful", "denied", "held"])
def test_doubt_is_never_forgotten(standing: Standing) -> None:
    (letter,) = report_attempt(an_attempt(history=a_history(1, ambiguous=True)), [a_verdict(standing)]).letters

    assert letter.history.ambiguous


@pytest.mark.parametrize("own", ["resend", "park"])
@pytest.mark.parametrize("used", [0, 7])
def test_a_message_in_doubt_is_looked_for_before_anything_is_decided(own: OnUnknown, used: int) -> None:
    """Neither the policy, nor the attempts used up, nor a deadline says what OMNI has."""
    history = replace(a_history(used, ambiguous=True), resolved=True, looks=2)
    request = replace(a_request(), on_unknown=own, expires_at=NOW + timedelta(seconds=1))

    report = report_attempt(an_attempt(request, history), [a_verdict("doubtful")])

    assert words_of(report) == ["message.deferred"]
    (letter,) = report.letters
    assert letter == Parked(request, replace(a_history(used + 1, ambiguous=True), parked=1), 4.0)


def test_a_message_has_failed_when_its_attempts_are_used_up() -> None:
    report = report_attempt(an_attempt(history=a_history(7)), [a_verdict("again")])

    assert words_of(report) == ["message.failed"]
    (letter,) = report.letters
    assert isinstance(letter, Dead)
    assert (letter.reason, letter.cause, letter.history.attempts) == ("failed", "cause_again", 8)


def test_a_message_refused_for_our_fault_waits_however_often() -> None:
    """Also one that came back from the dead with all its attempts used up."""
    for used in (7, 8, 9):
        history = a_history(used)
        for _ in range(100):
            (letter,) = report_attempt(an_attempt(history=history), [a_verdict("denied")]).letters
            assert isinstance(letter, Parked)
            history = letter.history

        assert replace(history, parked=0) == replace(a_history(used), denials=1)


def denied_at(times: list[float], success_at: Callable[[float], float]) -> list[str]:
    """Deny a request at these times; give what is told of it, and the room, each time."""
    history, told = a_history(), []
    for time in times:
        attempt = replace(an_attempt(history=history), since_success=time - success_at(time))
        report = report_attempt(attempt, [a_verdict("denied")])
        (event,) = report.events
        assert event.reason is not None
        told.append(f"{event.type.removeprefix('message.')} {event.reason.code}")
        for letter in report.letters:
            assert isinstance(letter, Parked)
            told[-1] += f" {letter.room:g}"
            history = letter.history
    return told


def test_a_third_denial_while_others_succeed_is_a_refusal() -> None:
    told = denied_at([0, 8, 16], lambda time: time - 7.9)

    assert told == ["deferred denied 8", "deferred denied 8", "rejected refused"]


def test_a_denial_while_nobody_else_succeeds_brings_a_request_no_nearer_to_a_refusal() -> None:
    """It may be denied for the account's fault, as often as it takes to mend that."""
    assert denied_at([0, 32, 64, 96], lambda _: -inf) == ["deferred denied 32"] * 4
    assert denied_at([0, 8, 16, 24, 32], lambda _: -1.0) == ["deferred denied 8"] * 5
    ends = denied_at([0, 32, 64, 72], lambda time: time if time > 32 else -inf)
    assert ends == ["deferred denied 32", "deferred denied 32", "deferred denied 8", "rejected refused"]


def test_each_message_is_denied_for_itself() -> None:
    attempt = replace(an_attempt(history=replace(a_history(), denials=2)), since_success=0.0)
    verdicts = [a_verdict("denied", a_message("m-1")), a_verdict("taken", a_message("m-2"))]

    types = {event.message_id: event.type for event in report_attempt(attempt, verdicts).events}
    assert types == {"m-1": "message.rejected", "m-2": "message.accepted"}


@pytest.mark.parametrize(
    ("expires", "type_", "code"), [(None, "message.failed", "doubtful"), (NOW, "message.expired", "expired")]
)
def test_a_doubt_about_an_earlier_attempt_outlives_one_that_was_refused_for_certain(
    expires: datetime | None, type_: str, code: str
) -> None:
    request = replace(a_request(), expires_at=expires)
    used_up = 7 if expires is None else 1

    (clear,) = report_attempt(an_attempt(request, a_history(used_up)), [a_verdict("again")]).events
    (event,) = report_attempt(an_attempt(request, a_history(used_up, ambiguous=True)), [a_verdict("again")]).events

    assert clear.reason is not None
    assert "may have been taken" not in clear.reason.detail
    assert event.type == type_
    assert event.reason is not None
    assert event.reason.code == code
    assert event.reason.detail.endswith("; an earlier attempt may have been taken")


@pytest.mark.parametrize("standing", ["again", "denied", "held"])
def test_a_message_that_would_be_late_by_then_has_expired_now(standing: Standing) -> None:
    (letter,) = report_attempt(an_attempt(), [a_verdict(standing)]).letters
    assert isinstance(letter, Parked)
    deferred = NOW + timedelta(seconds=letter.room)

    late = report_attempt(an_attempt(replace(a_request(), expires_at=deferred)), [a_verdict(standing)])
    in_time = replace(a_request(), expires_at=deferred + timedelta(microseconds=1))

    assert words_of(late) == ["message.expired"]
    assert late.letters == ()
    assert late.events[0].reason is not None
    assert late.events[0].reason.code == "expired"
    assert len(report_attempt(an_attempt(in_time), [a_verdict(standing)]).letters) == 1


@pytest.mark.parametrize(("seconds", "room"), [(0, 128), (100, 32), (127, 1), (9999, 1), (-30, 128), (-1e6, 128)])
def test_luck_with_the_dice_does_not_bring_the_last_attempt_before_its_time(seconds: float, room: float) -> None:
    """Eight attempts of the default schedule span two minutes and more: an outage of two fails nobody."""
    history = replace(a_history(6), first_seen=NOW - timedelta(seconds=seconds))

    (letter,) = report_attempt(an_attempt(history=history, draw=0.0), [a_verdict("again")]).letters
    assert isinstance(letter, Parked)
    assert letter.room == room


def test_the_longest_wait_that_omni_asks_for_counts_for_all() -> None:
    verdicts = [
        replace(a_verdict("again", a_message("m-1")), retry_after=5.0),
        replace(a_verdict("again", a_message("m-2")), retry_after=50.0),
        a_verdict("again", a_message("m-3")),
    ]

    (letter,) = report_attempt(an_attempt(draw=0.0), verdicts).letters

    assert isinstance(letter, Parked)
    assert letter.room == 64
    assert [message.message_id for message in letter.request.messages] == ["m-1", "m-2", "m-3"]


def test_a_message_that_needs_an_hour_does_not_hold_back_its_neighbours() -> None:
    verdicts = [
        replace(a_verdict("again", a_message("m-1")), wait=timedelta(hours=1)),
        a_verdict("again", a_message("m-2")),
    ]

    report = report_attempt(an_attempt(), verdicts)

    rooms = {
        letter.request.messages[0].message_id: letter.room for letter in report.letters if isinstance(letter, Parked)
    }
    assert rooms == {"m-1": HOUR, "m-2": 1}


# Laws

verdict_lists = st.lists(
    st.tuples(
        st.sampled_from(get_args(Standing)),
        st.none() | st.just(timedelta(hours=1)),
        st.none() | st.floats(0, 2 * 86400),
        st.none() | st.just(a_status(5, 21)),
    ),
    min_size=1,
    max_size=6,
).map(
    lambda rows: [
        Verdict(a_message(f"m-{number}"), standing, "cause", status=status, retry_after=retry_after, wait=wait)
        for number, (standing, wait, retry_after, status) in enumerate(rows)
    ]
)
attempts = st.builds(
    lambda past, ambiguous, expires, own, policy, draw: Attempt(
        replace(a_request(), expires_at=expires, on_unknown=own),
        a_history(past, ambiguous=ambiguous),
        policy,
        NOW,
        draw,
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
    draw=st.floats(0, 1, exclude_max=True),
)


@law
@given(attempt=attempts, verdicts=verdict_lists)
def test_whatever_happened_each_message_has_its_last_word_or_is_deferred_and_parked(
    attempt: Attempt, verdicts: list[Verdict]
) -> None:
    attempt = replace(attempt, request=replace(attempt.request, messages=tuple(one.message for one in verdicts)))

    report = report_attempt(attempt, verdicts)

    said = {event.message_id: event for event in report.events}
    parked: Counter[str] = Counter()
    dead: Counter[str] = Counter()
    for letter in report.letters:
        (parked if isinstance(letter, Parked) else dead).update(one.message_id for one in letter.request.messages)
        if isinstance(letter, Parked):
            assert letter.room in attempt.policy.retry.rooms
    for verdict in verdicts:
        name = verdict.message.message_id
        if verdict.standing == "held" and name not in said:
            assert (parked[name], dead[name]) == (1, 0)
            continue
        event = said.pop(name)
        assert parked[name] == (event.type == "message.deferred")
        assert (event.type in LAST_WORDS) is (not parked[name])
        assert dead[name] == (event.type in {"message.failed", "message.unknown"})
        assert (event.type == "message.accepted") is (verdict.standing == "taken")
        assert (event.type == "message.rejected") is (verdict.standing == "refused")
        assert (event.next_attempt_at is None) is (event.type != "message.deferred")
    assert not said


@law
@given(attempt=attempts, verdicts=verdict_lists)
def test_attempts_are_counted_and_bounded(attempt: Attempt, verdicts: list[Verdict]) -> None:
    standings = {one.message.message_id: one.standing for one in verdicts}

    for letter in report_attempt(attempt, verdicts).letters:
        (standing,) = {standings[one.message_id] for one in letter.request.messages}
        assert letter.history.attempts == attempt.history.attempts + (standing not in {"denied", "held"})
        assert letter.history.first_seen == attempt.history.first_seen
        if isinstance(letter, Parked) and standing == "again":
            assert letter.history.attempts < attempt.policy.retry.max_attempts


@law
@given(attempt=attempts, verdicts=verdict_lists)
def test_a_repeated_event_carries_the_id_it_had_and_no_two_messages_share_one(
    attempt: Attempt, verdicts: list[Verdict]
) -> None:
    ids = [event_id(event) for event in report_attempt(attempt, verdicts).events]

    assert len(set(ids)) == len(ids)
    assert ids == [event_id(event) for event in report_attempt(attempt, verdicts).events]


def ids_about(body: dict[str, object], how: str) -> set[str]:
    """Give the ids of the events about a request that ends in this way."""
    read = parsed(body)
    if read.request is None:
        return {event_id(event) for event in report_rejections(read, a_history(), NOW).events}
    if how == "expired":
        return {event_id(event) for event in report_expiry(read.request, a_history(), NOW).events}
    standing: Standing = "taken" if how == "accepted" else "again"
    verdicts = [a_verdict(standing, message) for message in read.request.messages]
    return {event_id(event) for event in report_attempt(an_attempt(read.request), verdicts).events}


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
def test_a_report_is_cut_into_parts_that_say_the_same_in_the_same_order(count: int) -> None:
    attempt = an_attempt(replace(a_request(), metadata={"tenant": "x" * 4000}))
    whole = report_attempt(attempt, [a_verdict("again", a_message(f"m-{number}")) for number in range(count)])

    parts = list(slices(whole))

    assert Report(sum((part.events for part in parts), ()), sum((part.letters for part in parts), ())) == whole
    assert parts[-1].letters == whole.letters


def test_a_part_of_a_report_takes_about_128_kib_and_no_part_is_empty() -> None:
    faults = (Fault("x" * 200, "y" * 100),) * 10
    rejections = tuple(Rejection(f"m-{number}", {}, faults) for number in range(1000))
    parsed = Parsed("order-1", identified=True, rejections=rejections, metadata={"tenant": "x" * 4000})

    parts = list(slices(report_rejections(parsed, a_history(), NOW)))

    assert all(0 < len(part.events) <= 17 for part in parts)
    assert len(parts) == 59
