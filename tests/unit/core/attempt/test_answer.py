import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.attempt.answer import BYTES, BYTES_BESIDE, MOST_ENTRIES, read_answer, read_logs, retry_after
from service.core.attempt.lookup import Answered, Forbidden, LookupResult, Unanswered
from service.core.attempt.outcome import Accepted, Denied, Outcome, Rejected, Unavailable, Unknown
from service.core.omni.status import Status
from service.core.request.request import Message
from tests.support.builder import EMAIL, NOW, OTHER_PHONE, PHONE, a_message, an_answer, an_entry
from tests.unit.strategy import law, nonsense

ONE, TWO = a_message("m-1", PHONE), a_message("m-2", OTHER_PHONE)


def read(status: int, body: bytes = b"", messages: Iterable[Message] = (ONE, TWO), **headers: str) -> Outcome:
    lower = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_answer(status, lower, body, tuple(messages), NOW)


def statuses_of(outcome: Outcome) -> dict[str, int]:
    """List each message's status by its group."""
    assert isinstance(outcome, Accepted)
    return {name: status.group_id for name, status in outcome.statuses.items()}


# The status decides, and whose answer it is

LEGACY = {
    "requestError": {
        "serviceException": {
            "messageId": "BAD_REQUEST",
            "text": "Bad request",
            "validationErrors": {"to.phoneNumber": "is not a number"},
        }
    }
}
NEW = {
    "errorCode": "E400",
    "description": "Bad request",
    "violations": [{"property": "to.phoneNumber", "violation": "is not a number"}],
}
EXCEPTION = b"<serviceException><messageId>BAD_REQUEST</messageId><text>Bad request</text></serviceException>"
ENVELOPES = [
    json.dumps(LEGACY).encode(),
    json.dumps(NEW).encode(),
    b"<requestError>" + EXCEPTION + b"</requestError>",
    b"<ApiException><requestError>" + EXCEPTION + b"</requestError></ApiException>",
]
PAGES = [
    b"",
    b"Not Found",
    b"<html><head><title>404 Not Found</title></head><body>nginx</body></html>",
    b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x"><html><body>blocked</body></html>',
    b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    b'{"message":"Forbidden"}',
    b'{"fault":{"faultstring":"Unable to identify proxy","detail":{"errorcode":"x"}}}',
    b'{"errorCode":"NOT_FOUND","description":"no such route"}',
    b'{"requestError":"x"}',
    b"[]",
    b"{",
    b"\xff\x00",
    b"<a>" * 5_000,
]

REJECTED = {400, 404, 405, 409, 413, 415, 422}
DENIED = {401, 402, 403}
CONTRACT: dict[int, type[Outcome]] = {
    **dict.fromkeys(range(100, 200), Unknown),
    **dict.fromkeys(range(200, 300), Unknown),  # an envelope is no answer to a call that was taken
    **dict.fromkeys(range(300, 400), Denied),
    **dict.fromkeys(range(400, 500), Unavailable),
    **dict.fromkeys(REJECTED, Rejected),
    **dict.fromkeys(DENIED, Denied),
    **dict.fromkeys(range(500, 600), Unknown),
    503: Unavailable,
}


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("statuses", [range(start, start + 100) for start in range(100, 600, 100)])
def test_each_http_status_of_omni_means_what_the_contract_says(statuses: range, envelope: bytes) -> None:
    meant = {status: type(read(status, envelope)) for status in statuses}

    assert meant == {status: CONTRACT[status] for status in statuses}


@pytest.mark.parametrize("page", PAGES)
def test_a_4xx_without_omnis_envelope_is_no_refusal_of_the_call(page: bytes) -> None:
    for status in range(400, 500):
        assert read(status, page) == Unavailable(f"http_{status}")
        assert read(status, page, retry_after="7") == Unavailable(f"http_{status}", 7.0)


@pytest.mark.parametrize("status", sorted(REJECTED))
def test_a_call_that_omni_calls_wrong_is_never_made_again(status: int) -> None:
    assert read(status, b'{"errorCode": "E400"}') == Rejected(f"http_{status}", f"HTTP {status}, E400")


