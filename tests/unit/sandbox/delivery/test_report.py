from dataclasses import replace
from datetime import UTC, datetime, timedelta

from service.sandbox.delivery.clock import Clock
from service.sandbox.delivery.pull import Mailbox
from service.sandbox.delivery.push import Courier, is_loopback, pause_after
from service.sandbox.delivery.report import reports_of
from service.sandbox.delivery.simulation import DELIVERED, EXPIRED, Journey, Leg
from service.sandbox.delivery.store import Message
from service.sandbox.schema.request import Notice

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FAILED = Leg("VIBER", "v", "1", "t", NOW, NOW + MINUTE, EXPIRED)
REACHED = Leg("SMS", "s", "1", "t", NOW + MINUTE, NOW + 2 * MINUTE, DELIVERED)
MESSAGE = Message(
    *("m-1", None, {"phoneNumber": "1"}, ("viber", "sms"), None, NOW, 1),
    journey=Journey((FAILED, REACHED), seen_at=NOW + 3 * MINUTE),
)


def told(notice: Notice) -> list[tuple[int, str, str | None]]:
    """Tell minute, channel and status of each report."""
    reports = reports_of(replace(MESSAGE, notice=notice))
    return [((one.at - NOW) // MINUTE, one.leg.channel, one.status.name if one.status else None) for one in reports]


def test_one_report_tells_which_channel_reached_the_person() -> None:
    assert told(Notice()) == [(2, "SMS", "DELIVERED_TO_HANDSET"), (3, "SMS", None)]


def test_intermediate_reports_tell_of_every_step() -> None:
    assert told(Notice(intermediate=True)) == [
        (0, "VIBER", "PENDING_WAITING_DELIVERY"),
        (1, "VIBER", "EXPIRED_EXPIRED"),
        (1, "SMS", "PENDING_WAITING_DELIVERY"),
        (2, "SMS", "DELIVERED_TO_HANDSET"),
        (3, "SMS", None),
    ]


def test_nothing_is_told_where_nothing_is_wanted() -> None:
    assert told(Notice(wanted=False)) == []


def test_a_mailbox_hands_out_each_report_once_and_not_before_its_moment() -> None:
    mailbox = Mailbox(keep=10)
    reports = list(reports_of(replace(MESSAGE, notice=Notice(intermediate=True))))
    for report in reversed(reports):
        mailbox.put(report)

    def taken(minutes: int, limit: int = 50) -> list[int]:
        found = mailbox.take(NOW + minutes * MINUTE, lambda report: not report.seen, limit)
        return [(report.at - NOW) // MINUTE for report in found]

    assert [taken(0), taken(0), taken(1, limit=1), taken(9), taken(9)] == [[0], [], [1], [1, 2], []]


def test_a_mailbox_loses_the_earliest_reports_first() -> None:
    mailbox = Mailbox(keep=2)
    for report in reports_of(replace(MESSAGE, notice=Notice(intermediate=True))):
        mailbox.put(report)

    assert [(one.at - NOW) // MINUTE for one in mailbox.take(NOW + 9 * MINUTE, lambda _: True, 50)] == [2, 3]


def test_a_push_is_tried_again_after_longer_and_longer_pauses_and_given_up() -> None:
    pauses = [pause_after(attempt) for attempt in range(1, 6)]

    assert [pause and pause // MINUTE for pause in pauses] == [1, 2, 5, 10, None]


def test_only_this_machine_is_loopback() -> None:
    ours = ["http://127.0.0.1:80/a?b", "https://localhost", "http://[::1]:5/", "http://127.8.8.8"]
    others = [
        *("http://example.com", "http://127.0.0.1.example.com", "http://localhost@example.com", "http://10.0.0.1"),
        *("http://[::1", "http://", "http://0.0.0.0", "http://2130706433", "http://localhost:99999"),
    ]

    assert [url for url in ours if not is_loopback(url)] == []
    assert [url for url in others if is_loopback(url)] == []


def test_other_machines_are_served_only_if_that_was_asked_for() -> None:
    def serves(url: str | None, *, anywhere: bool) -> bool:
        return Courier(Clock(), 1, anywhere=anywhere).serves(url)

    assert serves("https://example.com", anywhere=True)
    assert not serves("https://example.com", anywhere=False)
    assert not serves(None, anywhere=True)
