import json
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.delivery import Delivery
from service.core.headers import read_history, write_history
from service.core.identity import digest, message_id
from service.core.omni.channel.email import Email
from service.core.omni.channel.facebook import Facebook
from service.core.omni.channel.sms import Sms
from service.core.omni.channel.viber import Viber
from service.core.omni.channel.voice import Voice
from service.core.omni.content import Content
from service.core.omni.status import Disposition
from service.core.omni.xml_writing import write_xml
from service.core.request.body import (
    MAX_BODY,
    MAX_DESTINATIONS,
    MAX_METADATA,
    MAX_SHARED_VALUES,
    MAX_VALUES,
    RequestBody,
)
from service.core.request.faults import MAX_FAULTS, MAX_TEXT
from service.core.request.identification import is_identified
from service.core.request.parsing import LARGE, SMALL, is_small, parse
from service.core.request.request import Fault, Parsed, SendRequest
from service.core.result.decision import report_attempt
from service.core.result.publication import publish_report, render_request
from tests.support.builder import (
    EMAIL,
    MADE_UP,
    NOW,
    OTHER_PHONE,
    PHONE,
    a_body,
    a_delivery,
    a_destination,
    a_history,
    a_message_outcome,
    an_attempt,
    parsed,
)
from tests.unit.strategy import any_deliveries, at_any_place, bodies, broken_bodies, law, spoken_bodies


def faults_of(reading: Parsed) -> list[tuple[str, str]]:
    """List every fault: of the body, or of each message in turn."""
    each = [reading.faults, *(rejection.faults for rejection in reading.rejections)]
    return [(fault.path, fault.message) for faults in each for fault in faults]


def paths_of(reading: Parsed) -> list[str]:
    return [path for path, _ in faults_of(reading)]


# Three shapes of the same thing


def test_the_advanced_shape_is_taken_field_for_field() -> None:
    body = a_body(
        bulkId="bulk-1",
        scenarioKey="scenario-1",
        destinations=[{"messageId": "m-1", "to": {"phoneNumber": PHONE, "emailAddress": EMAIL}}],
        sms={"text": "Hello", "language": {"languageCode": "TR"}, "transliteration": "TURKISH"},
        viber={"text": "Hi", "validityPeriod": 1},
        sendAt="2016-04-26T10:52:15.000+01:00",
        expiresAt="2026-11-22T13:00:00Z",
        onUnknown="park",
        metadata={"tenant": "acme"},
    )

    request = parsed(body).request

    assert request is not None
    assert request.request_id == "order-1"
    assert request.content.bulk_id == "bulk-1"
    assert request.content.scenario_key == "scenario-1"
    assert request.content.sms == Sms.model_validate(body["sms"])
    assert request.content.viber == Viber(text="Hi", validity_period=1)
    assert request.content.send_at == datetime(2016, 4, 26, 9, 52, 15, tzinfo=UTC)
    assert [(message.message_id, message.to) for message in request.messages] == [
        ("m-1", {"phoneNumber": PHONE, "emailAddress": EMAIL})
    ]
    assert request.expires_at == datetime(2026, 11, 22, 13, tzinfo=UTC)
    assert request.on_unknown == "park"
    assert request.metadata == {"tenant": "acme"}


def test_the_simple_shape_sends_one_text_on_every_channel_and_its_subject_by_email() -> None:
    request = parsed(a_body(sms=..., text="Hello", mailSubject="A greeting")).request

    assert request is not None
    assert request.content == Content(
        sms=Sms(text="Hello"),
        viber=Viber(text="Hello"),
        voice=Voice(text="Hello"),
        facebook=Facebook(text="Hello"),
        email=Email(text="Hello", subject="A greeting"),
    )


@pytest.mark.parametrize("content", [{}, {"sms": ..., "text": "Hello"}])
def test_the_flat_shape_names_one_recipient_with_either_content(content: dict[str, object]) -> None:
    to = {"phoneNumber": PHONE, "emailAddress": EMAIL}
    long = a_body(content, destinations=[{"messageId": "m-1", "to": to}])
    flat = a_body(content, destinations=..., messageId="m-1", **to)

    assert parsed(flat).request is not None
    assert parsed(flat) == parsed(long)


@pytest.mark.parametrize("address", [{"phoneNumber": PHONE}, {"emailAddress": EMAIL}])
def test_one_address_is_enough(address: dict[str, str]) -> None:
    request = parsed(a_body(address, destinations=...)).request

    assert request is not None
    assert request.messages[0].to == address


@pytest.mark.parametrize("field", ["bulkId", "sendAt", "expiresAt", "metadata", "text", "phoneNumber", "voice"])
def test_null_is_the_same_as_absent(field: str) -> None:
    assert parsed(a_body({field: None})) == parsed(a_body())


@pytest.mark.parametrize(
    ("content_type", "taken"),
    [
        (None, True),
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        (" application/json ", True),
        ("text/plain", False),
        ("application/xml", False),
        ("application/jsonl", False),
        ("application/octet-stream", False),
    ],
)
def test_a_body_is_json_unless_its_content_type_says_otherwise(content_type: str | None, *, taken: bool) -> None:
    reading = parsed(replace(a_delivery(), content_type=content_type))

    assert (reading.request is not None) is taken


