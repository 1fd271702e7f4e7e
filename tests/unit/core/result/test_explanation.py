import json
from dataclasses import replace
from datetime import timedelta

import pytest

from service.core.attempt.call import Origin, plan
from service.core.attempt.retry import Policy, RetryPolicy
from service.core.request.request import Fault
from service.core.result.explanation import Explanation, content_type_of, explain, visible
from tests.support.builder import EMAIL, NOW, OTHER_PHONE, PHONE, a_body, a_delivery, a_destination, a_history, parsed

POLICY = Policy(RetryPolicy())


def explained(body: object, policy: Policy = POLICY, *, as_xml: bool = False) -> Explanation:
    return explain(a_delivery(body), policy, NOW, as_xml=as_xml)


def test_the_calls_are_those_that_the_worker_makes() -> None:
    body = a_body(destinations=[a_destination(message_id=f"m-{number}") for number in range(5)])
    policy = replace(POLICY, call_size=2, scenario_key="KEY")
    request = parsed(body).request
    assert request is not None

    found = explained(body, policy)

    assert found.calls == tuple(call.to_json() for call in plan(request, a_history(), Origin(), policy))
    assert found.messages == request.messages
    assert len(found.calls) == 3
    assert not found.is_refused


def test_everything_is_explained_as_json() -> None:
    body = a_body(
        destinations=[
            {"messageId": "m-1", "to": {"phoneNumber": "+41 79 302 67 27", "emailAddress": EMAIL}},
            {"messageId": "m-2", "to": {"phoneNumber": "12"}},
        ],
        sms={"text": "Ú" * 78, "language": {"languageCode": "ES"}},
        sendAt=(NOW + timedelta(hours=1)).isoformat(),
        expiresAt=(NOW + timedelta(hours=2)).isoformat(),
        onUnknown="park",
        metadata={"tenant": "acme"},
    )

    found = explained(body).document()

    assert json.loads(json.dumps(found)) == {
        "requestId": "order-1",
        "refused": True,
        "faults": [],
        "rejections": [
            {
                "messageId": "m-2",
                "to": {"phoneNumber": "12"},
                "faults": [
                    {
                        "path": "destinations[1].to.phoneNumber",
                        "message": "must be an international number of 5 to 15 digits",
                    }
                ],
            }
        ],
        "messages": [{"messageId": "m-1", "to": {"phoneNumber": PHONE, "emailAddress": EMAIL}}],
        "calls": [
            {
                "sms": {"text": "Ú" * 78, "language": {"languageCode": "ES"}},
                "sendAt": "2026-11-22T13:00:00.000+0000",
                "destinations": [{"to": {"phoneNumber": PHONE, "emailAddress": EMAIL}, "messageId": "m-1"}],
            }
        ],
        "sms": {
            "encoding": "national",
            "units": 156,
            "outsideGsm": ["Ú"],
            "parts": [{"units": 148, "text": "Ú" * 74}, {"units": 8, "text": "Ú" * 4}],
        },
        "sendAt": "2026-11-22T13:00:00+00:00",
        "expiresAt": "2026-11-22T14:00:00+00:00",
        "late": False,
        "onUnknown": "park",
        "maxAttempts": 8,
        "retrySeconds": 127.0,
        "metadata": {"tenant": "acme"},
    }


def test_a_request_that_names_no_message_is_refused_as_a_whole() -> None:
    found = explained(b"{")

    assert found.is_refused
    assert found.request_id is None
    assert [fault.path for fault in found.faults] == ["$"]
    assert found.document()["sms"] is None


def test_each_message_of_a_request_that_is_refused_is_reported() -> None:
    found = explained(a_body(destinations=[a_destination(), a_destination(OTHER_PHONE)], prio=1, metadata={"a": "b"}))

    assert [[fault.path for fault in one.faults] for one in found.rejections] == [["prio"], ["prio"]]
    assert (found.calls, found.metadata, found.request_id) == ((), {"a": "b"}, "order-1")


@pytest.mark.parametrize(("seconds", "late"), [(-1, True), (0, True), (1, False)])
def test_a_request_whose_deadline_has_passed_is_not_posted(seconds: int, *, late: bool) -> None:
    found = explained(a_body(expiresAt=(NOW + timedelta(seconds=seconds)).isoformat()))

    assert (found.is_late, found.is_refused) == (late, late)
    assert bool(found.calls) is bool(found.messages) is not late


def test_a_value_that_xml_cannot_express_is_refused_if_omni_gets_xml() -> None:
    body = a_body(sms={"text": "a\x01"})

    assert explained(body, as_xml=True).faults == (
        Fault("$", "holds a character that XML has none for, and RELAY_OMNI_FORMAT is xml"),
    )
    assert not explained(body).is_refused
    assert not explained(a_body(), as_xml=True).is_refused


@pytest.mark.parametrize(
    ("name", "body", "content_type"),
    [
        ("a.json", b"<", "application/json"),
        ("a.xml", b"{", "application/xml"),
        ("A.XML.GZ", b"\x1f\x8b", "application/xml"),
        ("a.json.gz", b"\x1f\x8b", "application/json"),
        ("-", b"{}", "application/json"),
        ("-", b"", "application/json"),
        ("-", b"\n <request/>", "application/xml"),
        ("-", "<request/>".encode("utf-8-sig"), "application/xml"),
        ("-", "<request/>".encode("utf-16"), "application/xml"),
        ("-", "<request/>".encode("utf-16-be"), "application/xml"),
        ("-", "{}".encode("utf-16"), "application/json"),
    ],
)
def test_a_content_type_follows_from_the_name_or_else_from_the_first_character(
    name: str, body: bytes, content_type: str
) -> None:
    assert content_type_of(name, body) == content_type


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Grüezi, 5 €", "Grüezi, 5 €"),
        ("a\x1b[31m", "a\\u001b[31m"),
        ("a\nb\t", "a\\u000ab\\u0009"),
        ("\u202e\u200b\u00a0", "\\u202e\\u200b\\u00a0"),
        ("\U000e0001", "\\udb40\\udc01"),
        ("😀", "😀"),
        ("\ud800", "\\ud800"),
    ],
)
def test_characters_that_a_terminal_obeys_are_escaped(text: str, seen: str) -> None:
    assert visible(text) == seen
    assert visible(text).isprintable()
