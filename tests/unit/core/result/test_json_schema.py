"""The schemas agree with the relay. Each request and event goes to two validators that share no code."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Final, get_args

import jsonschema_rs
import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from service.core.omni.status import Disposition
from service.core.request.json_schema import DESCRIPTIONS, NOT_EXPRESSED, request_document
from service.core.request.request import Fault
from service.core.result.asyncapi import document
from service.core.result.cancellation import report_cancellation
from service.core.result.decision import report_attempt
from service.core.result.delivery_report import ReportEventType
from service.core.result.event import EventType, Reason, ReasonCode, StatusEvent
from service.core.result.json_schema import EVENT_TYPES, REASONS, event_document
from service.core.result.report import report_expiry, report_rejections
from tests.golden.test_golden import REQUESTS
from tests.support.builder import (
    NOW,
    a_body,
    a_history,
    a_message_outcome,
    a_request,
    a_status,
    an_attempt,
    parsed,
    rendered,
)
from tests.support.documents import ROOT, text_of
from tests.unit.core.omni import test_limit
from tests.unit.core.omni.channel.test_limit import INVALID, VALID
from tests.unit.core.omni.test_email_address import CHANGED, TAKEN
from tests.unit.core.omni.test_phone import POSTED
from tests.unit.core.result.test_delivery_report import a_report, a_seen_report, events, in_json
from tests.unit.core.result.test_publication import EVENT
from tests.unit.strategy import bodies, broken_bodies, law


class Both:
    """Two validators of one schema. They must agree."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._one = jsonschema_rs.Draft202012Validator(schema)
        self._other = Draft202012Validator(schema)

    def accept(self, value: object) -> bool:
        verdicts = {self._one.is_valid(value), self._other.is_valid(value)}
        assert len(verdicts) == 1, value
        return verdicts.pop()


@cache
def of_requests() -> Both:
    return Both(request_document())


@cache
def of_events() -> Both:
    return Both(event_document())


