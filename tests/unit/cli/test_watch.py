import json

import pytest
from click.testing import CliRunner

from service.cli.main import commands
from service.cli.watch import EventFilter


def an_event(type_: str, message_id: str | None = "m-1", request_id: str | None = "r-1") -> bytes:
    event: dict[str, object] = {"type": f"omni.{type_}", "data": {"requestId": request_id}}
    return json.dumps(event if message_id is None else {**event, "subject": message_id}).encode()


ACCEPTED = an_event("message.accepted")
DELIVERED = an_event("message.delivered", request_id=None)


def test_without_a_filter_everything_is_shown() -> None:
    assert all(EventFilter().allows(body) for body in (ACCEPTED, DELIVERED, b"nonsense"))


@pytest.mark.parametrize("type_", ["accepted", "message.accepted", "omni.message.accepted"])
def test_a_type_may_be_given_in_short(type_: str) -> None:
    found = EventFilter(types=[type_, "seen"])
    assert found.allows(ACCEPTED)
    assert not found.allows(DELIVERED)


def test_messages_and_requests_are_shown_by_their_ids() -> None:
    assert EventFilter(message_ids=["m-1"]).allows(DELIVERED)
    assert not EventFilter(message_ids=["m-2"]).allows(DELIVERED)
    assert EventFilter(request_ids=["r-1"]).allows(ACCEPTED)
    assert not EventFilter(request_ids=["r-2"]).allows(ACCEPTED)
    assert not EventFilter(["r-1"], ["m-2"]).allows(ACCEPTED)
    assert EventFilter(["r-1"]).allows(an_event("request.rejected", None))


def test_a_report_belongs_to_the_request_that_an_earlier_event_named_with_its_message() -> None:
    found = EventFilter(request_ids=["r-1"], types=["delivered"])
    assert not found.allows(DELIVERED)
    assert not found.allows(ACCEPTED)
    assert found.allows(DELIVERED)
    assert not found.allows(an_event("message.delivered", "m-2", None))
    assert not found.allows(an_event("message.delivered", "m-1", "r-2"))


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b"7", b"{}", b'{"type": "x", "data": null}', b"[" * 200_000])
def test_what_is_no_event_matches_no_filter(body: bytes) -> None:
    assert not EventFilter(types=["seen"]).allows(body)


def test_a_type_that_does_not_exist_is_a_wrong_usage_that_names_those_that_do() -> None:
    answer = CliRunner().invoke(commands, ["watch", "--type", "delivred"])

    assert answer.exit_code == 2
    assert "message.delivered" in answer.output


def test_a_rejected_request_is_one_of_each_message_that_it_names() -> None:
    body = b'{"type": "omni.request.rejected", "data": {"requestId": "r", "messageIds": ["m-1", "m-2"]}}'

    assert EventFilter(message_ids=["m-2"]).allows(body)
    assert not EventFilter(message_ids=["None"]).allows(body)
    assert not EventFilter(message_ids=["m-3"]).allows(body)
