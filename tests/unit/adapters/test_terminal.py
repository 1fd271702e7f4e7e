import json
from dataclasses import replace
from datetime import timedelta

import pytest

from service.adapters.terminal import EventTable, Row, Table, read_json, read_row, written_json
from service.core.request.request import Fault
from service.core.result.event import Reason, StatusEvent
from tests.support.builder import EMAIL, NOW, PHONE, a_status, rendered

EVENT = StatusEvent(
    "message.accepted",
    NOW + timedelta(milliseconds=123),
    "order-8812",
    1,
    message_id="m-1",
    to={"phoneNumber": PHONE, "emailAddress": EMAIL},
    status=a_status(),
)
FAULTS = (Fault("sms.text", "is required"), Fault("bulkId", "should be a valid string"))


def test_an_event_becomes_a_row() -> None:
    assert read_row(rendered(EVENT)) == Row(
        "12:00:00.123", "order-8812", f"{PHONE}, {EMAIL}", "accepted", "1", "PENDING_ENROUTE"
    )


@pytest.mark.parametrize(
    ("event", "detail"),
    [
        (EVENT, "PENDING_ENROUTE"),
        (replace(EVENT, status=None), ""),
        (replace(EVENT, status=a_status(1, 7, None)), ""),
        (replace(EVENT, reason=Reason("refused", "OMNI refused the message")), "OMNI refused the message"),
        (
            replace(EVENT, reason=Reason("invalid", "the request is not valid", FAULTS)),
            "sms.text is required; bulkId should be a valid string",
        ),
        (
            replace(EVENT, reason=Reason("unavailable", "x"), next_attempt_at=NOW + timedelta(seconds=8)),
            "x; again at 12:00:08",
        ),
    ],
)
def test_a_row_shows_the_most_important_detail(event: StatusEvent, detail: str) -> None:
    assert read_row(rendered(event)).detail == detail


def a_report_event(**fields: object) -> bytes:
    data = {
        "requestId": None,
        "to": {"phoneNumber": PHONE},
        "status": {"name": "EXPIRED_EXPIRED"},
        "attempt": None,
        "nextAttemptAt": None,
        "reason": None,
        "channel": "SMS",
        "report": {"error": {"name": "EC_VP_EXPIRED"}},
        **fields,
    }
    event = {"time": "2026-11-22T12:00:00.123Z", "type": "omni.message.undelivered", "subject": "m-1", "data": data}
    return json.dumps(event).encode()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "SMS EXPIRED_EXPIRED EC_VP_EXPIRED"),
        ({"report": {"error": {"name": "NO_ERROR"}}}, "SMS EXPIRED_EXPIRED"),
        ({"report": {"error": None}, "status": None}, "SMS"),
        ({"report": {"error": None}, "status": None, "channel": None}, ""),
    ],
)
def test_a_report_becomes_a_row_with_its_message_and_channel(fields: dict[str, object], says: str) -> None:
    assert read_row(a_report_event(**fields)) == Row("12:00:00.123", "m-1", PHONE, "undelivered", "-", says)


def test_an_event_without_an_address_has_a_dash() -> None:
    assert read_row(rendered(replace(EVENT, to={}))).to == "-"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"\xff",
        b"{}",
        b"[]",
        b"1",
        b"[" * 200_000,
        json.dumps({"time": "x"}).encode(),
        json.dumps({"time": "x", "data": None}).encode(),
        json.dumps({"time": 5, "data": {}}).encode(),
    ],
)
def test_a_body_that_is_no_event_raises_an_error(body: bytes) -> None:
    """Other programs may publish to the results exchange."""
    with pytest.raises(ValueError):  # noqa: PT011 - the parser's own message, or ours
        read_row(body)


def test_a_row_of_an_event_has_no_control_characters() -> None:
    row = read_row(rendered(replace(EVENT, request_id="\x1b[2Jorder\n1", status=a_status(1, 7, "\x1b]0;x\x07"))))

    assert (row.request, row.detail) == (" [2Jorder 1", " ]0;x ")


STEERING = "\x1b[2J\x9b1m\x07\u202e\u2066\n"


def test_no_cell_of_a_table_has_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    Table((8, 8), ("one", "two", "three")).add((STEERING, f"a{STEERING}", f"b{STEERING}c"))

    (row,) = capsys.readouterr().out.splitlines()
    assert row.isprintable()
    assert row.endswith("b [2J 1m    c")


def test_an_attempt_that_is_a_text_has_no_control_characters() -> None:
    event = json.loads(rendered(EVENT))
    event["data"]["attempt"] = STEERING
    assert read_row(json.dumps(event).encode()).attempt.isprintable()


def test_a_body_of_json_is_written_on_one_line_with_escapes() -> None:
    assert read_json('\ufeff{"a":\n\t"Grüße\u202e\x7f"}'.encode()) == '{"a":  "Grüße\\u202e\\u007f"}'
    assert read_json(rendered(EVENT)) == rendered(EVENT).decode()


@pytest.mark.parametrize("body", [b"", b"\x1b[2J", b"\xff", b"[" * 200_000, '"x"'.encode("utf-16"), b'{"a": "\x1b"}'])
def test_a_body_that_is_not_json_raises_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="is not JSON"):
        read_json(body)


def test_json_written_for_a_terminal_has_no_control_characters() -> None:
    text = written_json({STEERING: [f"\x7f{STEERING}", b"\x1b"]})
    assert text.isprintable()
    assert json.loads(text) == {STEERING: [f"\x7f{STEERING}", "b'\\x1b'"]}


def test_emoji_names_between_colons_are_printed_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    EventTable().add(Row("t", ":bomb:", "to", "news", "1", "order:bomb:1"))

    assert ":bomb:" in capsys.readouterr().out.replace("order:bomb:1", "")


def test_cells_are_aligned_with_their_titles(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")  # whatever terminal the tests run in
    table = EventTable()
    table.head()
    table.add(Row("12:00:00.123", "order-8812", PHONE, "accepted", "1", "PENDING_ENROUTE"))

    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["time", "request", "to", "event", "attempt", "detail"]
    assert [row.index(word) for word in ("order-8812", PHONE, "accepted", "PENDING")] == [
        head.index(title) for title in ("request", "to", "event", "detail")
    ]


def test_cells_that_are_too_long_are_cut_except_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    EventTable().add(Row("12:00:00.123", "x" * 40, "y" * 40, "rejected", "1", "z" * 300))

    (row,) = capsys.readouterr().out.splitlines()
    assert "x" * 18 + "…  " + "y" * 21 + "…  " in row
    assert row.endswith("z" * 300)


def test_square_brackets_are_printed_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    EventTable().add(Row("t", "r", "to", "news", "1", "destinations[0].to [bold]x[/bold] [/red] \\"))

    assert "destinations[0].to [bold]x[/bold] [/red] \\" in capsys.readouterr().out
