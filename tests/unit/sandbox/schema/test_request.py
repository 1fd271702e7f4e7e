from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.sandbox.schema.request import (
    DEFAULT_VALIDITY,
    Content,
    Notice,
    Refusal,
    SendRequest,
    parse_advanced,
    parse_simple,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DESTINATIONS = [{"to": {"phoneNumber": "41793026727"}, "messageId": "m-1"}]
SEED = {
    "bulkId": "b",
    "scenarioKey": "AD9E01A5DC7BEE2C2B828D208182A611",
    "destinations": [
        {"messageId": "m", "to": {"phoneNumber": "41793026727", "emailAddress": "email@example.com"}},
        {"to": {"phoneNumber": "41793026731"}},
    ],
    "sms": {"text": "s", "language": {"languageCode": "TR"}, "transliteration": "TURKISH", "validityPeriod": 1},
    "viber": {"text": "v"},
    "voice": {"text": "c", "language": "en"},
    "facebook": {"text": "f"},
    "email": {"text": "e", "subject": "u", "validityPeriod": 2, "validityPeriodTimeUnit": "HOURS"},
    "sendAt": "2016-04-26T10:52:15.000+01:00",
}


def errors_of(**fields: Any) -> set[str]:  # noqa: ANN401  # JSON
    """Return the paths of errors in a request that is valid but for these fields."""
    request = {"destinations": DESTINATIONS, "sms": {"text": "t"}} | fields
    parsed = parse_advanced({key: value for key, value in request.items() if value is not ...}, NOW)
    return set(parsed.errors) if isinstance(parsed, Refusal) else set()


def test_a_request_with_every_field_of_the_older_documentation_is_valid() -> None:
    parsed = parse_advanced(SEED, NOW)

    assert isinstance(parsed, SendRequest), parsed
    assert parsed.channels == ("sms", "viber", "voice", "facebook", "email")
    assert [destination.message_id for destination in parsed.destinations] == ["m", None]
    assert (parsed.bulk_id, parsed.send_at) == ("b", "2016-04-26T10:52:15.000+01:00")


def test_scenario_contents_and_notice_are_read_from_a_request() -> None:
    parsed = parse_advanced({**SEED, "notify": False, "callbackData": "c"}, NOW)

    assert isinstance(parsed, SendRequest), parsed
    assert (parsed.scenario_key, parsed.starts_at) == (
        "AD9E01A5DC7BEE2C2B828D208182A611",
        datetime(2016, 4, 26, 9, 52, 15, tzinfo=UTC),
    )
    assert parsed.contents["sms"] == Content("s", timedelta(minutes=1))
    assert parsed.contents["viber"] == Content("v", DEFAULT_VALIDITY)
    assert parsed.contents["email"] == Content("e", timedelta(hours=2))
    assert parsed.notice == Notice(wanted=False, callback_data="c")


@pytest.mark.parametrize(
    ("destinations", "path"),
    [
        (..., "destinations"),
        ([], "destinations"),
        ({}, "destinations"),
        (["41793026727"], "destinations[0]"),
        ([{}], "destinations[0].to"),
        ([{"to": {}}], "destinations[0].to"),
        ([{"to": None}], "destinations[0].to"),
        ([*DESTINATIONS, {"to": {"phoneNumber": 41793026727}}], "destinations[1].to.phoneNumber"),
        ([{"to": {"phoneNumber": ""}}], "destinations[0].to.phoneNumber"),
        ([{"to": {"phoneNumber": "+41793026727"}}], "destinations[0].to.phoneNumber"),
        ([{"to": {"phoneNumber": "0041793026727"}}], "destinations[0].to.phoneNumber"),
        ([{"to": {"phoneNumber": "1" * 18}}], "destinations[0].to.phoneNumber"),
        ([{"to": {"whatsAppUserId": "x" * 151}}], "destinations[0].to.whatsAppUserId"),
        ([{"to": {"phoneNumber": "41 79 302 67 27"}}], "destinations[0].to.phoneNumber"),
        ([{"to": {"phoneNumber": "4179302672\n"}}], "destinations[0].to.phoneNumber"),
        ([{"to": {"phoneNumber": "٤١٧٩٣٠٢٦٧٢٧"}}], "destinations[0].to.phoneNumber"),
        ([{"to": {"emailAddress": ""}}], "destinations[0].to.emailAddress"),
        ([{"to": {"phone": "1"}}], "destinations[0].to.phone"),
        ([{"to": {"phoneNumber": "1"}, "messageId": ""}], "destinations[0].messageId"),
        ([{"to": {"phoneNumber": "1"}, "text": "t"}], "destinations[0].text"),
    ],
)
def test_an_invalid_destination_is_reported_at_its_path(destinations: object, path: str) -> None:
    assert errors_of(destinations=destinations) == {path}


@pytest.mark.parametrize("address", ["emailAddress", "pushRegistrationId", "whatsAppUserId", "lineUserKey"])
def test_one_address_of_any_kind_is_enough(address: str) -> None:
    assert errors_of(destinations=[{"to": {address: "x"}}]) == set()


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"sms": ...}, {"request"}),
        ({"sms": {}}, {"sms.text"}),
        ({"sms": {"text": ""}}, {"sms.text"}),
        ({"sms": {"text": None}}, {"sms.text"}),
        ({"sms": {"text": "t", "from": "me"}}, {"sms.from"}),
        ({"sms": {"text": "t", "transliteration": "KLINGON"}}, {"sms.transliteration"}),
        ({"sms": {"text": "t", "language": {"languageCode": "DE"}}}, {"sms.language.languageCode"}),
        ({"sms": {"text": "t", "language": "TR"}}, {"sms.language"}),
        ({"viber": {"buttonText": "b"}}, {"viber.text"}),
        ({"viber": {"imageURL": "https://example.com/i.png"}}, set()),
        ({"viber": {"text": "t", "imageUrl": "https://example.com/i.png"}}, {"viber.imageUrl"}),
        ({"viber": {"text": "t", "isPromotional": "no"}}, {"viber.isPromotional"}),
        ({"facebook": {"type": "IMAGE", "url": "https://example.com/i.png"}}, set()),
        ({"email": {"subject": "s"}}, {"email.text"}),
        ({"bulkId": 1}, {"bulkId"}),
        ({"notify": "false"}, {"notify"}),
        ({"notifyContentType": "text/plain"}, {"notifyContentType"}),
        ({"notifyUrl": "ftp://example.com"}, {"notifyUrl"}),
        ({"callbackData": "x" * 4000}, set()),
        ({"callbackData": "x" * 4001}, {"callbackData"}),
        ({"callbackData": 1}, {"callbackData"}),
        ({"requestId": "r"}, {"requestId"}),
        ({"text": "t"}, {"text"}),
    ],
)
def test_every_invalid_field_is_reported_at_its_path(fields: dict[str, Any], paths: set[str]) -> None:
    assert errors_of(**fields) == paths