# Faults, each with its path


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"unheardOf": 1}, "unheardOf"),
        ({"sms": {"text": "x", "flash": True}}, "sms.flash"),
        ({"sms": {}}, "sms.text"),
        ({"sms": {"text": 5}}, "sms.text"),
        ({"sms": {"text": "x", "validityPeriod": 3, "validityPeriodTimeUnit": "WEEKS"}}, "sms.validityPeriodTimeUnit"),
        ({"sms": {"text": "x", "validityPeriod": 49, "validityPeriodTimeUnit": "HOURS"}}, "sms"),
        ({"sms": {"text": "x", "language": {"languageCode": "DE"}}}, "sms.language.languageCode"),
        ({"requestId": ""}, "requestId"),
        ({"requestId": 5}, "requestId"),
        ({"bulkId": "x" * 101}, "bulkId"),
        ({"sendAt": "2016-04-26T10:52:15"}, "sendAt"),
        ({"expiresAt": "soon"}, "expiresAt"),
        ({"expiresAt": 1461660735}, "expiresAt"),
        ({"onUnknown": "drop"}, "onUnknown"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"metadata": {"k": "x" * 4096}}, "metadata"),
        ({"text": "x"}, "text"),
        ({"mailSubject": "x"}, "mailSubject"),
        ({"phoneNumber": PHONE}, "phoneNumber"),
        ({"emailAddress": EMAIL}, "emailAddress"),
        ({"messageId": "m"}, "messageId"),
        ({"sms": ...}, "$"),
        ({"sms": ..., "mailSubject": "x"}, "$"),
        ({"sendAt": (NOW + timedelta(days=180)).isoformat()}, "sendAt"),
        ({"from": "x"}, "from"),
    ],
)
def test_a_fault_that_all_messages_share_rejects_each_of_them(changes: dict[str, object], path: str) -> None:
    people = [a_destination(PHONE, "m-1"), a_destination(OTHER_PHONE, "m-2")]

    reading = parsed(a_body(changes, destinations=people))

    assert reading.request is None
    assert reading.faults == ()
    assert [(rejection.message_id, rejection.to) for rejection in reading.rejections] == [
        ("m-1", {"phoneNumber": PHONE}),
        ("m-2", {"phoneNumber": OTHER_PHONE}),
    ]
    assert paths_of(reading) == [path, path]


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"to": {"phoneNumber": "call me"}}, "destinations[1].to.phoneNumber"),
        ({"to": {"emailAddress": "nobody"}}, "destinations[1].to.emailAddress"),
        ({"to": {"phoneNumber": PHONE, "faxNumber": "1"}}, "destinations[1].to.faxNumber"),
        ({"to": {}}, "destinations[1].to"),
        ({"to": None}, "destinations[1].to"),
        ({"messageId": "m"}, "destinations[1].to"),
        ({"to": {"phoneNumber": PHONE}, "messageId": ""}, "destinations[1].messageId"),
        ({"to": {"phoneNumber": PHONE}, "from": "x"}, "destinations[1].from"),
        ("41793026727", "destinations[1]"),
        (None, "destinations[1]"),
        ([], "destinations[1]"),
    ],
)
def test_a_wrong_destination_is_rejected_alone(wrong: object, path: str) -> None:
    reading = parsed(a_body(destinations=[a_destination(), wrong, a_destination(OTHER_PHONE)]))

    assert reading.request is not None
    assert [message.to["phoneNumber"] for message in reading.request.messages] == [PHONE, OTHER_PHONE]
    assert paths_of(reading) == [path]


def test_faults_of_destinations_are_reported_after_shared_ones() -> None:
    reading = parsed(a_body(destinations=[a_destination(), a_destination("call me")], unheardOf=1))

    assert reading.request is None
    assert [[fault.path for fault in rejection.faults] for rejection in reading.rejections] == [
        ["unheardOf"],
        ["unheardOf", "destinations[1].to.phoneNumber"],
    ]


def test_an_invalid_schedule_is_reported_beside_a_wrong_destination() -> None:
    people = [a_destination("call me"), a_destination()]

    reading = parsed(a_body(destinations=people, sendAt=(NOW + timedelta(days=180)).isoformat()))

    assert [[fault.path for fault in rejection.faults] for rejection in reading.rejections] == [
        ["sendAt", "destinations[0].to.phoneNumber"],
        ["sendAt"],
    ]


def test_a_simple_text_must_suit_every_channel() -> None:
    for text in ("?!", "x" * 1401, "☎" * 2001, ""):
        assert paths_of(parsed(a_body(sms=..., text=text))) == ["text"]


def test_a_rejection_has_the_readable_addresses() -> None:
    to = {"phoneNumber": "call me", "emailAddress": "x" * 300, "faxNumber": "1"}

    reading = parsed(a_body(destinations=[{"to": to}, {"to": {"phoneNumber": 5}}, "nobody", a_destination()]))

    assert [rejection.to for rejection in reading.rejections] == [
        {"phoneNumber": "call me", "emailAddress": "x" * 254},
        {},
        {},
    ]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"", "$"),
        (b"not json", "$"),
        (b"\xff\xfe", "$"),
        (b'{"requestId": "order-1"', "$"),
        (b'{"text": "\\ud800"}', "$"),
        (b"[" * 5000, "$"),
        ([], "$"),
        ([a_body()], "$"),
        ("text", "$"),
        (5, "$"),
        (a_body(destinations=...), "destinations"),
        (a_body(destinations=None), "destinations"),
        (a_body(destinations=[]), "destinations"),
        (a_body(destinations={}), "destinations"),
        (a_body(destinations="41793026727"), "destinations"),
        (a_body(destinations=[a_destination()] * (MAX_DESTINATIONS + 1)), "destinations"),
        (a_body(destinations=..., messageId="m"), "destinations"),
    ],
)
def test_a_body_that_names_no_readable_message_is_refused_as_a_whole(body: object, path: str) -> None:
    reading = parsed(body)

    assert reading.request is None
    assert reading.rejections == ()
    assert path in paths_of(reading)


