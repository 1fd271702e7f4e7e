import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from service.core.result.dead_letter import read_dead, write_final_event
from service.core.result.publication import event_id, publish_report
from service.core.result.report import Report
from tests.support.builder import NOW, a_body, a_delivery


def final_event(body: object, reason: str, headers: Mapping[str, object] = MappingProxyType({})) -> Report:
    death = {"reason": reason, "queue": "omni.requests", "exchange": "omni.relay"}
    delivery = replace(a_delivery(body), exchange="omni.dead", headers={"x-death": [death], **headers})
    return write_final_event(read_dead(delivery), NOW, lambda: "made-up")


@pytest.mark.parametrize("reason", ["delivery_limit", "rejected", "maxlen", "x"])
def test_the_final_event_of_poison_is_about_the_request_and_its_body_is_not_parsed(reason: str) -> None:
    (event,) = final_event(a_body(), reason, {"omni-attempt": 2}).events

    assert (event.type, event.request_id, event.message_id, event.attempt) == ("request.rejected", "order-1", None, 2)
    assert event.reason is not None
    assert event.reason.code == "defect"
    (other,) = final_event(b"<", reason).events
    assert other.request_id == "made-up"


def test_of_two_requests_with_one_id_each_has_an_event_of_its_own() -> None:
    bodies = a_body(), a_body(sms={"text": "another"})

    assert len({event_id(final_event(body, "rejected").events[0]) for body in bodies}) == 2


@pytest.mark.parametrize(
    "headers", [{"omni-reason": "failed"}, {"omni-reason": "unknown"}, {"omni-reason": "defect"}, {}], ids=str
)
def test_a_dead_letter_of_the_relay_has_no_second_final_event(headers: dict[str, object]) -> None:
    of_the_relay = replace(a_delivery(), exchange="omni.dead", headers=headers)

    assert write_final_event(read_dead(of_the_relay), NOW, lambda: "made-up") == Report()


def test_a_lapsed_request_has_no_final_event_here() -> None:
    assert final_event(a_body(), "expired") == Report()


@pytest.mark.parametrize("reason", ["failed", "unknown", "lapsed", "nonsense"])
def test_a_producers_headers_do_not_suppress_the_final_event(reason: str) -> None:
    death = {"reason": "delivery_limit", "queue": "omni.requests", "exchange": "omni.requests"}
    forged = {"x-death": [death], "omni-reason": reason, "omni-attempt": 999_999}
    delivery = replace(a_delivery(), exchange="omni.dead", headers=forged)

    (event,) = write_final_event(read_dead(delivery), NOW, lambda: "made-up").events
    assert (event.type, event.attempt) == ("request.rejected", 0)


@pytest.mark.parametrize(
    "changes", [{"exchange": ""}, {"headers": {"x-death": [{"reason": "rejected", "queue": "mine"}]}}]
)
def test_a_dead_letter_from_another_queue_has_no_final_event(changes: dict[str, object]) -> None:
    death = {"reason": "rejected", "queue": "omni.requests", "exchange": "omni.requests"}
    delivery = replace(a_delivery(), **{"exchange": "omni.dead", "headers": {"x-death": [death]}, **changes})  # type: ignore[arg-type]  # its own fields

    assert write_final_event(read_dead(delivery), NOW, lambda: "made-up") == Report()


def published(report: Report) -> list[dict[str, object]]:
    return [json.loads(one.body)["data"] for one in publish_report(report, a_delivery(), NOW)]


@pytest.mark.parametrize("reason", ["delivery_limit", "rejected", "maxlen"])
def test_the_final_event_of_poison_names_the_messages_that_its_body_names(reason: str) -> None:
    several = {"destinations": [{"messageId": "a"}, {"messageId": "b"}, {"messageId": "a"}, {}, 5, {"messageId": 7}]}

    (event,) = published(final_event(several, reason))
    assert (event["messageId"], event["messageIds"]) == (None, ["a", "b"])
    (event,) = published(final_event({"messageId": "flat", "text": "hello"}, reason))
    assert event["messageIds"] == ["flat"]


@pytest.mark.parametrize(
    "body",
    [
        b"<request/>",
        b'{"destinations": [{"messageId": "a"}',
        b'{"destinations": {"messageId": "a"}}',
        b'{"messageId": "%s"}' % (b"x" * 201),
        b'{"messageId": "\\ud800"}',
        b"[" * 100_000,
    ],
)
def test_the_final_event_of_poison_that_names_no_message_has_no_such_field(body: bytes) -> None:
    (event,) = published(final_event(body, "delivery_limit"))

    assert "messageIds" not in event


def test_the_ids_that_the_body_names_do_not_change_the_id_of_the_event() -> None:
    (event,) = final_event(a_body(), "delivery_limit").events

    assert event_id(event) == event_id(replace(event, message_ids=()))