@pytest.mark.no_cover
@pytest.mark.parametrize("schema", [request_document(), event_document()], ids=["request", "event"])
def test_a_schema_is_one_by_the_metaschema(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    assert jsonschema_rs.meta.is_valid(schema)


# Requests


@pytest.mark.parametrize("folder", REQUESTS, ids=lambda folder: folder.name)
def test_a_golden_request_conforms_unless_a_part_of_it_is_refused(folder: Any) -> None:  # noqa: ANN401 - a path
    body = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    assert of_requests().accept(body) == (not parsed(body).rejections)


@pytest.mark.parametrize("channel", VALID)
def test_valid_content_conforms(channel: str) -> None:
    refused = [given for given in VALID[channel] if not of_requests().accept(a_body({"sms": ..., channel: given}))]
    assert refused == []


@pytest.mark.parametrize("changes", test_limit.VALID)
def test_a_valid_request_conforms(changes: Mapping[str, object]) -> None:
    assert of_requests().accept(a_body(changes))


def test_a_valid_address_conforms() -> None:
    to = [{"phoneNumber": row[0]} for row in POSTED] + [{"emailAddress": row[0]} for row in (*TAKEN, *CHANGED)]
    assert [one for one in to if not of_requests().accept(a_body(destinations=[{"to": one}]))] == []


@pytest.mark.no_cover
def test_an_invalid_request_does_not_conform_but_for_faults_that_no_schema_expresses() -> None:
    cases = [(a_body({"sms": ..., name: given}), path) for name, rows in INVALID.items() for given, path, _ in rows]
    cases += [(a_body(changes), path) for changes, path, _ in test_limit.INVALID]

    assert [path for body, path in cases if of_requests().accept(body)] == [
        "push.customPayload",  # 4000 characters as JSON
        "destinations[0].to.phoneNumber",  # a trunk zero
        "requestId",  # bytes
        "metadata",  # bytes
        "sendAt",  # 180 days ahead
    ]


@law
@given(body=bodies)
def test_whatever_may_be_asked_for_conforms(body: dict[str, object]) -> None:
    assert of_requests().accept(body)


@law
@given(body=broken_bodies)
def test_the_schema_refuses_nothing_that_the_relay_accepts(body: dict[str, object]) -> None:
    reading = parsed(body)
    assert of_requests().accept(body) or reading.request is None or reading.rejections != ()


def test_each_fault_that_no_schema_expresses_is_documented() -> None:
    page = text_of(ROOT / "deploy/contract/schemas.md")
    assert [line for line in NOT_EXPRESSED if f"* {line}" not in page] == []


def test_each_field_that_is_not_of_a_channel_has_a_description() -> None:
    schema = request_document()
    fields = {"SendRequest": schema["properties"]} | {
        name: schema["$defs"][name]["properties"] for name in ("Destination", "To")
    }
    assert {name: set(given) for name, given in fields.items()} == {
        name: set(given) for name, given in DESCRIPTIONS.items()
    }


# Events


def published() -> Iterator[dict[str, Any]]:
    """Yield events of every type, as the relay publishes them."""
    reports = [
        report_rejections(parsed(a_body(sms=...)), a_history(), NOW),
        report_rejections(parsed([]), a_history(), NOW),
        report_expiry(a_request(), a_history(1, ambiguous=True), NOW),
        report_cancellation(an_attempt(a_request(), a_history()), None, is_missing=False),
    ]
    for disposition in get_args(Disposition):
        for history in (a_history(), a_history(7), a_history(7, ambiguous=True)):
            request = replace(a_request(), on_unknown="park")
            reports.append(report_attempt(an_attempt(request, history), [a_message_outcome(disposition)]))
    for report in reports:
        yield from (json.loads(rendered(event)) for event in report.events)
    statuses = [a_status(group, 1, "X").model_dump(by_alias=True) for group in (2, 3, 4, 5)]
    yield from events(in_json(a_seen_report(), *(a_report(status=status) for status in statuses)))
    yield from events(in_json(a_report(price=..., error=..., to="x", channel="NEW", sentAt=..., callbackData=...)))
    unknown = StatusEvent("message.unknown", NOW, "r", 1, "m", {"phoneNumber": "1"}, reason=Reason("ambiguous", "x"))
    yield from (json.loads(rendered(event)) for event in (unknown, EVENT))


PUBLISHED: Final = list(published())


def test_every_event_conforms() -> None:
    assert [event for event in PUBLISHED if not of_events().accept(event)] == []
    assert {event["type"] for event in PUBLISHED} == {f"omni.{type_}" for type_ in EVENT_TYPES}


@pytest.mark.no_cover
def test_an_event_without_a_field_or_with_a_value_of_another_kind_does_not_conform() -> None:
    for event in PUBLISHED:
        broken = [{name: value for name, value in event.items() if name != gone} for gone in event]
        data = event["data"]
        broken += [{**event, "data": {name: value for name, value in data.items() if name != gone}} for gone in data]
        broken += [{**event, name: 5} for name in event] + [{**event, "data": {**data, name: [5]}} for name in data]
        assert [one for one in broken if of_events().accept(one)] == []


def test_types_and_codes_are_closed_lists() -> None:
    (refused,) = [event for event in PUBLISHED if event["type"] == "omni.request.rejected"]
    assert not of_events().accept({**refused, "type": "omni.message.lost"})
    reason = {**refused["data"]["reason"], "code": "bad_luck"}
    assert not of_events().accept({**refused, "data": {**refused["data"], "reason": reason}})
    assert of_events().accept({**refused, "traceparent": "x"}), "fields may be added"


def test_the_asyncapi_document_has_a_channel_and_a_valid_example_of_each_event() -> None:
    messages = document("1.0")["components"]["messages"]
    examples = {name: message["examples"] for name, message in messages.items() if name != "sendRequest"}
    assert len(examples) == len(EVENT_TYPES)
    assert all(of_events().accept(one["payload"]) for each in examples.values() for one in each)
    assert all(of_requests().accept(one["payload"]) for one in messages["sendRequest"]["examples"])


def test_each_type_and_code_has_a_description() -> None:
    assert list(EVENT_TYPES) == [*get_args(EventType), *get_args(ReportEventType)]
    assert list(REASONS) == [*get_args(ReasonCode)]
    assert set(event_document()["$defs"]["Fault"]["properties"]) == set(Fault.__annotations__)