def test_the_faults_of_one_message_are_bounded() -> None:
    """A hostile body cannot make its event grow."""
    reading = parsed(a_body({f"x{number}": 1 for number in range(MAX_FAULTS + 5)}))

    (rejection,) = reading.rejections
    assert len(rejection.faults) == MAX_FAULTS + 1
    assert [fault.path for fault in rejection.faults] == [*(f"x{number}" for number in range(MAX_FAULTS)), "$"]


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"destinations": [' + b"1," * MAX_VALUES + b"1, 2]}", "application/json"),
        (b"<request><x>" + b"<x/>" * MAX_VALUES + b"</x></request>", "application/xml"),
        (b"<request><x>" + b"<x></x>" * MAX_VALUES + b"</x></request>", "text/xml"),
        (("<request><x>" + "<x/>" * MAX_VALUES).encode("utf-16"), "text/xml"),
    ],
)
def test_a_body_with_too_many_values_is_refused_unparsed(body: bytes, kind: str) -> None:
    """To report millions of faults would hold up all others for a minute, and take more memory than a worker has."""
    reading = parsed(replace(a_delivery(body), content_type=kind))

    assert faults_of(reading) == [("$", "must have at most 80,000 values")]


@pytest.mark.no_cover
def test_the_most_destinations_with_every_address_fit_and_a_longer_body_does_not() -> None:
    person = {
        "to": {
            "phoneNumber": "9" * 15,
            "emailAddress": f"{'x' * 50}@example.com",
            "pushRegistrationId": "x" * 64,
            "whatsAppUserId": "US.13491208655302741918",
        },
        "messageId": "0b3f2f0e-6c1c-5f0e-9f57-3f6c1d2b7a55",
    }
    longest = json.dumps(a_body(destinations=[person])).encode().ljust(MAX_BODY)

    most = a_body(destinations=[{**person, "messageId": f"{number:036}"} for number in range(MAX_DESTINATIONS)])
    assert parsed(most).request
    assert parsed(replace(a_delivery(write_xml("request", most)), content_type="application/xml")).request
    assert parsed(longest).request
    assert faults_of(parsed(longest + b" ")) == [("$", "must have at most 4 MiB")]
    returning = replace(a_delivery(longest + b" "), headers=write_history(a_history()))
    assert parsed(returning).request  # its normal form may be longer than it was
    returning = replace(returning, body=longest.ljust(2 * MAX_BODY))
    assert faults_of(parsed(returning)) == [("$", "must have at most 4 MiB")]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"destinations": [{"to": {"phone_number": PHONE}}]}, "destinations[0].to.phone_number"),
        ({"phone_number": OTHER_PHONE}, "phone_number"),
        ({"scenario_key": "x"}, "scenario_key"),
        ({"sms": {"text": "x", "validity_period": 1}}, "sms.validity_period"),
        ({"metadata": {"TENANT": 1}}, "metadata.TENANT"),
        ({"SMS": {"text": "x"}}, "SMS"),
    ],
)
def test_a_name_counts_as_it_is_written(changes: dict[str, object], path: str) -> None:
    assert path in paths_of(parsed(a_body(changes)))


@pytest.mark.parametrize(
    "contents",
    [
        {"type": "sesame"},
        {"type": "BUBBLE", "body": {"layout": "sesame"}},
        {"type": "BUBBLE", "body": {"layout": "VERTICAL", "contents": [{"type": "sesame"}]}},
    ],
)
def test_a_type_that_chooses_nothing_is_not_repeated(contents: dict[str, object]) -> None:
    faults = faults_of(parsed(a_body(sms=..., line={"type": "FLEX", "altText": "x", "contents": contents})))

    assert len(faults) == 1
    assert "sesame" not in str(faults)


@pytest.mark.parametrize("written", ["1461660735", "2016-04-26 10:52:15Z", "2016-04-26_10:52:15Z", "2016-04-26"])
def test_a_time_is_written_as_rfc_3339_has_it(written: str) -> None:
    reported = ("expiresAt", "must be a time with a zone, such as 2026-11-22T10:52:15Z")

    assert faults_of(parsed(a_body(expiresAt=written))) == [reported]


def test_a_fault_does_not_speak_of_the_code_beneath() -> None:
    for _, message in faults_of(parsed(a_body(sms={"text": "x", "validityPeriod": "9" * 5000}))):
        assert "Value error" not in message


def test_a_rejected_message_has_its_number_as_it_would_have_been_posted() -> None:
    (rejection,) = parsed(a_body(destinations=[a_destination("+41 79 302 67 31")], unheardOf=1)).rejections

    assert rejection.to == {"phoneNumber": OTHER_PHONE}


def test_an_empty_object_is_refused_for_its_missing_fields() -> None:
    assert paths_of(parsed({})) == ["destinations", "$"]


def test_metadata_is_echoed_even_of_a_request_that_is_wrong_elsewhere() -> None:
    assert parsed(a_body(metadata={"tenant": "acme"}, unheardOf=1)).metadata == {"tenant": "acme"}
    assert parsed(a_body(metadata={"tenant": "acme"}, destinations=[])).metadata == {"tenant": "acme"}
    assert parsed(a_body(metadata={"tenant": 1})).metadata == {}
    assert parsed(a_body(metadata="acme", destinations=[])).metadata == {}


# Identity


@pytest.mark.parametrize(
    ("body_id", "amqp_id", "chosen", "identified"),
    [
        ("order-1", "amqp-1", "order-1", True),
        ("order-1", None, "order-1", True),
        (..., "amqp-1", "amqp-1", True),
        (..., None, MADE_UP, False),
        (..., "", MADE_UP, False),
        (..., "x" * 201, MADE_UP, False),
        ("", "amqp-1", "amqp-1", True),
        (5, None, MADE_UP, False),
    ],
)
def test_a_request_is_named_by_its_id_else_by_the_messages_else_by_one_made_up(
    body_id: object, amqp_id: str | None, chosen: str, *, identified: bool
) -> None:
    reading = parsed(replace(a_delivery(a_body(requestId=body_id)), message_id=amqp_id))

    assert (reading.request_id, reading.identified) == (chosen, identified)
    assert reading.request is None or reading.request.request_id == chosen


