from dataclasses import replace
from datetime import UTC, datetime, timedelta

from service.sandbox.delivery.clock import Clock
from service.sandbox.delivery.pull import ReportQueue
from service.sandbox.delivery.push import WebhookPush, is_loopback, pause_after
from service.sandbox.delivery.report import reports_of
from service.sandbox.delivery.simulation import DELIVERED, EXPIRED, Simulation, Step
from service.sandbox.delivery.store import Message
from service.sandbox.schema.request import Notice

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FAILED = Step("VIBER", "v", "1", "t", NOW, NOW + MINUTE, EXPIRED)
REACHED = Step("SMS", "s", "1", "t", NOW + MINUTE, NOW + 2 * MINUTE, DELIVERED)
MESSAGE = Message(
    *("m-1", None, {"phoneNumber": "1"}, ("viber", "sms"), None, NOW, 1),
    simulation=Simulation((FAILED, REACHED), seen_at=NOW + 3 * MINUTE),
)


def reported(notice: Notice) -> list[tuple[int, str, str | None]]:
    """Return minute, channel and status of each report."""
    reports = reports_of(replace(MESSAGE, notice=notice))
    return [((one.at - NOW) // MINUTE, one.step.channel, one.status.name if one.status else None) for one in reports]


def test_one_report_names_the_channel_that_reached_the_person() -> None:
    assert reported(Notice()) == [(2, "SMS", "DELIVERED_TO_HANDSET"), (3, "SMS", None)]


def test_intermediate_reports_cover_every_step() -> None:
    assert reported(Notice(intermediate=True)) == [
        (0, "VIBER", "PENDING_WAITING_DELIVERY"),
        (1, "VIBER", "EXPIRED_EXPIRED"),
        (1, "SMS", "PENDING_WAITING_DELIVERY"),
        (2, "SMS", "DELIVERED_TO_HANDSET"),
        (3, "SMS", None),
    ]


def test_there_are_no_reports_if_none_are_wanted() -> None:
    assert reported(Notice(wanted=False)) == []


def test_the_queue_returns_each_report_once_and_not_before_it_is_due() -> None:
    report_queue = ReportQueue(keep=10)
    reports = list(reports_of(replace(MESSAGE, notice=Notice(intermediate=True))))
    for report in reversed(reports):
        report_queue.put(report)

    def taken(minutes: int, limit: int = 50) -> list[int]:
        found = report_queue.take(NOW + minutes * MINUTE, lambda report: not report.seen, limit)
        return [(report.at - NOW) // MINUTE for report in found]

    assert [taken(0), taken(0), taken(1, limit=1), taken(9), taken(9)] == [[0], [], [1], [1, 2], []]


def test_a_full_queue_drops_the_earliest_reports() -> None:
    report_queue = ReportQueue(keep=2)
    for report in reports_of(replace(MESSAGE, notice=Notice(intermediate=True))):
        report_queue.put(report)

    assert [(one.at - NOW) // MINUTE for one in report_queue.take(NOW + 9 * MINUTE, lambda _: True, 50)] == [2, 3]


def test_a_failed_push_is_repeated_after_growing_pauses_and_dropped() -> None:
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


def test_other_machines_are_called_only_if_allowed() -> None:
    def serves(url: str | None, *, anywhere: bool) -> bool:
        return WebhookPush(Clock(), 1, anywhere=anywhere, announce=lambda: None).serves(url)

    assert serves("https://example.com", anywhere=True)
    assert not serves("https://example.com", anywhere=False)
    assert not serves(None, anywhere=True)
