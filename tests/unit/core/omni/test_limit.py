"""What a request takes at its top level, and what it does not; the channels have tables of their own."""

from datetime import timedelta
from typing import Final

import pytest

from service.core.request.body import shape_faults
from tests.support.builder import EMAIL, NOW, PHONE, a_body, a_delivery, a_destination, parsed

Fields = dict[str, object]

WEB: Final = "must be a web address, with http:// or https://"
PHONE_FORM: Final = "must be an international number of 5 to 15 digits"
NATIONAL: Final = (
    "must be an international number, which begins with a country code and never with 0: 41793026727, not 0793026727"
)
TRUNK: Final = (
    "must not have a trunk zero after the country code, since it is dialled within the country only: "
    "442079460958, not 4402079460958"
)
EMAIL_FORM: Final = "must be an e-mail address, such as name@example.com"
USER_FORM: Final = "must be a country code, a dot, letters and digits, such as US.13491208655302741918"
INSTANT: Final = "must be a time with a zone, such as 2026-11-22T10:52:15Z"
ID: Final = "must have 1 to 200 characters and at most 255 bytes"
NOWHERE: Final = "needs at least one address: phoneNumber, emailAddress, pushRegistrationId, whatsAppUserId"
KIB: Final = "must hold at most 4 KiB of keys and values"
TOO_FAR: Final = "must be less than 180 days ahead"
AN_HOUR: Final[Fields] = {"text": "x", "validityPeriod": 1, "validityPeriodTimeUnit": "HOURS"}
EMPTY: Final = "should have at least 1 character"


def ahead(**time: int) -> str:
    return (NOW + timedelta(**time)).isoformat()


def to(**addresses: object) -> Fields:
    return {"destinations": [{"to": addresses}]}


VALID: Final[list[Fields]] = [
    to(phoneNumber="+41 79 302-67.27"),
    to(emailAddress=EMAIL),
    to(pushRegistrationId="x" * 500),
    to(whatsAppUserId="US.13491208655302741918"),
    to(phoneNumber=PHONE, emailAddress=EMAIL, pushRegistrationId="x", whatsAppUserId="CH.x"),
    {"destinations": [a_destination(message_id="x" * 200)]},
    {"requestId": "x" * 200},
    {"bulkId": "x" * 100},
    {"scenarioKey": "x"},
    {"notify": False},
    {"intermediateReport": True},
    {"notifyUrl": "https://example.com/" + "x" * 2028},
    {"notifyContentType": "application/xml"},
    {"callbackData": ""},
    {"callbackData": "x" * 4000},
    {"onUnknown": "park"},
    {"metadata": {"k": "x" * 4095}},
    {"sendAt": ahead(days=-1)},
    {"sendAt": ahead(days=179, hours=23, minutes=59)},
    {"expiresAt": ahead(seconds=1)},
    {"sms": AN_HOUR, "expiresAt": ahead(hours=1)},
    {"sms": AN_HOUR, "email": AN_HOUR, "expiresAt": ahead(hours=2)},
    {"sms": AN_HOUR, "sendAt": ahead(hours=3), "expiresAt": ahead(hours=4)},
    {"sms": AN_HOUR, "sendAt": ahead(hours=-3), "expiresAt": ahead(hours=1)},
    {"sms": AN_HOUR, "expiresAt": ahead(minutes=59)},
    {"sms": AN_HOUR, "email": AN_HOUR, "expiresAt": ahead(minutes=1)},
    {"sms": AN_HOUR, "sendAt": ahead(hours=3), "expiresAt": ahead(hours=2)},
    {"expiresAt": "2016-12-31T23:59:60.1234567890Z"},
    {"destinations": ..., "phoneNumber": PHONE, "messageId": "m"},
    {"destinations": ..., "emailAddress": EMAIL},
    {"sms": ..., "text": "x" * 1000, "mailSubject": "x" * 1000},
    {"sms": ..., "destinations": ..., "phoneNumber": PHONE, "text": "x"},
]


@pytest.mark.parametrize("changes", VALID)
def test_a_request_may_say(changes: Fields) -> None:
    reading = parsed(a_body(changes))

    assert reading.request is not None
    assert reading.rejections == ()