def test_an_unreadable_request_keeps_its_id() -> None:
    assert parsed(replace(a_delivery(b"not json"), message_id="amqp-1")).request_id == "amqp-1"
    assert parsed(a_body(requestId="order-1", destinations=[])).request_id == "order-1"


HELLO: Final = digest(b'{"sms":{"text":"Hello"}}')


def derived(position: int, phone: str = PHONE, used: Container[str] = ()) -> str:
    """Give the name that the relay makes for a message of `a_body`."""
    return message_id("order-1", f"{HELLO} {phone} None None None", position, used)


def rejected(position: int, **to: str) -> str:
    """Give the name that the relay makes for a message of `a_body` that it rejects."""
    return message_id("order-1", f"{HELLO} {json.dumps(to, separators=(',', ':'))}", position)


def test_a_message_without_a_name_is_named_for_the_request_its_content_and_its_position() -> None:
    request = parsed(a_body(destinations=[a_destination(), a_destination(message_id="m-2"), a_destination()])).request

    assert request is not None
    assert [message.message_id for message in request.messages] == [derived(0), "m-2", derived(2)]


@pytest.mark.parametrize(
    "changes",
    [
        {"sms": {"text": "Goodbye"}},
        {"scenarioKey": "another"},
        {"callbackData": "x"},
        {"destinations": [a_destination(OTHER_PHONE)]},
        {"destinations": [{"to": {"phoneNumber": PHONE, "emailAddress": EMAIL}}]},
        {"destinations": [{"to": {"phoneNumber": PHONE, "pushRegistrationId": "x"}}]},
    ],
)
def test_a_request_id_that_is_used_again_for_another_message_gives_it_another_name(changes: dict[str, object]) -> None:
    """A producer's counter may start anew."""
    first, again = parsed(a_body()).request, parsed(a_body(changes)).request

    assert first is not None
    assert again is not None
    assert first.request_id == again.request_id
    assert first.messages[0].message_id != again.messages[0].message_id


def test_a_rejected_message_has_another_name_too_where_the_request_is_another() -> None:
    (first,) = parsed(a_body(sms={"text": ""})).rejections
    (again,) = parsed(a_body(sms={"text": "", "language": {}})).rejections

    assert first.message_id != again.message_id


@pytest.mark.parametrize(
    "body",
    [
        {"sms": {"text": "Hello"}, "destinations": [a_destination()], "requestId": "order-1"},
        a_body(destinations=..., phoneNumber=f"+{PHONE}"),
        a_body(metadata={"try": "2"}, onUnknown="park", expiresAt="2030-01-01T00:00:00Z"),
    ],
)
def test_the_same_message_has_the_same_name_however_it_is_written(body: object) -> None:
    request = parsed(body).request

    assert request is not None
    assert request.messages[0].message_id == derived(0)


def test_a_retry_carries_the_names_that_were_made() -> None:
    request = parsed(a_body(destinations=[a_destination(), a_destination(OTHER_PHONE)])).request
    assert request is not None
    second = replace(request, messages=request.messages[1:])

    again = parsed(Delivery(render_request(second), headers={"omni-first-seen": 1})).request

    assert again is not None
    assert again.messages == second.messages


def test_the_content_rendered_for_the_digest_is_the_posted_one() -> None:
    request = parsed(a_body()).request

    assert request is not None
    assert request.written == request.content.to_json()


def test_a_wrong_neighbour_before_it_does_not_rename_a_message() -> None:
    whole = parsed(a_body(destinations=[a_destination(), a_destination(OTHER_PHONE)]))
    partly = parsed(a_body(destinations=[a_destination("call me"), a_destination(OTHER_PHONE)]))

    assert whole.request is not None
    assert partly.request is not None
    assert partly.request.messages == whole.request.messages[1:]


def test_a_name_used_twice_rejects_the_later_message_under_another_name() -> None:
    people = [a_destination(message_id="m"), a_destination(OTHER_PHONE, "m")]

    body = a_body(destinations=people)
    reading = parsed(body)

    assert reading.request is not None
    assert [message.message_id for message in reading.request.messages] == ["m"]
    assert faults_of(reading) == [("destinations[1].messageId", "is used by an earlier destination")]
    assert reading.rejections[0].message_id == rejected(1, phoneNumber=OTHER_PHONE)
    assert reading.rejections[0].to == {"phoneNumber": OTHER_PHONE}


def test_a_wrong_message_leaves_its_name_to_a_right_one() -> None:
    body = a_body(destinations=[a_destination("call me", "m"), a_destination(PHONE, "m")])
    reading = parsed(body)

    assert reading.request is not None
    assert [message.message_id for message in reading.request.messages] == ["m"]
    assert [rejection.message_id for rejection in reading.rejections] == [rejected(0, phoneNumber="call me")]


def test_a_name_copied_from_an_event_does_not_hide_the_message_it_was_made_for() -> None:
    copied = derived(1, OTHER_PHONE)

    reading = parsed(a_body(destinations=[a_destination(message_id=copied), a_destination(OTHER_PHONE)]))

    assert reading.request is not None
    assert [message.to["phoneNumber"] for message in reading.request.messages] == [PHONE, OTHER_PHONE]
    assert [message.message_id for message in reading.request.messages] == [
        copied,
        derived(1, OTHER_PHONE, {copied}),
    ]


# The deadline


