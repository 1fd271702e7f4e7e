import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, tostring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.omni.delivery_report import CHANNELS
from service.core.result.delivery_report import (
    MAX_PUSH,
    MAX_RESULTS,
    MAX_VALUES,
    Push,
    Refusal,
    channel_label,
    read_push,
    render,
)
from tests.support.builder import NOW

JSON: Final = "application/json"
XML: Final = "application/xml"
DELIVERED: Final = {"groupId": 3, "groupName": "DELIVERED", "id": 5, "name": "DELIVERED_TO_HANDSET"}


def a_report(changes: Mapping[str, object] | None = None, /, **more: object) -> dict[str, object]:
    """Build a delivery report as OMNI pushes it; a change to `...` leaves the field out."""
    whole: dict[str, object] = {
        "bulkId": "bulk-1",
        "messageId": "m-1",
        "to": "41793026727",
        "sentAt": "2026-11-22T11:59:00.000+0000",
        "doneAt": "2026-11-22T13:00:02.500+0100",
        "messageCount": 1,
        "mccMnc": "22801",
        "price": {"pricePerMessage": 0.01, "currency": "EUR"},
        "status": {**DELIVERED, "description": "Message delivered to handset"},
        "error": {
            "groupId": 0,
            "groupName": "OK",
            "id": 0,
            "name": "NO_ERROR",
            "description": "No error",
            "permanent": False,
        },
        "channel": "SMS",
        "callbackData": "data",
    }
    return {name: value for name, value in {**whole, **(changes or {}), **more}.items() if value is not ...}


def a_seen_report(**changes: object) -> dict[str, object]:
    whole = {
        "messageId": "m-1",
        "from": "Shop",
        "to": "41793026727",
        "sendAt": "2026-11-22T11:59:00.000+0000",
        "seenAt": "2026-11-22T12:05:00.000+0000",
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not ...}


def in_json(*results: object) -> bytes:
    return json.dumps({"results": results}).encode()


def in_xml(*results: Mapping[str, object], root: str = "omniReportsResponse", item: str = "result") -> bytes:
    document = Element(root)
    holder = SubElement(document, "results")
    for result in results:
        fill(SubElement(holder, item), result)
    return tostring(document)


