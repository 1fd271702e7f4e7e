from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from service.rules.obituary import write_obituary
from service.rules.policy import Policy
from service.rules.redrive import read_dead
from service.rules.report import Report
from service.rules.retry import RetryPolicy
from service.words.letter import Parked
from tests.support.builder import NOW, OTHER_PHONE, a_body, a_delivery, a_destination


def obituary(
    body: object, reason: str, headers: Mapping[str, object] = MappingProxyType({}), *, handed_out: bool = False
) -> Report:
    delivery = replace(a_delivery(body), expiration=0.001, timestamp=NOW, redelivered=handed_out)
    letter = read_dead(replace(delivery, headers={"x-death": [{"reason": reason}], **headers}))
    return write_obituary(letter, Policy(RetryPolicy()), NOW, lambda: "made-up")


def test_each_message_of_a_request_that_lapsed_in_the_queue_has_expired() -> None:
    body = a_body(destinations=[a_destination(message_id="m-1"), a_destination(OTHER_PHONE, "m-2")])

    events = obituary(body, "expired").events

    assert [(event.type, event.message_id, event.attempt) for event in events] == [
        ("message.expired", "m-1", 0),
        ("message.expired", "m-2", 0),
    ]
    assert {event.reason and event.reason.code for event in events} == {"expired"}


def test_what_had_been_handed_out_before_it_lapsed_is_looked_for_and_never_posted() -> None:
    body = a_body(destinations=[a_destination("call me"), a_destination(message_id="m-2")])

    report = obituary(body, "expired", handed_out=True)

    assert [(event.type, event.attempt) for event in report.events] == [
        ("message.rejected", 1),
        ("message.deferred", 1),
    ]
    (letter,) = report.letters
    assert isinstance(letter, Parked)
    assert letter.history.in_doubt
    assert letter.request.expires_at == NOW
    assert [message.message_id for message in letter.request.messages] == ["m-2"]
    assert obituary(b"nonsense", "expired", handed_out=True).letters == ()


def test_what_was_wrong_in_it_is_rejected_all_the_same() -> None:
    body = a_body(destinations=[a_destination("call me"), a_destination(message_id="m-2")])

    assert [event.type for event in obituary(body, "expired").events] == ["message.rejected", "message.expired"]
    assert [event.type for event in obituary(b"nonsense", "expired").events] == ["request.rejected"]
    assert [event.type for event in obituary(a_body(unheardOf=1), "expired").events] == ["message.rejected"]


@pytest.mark.parametrize("reason", ["delivery_limit", "rejected"])
def test_of_what_workers_broke_on_the_request_is_told_and_the_body_is_not_read(reason: str) -> None:
    (event,) = obituary(a_body(), reason, {"omni-attempt": 2}).events

    assert (event.type, event.request_id, event.message_id, event.attempt) == ("request.rejected", "order-1", None, 2)
    assert event.reason is not None
    assert event.reason.code == "defect"
    (event,) = obituary(b"<", reason).events
    assert event.request_id == "made-up"


@pytest.mark.parametrize(
    ("reason", "headers"), [("expired", {"omni-reason": "failed"}), ("x", {"omni-reason": "unknown"}), ("maxlen", {})]
)
def test_of_what_the_relay_has_told_already_nothing_more_is_said(reason: str, headers: dict[str, object]) -> None:
    assert obituary(a_body(), reason, headers) == Report()
