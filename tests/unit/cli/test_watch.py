import json

import pytest
from click.testing import CliRunner

from service.cli.main import commands
from service.cli.watch import EventSelection

EVENT = json.dumps({"type": "omni.message.accepted", "subject": "m", "data": {"requestId": "r"}}).encode()
NAMELESS = json.dumps({"type": "omni.request.rejected", "data": {"requestId": "r"}}).encode()


@pytest.mark.parametrize(
    ("selection", "holds"),
    [
        (EventSelection(), True),
        (EventSelection(request_ids=("q", "r")), True),
        (EventSelection(request_ids=("q",)), False),
        (EventSelection(message_ids=("m",)), True),
        (EventSelection(message_ids=("r",)), False),
        (EventSelection(types=("message.accepted",)), True),
        (EventSelection(types=("message.failed",)), False),
        (EventSelection(("r",), ("m",), ("message.failed",)), False),
    ],
)
def test_an_event_is_meant_if_it_fits_every_part_that_is_given(selection: EventSelection, *, holds: bool) -> None:
    assert selection.holds(EVENT) is holds


def test_an_event_about_a_whole_request_is_of_no_message() -> None:
    assert not EventSelection(message_ids=("m",)).holds(NAMELESS)
    assert EventSelection(types=("request.rejected",)).holds(NAMELESS)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data": 1}', b"\xff", b"[" * 100_000])
def test_what_is_no_event_is_shown_without_a_filter_and_named_with_one(body: bytes) -> None:
    assert EventSelection().holds(body)
    with pytest.raises(ValueError, match="is not a status event"):
        EventSelection(request_ids=("r",)).holds(body)


def test_a_type_that_does_not_exist_is_a_wrong_usage_that_names_those_that_do() -> None:
    answer = CliRunner().invoke(commands, ["watch", "--type", "delivred"])

    assert answer.exit_code == 2
    assert "message.accepted" in answer.output