def test_an_error_body_that_is_too_long_is_not_read() -> None:
    body = json.dumps({"errorCode": "E400", "description": "x" * 2**20}).encode()

    assert read(400, body) == Unavailable("http_400")


LONG = 4 * 2**20
"""Bytes of an answer. Compressed, they are a thousandth of that."""


@pytest.mark.parametrize("unit", [b"{},", b"1,", b"[],", b'{"messageId":"m-1","status":{"id":7}},'])
@pytest.mark.parametrize("name", [b"messages", b"results", b"unheardOf"])
def test_an_answer_that_holds_far_more_than_it_can_be_about_is_not_read(name: bytes, unit: bytes) -> None:
    """Reading one of these took up to forty seconds and four gigabytes."""
    body = b'{"%b":[%b1]}' % (name, unit * (LONG // len(unit)))
    began = time.process_time()

    assert read(200, body) == Unknown("unreadable_answer")
    assert read_logs(200, {}, body, ("m-1",), NOW) == Unanswered("unreadable_answer")
    assert time.process_time() - began < 1


def test_an_answer_in_xml_that_holds_far_more_than_it_can_be_about_is_not_read() -> None:
    body = b"<omniResponse><messages>" + b"<messages/>" * 100_000

    assert read(200, body) == Unknown("unreadable_answer")


def test_a_whole_page_of_the_logs_with_every_field_is_read() -> None:
    entry = {**an_entry("m-1"), **{f"field{number}": {"a": 1, "b": [1]} for number in range(10)}}
    body = json.dumps({"results": [entry] * MOST_ENTRIES}).encode()

    assert isinstance(read_logs(200, {}, body, ("m-1",), NOW), Answered)


def test_an_error_body_that_is_nested_too_deeply_is_not_read() -> None:
    depth = 30
    inner = b"<a>" * depth + b"</a>" * depth

    assert read(400, b"<ApiException>" + inner + b"</ApiException>") == Unavailable("http_400")


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_fault_of_the_server_leaves_it_open_whether_the_call_was_taken(status: int) -> None:
    assert read(status) == Unknown(f"http_{status}")


@pytest.mark.parametrize("status", [429, 503])
def test_a_call_not_taken_is_made_again_no_sooner_than_asked(status: int) -> None:
    assert read(status) == Unavailable(f"http_{status}")
    assert read(status, retry_after="7") == Unavailable(f"http_{status}", 7.0)
    assert read(status, retry_after="soon") == Unavailable(f"http_{status}")


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_omni_refuses_are_our_fault(status: int) -> None:
    assert read(status, json.dumps(LEGACY).encode(), retry_after="7") == Denied(f"http_{status}")


@pytest.mark.parametrize("status", [0, 99, 600, 999])
def test_a_status_that_http_does_not_define_has_a_cause_of_the_closed_list(status: int) -> None:
    assert read(status) == Unknown("http_other")


# What a body adds


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (LEGACY, ", BAD_REQUEST; Bad request; to.phoneNumber: is not a number"),
        (NEW, ", E400; Bad request; to.phoneNumber: is not a number"),
        ({"requestError": {"serviceException": {"messageId": "BAD_REQUEST"}}}, ", BAD_REQUEST"),
        ({"requestError": {"serviceException": {}}}, ""),
        (
            {"requestError": {"serviceException": {"validationErrors": {"to": ["is empty", "is required"]}}}},
            ", to: is empty, is required",
        ),
        ({"errorCode": "E400"}, ", E400"),
        ({"errorCode": "E400", "violations": [{"violation": "v"}, {"property": "p"}, {}]}, ", E400; v; p"),
        ({"errorCode": "E400", "violations": "many"}, ", E400"),
        ({"requestError": {"serviceException": {"text": "Bad", "validationErrors": [1]}}}, ", Bad"),
    ],
)
def test_an_error_text_is_read_from_either_envelope(body: object, text: str) -> None:
    assert read(400, json.dumps(body).encode()) == Rejected("http_400", f"HTTP 400{text}")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (ENVELOPES[2], ", BAD_REQUEST; Bad request"),
        (ENVELOPES[3], ", BAD_REQUEST; Bad request"),
        (
            (
                b"<ApiException><requestError><serviceException><text>Bad</text><validationErrors><error><path>to</path>"
                b"</error><error><path>x</path></error></validationErrors></serviceException></requestError>"
                b"</ApiException>"
            ),
            ", Bad",
        ),
        (b"<ApiException><errorCode>E400</errorCode></ApiException>", ", E400"),
    ],
)
def test_an_error_text_is_read_from_xml_too(body: bytes, text: str) -> None:
    """How validation errors look in XML is not published."""
    assert read(400, body) == Rejected("http_400", f"HTTP 400{text}")


