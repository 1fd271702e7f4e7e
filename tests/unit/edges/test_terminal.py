import json
from dataclasses import replace
from datetime import timedelta

import pytest

from service.edges.terminal import EventTable, Row, read_row
from service.rules.publication import render_event
from service.words.event import Fault, Reason, StatusEvent
from tests.support.builder import EMAIL, NOW, PHONE, a_status

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
    assert read_row(render_event(EVENT)) == Row(
        "12:00:00.123", "order-8812", f"{PHONE}, {EMAIL}", "accepted", "1", "PENDING_ENROUTE"
    )


@pytest.mark.parametrize(
    ("event", "says"),
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
def test_a_row_says_what_matters_most(event: StatusEvent, says: str) -> None:
    assert read_row(render_event(event)).says == says


def test_an_event_about_nobody_has_a_dash() -> None:
    assert read_row(render_event(replace(EVENT, to={}))).to == "-"


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
def test_what_is_no_event_is_told_by_an_exception(body: bytes) -> None:
    """Anybody may publish to the results exchange."""
    with pytest.raises(ValueError):  # noqa: PT011 - the parser's own message, or ours
        read_row(body)


def test_a_terminal_is_not_steered_by_what_somebody_else_wrote() -> None:
    row = read_row(render_event(replace(EVENT, request_id="\x1b[2Jorder\n1", status=a_status(1, 7, "\x1b]0;x\x07"))))

    assert (row.request, row.says) == (" [2Jorder 1", " ]0;x ")


def test_rows_stand_under_their_titles(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")  # whatever terminal the tests run in
    table = EventTable()
    table.head()
    table.add(Row("12:00:00.123", "order-8812", PHONE, "accepted", "1", "PENDING_ENROUTE"))

    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["time", "request", "to", "event", "attempt", "what", "OMNI", "or", "the", "relay", "says"]
    assert [row.index(word) for word in ("order-8812", PHONE, "accepted", "PENDING")] == [
        head.index(title) for title in ("request", "to", "event", "what")
    ]


def test_what_is_too_long_is_cut_but_for_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    EventTable().add(Row("12:00:00.123", "x" * 40, "y" * 40, "rejected", "1", "z" * 300))

    (row,) = capsys.readouterr().out.splitlines()
    assert "x" * 18 + "…  " + "y" * 21 + "…  " in row
    assert row.endswith("z" * 300)


def test_square_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    EventTable().add(Row("t", "r", "to", "news", "1", "destinations[0].to [bold]x[/bold] [/red] \\"))

    assert "destinations[0].to [bold]x[/bold] [/red] \\" in capsys.readouterr().out