def fill(parent: Element, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        element = SubElement(parent, name)
        if isinstance(value, dict):
            fill(element, value)
        else:
            element.text = str(value).lower() if isinstance(value, bool) else str(value)


def read(body: bytes, content_type: str = JSON) -> Push | Refusal:
    reading = read_push(content_type, body, NOW)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            result: Push | Refusal = end.value
            return result


def push(body: bytes, content_type: str = JSON) -> Push:
    found = read(body, content_type)
    assert isinstance(found, Push)
    return found


def events(body: bytes, content_type: str = JSON) -> list[dict[str, Any]]:
    return [json.loads(render(event).body) for event in push(body, content_type).events]


def event(*results: object) -> dict[str, Any]:
    (one,) = events(in_json(*results))
    return one


def test_a_delivery_report_becomes_an_event_with_all_that_it_says() -> None:
    (one,) = push(in_json(a_report())).events
    publication = render(one)
    body = json.loads(publication.body)

    assert publication.exchange == "omni.results"
    assert publication.routing_key == "message.delivered"
    assert publication.content_type == "application/cloudevents+json"
    assert publication.type == body["type"] == "omni.message.delivered"
    assert publication.message_id == body.pop("id")
    assert publication.timestamp == datetime(2026, 11, 22, 12, 0, 2, 500_000, UTC)
    assert not publication.must_arrive
    assert body == {
        "specversion": "1.0",
        "source": "/omni-relay",
        "type": "omni.message.delivered",
        "time": "2026-11-22T12:00:02.500000Z",
        "datacontenttype": "application/json",
        "subject": "m-1",
        "data": {
            "requestId": None,
            "bulkId": "bulk-1",
            "messageId": "m-1",
            "to": {"phoneNumber": "41793026727"},
            "status": {**DELIVERED, "description": "Message delivered to handset", "action": None},
            "attempt": None,
            "nextAttemptAt": None,
            "reason": None,
            "metadata": {},
            "channel": "SMS",
            "report": {
                "sentAt": "2026-11-22T11:59:00Z",
                "doneAt": "2026-11-22T12:00:02.500000Z",
                "seenAt": None,
                "messageCount": 1,
                "mccMnc": "22801",
                "price": {"pricePerMessage": 0.01, "currency": "EUR"},
                "error": {
                    "groupId": 0,
                    "groupName": "OK",
                    "id": 0,
                    "name": "NO_ERROR",
                    "description": "No error",
                    "permanent": False,
                },
            },
            "callbackData": "data",
        },
    }


def test_a_seen_report_becomes_an_event() -> None:
    one = event(a_seen_report())

    assert one["type"] == "omni.message.seen"
    assert one["subject"] == "m-1"
    assert one["time"] == "2026-11-22T12:05:00Z"
    assert one["data"]["status"] is None
    assert one["data"]["channel"] is None
    assert one["data"]["report"] == {
        "sentAt": "2026-11-22T11:59:00Z",
        "doneAt": None,
        "seenAt": "2026-11-22T12:05:00Z",
        "messageCount": None,
        "mccMnc": None,
        "price": None,
        "error": None,
    }
    assert event(a_seen_report(sendAt=..., sentAt="2026-11-22T11:00:00+01:00"))["data"]["report"]["sentAt"] == (
        "2026-11-22T10:00:00Z"
    )


@pytest.mark.parametrize("report", [a_report(), a_seen_report()], ids=["delivery", "seen"])
@pytest.mark.parametrize(
    ("root", "item"), [("omniReportsResponse", "result"), ("omniSeenReportsResponse", "results"), ("any", "thing")]
)
def test_the_same_report_in_xml_is_the_same_event(report: dict[str, object], root: str, item: str) -> None:
    assert events(in_xml(report, root=root, item=item), XML) == events(in_json(report))
    assert events(in_xml(report), "text/xml; charset=utf-8") == events(in_json(report))


@pytest.mark.parametrize(
    ("group", "type_"),
    [
        (2, "omni.message.undelivered"),
        (3, "omni.message.delivered"),
        (4, "omni.message.undelivered"),
        (5, "omni.message.undelivered"),
    ],
)
def test_the_status_group_decides_the_type(group: int, type_: str) -> None:
    assert event(a_report(status={"groupId": group, "id": 1}))["type"] == type_


@pytest.mark.parametrize("group", [0, 1])
def test_an_intermediate_report_is_counted_and_gives_no_event(group: int) -> None:
    assert push(in_json(a_report(status={"groupId": group, "id": 3}))) == Push((), {("SMS", "intermediate"): 1})


def test_a_group_that_is_not_known_counts_by_its_name_and_else_as_unreadable() -> None:
    named = a_report(status={"groupId": 17, "groupName": "DELIVERED"})
    assert event(named)["type"] == "omni.message.delivered"
    found = push(in_json(named, a_report(status={"groupId": 17})))
    assert found.counts == {("SMS", "delivered"): 1, ("SMS", "unreadable"): 1}


WRONG: Final[list[object]] = [
    None,
    7,
    "text",
    [],
    {},
    a_report(messageId=...),
    a_report(messageId=None),
    a_report(messageId=""),
    a_report(messageId={"a": 1}),
    a_report(messageId=True),
    a_report(messageId=1.50),
    a_report(messageId=1e300),
    a_report(status=...),
    a_report(status=None),
    a_report(status={}),
    a_report(status="DELIVERED"),
    a_report(status={"groupId": "three"}),
    a_report(status={"groupId": 10**400, "groupName": "DELIVERED"}),
    a_report(status={"groupId": 99, "groupName": "NEW"}),
    a_seen_report(seenAt="yesterday"),
    a_seen_report(seenAt=1_700_000_000),
    a_seen_report(seenAt=...),
]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_result_that_cannot_be_read_does_not_affect_the_others(wrong: object) -> None:
    good = a_report(messageId="good"), a_report(messageId="also good")
    found = push(in_json(good[0], wrong, good[1]))

    assert [one.result.message_id for one in found.events] == ["good", "also good"]
    assert sum(number for (_, outcome), number in found.counts.items() if outcome == "unreadable") == 1
    assert read(in_json(wrong)) == "not_a_report"


def test_a_result_in_xml_that_cannot_be_read_does_not_affect_the_others() -> None:
    good = in_xml(a_report()).decode()
    for wrong in (
        "<result/>",
        "<result>text</result>",
        "<result><messageId>a</messageId><messageId>b</messageId><messageId>c</messageId></result>",
        "<result><messageId><a/></messageId><status><groupId>3</groupId></status></result>",
        '<result xmlns:x="urn:x" a="b"><x:unknown><y/></x:unknown></result>',
    ):
        found = push(good.replace("</results>", wrong + "</results>").encode(), XML)
        assert found.counts == {("SMS", "delivered"): 1, ("other", "unreadable"): 1}


@pytest.mark.parametrize(
    ("changes", "path", "value"),
    [
        ({"bulkId": {"a": 1}}, ("bulkId",), None),
        ({"to": ["x"]}, ("to",), {}),
        ({"to": None}, ("to",), {}),
        ({"to": ""}, ("to",), {}),
        ({"to": "a@example.com"}, ("to",), {"emailAddress": "a@example.com"}),
        ({"to": "+41793026727"}, ("to",), {"phoneNumber": "+41793026727"}),
        ({"to": 41793026727}, ("to",), {"phoneNumber": "41793026727"}),
        ({"to": "device", "channel": "PUSH"}, ("to",), {"pushRegistrationId": "device"}),
        ({"to": "CH.abc1"}, ("to",), {"whatsAppUserId": "CH.abc1"}),
        ({"to": "U123"}, ("to",), {"address": "U123"}),
        ({"to": {"phoneNumber": "41", "emailAddress": 7, "x": "y"}}, ("to",), {"phoneNumber": "41"}),
        ({"channel": 7}, ("channel",), "7"),
        ({"channel": {}}, ("channel",), None),
        ({"channel": ""}, ("channel",), None),
        ({"channel": "TELEPATHY"}, ("channel",), "TELEPATHY"),
        ({"messageCount": "many"}, ("report", "messageCount"), None),
        ({"messageCount": "2"}, ("report", "messageCount"), 2),
        ({"mccMnc": "null"}, ("report", "mccMnc"), None),
        ({"mccMnc": "00101"}, ("report", "mccMnc"), "00101"),
        ({"price": 5}, ("report", "price"), None),
        ({"price": {"pricePerMessage": "much"}}, ("report", "price"), {"pricePerMessage": None, "currency": None}),
        ({"price": {"pricePerMessage": "1e999"}}, ("report", "price"), {"pricePerMessage": None, "currency": None}),
        ({"error": []}, ("report", "error"), None),
        ({"messageCount": 2**63}, ("report", "messageCount"), None),
        ({"bulkId": 1.50}, ("bulkId",), None),
        ({"status": {**DELIVERED, "id": "five"}}, ("status", "id"), None),
        ({"status": {**DELIVERED, "id": 10**4000}}, ("status", "id"), None),
        ({"status": {**DELIVERED, "name": {}}}, ("status", "name"), None),
        ({"status": {**DELIVERED, "groupName": [], "description": {}}}, ("status", "groupId"), 3),
        ({"sentAt": 5}, ("report", "sentAt"), None),
        ({"sentAt": " 2026-11-22T12:00:00Z\n"}, ("report", "sentAt"), "2026-11-22T12:00:00Z"),
        ({"callbackData": {"a": 1}}, ("callbackData",), None),
        ({"callbackData": " kept \u2603 "}, ("callbackData",), " kept \u2603 "),
        ({"newField": {"deep": [1, {"er": None}]}}, ("messageId",), "m-1"),
    ],
)
def test_a_field_that_cannot_be_read_is_left_out_and_one_that_is_not_known_passes(
    changes: dict[str, object], path: tuple[str, ...], value: object
) -> None:
    data: Any = event(a_report(changes))["data"]
    for name in path:
        data = data[name]
    assert data == value


@pytest.mark.parametrize("name", ["007", "0041", " padded ", "CaSe", "a/b?c=d&e", "<&>\u2603", "1e3", "x" * 1000])
def test_an_id_is_given_exactly_as_it_was_received(name: str) -> None:
    report = a_report(messageId=name, bulkId=name, callbackData=name)
    for one in (*events(in_json(report)), *events(in_xml(report), XML)):
        assert one["subject"] == one["data"]["messageId"] == one["data"]["bulkId"] == name
        assert one["data"]["callbackData"] == name


def test_an_id_written_as_a_number_is_its_digits() -> None:
    assert event(a_report(messageId=12345678901234567890))["subject"] == "12345678901234567890"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r"cut \ud83d", "cut \ufffd"),
        (r"\udE00\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\\ud83d \ud83d", "\\ud83d \ufffd"),
        (r"\\\ud83d\ud83d", "\\\ufffd\ufffd"),
    ],
)
def test_a_text_that_ends_within_a_character_affects_no_report(written: str, text: str) -> None:
    body = in_json(a_report(callbackData="HERE"), a_report(messageId="other"))
    found = events(body.replace(b"HERE", written.encode()))
    assert [one["data"]["callbackData"] for one in found] == [text, "data"]


