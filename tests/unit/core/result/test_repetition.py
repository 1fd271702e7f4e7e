from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from service.core.attempt.claim import AWAY, Claim, written
from service.core.omni.delivery_report import ReportStatus, Result
from service.core.omni.status import Status
from service.core.request.request import SendRequest
from service.core.result.delivery_report import ReportEvent
from service.core.result.event import Reason, StatusEvent
from service.core.result.origin import origin_name, reports_name
from service.core.result.publication import event_id
from service.core.result.repetition import (
    has_ended,
    judge_duplicate,
    recorded_events,
    report_conflict,
    report_repetition,
    report_taken_over,
    report_wait,
    write_ends,
    write_lookup,
    write_messages,
)
from service.core.result.report import DeadLetterMessage, Report, RetryMessage
from service.core.result.trail import REPORTS, read_trail, write_report
from tests.support.builder import NOW, PHONE, a_history, a_message, a_request, a_status

REQUEST = replace(a_request(*[a_message(f"m-{number}") for number in range(4)]), metadata={"tenant": "acme"})
DESCRIBED = a_status().model_copy(update={"description": "Message sent to next instance"})


def event(position: int, type_: str = "message.accepted", **changes: object) -> StatusEvent:
    message = REQUEST.messages[position]
    made = StatusEvent(
        type_,  # type: ignore[arg-type]  # a test's own
        NOW + timedelta(microseconds=7),
        REQUEST.request_id,
        2,
        message.message_id,
        message.to,
        "bulk-1",
        DESCRIBED,
        metadata=REQUEST.metadata,
        content_digest=REQUEST.content_digest,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # as above


def a_claim(*ends: str, meaning: str = "m") -> Claim:
    return Claim("record", "r", "m", "w.2", kept=100, known=(written(meaning, "w.1") + "".join(ends)).encode())


def repeated(events: Sequence[StatusEvent], *, is_whole: bool = False) -> tuple[StatusEvent, ...]:
    return report_repetition(a_claim(write_ends(events, is_whole=is_whole)), REQUEST).events


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_repeated_event_has_the_id_and_all_of_the_first_except_texts(is_whole: bool) -> None:  # noqa: FBT001 - a column
    events = [event(number) for number in range(4)]
    assert repeated(events, is_whole=is_whole) == tuple(replace(one, status=a_status()) for one in events)


def test_events_of_one_request_may_differ() -> None:
    events = [
        event(0),
        event(1, "message.rejected", status=None, bulk_id=None, reason=Reason("refused", "OMNI said: 41793026727")),
        event(2, "message.failed", status=Status(group_id=5), attempt=8, reason=Reason("unavailable", "x")),
        event(3, "message.unknown", reason=Reason("ambiguous", "x")),
    ]
    written_ends = write_ends(events, is_whole=True)
    assert PHONE not in written_ends
    again = repeated(events)
    assert [one.type for one in again] == [one.type for one in events]
    assert [event_id(one) for one in again] == [event_id(one) for one in events]
    assert [one.reason and one.reason.code for one in again] == [None, "refused", "unavailable", "ambiguous"]
    assert again[2].status == Status(group_id=5)


def test_the_latest_of_several_final_events_counts() -> None:
    first = write_ends([event(number, "message.failed") for number in range(4)], is_whole=True)
    replay = write_ends([event(2)], is_whole=False)
    types = [one.type for one in report_repetition(a_claim(first, replay), REQUEST).events]
    assert types == ["message.failed", "message.failed", "message.accepted", "message.failed"]
    types = [one.type for one in report_repetition(a_claim(replay, first), REQUEST).events]
    assert types == ["message.failed"] * 4


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "7",
        "[]",
        "[1,2,3,4,5,6]",
        '["accepted","x",1,null,null,null]',
        '["deferred",1,1,null,null,null]',
        '["accepted",1,1,null,null]',
        '["accepted",999999999999999999,1,null,null,null]',
        '["accepted",1,1,null,null,null,null,["a"]]',
        "\ud7ff",
    ],
)
def test_what_another_program_has_written_ends_nothing(line: str) -> None:
    claim = a_claim(f"{line}\n")
    assert not has_ended(claim, REQUEST)
    assert report_repetition(claim, REQUEST) == Report()


def test_parts_of_a_line_that_are_not_readable_are_left_out() -> None:
    claim = a_claim('["accepted",1,1,[1,2,"x",3],7,"no such code"]\n')
    first = report_repetition(claim, REQUEST).events[0]
    assert first.status == Status(group_id=1)
    assert (first.bulk_id, first.reason) == (None, None)
    (first, *_) = report_repetition(a_claim('["accepted",1,1,["x",null,1,"N"],null,8]\n'), REQUEST).events
    assert first.status is None


def test_events_that_the_validation_causes_or_that_name_no_message_are_not_recorded() -> None:
    invalid = event(0, "message.rejected", reason=Reason("invalid", "x"))
    report = Report((event(0, "message.deferred"), invalid, event(1), event(2, "message.rejected")))
    assert [one.message_id for one in recorded_events(report)] == ["m-0", "m-1", "m-2"]


ENDED = a_claim(write_ends([event(number) for number in range(4)], is_whole=True))
PART = a_claim(write_ends([event(0)], is_whole=False))
LATER = NOW + timedelta(seconds=101)