INVALID: Final[list[tuple[Fields, str, str]]] = [
    # Addresses
    (to(), "destinations[0].to", NOWHERE),
    (to(phoneNumber="1234"), "destinations[0].to.phoneNumber", PHONE_FORM),
    (to(phoneNumber="1" * 16), "destinations[0].to.phoneNumber", PHONE_FORM),
    (to(phoneNumber="000041793026727"), "destinations[0].to.phoneNumber", NATIONAL),
    (to(phoneNumber="+44 020 7946 0958"), "destinations[0].to.phoneNumber", TRUNK),
    (to(phoneNumber=41793026727), "destinations[0].to.phoneNumber", "should be a valid string"),
    (to(emailAddress="nobody"), "destinations[0].to.emailAddress", EMAIL_FORM),
    (to(pushRegistrationId=""), "destinations[0].to.pushRegistrationId", EMPTY),
    (
        to(pushRegistrationId="x" * 501),
        "destinations[0].to.pushRegistrationId",
        "should have at most 500 characters",
    ),
    (to(whatsAppUserId="13491208655302741918"), "destinations[0].to.whatsAppUserId", USER_FORM),
    (to(faxNumber=PHONE), "destinations[0].to.faxNumber", "is not a field of a send request"),
    ({"destinations": [{}]}, "destinations[0].to", "is required"),
    (
        {"destinations": [a_destination(message_id="x" * 201)]},
        "destinations[0].messageId",
        "should have at most 200 characters",
    ),
    # Names
    ({"requestId": ""}, "requestId", ID),
    ({"requestId": "x" * 201}, "requestId", ID),
    ({"requestId": "☎" * 86}, "requestId", ID),
    ({"bulkId": ""}, "bulkId", EMPTY),
    ({"bulkId": "x" * 101}, "bulkId", "should have at most 100 characters"),
    ({"scenarioKey": ""}, "scenarioKey", EMPTY),
    # OMNI's own reports
    ({"notify": "yes"}, "notify", "should be a valid boolean"),
    ({"intermediateReport": 1}, "intermediateReport", "should be a valid boolean"),
    ({"notifyUrl": "example.com"}, "notifyUrl", WEB),
    ({"notifyUrl": "https://example.com/" + "x" * 2029}, "notifyUrl", "should have at most 2048 characters"),
    ({"notifyContentType": "text/plain"}, "notifyContentType", "should be 'application/json' or 'application/xml'"),
    ({"callbackData": "x" * 4001}, "callbackData", "should have at most 4000 characters"),
    # Limits of the relay
    ({"onUnknown": "drop"}, "onUnknown", "should be 'resend' or 'park'"),
    ({"metadata": {"k": 1}}, "metadata.k", "should be a valid string"),
    ({"metadata": {"k": "x" * 4096}}, "metadata", KIB),
    # Times
    ({"sendAt": "tomorrow"}, "sendAt", INSTANT),
    ({"sendAt": "2026-11-22T10:52:15"}, "sendAt", INSTANT),
    ({"sendAt": ahead(days=180)}, "sendAt", TOO_FAR),
    ({"expiresAt": "2026-11-22"}, "expiresAt", INSTANT),
    ({"expiresAt": "2026-11-22T10:52:15+01:60"}, "expiresAt", INSTANT),
    # Shapes
    ({"phoneNumber": PHONE}, "phoneNumber", "cannot stand beside destinations"),
    ({"messageId": "m"}, "messageId", "cannot stand beside destinations"),
    ({"text": "x"}, "text", "cannot stand beside sms"),
    ({"mailSubject": "x"}, "mailSubject", "cannot stand beside sms"),
    (
        {"sms": ..., "text": "x" * 1001},
        "text",
        "must suit every channel, but for viber: should have at most 1000 characters",
    ),
    ({"sms": ..., "text": "?!"}, "text", "must suit every channel, but for voice: must hold more than punctuation"),
    ({"sms": ..., "text": "x", "mailSubject": ""}, "mailSubject", EMPTY),
    ({"sms": ...}, "$", shape_faults({"destinations"})[0].message),
    # Fields that OMNI does not have
    ({"unheardOf": 1}, "unheardOf", "is not a field of a send request"),
    ({"sender": "x"}, "sender", "is not an option of OMNI: the sender stands in the scenario's step"),
    ({"sms": {"text": "x", "flash": True}}, "sms.flash", "is not an option of OMNI: use the SMS API"),
    (
        {"email": {"text": "x", "attachments": []}},
        "email.attachments",
        "is not an option of OMNI: OMNI sends plain text; use the e-mail API",
    ),
    ({"voice": {"text": "x", "speechRate": 1}}, "voice.speechRate", "is not an option of OMNI: use the voice API"),
    ({"telegram": {}}, "telegram", "is not an option of OMNI: not a channel of OMNI"),
    ({"rcs": {}}, "rcs", "is not an option of OMNI: not a channel of OMNI; use the Messages API"),
    (
        {"scenarios": []},
        "scenarios",
        "is not an option of OMNI: a scenario is stored with the account, and named by scenarioKey",
    ),
]


@pytest.mark.parametrize(("changes", "path", "message"), INVALID)
def test_a_request_may_not_say(changes: Fields, path: str, message: str) -> None:
    (rejection,) = parsed(a_body(changes)).rejections

    assert [(fault.path, fault.message) for fault in rejection.faults] == [(path, message)]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_text_that_is_no_json_is_refused_even_if_any_json_is_accepted(number: str) -> None:
    body = b'{"phoneNumber": "41793026727", "push": {"customPayload": {"a": [%s]}}}' % number.encode()

    (rejection,) = parsed(a_delivery(body)).rejections

    assert [fault.path for fault in rejection.faults] == ["push.customPayload"]