def test_an_empty_element_is_no_status_and_no_time() -> None:
    empty = in_xml({**a_seen_report(), "status": "", "doneAt": "", "price": "", "error": ""})
    assert events(empty, XML) == events(in_json(a_seen_report()))


def test_the_event_id_depends_on_message_channel_kind_and_status_alone() -> None:
    same = [
        a_report(),
        a_report(to="41", bulkId=..., price=..., doneAt="2026-11-23T00:00:00Z", callbackData="other"),
        a_report(status={**DELIVERED, "name": "RENAMED", "description": "other"}),
        a_report(status={**DELIVERED, "groupId": "3", "id": "5"}),
    ]
    different = [
        a_report(),
        a_report(messageId="m-2"),
        a_report(messageId="M-1"),
        a_report(channel="VIBER"),
        a_report(channel=...),
        a_report(status={**DELIVERED, "id": 2}),
        a_report(status={**DELIVERED, "groupId": 4}),
        a_report(status={"groupId": 3, "name": "A"}),
        a_report(status={"groupId": 3, "name": "B"}),
        a_seen_report(),
        a_seen_report(channel="SMS"),
        a_seen_report(messageId="m-2"),
    ]
    assert len({one.id for one in push(in_json(*same)).events}) == 1
    assert len({one.id for one in push(in_json(*different)).events}) == len(different)
    assert event(a_report())["id"] == "f2699d8e-93b9-5fcf-9516-02528384d43d"  # it must never change