def judge(claim: Claim, *, is_late: bool = False, ambiguous: bool = False, request: SendRequest = REQUEST) -> str:
    return judge_duplicate(claim, request, a_history(ambiguous=ambiguous), LATER if is_late else NOW)


def unavailable() -> Claim:
    return Claim("record", "r", "m", kept=100)


def lost() -> Claim:
    return Claim("record", "r", "m", kept=100, known=None)


def test_a_duplicate_repeats_the_end_and_waits_for_it_but_not_for_ever() -> None:
    assert (judge(ENDED), judge(ENDED, is_late=True)) == ("repeated", "repeated")
    assert (judge(PART), judge(PART, is_late=True)) == ("waiting", "unclear")
    assert (judge(unavailable()), judge(unavailable(), is_late=True)) == ("waiting", "unclear")
    assert (judge(lost()), judge(lost(), is_late=True)) == ("waiting", "unclear")
    assert judge_duplicate(lost(), REQUEST, replace(a_history(), log_checks=3), NOW) == "unclear"


def test_an_id_of_another_request_is_a_conflict_unless_the_request_may_have_been_posted() -> None:
    assert judge(a_claim(meaning="other")) == "conflict"
    assert judge(a_claim(meaning="other"), ambiguous=True) == "unclear"
    (first, *_) = report_conflict(REQUEST, a_history(), NOW).events
    assert (first.type, first.reason and first.reason.code) == ("message.rejected", "conflict")
    assert len(report_conflict(REQUEST, a_history(), NOW).events) == 4


def test_a_duplicate_that_waits_says_so_and_no_event_is_published() -> None:
    report = report_wait(PART, REQUEST, a_history(2), 4.0)
    (retry,) = report.retries
    assert report.events == ()
    assert (retry.history.waits, retry.history.claim, retry.history.retries) == (True, "m", 1)
    assert (retry.delay_seconds, retry.request) == (4.0, REQUEST)


def left_by(*lines: str) -> tuple[Report, list[str]]:
    report, left = report_taken_over(a_claim(*[f"{line}\n" for line in lines]), REQUEST, NOW)
    return report, [message.message_id for message in left]


def test_all_that_a_dead_holder_was_about_to_publish_is_published_by_the_next_one() -> None:
    some, other = (replace(REQUEST, messages=REQUEST.messages[place : place + 1]) for place in (1, 2))
    retry = RetryMessage(some, replace(a_history(2, ambiguous=True), retries=3, claim="m", part="p7"), 4.0)
    dead = DeadLetterMessage(other, a_history(8), "failed", "http_503")
    report = Report((event(0), event(2, "message.failed")), (retry,), (dead,))
    lines = write_ends(report.events, is_whole=False) + write_messages(report, 4)
    assert PHONE not in lines
    again, left = left_by(*lines.splitlines())
    assert (again.retries, again.dead_letters, left) == ((retry,), (dead,), ["m-3"])
    assert [event_id(one) for one in again.events] == [event_id(one) for one in report.events]
    whole = Report(retries=(replace(retry, request=REQUEST),))
    assert left_by(*write_messages(whole, 4).splitlines()) == (whole, [])


@pytest.mark.parametrize(
    "line",
    [
        '["retry",0,{},null]',
        '["retry",1e99,{},null]',
        '["retry",1,7,null]',
        '["retry",1,{},["nobody"]]',
        '["dead","other","x",{},null]',
        '["dead","failed",7,{},null]',
        '["dead","failed","x",{},["nobody"]]',
    ],
)
def test_a_message_of_a_dead_holder_that_is_not_readable_is_none(line: str) -> None:
    assert left_by(line) == (Report(), [message.message_id for message in REQUEST.messages])


def test_a_part_that_has_left_its_rest_to_another_part_has_nothing_to_wait_for() -> None:
    known = f"{written('m', AWAY)}{write_ends([event(0)], is_whole=False)}".encode()
    claim = Claim("record", "p7", "m", "w.2", kept=100, known=known)
    assert judge(claim) == "repeated"
    claim.name = "r"
    assert judge(claim) == "waiting"
    assert report_wait(claim, REQUEST, a_history(), 1).retries[0].history.part == ""


def test_an_operator_sees_lookups_and_reports_and_no_worker_reads_them() -> None:
    status = ReportStatus(group_id=3, group_name="DELIVERED", id=5, name="DELIVERED_TO_HANDSET")
    result = Result(message_id="m-0", channel="SMS", status=status)
    line = write_report(ReportEvent("message.delivered", "id", NOW, result))
    seen = write_report(ReportEvent("message.seen", "id", NOW, Result(message_id="m-0", seen_at=NOW)))
    lookup = write_lookup(NOW, a_history(2), "forbidden")
    rows = read_trail(f"{REPORTS}{lookup}{line}{seen}".encode())
    assert [(row["event"], row["attempt"], row["reason"]) for row in rows] == [
        ("log_lookup", 2, "forbidden"),
        ("delivered", 0, "SMS"),
        ("seen", 0, None),
    ]
    assert not has_ended(a_claim(lookup), REQUEST)
    assert reports_name("m-0") != origin_name("m-0")