def test_an_error_text_of_omni_is_bounded() -> None:
    outcome = read(400, json.dumps({"errorCode": "E400", "description": "x" * 10_000}).encode())

    assert isinstance(outcome, Rejected)
    assert len(outcome.detail) == len("HTTP 400") + 500


# Whose status is whose


def test_an_answer_is_matched_by_message_id_in_whatever_order() -> None:
    answer = an_answer(an_entry("m-2", group_id=5), an_entry("m-1"), bulk_id="bulk-1")

    outcome = read(200, answer)

    assert statuses_of(outcome) == {"m-1": 1, "m-2": 5}
    assert isinstance(outcome, Accepted)
    assert outcome.bulk_id == "bulk-1"


@pytest.mark.parametrize("name", [None, "theirs", "M-1"])
@pytest.mark.parametrize("to", [None, {"phoneNumber": PHONE}])
def test_an_entry_without_our_id_is_not_our_message(name: str | None, to: dict[str, str] | None) -> None:
    """Not for a single message either, and whatever address it has: a gateway may repeat its previous answer."""
    assert read(200, an_answer(an_entry(name, to)), [ONE]) == Unknown("answer_to_others")
    assert statuses_of(read(200, an_answer(an_entry(name, to), an_entry("m-2")))) == {"m-2": 1}


def test_an_entry_that_is_not_ours_does_not_hide_ours() -> None:
    assert statuses_of(read(200, an_answer(an_entry("theirs"), an_entry("m-1")), [ONE])) == {"m-1": 1}


@pytest.mark.parametrize(
    "second",
    [
        an_entry("m-1"),
        an_entry("m-1", group_id=5),
        an_entry("m-1", {"phoneNumber": OTHER_PHONE}),
        {"messageId": "m-1"},
        {"messageId": "m-1", "status": "fine"},
        {**an_entry("m-1"), "to": "nobody"},
    ],
)
def test_an_id_that_the_answer_has_twice_proves_nothing(second: dict[str, object]) -> None:
    for entries in ([an_entry("m-1"), second], [second, an_entry("m-1")], [second, second, an_entry("m-1")]):
        assert statuses_of(read(200, an_answer(*entries, an_entry("m-2")))) == {"m-2": 1}


BOTH = a_message("m-1", PHONE, EMAIL)


@pytest.mark.parametrize(
    "to",
    [
        None,
        {},
        {"phoneNumber": PHONE},
        {"phoneNumber": f"+{PHONE}"},
        {"emailAddress": EMAIL.upper()},
        {"phoneNumber": PHONE, "emailAddress": EMAIL},
        {"phoneNumber": PHONE, "emailAddress": ""},
        {"phoneNumber": PHONE, "whatsAppUserId": "US.1"},
    ],
)
def test_an_entry_may_leave_addresses_out_but_has_no_other(to: dict[str, str] | None) -> None:
    assert statuses_of(read(200, an_answer(an_entry("m-1", to)), [BOTH])) == {"m-1": 1}


@pytest.mark.parametrize(
    "to",
    [
        {"phoneNumber": OTHER_PHONE},
        {"phoneNumber": OTHER_PHONE, "emailAddress": EMAIL},
        {"phoneNumber": PHONE, "emailAddress": "other@example.com"},
        {"whatsAppUserId": "US.1"},
        {"pushRegistrationId": "device-1"},
        "nobody",
        {"phoneNumber": {}},
    ],
)
def test_an_entry_with_another_address_is_about_another_message(to: object) -> None:
    answer = an_answer({**an_entry("m-1"), "to": to}, an_entry("m-2", {"phoneNumber": OTHER_PHONE}))

    assert read(200, an_answer({**an_entry("m-1"), "to": to}), [BOTH]) == Unknown("answer_to_others")
    assert statuses_of(read(200, answer, [BOTH, TWO])) == {"m-2": 1}