@pytest.mark.parametrize(
    ("expires_in", "expiration", "published", "deadline_in"),
    [
        (None, None, 0, None),
        (60, None, 0, 60),
        (None, 90.0, 0, 90),
        (60, 90.0, 0, 60),
        (120, 90.0, 0, 90),
        (None, 90.0, -30, 60),
        (None, 90.0, -89, 1),
        (None, 90.0, None, 90),
        (None, 1e15, 0, 100 * 365 * 86400),
        # A slow clock: by the timestamp, the broker has delivered what had expired.
        (None, 90.0, -90, 90),
        (None, 90.0, -86400, 90),
        (60, 90.0, -86400, 60),
        (None, 0.5, -1, 0.5),
        # A fast clock.
        (None, 90.0, 1, 90),
        (None, 90.0, 86400, 90),
        # Delivered at once, or never.
        (None, 0.0, None, 1),
        (None, 0.0, 0, 1),
    ],
)
def test_the_earlier_of_expires_at_and_the_amqp_expiration_counts(
    expires_in: int | None, expiration: float | None, published: float | None, deadline_in: float | None
) -> None:
    """All in seconds from the first delivery."""
    expires_at = ... if expires_in is None else (NOW + timedelta(seconds=expires_in)).isoformat()
    timestamp = None if published is None else NOW + timedelta(seconds=published)
    delivery = replace(a_delivery(a_body(expiresAt=expires_at)), expiration=expiration, timestamp=timestamp)

    request = parsed(delivery).request

    assert request is not None
    assert request.expires_at == (None if deadline_in is None else NOW + timedelta(seconds=deadline_in))


def test_a_retry_carries_the_deadline_that_was_found_for_the_first_delivery() -> None:
    delivery = replace(a_delivery(), expiration=90.0, timestamp=NOW - timedelta(days=1))
    request = parsed(delivery).request
    assert request is not None

    headers = write_history(a_history(1))
    again = parsed(Delivery(render_request(request), headers=headers), a_history(1)).request

    assert again is not None
    assert again.expires_at == NOW + timedelta(seconds=90)


@law
@given(
    expiration=st.integers(0, 10**9),
    published=st.none() | st.timedeltas(-timedelta(days=10_000), timedelta(days=2_000_000)),
    seen=st.timedeltas(-timedelta(days=10_000), timedelta(days=2_900_000)),
)
def test_a_delivered_message_has_not_expired_and_its_life_is_bounded(
    expiration: int, published: timedelta | None, seen: timedelta
) -> None:
    """Whatever the producer's clock says, to the millisecond."""
    timestamp = None if published is None else NOW + published
    delivery = replace(a_delivery(), expiration=expiration / 1000, timestamp=timestamp)

    request = parsed(delivery, replace(a_history(), first_seen=NOW + seen)).request

    assert request is not None
    assert request.expires_at is not None
    life = (request.expires_at - NOW - seen).total_seconds()
    assert -0.001 < life <= (expiration or 1000) / 1000


def test_where_no_deadline_can_be_written_there_is_none() -> None:
    history = replace(a_history(), first_seen=datetime(9999, 12, 31, tzinfo=UTC))

    request = parsed(replace(a_delivery(), expiration=1e9), history).request

    assert request is not None
    assert request.expires_at is None


# Laws


def entries_of(delivery: Delivery) -> int | None:
    """Count what stands for a message, independently of the code; None where the body is no JSON object."""
    try:
        body = json.loads(delivery.body)
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    people = body.get("destinations")
    if isinstance(people, list):
        return len(people)
    flat = people is None and (body.get("phoneNumber") is not None or body.get("emailAddress") is not None)
    return int(flat)


@law
@given(delivery=any_deliveries)
def test_whatever_comes_every_message_of_it_appears_exactly_once_under_its_own_name(delivery: Delivery) -> None:
    reading = parsed(delivery)

    kept = reading.request.messages if reading.request else ()
    ids = [message.message_id for message in kept] + [rejection.message_id for rejection in reading.rejections]
    assert len(ids) == len(set(ids))
    assert all(ids)
    readable = (delivery.content_type or "application/json").lower().startswith("application/json")
    if readable and (count := entries_of(delivery)) is not None:
        assert len(ids) == count
        assert bool(reading.faults) is (count == 0)
    else:
        assert ids == []
    assert all(rejection.faults for rejection in reading.rejections)
    assert all(path for path in paths_of(reading))


@pytest.mark.parametrize("kind", [None, "text/xml"])
def test_a_body_that_was_not_kept_since_it_was_too_long_has_that_fault(kind: str | None) -> None:
    delivery = Delivery(b"", kind, "amqp-1", is_too_long=True)

    assert faults_of(parsed(delivery)) == [("$", "must have at most 4 MiB")]
    assert parsed(delivery).request_id == "amqp-1"


@law
@given(delivery=st.one_of(any_deliveries, st.builds(a_delivery, broken_bodies), st.builds(a_delivery, bodies)))
def test_a_body_gives_the_same_result_parsed_at_once_or_in_steps(delivery: Delivery) -> None:
    assert in_steps(delivery) == parsed(delivery)


@law
@given(delivery=st.one_of(any_deliveries, st.builds(a_delivery, broken_bodies), st.builds(a_delivery, bodies)))
def test_whether_a_request_is_named_is_known_without_reading_all_of_it(delivery: Delivery) -> None:
    assert is_identified(delivery) is bool(delivery.message_id or parsed(delivery).identified)


def test_a_request_is_named_by_its_message_also() -> None:
    assert is_identified(replace(a_delivery(b"not json"), message_id="amqp-1"))
    assert not is_identified(a_delivery(b"not json"))


def test_a_body_of_up_to_4_kib_is_small() -> None:
    assert is_small(Delivery(bytes(2**12)))
    assert not is_small(Delivery(bytes(2**12 + 1)))