@pytest.mark.parametrize(
    ("channel", "period", "unit", "fits"),
    [
        ("sms", 29, "SECONDS", False),
        ("sms", 30, "SECONDS", True),
        ("sms", 29_999, "MILLISECONDS", False),
        ("sms", 48, "HOURS", True),
        ("sms", 2881, "MINUTES", False),
        ("voice", 2, "DAYS", True),
        ("voice", 3, "DAYS", False),
        ("viber", 34, "SECONDS", False),
        ("viber", 35, "SECONDS", True),
        ("viber", 14, "DAYS", True),
        ("viber", 15, "DAYS", False),
        ("sms", 1, None, True),
        ("sms", 0, None, False),
        ("sms", -5, None, False),
        ("sms", "5", None, False),
        ("sms", 5.0, None, True),  # a whole number to JSON Schema, as OMNI describes the field
        ("sms", 5.5, None, False),
        ("sms", True, None, False),
        ("sms", 10**400, None, False),
    ],
)
def test_a_validity_period_is_30_seconds_to_48_hours_or_with_viber_35_seconds_to_14_days(
    channel: str, period: object, unit: str | None, *, fits: bool
) -> None:
    content = {"text": "t", "validityPeriod": period} | ({"validityPeriodTimeUnit": unit} if unit else {})

    assert errors_of(**{channel: content}) == (set() if fits else {f"{channel}.validityPeriod"})


def test_an_unknown_unit_is_reported_once() -> None:
    content = {"text": "t", "validityPeriod": 1, "validityPeriodTimeUnit": "WEEKS"}

    assert errors_of(sms=content) == {"sms.validityPeriodTimeUnit"}


@pytest.mark.parametrize(
    ("moment", "fits"),
    [
        ("2026-01-31T08:00:00.000+0000", True),
        ("2026-01-31T08:00:00.000+01:00", True),
        ("2026-01-31T08:00:00Z", True),
        ("2026-01-31T08:00:00.123456789Z", True),
        ("0001-01-01T00:00:00+14:00", True),
        ("9999-12-31T23:59:59-14:00", False),
        ("2026-01-31T08:00:00", False),
        ("2026-01-31T08:00", False),
        ("2026-02-30T08:00:00Z", False),
        ("2026-01-31T08:00:00+99:99", False),
        ("2026-W01-1T08:00:00Z", False),
        ("tomorrow", False),
        (1767225600, False),
        ((NOW + timedelta(days=179, hours=23)).isoformat(), True),
        ((NOW + timedelta(days=180)).isoformat(), False),
    ],
)
def test_send_at_is_a_time_with_a_zone_less_than_180_days_ahead(moment: object, *, fits: bool) -> None:
    assert errors_of(sendAt=moment) == (set() if fits else {"sendAt"})


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"text": "t"}, set()),
        ({"text": "t", "mailSubject": "s", "bulkId": "b", "scenarioKey": "k"}, set()),
        ({}, {"text"}),
        ({"text": ""}, {"text"}),
        ({"text": "t", "sms": {"text": "t"}}, {"sms"}),
        ({"text": "t", "sendAt": "2026-01-31T08:00:00Z"}, {"sendAt"}),
    ],
)
def test_a_simple_request_has_a_text_and_no_channels(fields: dict[str, Any], paths: set[str]) -> None:
    parsed = parse_simple({"destinations": DESTINATIONS, **fields}, NOW)

    assert (set(parsed.errors) if isinstance(parsed, Refusal) else set()) == paths