def test_an_answer_about_other_messages_leaves_all_ambiguous() -> None:
    answer = an_answer(an_entry("theirs-1", {"phoneNumber": "49301234567"}), an_entry(None))

    assert read(200, answer) == Unknown("answer_to_others")
    assert read(200, b'{"messages": []}') == Unknown("answer_to_others")
    assert read(200, b'{"messages": [{"messageId": "m-1"}]}') == Unknown("answer_to_others")


def test_a_message_that_cannot_be_read_does_not_hide_its_neighbours() -> None:
    answer = an_answer({"messageId": "m-1", "status": "fine"}, an_entry("m-2"))

    assert statuses_of(read(200, answer)) == {"m-2": 1}


def test_a_number_without_quotation_marks_is_still_an_address() -> None:
    answer = an_answer({**an_entry(), "to": {"phoneNumber": int(PHONE)}}, an_entry("m-2"))

    assert statuses_of(read(200, answer)) == {"m-1": 1, "m-2": 1}


XML_ANSWER = (
    "<omniResponse><messages><message><status><groupId>0</groupId></status><messageId>m-1</messageId></message>"
    "</messages></omniResponse>"
)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", [XML_ANSWER, '<?xml version="1.0"?>' + XML_ANSWER, an_answer().decode()])
def test_an_answer_may_begin_with_a_byte_order_mark(text: str, encoding: str) -> None:
    """A reader of XML must take it (XML 1.0, 4.3.3), and one of JSON may (RFC 8259, 8.1)."""
    assert set(statuses_of(read(200, text.encode(encoding), [ONE]))) == {"m-1"}
    assert type(read(400, ENVELOPES[3].decode().encode(encoding))) is Rejected
    assert type(read(400, ENVELOPES[0].decode().encode(encoding))) is Rejected


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize(
    "text", [XML_ANSWER, '<?xml version="1.0" encoding="UTF-8"?>' + XML_ANSWER, an_answer().decode()]
)
def test_an_answer_in_another_unicode_encoding_is_read_without_a_mark_too(text: str, encoding: str) -> None:
    assert set(statuses_of(read(200, text.encode(encoding), [ONE]))) == {"m-1"}
    assert type(read(400, ENVELOPES[3].decode().encode(encoding))) is Rejected
    assert type(read(400, ENVELOPES[0].decode().encode(encoding))) is Rejected


@pytest.mark.parametrize(
    ("declared", "content_type", "encoding"),
    [
        ("ISO-8859-1", "application/xml", "iso-8859-1"),
        ("ISO-8859-1", "application/xml;charset=UTF-8", "utf-8"),
        ("UTF-8", "application/xml; charset=ISO-8859-1", "iso-8859-1"),
        ("utf-16", "application/xml", "utf-8"),
        ("UTF-8", "application/xml", "utf-8"),
        ("UTF-8", "application/xml;charset=ISO-8859-1", "utf-8"),
        ("UTF-8", "application/xml;charset=klingon", "utf-8"),
        ("ISO-8859-1", "application/xml", "utf-8"),
        ("KOI8-R", "application/xml", "utf-8"),
        ("UTF-8", "application/xml;charset=ISO-8859-1", "utf-16-le"),
        ("UTF-16", "application/xml;charset=UTF-8", "utf-16-be"),
    ],
)
def test_an_answer_in_xml_is_read_in_its_encoding(declared: str, content_type: str, encoding: str) -> None:
    """Source: RFC 7303, 3. In the last six what is named cannot be true."""
    head = f'<?xml version="1.0" encoding="{declared}"?>'
    answer = head + XML_ANSWER.replace("</groupId>", "</groupId><description>angenommen für später</description>")
    error = f"{head}<requestError>{EXCEPTION.decode().replace('Bad request', 'ungültig')}</requestError>"

    outcome = read(200, answer.encode(encoding), [ONE], content_type=content_type)

    assert isinstance(outcome, Accepted)
    assert outcome.statuses["m-1"].description == "angenommen für später"
    refused = read(400, error.encode(encoding), content_type=content_type)
    assert refused == Rejected("http_400", "HTTP 400, BAD_REQUEST; ungültig")