@pytest.mark.parametrize(
    ("changes", "time"),
    [
        ({"doneAt": ...}, "2026-11-22T11:59:00Z"),
        ({"doneAt": "soon", "sentAt": ...}, "2026-11-22T12:00:00Z"),
    ],
    ids=["sentAt", "now"],
)
def test_the_time_is_the_best_that_is_known(changes: dict[str, object], time: str) -> None:
    assert event(a_report(changes))["time"] == time


def test_a_time_that_amqp_cannot_say_is_in_the_event_alone() -> None:
    (one,) = push(in_json(a_report(doneAt="0001-01-01T00:00:00Z"))).events
    assert render(one).timestamp is None
    assert json.loads(render(one).body)["time"] == "0001-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("report", "seconds"),
    [
        (a_report(), 62.5),
        (a_report(sentAt=...), None),
        (a_report(doneAt=...), None),
        (a_report(sentAt="2027-01-01T00:00:00Z"), None),
        (a_report(status={"groupId": 4, "id": 15}), None),
        (a_seen_report(), None),
    ],
)
def test_the_time_of_a_delivery_is_known_where_both_times_are(report: object, seconds: float | None) -> None:
    assert push(in_json(report)).events[0].delivery_seconds == seconds


def test_a_push_of_five_hundred_reports_is_read_in_steps() -> None:
    reports = [a_report(messageId=f"m-{number}") for number in range(500)]
    for content_type, body in ((JSON, in_json(*reports)), (XML, in_xml(*reports))):
        steps = sum(1 for _ in read_push(content_type, body, NOW))
        found = push(body, content_type)
        assert [one.result.message_id for one in found.events] == [f"m-{number}" for number in range(500)]
        assert len({one.id for one in found.events}) == 500
        assert found.counts == {("SMS", "delivered"): 500}
        assert steps >= 5


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, b""),
        (JSON, b"{"),
        (JSON, b"null"),
        (JSON, b"[]"),
        (JSON, b'{"results": []}'),
        (JSON, b'{"results": {}}'),
        (JSON, b'{"result": [1]}'),
        (JSON, b'{"results": [NaN]}'),
        (JSON, b"\xff\xfe{\x00}\x00"),
        (JSON, b'{"results": ["\xff"]}'),
        (JSON, b'{"results": [' + b"[" * 5000 + b"]" * 5000 + b"]}"),
        (JSON, in_xml(a_report())),
        (XML, in_json(a_report())),
        (XML, b""),
        (XML, b"<a>"),
        (XML, b"<a/>"),
        (XML, b"<a><results/></a>"),
        (XML, b"<a><results>text</results></a>"),
        (XML, b"<!DOCTYPE a [<!ENTITY b 'c'>]><a><results><result>&b;</result></results></a>"),
        (XML, b"<!DOCTYPE a SYSTEM 'http://127.0.0.1/'><a/>"),
        (XML, b"<a>" * 100 + b"</a>" * 100),
        (XML, b"<a><" + b"n" * 600 + b"/></a>"),
        (XML, b"<a><!--" + b"-x" * 200_000 + b"--></a>"),
        ("application/xml; charset=ebcdic", b"<a/>"),
        ("application/xml; charset=utf-16", b"<a/>"),
    ],
)
def test_what_is_not_a_report_is_refused(content_type: str, body: bytes) -> None:
    assert read(body, content_type) == "not_a_report"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, b" " * (MAX_PUSH + 1)),
        (JSON, b'{"results": [' + b"1," * MAX_VALUES + b"1]}"),
        (JSON, b'{"results": [' + b"1," * MAX_RESULTS + b"1]}"),
        (XML, b"<a><results>" + b"<b/>" * MAX_VALUES + b"</results></a>"),
        (XML, b"<a><results>" + b"<b/>" * (MAX_RESULTS + 1) + b"</results></a>"),
    ],
    ids=["bytes", "values", "results", "elements", "results in xml"],
)
def test_what_is_larger_than_any_push_is_refused(content_type: str, body: bytes) -> None:
    assert read(body, content_type) == "too_large"


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "json", "text/json"])
def test_another_content_type_is_refused(content_type: str) -> None:
    assert read(in_json(a_report()), content_type) == "unsupported_type"


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + in_json(a_report()),
        in_json(a_report()).replace(b'"m-1"', b'"\\u006d-1"'),
    ],
    ids=["byte order mark", "escapes"],
)
def test_json_may_have_a_mark_and_escapes(body: bytes) -> None:
    assert events(body, "Application/JSON ; charset=utf-8") == events(in_json(a_report()))


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "iso-8859-1"])
def test_xml_may_be_in_another_encoding(codec: str) -> None:
    report = a_report(callbackData="Gr\u00fc\u00dfe")
    body = in_xml(report).replace(b"Gr&#252;&#223;e", "Gr\u00fc\u00dfe".encode()).decode()
    assert events(f'<?xml version="1.0" encoding="{codec.removesuffix("-sig")}"?>{body}'.encode(codec), XML) == (
        events(in_json(report))
    )


def test_a_channel_that_is_not_published_has_no_label_of_its_own() -> None:
    assert [channel_label(name) for name in (*CHANNELS, "TELEPATHY", "", None)] == [*CHANNELS, *["other"] * 3]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(
        st.fixed_dictionaries({}, optional=dict.fromkeys((*a_report(), "seenAt", "sendAt"), json_values)) | json_values,
        max_size=4,
    )
)
def test_any_results_are_counted_and_leave_the_good_one_alone(results: list[object]) -> None:
    body = json.dumps({"results": [*results, a_report(messageId="good")]}, ensure_ascii=True).encode()
    found = read(body)
    if isinstance(found, Push):  # half of a surrogate pair makes it no JSON
        assert sum(found.counts.values()) == len(results) + 1
        assert found.events[-1].result.message_id == "good"
        assert all(json.loads(render(one).body)["specversion"] == "1.0" for one in found.events)


@given(st.binary(max_size=200), st.sampled_from([JSON, XML]))
def test_any_bytes_are_refused_or_read(body: bytes, content_type: str) -> None:
    read(body, content_type)