def in_steps(delivery: Delivery) -> Parsed:
    """Read a delivery as if it were large."""
    steps = parse(delivery, a_history(), lambda: MADE_UP, large=0)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            parsed: Parsed = end.value
            return parsed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[1]",
        b"5",
        b'{"destinations": {}}',
        a_body(destinations=[]),
        a_body(destinations=..., phoneNumber=PHONE),
        a_body(destinations=..., phoneNumber="call me"),
        a_body(destinations=..., phoneNumber=PHONE, unheardOf=1),
        a_body(destinations=[a_destination()] * (MAX_DESTINATIONS + 1)),
        a_body(destinations=[a_destination(), None, {"to": {}}, a_destination("call me")]),
        a_body(destinations=[None, a_destination()], unheardOf=1),
        a_body(destinations=[a_destination("call me")], sms=...),
        a_body(destinations=[{f"x{number}": 1 for number in range(MAX_FAULTS + 5)}, a_destination()]),
        a_body(destinations=[{"to": {f"x{number}": 1 for number in range(MAX_FAULTS + 5)}}, a_destination()]),
        a_body(destinations=[a_destination(message_id="m"), a_destination(OTHER_PHONE, "m")]),
        b'{"phoneNumber": "41793026727", "push": {"customPayload": {"a": [NaN]}}}',
        b'{"destinations": [{"to": {"phoneNumber": NaN}}], "push": {"text": 1e999}}',
        a_body(sendAt=(NOW + timedelta(days=180)).isoformat()),
    ],
)
def test_the_same_is_read_in_steps(body: object) -> None:
    assert in_steps(a_delivery(body)) == parsed(body)