def test_an_answer_in_json_is_read_in_the_charset_that_it_names() -> None:
    """RFC 8259 knows no such answer, and a servlet container that is set up badly gives it."""
    entry = {**an_entry(), "status": {"groupId": 1, "description": "später"}}
    answer = json.dumps({"messages": [entry]}, ensure_ascii=False).encode("latin-1")

    outcome = read(200, answer, [ONE], content_type="application/json;charset=ISO-8859-1")

    assert isinstance(outcome, Accepted)
    assert outcome.statuses["m-1"].description == "später"
    assert read(200, answer, [ONE]) == Unknown("unreadable_answer")


@pytest.mark.parametrize(
    "body", [XML_ANSWER.encode("utf-16")[:-1], b'<?xml version="1.0" encoding="klingon"?>\xff' + XML_ANSWER.encode()]
)
def test_an_answer_that_cannot_be_decoded_is_unreadable(body: bytes) -> None:
    assert read(200, body, [ONE]) == Unknown("unreadable_answer")
    assert read(400, body, [ONE]) == Unavailable("http_400")


def test_an_answer_in_xml_has_the_same_meaning() -> None:
    answer = (
        b"<omniResponse><bulkId>bulk-1</bulkId><messages>"
        b"<message><to><phoneNumber>41793026727</phoneNumber></to><status><groupId>0</groupId><groupName>ACCEPTED"
        b"</groupName><id>0</id><name>MESSAGE_ACCEPTED</name></status><messageId>m-1</messageId></message>"
        b"<message><status><groupId>5</groupId></status><messageId>m-2</messageId></message>"
        b"</messages></omniResponse>"
    )

    assert read(200, answer) == Accepted(
        {
            "m-1": Status(group_id=0, group_name="ACCEPTED", id=0, name="MESSAGE_ACCEPTED"),
            "m-2": Status(group_id=5),
        },
        "bulk-1",
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"<html></html>",
        b"<omniResponse",
        b"{}",
        b"[]",
        b"\xff",
        b'{"messages": [',
        json.dumps(LEGACY).encode(),
    ],
)
def test_a_success_that_cannot_be_read_may_have_been_one(body: bytes) -> None:
    assert read(200, body) == Unknown("unreadable_answer")


# Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 120 ", 120),
        ("99999999999999999999", 366 * 86400),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30),
        ("Sun, 22 Nov 2026 12:00:30 -0000", 30),
        ("Sun, 22 Nov 2026 13:00:30 +0100", 30),
        ("Sun, 22 Nov 2026 11:59:30 GMT", 0),
        ("Sun, 22 Nov 9999 11:59:30 GMT", 366 * 86400),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(value: str, seconds: int) -> None:
    assert retry_after({"retry-after": value}, NOW) == seconds


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Sat, 21 Nov 2026 08:00:00 GMT", 30),
        ("Mon, 23 Nov 2026 08:00:00 GMT", 0),
        ("nonsense", 86370),
        ("", 86370),
    ],
)
def test_a_date_is_compared_with_the_answers_own_date_and_without_one_with_our_clock(date: str, seconds: int) -> None:
    now = datetime(2026, 11, 20, 8, 1, tzinfo=UTC)
    value = "Sat, 21 Nov 2026 08:00:30 GMT"

    assert retry_after({"retry-after": value, "date": date}, now) == seconds


@pytest.mark.parametrize(
    "value", [None, "", "soon", "-5", "1.5", "٣", "(", "Sun, 99 Nov 2026", "1 Jan 2024 0:0:0 +99999999"]
)
def test_a_nonsensical_retry_after_asks_for_nothing(value: str | None) -> None:
    assert retry_after({} if value is None else {"retry-after": value}, NOW) is None


http_dates = st.text(max_size=40) | st.from_regex(
    r"[A-Z][a-z]{2}, [0-9]{1,3} (Jan|Feb|xxx) [0-9]{1,5} [0-9:]{1,9} .{0,8}"
)


