"""The messages for errors, and where they are reported."""

import pytest

from service.sandbox.schema.validation import Definition, Errors, errors_in

DESTINATIONS = [{"to": {"phoneNumber": "41793026727"}}]


def errors_of(**fields: object) -> Errors:
    return errors_in({"destinations": DESTINATIONS, "sms": {"text": "t"}} | fields, "AdvancedRequest")


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"sms": {}}, {"sms.text": ["must be present"]}),
        ({"colour": "red", "size": 1}, {name: ["is not a known field"] for name in ("colour", "size")}),
        (
            {"notifyContentType": "text/plain"},
            {"notifyContentType": ["must be one of application/json, application/xml"]},
        ),
        (
            {"destinations": [{"to": {"phoneNumber": "+41793026727"}}]},
            {
                "destinations[0].to.phoneNumber": [
                    "must be an international number: 1 to 17 digits, without + or 00",
                ]
            },
        ),
        ({"voice": {"text": "t" * 1401}}, {"voice.text": ["value is longer than 1400 characters"]}),
        ({"line": []}, {"line": ['value is not of type "object"']}),
    ],
)
def test_each_error_has_a_message_at_its_path(fields: dict[str, object], errors: Errors) -> None:
    assert errors_of(**fields) == errors


def test_an_error_in_the_whole_document_is_reported_for_the_request() -> None:
    errors = errors_in({"destinations": DESTINATIONS}, "AdvancedRequest")

    assert errors == {"request": ["must be content for at least one channel"]}


def test_one_field_can_have_several_errors_and_each_is_reported_once() -> None:
    button = {"type": "URL", "buttonText": "b", "androidScheme": ""}

    errors = errors_of(kakaoAlim={"text": "t", "templateCode": "c", "buttons": [button]})

    assert len(errors["kakaoAlim.buttons[0].androidScheme"]) == 2
    assert errors_of(line={"type": "FLEX", "contents": 7}) == {"line.contents": ['value is not of type "object"']}


def test_a_body_full_of_errors_reports_the_first_thousand() -> None:
    assert set(errors_of(destinations=[7] * 5000)) == {f"destinations[{index}]" for index in range(1000)}
    assert len(errors_of(**{f"field{index}": 1 for index in range(5000)})) == 1000
    assert len(errors_of(destinations=[{f"field{index}": 1 for index in range(700)}] * 5)) < 2000


def test_an_error_behind_the_first_thousand_items_is_reported() -> None:
    assert set(errors_of(destinations=DESTINATIONS * 5000 + [{}])) == {"destinations[5000].to"}


def test_a_list_behind_the_first_thousand_items_is_not_too_short() -> None:
    bubble = {"type": "BUBBLE", "direction": "LEFT_TO_RIGHT"}
    carousel = {"type": "FLEX", "contents": {"type": "CAROUSEL", "contents": [bubble] * 3}}

    assert set(errors_of(destinations=DESTINATIONS * 5000, line=carousel, notify=1)) == {"notify"}


def test_messages_do_not_repeat_the_value() -> None:
    secret = "4179302672700000000"

    errors = errors_of(
        destinations=[{"to": {"phoneNumber": secret, "emailAddress": [secret]}}],
        sms={"text": {"t": secret}, "validityPeriod": secret, "transliteration": secret},
        sendAt=secret,
        notify=secret,
    )

    assert len(errors) == 7
    assert secret not in str(errors)


@pytest.mark.parametrize(
    ("definition", "document", "path"),
    [
        ("ReportsQuery", {"limit": "0"}, "limit"),
        ("ReportsQuery", {"limit": "1001"}, "limit"),
        ("ReportsQuery", {"limit": ["1", "2"]}, "limit"),
        ("ReportsQuery", {"to": "1"}, "to"),
        ("LogsQuery", {"sentSince": "2026-01-01"}, "sentSince"),
        ("ScenariosQuery", {"page": "-1"}, "page"),
        ("Options", {"answers": 1.5}, "answers"),
        ("Clock", {"speed": -1}, "speed"),
        ("Fault", {"kind": "latency"}, "seconds"),
        ("Fault", {"kind": "status", "status": 200}, "status"),
        ("Fault", {"kind": "refuse", "path": "logs"}, "path"),
        ("Scenario", {"flow": [{"channel": "PIGEON"}]}, "flow[0].channel"),
    ],
)
def test_queries_and_control_calls_are_validated_too(
    definition: Definition, document: dict[str, object], path: str
) -> None:
    assert set(errors_in(document, definition)) == {path}


@pytest.mark.parametrize(
    ("definition", "document"),
    [
        ("ReportsQuery", {"limit": "1000", "messageId": ["a", "b"], "channel": "SMS"}),
        ("LogsQuery", {"sentSince": "2026-01-01T00:00:00Z", "to": "1", "limit": "007"}),
        ("Options", {"answers": 2, "logsLag": 0.5}),
        ("Fault", {"kind": "refuse", "path": "send", "statusId": 14}),
    ],
)
def test_valid_queries_and_control_calls_have_no_errors(definition: Definition, document: dict[str, object]) -> None:
    assert errors_in(document, definition) == {}