def test_the_shared_part_of_a_large_body_has_a_bounded_number_of_values() -> None:
    """Each may take a kilobyte where it is at fault."""
    payload = {"text": "x", "customPayload": {"a": [[1]] * (MAX_SHARED_VALUES // 2)}}
    body = a_body(push=payload, metadata={"k": 5}, destinations=[a_destination(), None])

    reading = in_steps(a_delivery(body))

    assert [[fault.path for fault in rejection.faults] for rejection in reading.rejections] == [
        ["$"],
        ["$", "destinations[1]"],
    ]
    assert reading.rejections[0].faults[0].message == "must have at most 5,000 values besides its destinations"
    assert (reading.request_id, reading.metadata) == ("order-1", {})


@pytest.mark.no_cover
def test_the_faults_of_all_destinations_are_bounded_and_each_has_one() -> None:
    wrong = {"to": {}, **{f"{number}{'x' * 50}": 1 for number in range(4)}}

    reading = in_steps(a_delivery(a_body(destinations=[wrong] * MAX_DESTINATIONS)))

    assert len(reading.rejections) == MAX_DESTINATIONS
    assert len(reading.rejections[0].faults) == 5
    assert [fault.path for fault in reading.rejections[-1].faults] == ["destinations[9999].to", "$"]
    assert reading.rejections[-1].faults[-1].message == "has 4 more faults"


LARGEST_METADATA = {"k": "x" * (MAX_METADATA - 1)}


@pytest.mark.parametrize(("destinations", "size"), [(2048, 4096), (2049, 4094), (3000, 2796)])
def test_the_events_of_a_request_repeat_8_mib_of_metadata_at_most(destinations: int, size: int) -> None:
    body = a_body(destinations=[a_destination()] * destinations, metadata={"k": "x" * (size - 1)})
    assert parsed(body).request is not None
    if size == MAX_METADATA:
        return

    read = parsed({**body, "metadata": {"k": "é" + "x" * (size - 2)}})
    assert len(read.rejections) == destinations
    fault = Fault("metadata", f"must hold at most {size:,} bytes where there are {destinations:,} destinations")
    assert {rejection.faults for rejection in read.rejections} == {(fault,)}
    assert read.metadata == {}  # or its events would repeat it after all


@pytest.mark.no_cover
def test_metadata_that_events_would_repeat_too_often_is_not_in_those_about_other_faults_either() -> None:
    wrong = a_body(destinations=[a_destination("1")] * 2049, metadata=LARGEST_METADATA, unheardOf=1)

    assert parsed(wrong).metadata == {}
    assert "metadata" in paths_of(parsed(wrong))


@pytest.mark.no_cover
def test_destinations_are_not_checked_if_there_is_too_much_metadata_for_them() -> None:
    """Each is rejected for it anyway, and an address may take a library to read."""
    people = [a_destination("1"), None, *[a_destination("+44 (0)20 7946 0958")] * 2098]
    body = a_body(destinations=people, metadata=LARGEST_METADATA, unheardOf=1)

    reading = parsed(body)

    assert [len(reading.rejections), reading.request] == [2100, None]
    assert {tuple(fault.path for fault in one.faults) for one in reading.rejections} == {("unheardOf", "metadata")}
    assert reading.rejections[2].to == {"phoneNumber": "442079460958"}
    assert steps_of(body) < steps_of({**body, "metadata": {}}) - 350


@pytest.mark.no_cover
def test_messages_are_rejected_in_steps_that_hold_few_addresses_that_take_a_library() -> None:
    """A thousand such addresses that are read in one step hold the loop for 0.2 s."""
    unusual = a_body(destinations=[a_destination("+44 (0)20 7946 0958")] * 1000, unheardOf=1)
    plain = a_body(destinations=[a_destination()] * 1000, unheardOf=1)

    assert steps_of(plain) >= 2 * 1000 / 50
    assert steps_of(unusual) >= 2 * 1000 / 5


def test_names_given_twice_are_found_in_steps() -> None:
    once = [{"to": {"phoneNumber": PHONE}}] * 2_000
    body = json.dumps(a_body(destinations=once)).encode()
    twice = body.replace(b'{"phoneNumber"', b'{"phoneNumber": "1", "phoneNumber"')

    assert len(parsed(twice).rejections) == 2_000
    assert steps_of(twice) >= steps_of(body) + 2 + 4  # paths, faults


def steps_of(body: object) -> int:
    """Count the turns that others have while a body is read."""
    return len(list(parse(a_delivery(body), a_history(), lambda: MADE_UP)))


@pytest.mark.no_cover
def test_a_request_that_was_taken_once_keeps_its_metadata_when_it_comes_back() -> None:
    body = a_body(destinations=[a_destination()] * 2049, metadata=LARGEST_METADATA)

    assert parsed(replace(a_delivery(body), headers={"omni-first-seen": 1})).request is not None
    assert parsed(body).request is None


@pytest.mark.no_cover
def test_faults_that_many_destinations_share_are_shortened() -> None:
    """Else one small request with thousands of destinations had events of 40 MB."""
    unheard_of = {f"{number}{'x' * 60}": 1 for number in range(MAX_FAULTS)}

    few = parsed(a_body(unheard_of, destinations=[a_destination()] * 100))
    many = parsed(a_body(unheard_of, destinations=[a_destination()] * MAX_DESTINATIONS))

    assert {len(rejection.faults) for rejection in few.rejections} == {MAX_FAULTS}
    assert [fault.path for fault in many.rejections[0].faults] == [few.rejections[0].faults[0].path, "$"]
    assert many.rejections[-1].faults[-1].message == f"has {MAX_FAULTS - 1} more faults"


def test_the_faults_of_one_message_have_so_many_characters() -> None:
    (rejection,) = parsed(a_body({f"{number:0200}": 1 for number in range(MAX_FAULTS)})).rejections

    assert sum(len(fault.path) + len(fault.message) for fault in rejection.faults[:-1]) <= MAX_TEXT
    assert rejection.faults[-1].message == f"has {MAX_FAULTS + 1 - len(rejection.faults)} more faults"


def test_commas_and_brackets_in_a_text_are_no_values() -> None:
    body = a_body(push={"text": "x", "customPayload": {"a": '[,{\\"' * MAX_VALUES}})

    assert paths_of(parsed(body)) == ["push.customPayload"]  # a text of 400,000 characters


@pytest.mark.parametrize("unit", [b"[],", b'"",', b"[[1]],", b'{"a":1},'])
def test_values_are_counted_in_whatever_they_are_put(unit: bytes) -> None:
    assert faults_of(parsed(a_delivery(b"[" + unit * MAX_VALUES + b"1]"))) == [("$", "must have at most 80,000 values")]


def test_texts_that_belong_to_no_value_are_counted_too() -> None:
    """Such a body is no JSON; to find that out must not take longer than to read a right one."""
    body = b"," * 40_000 + b'""' * 200_000 + b"," * 40_001

    assert faults_of(parsed(a_delivery(body))) == [("$", "must have at most 80,000 values")]


@law
@given(body=bodies)
def test_a_valid_request_is_taken_whole(body: dict[str, object]) -> None:
    asked = [person.get("messageId") for person in people_of(body)]
    twice = sum(times - 1 for name, times in Counter(asked).items() if name is not None)

    reading = parsed(body)

    assert reading.request is not None
    assert len(reading.request.messages) == len(asked) - twice
    assert reading.faults == ()
    assert all(path.endswith(".messageId") for path in paths_of(reading))


def people_of(body: dict[str, object]) -> list[dict[str, object]]:
    people = body.get("destinations", [body])
    assert isinstance(people, list)
    return people


def sent_back(request: SendRequest, delivery: Delivery, disposition: Disposition) -> list[Delivery]:
    """Make an attempt at a request, and deliver the retry messages."""
    message_outcomes = [a_message_outcome(disposition, message) for message in request.messages]
    report = report_attempt(replace(an_attempt(request), now=delivery.timestamp or NOW), message_outcomes)
    return [
        Delivery(one.body, one.content_type, one.message_id, headers=one.headers, timestamp=one.timestamp)
        for one in publish_report(report, delivery, NOW)
        if not one.routing_key.startswith("message.")
    ]


@law
@given(
    body=bodies,
    amqp_id=st.none() | st.text(min_size=1, max_size=20),
    expiration=st.none() | st.integers(60_000, 10**12).map(lambda milliseconds: milliseconds / 1000),
    published=st.none() | st.just(NOW),
    disposition=st.sampled_from(["again", "ambiguous", "denied"]),
)
def test_a_request_scheduled_for_retry_returns_as_the_same_request(
    body: dict[str, object],
    amqp_id: str | None,
    expiration: float | None,
    published: datetime | None,
    disposition: Disposition,
) -> None:
    """It keeps its names, its words and its deadline, whatever shape it came in and however little time is left."""
    delivery = replace(a_delivery(body), message_id=amqp_id, expiration=expiration, timestamp=published)
    request = parsed(delivery).request
    assert request is not None

    for returning in sent_back(request, delivery, disposition):
        again = parsed(returning, read_history(returning.headers, NOW + timedelta(hours=1)))
        assert again.request == request
        assert again.rejections == ()
        assert again.identified
        assert render_request(again.request) == render_request(request)


def test_a_deadline_may_be_shorter_than_the_validity_periods_also_on_a_retry() -> None:
    """It limits the attempts of the relay. The AMQP expiration becomes the `expiresAt` of a retry message."""
    delivery = replace(a_delivery(a_body(sms={"text": "x", "validityPeriod": 60})), expiration=90.0, timestamp=NOW)
    request = parsed(delivery).request
    assert request is not None

    (returning,) = sent_back(request, delivery, "again")

    assert parsed(returning).request == request
    assert parsed(replace(returning, headers={})).request == request


@pytest.mark.parametrize("written", ["2026-12-01T00:00:00.123456Z", "2026-12-01T00:00:00.1Z", "2026-12-01t00:00:00z"])
def test_a_schedule_is_kept_to_the_millisecond_from_the_start(written: str) -> None:
    request = parsed(a_body(sendAt=written, expiresAt=written)).request
    assert request is not None

    assert parsed(Delivery(render_request(request))).request == request


@pytest.mark.parametrize("written", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_before_or_after_all_calendars_is_a_fault(written: str) -> None:
    assert paths_of(parsed(a_body(sendAt=written))) == ["sendAt"]


@pytest.mark.parametrize("published", [None, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)])
def test_an_expiration_after_the_end_of_the_calendar_is_none(published: datetime | None) -> None:
    """Any clock may be wrong, also that of a producer or of the worker that wrote our headers."""
    delivery = replace(a_delivery(), expiration=1.0, timestamp=published)
    history = replace(a_history(), first_seen=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))

    request = parsed(delivery, history).request

    assert request is not None
    assert request.expires_at is None


@law
@given(body=spoken_bodies, broken=st.booleans())
def test_a_request_in_xml_names_every_message_as_in_json(body: dict[str, object], *, broken: bool) -> None:
    given = {**body, "unheardOf": "x"} if broken else body
    document = replace(a_delivery(write_xml("request", given)), content_type="text/xml")

    reading = parsed(document)

    assert reading == parsed(given)
    assert (reading.request is None) is broken


@pytest.mark.parametrize("period", ["0", 0])
def test_a_broken_content_names_its_messages_alike_as_text_and_as_number(period: object) -> None:
    sms = {"text": "x", "validityPeriod": period}
    body = a_body(destinations=[{"to": {"phoneNumber": PHONE}}], sms=sms)
    document = replace(a_delivery(write_xml("request", body)), content_type="text/xml")

    assert parsed(document) == parsed(body) == parsed({**body, "sms": {**sms, "validityPeriod": "0"}})


@law
@given(body=bodies, data=st.data())
def test_a_name_in_snake_case_is_no_field(body: dict[str, object], data: st.DataObject) -> None:
    """Names have one spelling; another would pass unseen, and say something else than its neighbour."""
    name = data.draw(st.sampled_from([name for name, it in RequestBody.model_fields.items() if it.alias != name]))

    reading = parsed({**body, name: "x"})

    assert reading.request is None
    assert {path for path in paths_of(reading) if path.endswith(name)} == {name}


@law
@given(body=st.one_of(bodies, broken_bodies))
def test_a_redelivery_names_everything_as_before(body: dict[str, object]) -> None:
    delivery = replace(a_delivery(body), message_id="amqp-1")

    assert parsed(replace(delivery, redelivered=True)) == parsed(delivery)


@law
@given(body=bodies, data=st.data())
def test_a_message_keeps_its_derived_name_whichever_neighbour_is_wrong(
    body: dict[str, object], data: st.DataObject
) -> None:
    people = [{"to": person["to"]} for person in people_of(body) if "to" in person] or [a_destination()] * 3
    wrong = data.draw(st.sets(st.integers(0, len(people) - 1)))
    broken: list[object] = [{"to": {}} if position in wrong else person for position, person in enumerate(people)]

    whole, part = a_body(destinations=people), a_body(destinations=broken)
    intact, reading = parsed(whole).request, parsed(part)

    assert intact is not None
    kept = reading.request.messages if reading.request else ()
    assert kept == tuple(message for position, message in enumerate(intact.messages) if position not in wrong)
    assert [rejection.message_id for rejection in reading.rejections] == [
        rejected(position) for position in sorted(wrong)
    ]


CANARY: Final = "+41 79 777 55 33 open sesame"
WRAPPINGS: Final[tuple[Callable[[str], object], ...]] = (
    lambda canary: canary,
    lambda canary: canary * 500,
    lambda canary: [canary],
    lambda canary: {"text": [canary]},
    lambda canary: {"to": {"phoneNumber": canary, "emailAddress": canary}, "messageId": [canary]},
    lambda _: 41797775533,
    lambda _: [417977.75533],
)


@law
@given(data=st.data(), body=bodies, wrap=st.sampled_from(WRAPPINGS))
def test_no_fault_repeats_the_offending_value(
    data: st.DataObject, body: dict[str, object], wrap: Callable[[str], object]
) -> None:
    """It is personal data, and more people read events than requests."""
    broken = data.draw(at_any_place(body, wrap(CANARY)))

    for _, message in faults_of(parsed(broken)):
        for secret in ("777", "sesame", "41797775533", "417977.75533"):
            assert secret not in message


@pytest.mark.parametrize("channel", ["sms", "viber", "voice", "facebook", "email", "push", "whatsApp"])
def test_the_text_of_a_channel_is_never_in_a_fault(channel: str) -> None:
    body = a_body({"sms": ..., channel: {"text": CANARY, "validityPeriod": CANARY, "flash": CANARY}})

    assert faults_of(parsed(body))
    assert not any("sesame" in path + message for path, message in faults_of(parsed(body)))


@pytest.mark.parametrize("padding", [0, LARGE])
def test_addresses_are_those_that_are_posted_in_every_shape_and_size(padding: int) -> None:
    """So events and retries carry them as posted; a wrong one comes back as it was written."""
    right = {"phoneNumber": "+44 (0)20 7946 0958", "emailAddress": "a@EX\u00c4MPLE.ch"}
    wrong = {"phoneNumber": "+44 020 7946 0958", "emailAddress": "<a@example.com>"}
    to = {"phoneNumber": "442079460958", "emailAddress": "a@ex\u00e4mple.ch"}
    body = a_body(destinations=[{"to": right}, {"to": wrong}], callbackData=None)
    flat = {"sms": {"text": "x"}, **right}

    reading = parsed(json.dumps(body).encode() + b" " * padding)
    document = replace(a_delivery(write_xml("request", flat) + b" " * padding), content_type="application/xml")

    for one in (reading, parsed(json.dumps(flat).encode() + b" " * padding), parsed(document)):
        assert one.request is not None
        assert [message.to for message in one.request.messages] == [to]
    (rejection,) = reading.rejections
    assert rejection.to == wrong
    assert [fault.path for fault in rejection.faults] == [f"destinations[1].to.{name}" for name in wrong]


@pytest.mark.parametrize("padding", [SMALL, LARGE])
def test_fields_that_cannot_stand_together_are_a_fault_in_a_body_of_any_size(padding: int) -> None:
    body = a_body(text="Hello")

    reading = parsed(json.dumps(body).encode() + b" " * padding)

    assert reading == parsed(body)
    assert faults_of(reading)