@law
@given(value=http_dates, date=http_dates)
def test_any_retry_after_and_any_date_can_be_read_and_ask_for_a_year_at_most(value: str, date: str) -> None:
    seconds = retry_after({"retry-after": value, "date": date}, datetime(2026, 1, 1, tzinfo=UTC))

    assert seconds is None or 0 <= seconds <= 366 * 86400


# Laws

entries = st.lists(
    st.builds(
        an_entry,
        st.none() | st.sampled_from(["m-1", "m-2", "theirs"]),
        st.none() | st.sampled_from([{"phoneNumber": PHONE}, {"phoneNumber": OTHER_PHONE}]),
        st.integers(-1, 9),
    ),
    max_size=4,
)
answer_bodies = st.one_of(
    st.binary(max_size=80),
    nonsense.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(
        [b"", b"<html>nginx</html>", b"<omniResponse/>", *(json.dumps(it).encode() for it in (LEGACY, NEW))]
    ),
    entries.map(lambda listed: json.dumps({"messages": listed}).encode()),
)
answer_headers = st.dictionaries(st.sampled_from(["retry-after", "content-type", "x"]), st.text(max_size=30))


@law
@given(status=st.integers(0, 999), headers=answer_headers, body=answer_bodies)
def test_any_answer_has_an_outcome(status: int, headers: dict[str, str], body: bytes) -> None:
    outcome = read_answer(status, headers, body, (ONE, TWO), NOW)

    if 200 <= status <= 299:
        assert isinstance(outcome, Accepted | Unknown)
    elif 400 <= status <= 499:
        assert type(outcome) in {CONTRACT[status], Unavailable}
    else:
        assert type(outcome) is CONTRACT.get(status, Unknown)
    if isinstance(outcome, Accepted):
        assert outcome.statuses
        assert set(outcome.statuses) <= {"m-1", "m-2"}
    else:
        assert outcome.cause in {f"http_{status}", "http_other", "unreadable_answer", "answer_to_others"}


# A log lookup


def look(body: bytes, status: int = 200, ids: tuple[str, ...] = ("m-1", "m-2"), **headers: str) -> LookupResult:
    lower = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_logs(status, lower, body, ids, NOW)


LOGGED = {"messageId": "m-1", "bulkId": "b-1", "to": "41793026727", "status": {"groupId": 3, "id": 5}}


def test_logs_are_read_by_message() -> None:
    body = json.dumps({"results": [LOGGED, {**LOGGED, "messageId": "m-2"}, {**LOGGED, "status": {"groupId": 5}}]})

    lookup_result = look(body.encode())

    assert isinstance(lookup_result, Answered)
    assert {name: [one.status.group_id for one in entries] for name, entries in lookup_result.entries.items()} == {
        "m-1": [3, 5],
        "m-2": [3],
    }


@pytest.mark.parametrize(
    ("fields", "to", "sent_at"),
    [
        ({"sentAt": "2026-11-22T12:00:00.000+0000"}, PHONE, NOW),
        ({"sentAt": "2026-11-22T13:00:00.000+01:00", "to": int(PHONE)}, PHONE, NOW),
        ({"sentAt": "2026-11-22T12:00:00Z", "to": EMAIL}, EMAIL, NOW),
        ({"sentAt": "2026-11-22T12:00:00", "to": None}, None, None),
        ({"sentAt": "yesterday", "to": {"phoneNumber": PHONE}}, None, None),
        ({"sentAt": None, "to": []}, None, None),
        ({"sentAt": {}}, PHONE, None),
        ({}, PHONE, None),
    ],
)
def test_a_log_entry_has_an_address_and_a_time_as_far_as_they_can_be_read(
    fields: dict[str, object], to: str | None, sent_at: datetime | None
) -> None:
    lookup_result = look(json.dumps({"results": [{**LOGGED, **fields}]}).encode())

    assert isinstance(lookup_result, Answered)
    (entry,) = lookup_result.entries["m-1"]
    assert (entry.to, entry.sent_at) == (to, sent_at)


def test_logs_are_read_in_xml_too() -> None:
    entry = (
        "<result><messageId>m-1</messageId><to>41793026727</to><sentAt>2026-11-22T12:00:00.000+0000</sentAt>"
        "<status><groupId>1</groupId></status></result>"
    )

    lookup_result = look(f"<omniLogsResponse><results>{entry}</results></omniLogsResponse>".encode())

    assert isinstance(lookup_result, Answered)
    (logged,) = lookup_result.entries["m-1"]
    assert (logged.status.group_id, logged.to, logged.sent_at) == (1, PHONE, NOW)


RESULT = "<result><messageId>m-1</messageId><status><groupId>1</groupId></status></result>"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    "text",
    [
        '{"results":[{"messageId":"m-1","status":{"groupId":1}}]}',
        f'<?xml version="1.0" encoding="UTF-8"?><omniLogsResponse><results>{RESULT}</results></omniLogsResponse>',
    ],
)
def test_logs_may_be_in_any_unicode_encoding(text: str, encoding: str) -> None:
    lookup_result = look(text.encode(encoding))

    assert isinstance(lookup_result, Answered)
    assert list(lookup_result.entries) == ["m-1"]


@pytest.mark.parametrize("body", [b'{"results":[]}', b"<omniLogsResponse><results/></omniLogsResponse>"])
def test_logs_may_show_nothing(body: bytes) -> None:
    assert look(body) == Answered({})


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"<html>", b'{"results":[{"messageId":"m-1"}]}'])
def test_of_logs_that_cannot_be_read_nothing_is_learnt(body: bytes) -> None:
    """One entry that cannot be read may be the one in question."""
    assert look(body) == Unanswered("unreadable_answer")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 429, 500, 503, 302, 999])
def test_a_question_that_is_refused_for_now_is_asked_again(status: int) -> None:
    for page in PAGES:
        assert look(page, status, retry_after="7") == Unanswered(
            f"http_{status}" if status < 600 else "http_other", 7.0
        )


@pytest.mark.parametrize("status", [400, 401, 404, 405, 410])
def test_no_other_refusal_of_omni_closes_the_logs(status: int) -> None:
    for envelope in ENVELOPES:
        assert look(envelope, status) == Unanswered(f"http_{status}")


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_omni_may_close_the_logs_to_us(envelope: bytes) -> None:
    assert look(envelope, 403) == Forbidden("http_403")


@pytest.mark.parametrize("count", [0, MOST_ENTRIES - 1, MOST_ENTRIES, MOST_ENTRIES + 1])
def test_an_answer_with_as_many_entries_as_were_asked_for_may_lack_others(count: int) -> None:
    lookup_result = look(json.dumps({"results": [LOGGED] * count}).encode())

    assert isinstance(lookup_result, Answered)
    assert lookup_result.incomplete == (frozenset({"m-1", "m-2"}) if count >= MOST_ENTRIES else frozenset())


def test_logs_about_others_are_not_the_answer_to_our_question() -> None:
    body = json.dumps({"results": [LOGGED, {**LOGGED, "messageId": "theirs"}]}).encode()

    assert look(body) == Unanswered("answer_to_others")
    assert look(body, ids=("m-1",)) == Unanswered("answer_to_others")


def test_of_an_id_with_a_comma_each_part_may_have_entries() -> None:
    body = json.dumps({"results": [LOGGED, {**LOGGED, "messageId": "m-2"}]}).encode()

    assert isinstance(look(body, ids=("m-1,m-2",)), Answered)


@pytest.mark.parametrize("count", [1, 500])
def test_an_answer_that_repeats_the_longest_ids_is_not_too_long_to_be_read(count: int) -> None:
    messages = [a_message(f"{number:é<200}", PHONE) for number in range(count)]
    answer = json.dumps({"bulkId": "é" * 100, "messages": [entry_about(message) for message in messages]})

    assert len(answer) < BYTES_BESIDE + BYTES * count
    assert isinstance(read(200, answer.encode(), messages), Accepted)


def entry_about(message: Message) -> dict[str, object]:
    status = {"groupId": 1, "groupName": "PENDING", "id": 7, "name": "PENDING_ENROUTE", "description": "x" * 100}
    return {"messageId": message.message_id, "to": {"phoneNumber": message.to["phoneNumber"]}, "status": status}
