import json
from dataclasses import replace
from datetime import timedelta

import pytest

from service.core.attempt.call import OmniCall, Origin, content_key, is_too_large, merge, plan, split
from service.core.attempt.outcome import Accepted, Denied, NotAttempted, Outcome, Rejected, Unavailable, Unknown
from service.core.attempt.retry import Policy, RetryPolicy
from service.core.identity import bulk_id, digest
from service.core.omni.content import Content
from service.core.request.request import SendRequest
from tests.support.builder import EMAIL, NOW, PHONE, a_content, a_history, a_message, a_request

POLICY = Policy(RetryPolicy())


def payload_of(call: OmniCall) -> dict[str, object]:
    payload: dict[str, object] = json.loads(call.to_json())
    return payload


def saying(content: Content) -> SendRequest:
    return replace(a_request(), content=content)


def test_one_batch_has_all_destinations() -> None:
    messages = (a_message("m-1", PHONE, EMAIL), a_message("m-2"))

    (call,) = plan(a_request(*messages), a_history(), Origin(NOW), POLICY)

    assert call.messages == messages
    assert call.request_id == "order-1"
    assert call.published == NOW
    assert payload_of(call) == {
        "sms": {"text": "Hello"},
        "email": {"text": "Hello", "subject": "A greeting"},
        "destinations": [
            {"to": {"phoneNumber": PHONE, "emailAddress": EMAIL}, "messageId": "m-1"},
            {"to": {"phoneNumber": PHONE}, "messageId": "m-2"},
        ],
    }


@pytest.mark.parametrize(("attempts", "number"), [(0, 1), (3, 4)])
def test_attempts_are_counted_from_one(attempts: int, number: int) -> None:
    (call,) = plan(a_request(), a_history(attempts), Origin(), POLICY)

    assert call.attempt == number


@pytest.mark.parametrize(
    ("own", "default", "used"), [("own", "default", "own"), (None, "default", "default"), (None, None, None)]
)
def test_the_scenario_of_the_settings_is_for_a_request_that_names_none(
    own: str | None, default: str | None, used: str | None
) -> None:
    request = saying(a_content().model_copy(update={"scenario_key": own}))

    (call,) = plan(request, a_history(), Origin(), replace(POLICY, scenario_key=default))

    assert payload_of(call).get("scenarioKey") == used


def test_a_request_too_large_for_one_call_takes_several_each_a_bulk_of_its_own() -> None:
    messages = tuple(a_message(f"m-{number}") for number in range(5))
    request = replace(a_request(*messages), content=a_content().model_copy(update={"bulk_id": "bulk-1"}))

    calls = plan(request, a_history(), Origin(), replace(POLICY, call_size=2))

    assert [call.messages for call in calls] == [messages[:2], messages[2:4], messages[4:]]
    assert [payload_of(call)["bulkId"] for call in calls] == [
        bulk_id("order-1", name, digest(request.content.to_json())) for name in ("m-0", "m-2", "m-4")
    ]
    assert plan(request, a_history(), Origin(), replace(POLICY, call_size=2)) == calls
    assert all(call.is_part for call in calls)
    assert not plan(request, a_history(), Origin(), replace(POLICY, call_size=5))[0].is_part


def test_the_bulks_of_another_request_with_the_same_ids_have_other_names() -> None:
    """Two producers may use the same ids."""
    policy = replace(POLICY, call_size=2)
    request = replace(a_request(*(a_message(f"m-{number}") for number in range(5))), content=a_content())
    other = replace(request, content=a_content().model_copy(update={"callback_data": "another"}))

    bulks = [{call.content.bulk_id for call in plan(one, a_history(), Origin(), policy)} for one in (request, other)]

    assert not bulks[0] & bulks[1]


def test_a_request_that_just_fits_keeps_its_bulk_id() -> None:
    content = a_content().model_copy(update={"bulk_id": "bulk-1", "send_at": NOW + timedelta(hours=1)})
    request = replace(a_request(a_message("m-1"), a_message("m-2")), content=content)

    (call,) = plan(request, a_history(), Origin(), replace(POLICY, call_size=2))

    assert payload_of(call)["bulkId"] == "bulk-1"
    assert payload_of(call)["sendAt"] == "2026-11-22T13:00:00.000+0000"


FIVE = tuple(a_message(f"m-{number}") for number in range(5))
TOO_LARGE: tuple[Outcome, ...] = (Rejected("http_413", "HTTP 413"), Unavailable("http_413"))


@pytest.mark.parametrize("outcome", TOO_LARGE)
def test_a_call_that_is_too_large_is_made_in_halves_with_bulk_ids_of_our_own(outcome: Outcome) -> None:
    content = a_content().model_copy(update={"bulk_id": "theirs"})
    (call,) = plan(replace(saying(content), messages=FIVE), a_history(), Origin(NOW, "a-trace"), POLICY)

    first, second = split(call, outcome)

    assert (first.messages, second.messages) == (FIVE[:2], FIVE[2:])
    content_digest = digest(content.to_json())
    assert [half.content.bulk_id for half in (first, second)] == [
        bulk_id("order-1", "m-0", content_digest),
        bulk_id("order-1", "m-2", content_digest),
    ]
    assert [payload_of(half)["bulkId"] for half in (first, second)] == [
        half.content.bulk_id for half in (first, second)
    ]
    assert replace(first, content=call.content, messages=call.messages) == call
    assert (call.is_measured, first.is_measured, second.is_measured) == (False, True, True)


@pytest.mark.parametrize("outcome", TOO_LARGE)
def test_halves_are_halved_until_one_message_stands_alone(outcome: Outcome) -> None:
    left, sizes = list(plan(replace(a_request(), messages=FIVE), a_history(), Origin(NOW), POLICY)), []
    while left:
        call = left.pop(0)
        sizes.append(len(call.messages))
        left += split(call, outcome)

    assert sizes == [5, 2, 3, 1, 1, 1, 2, 1, 1]


@pytest.mark.parametrize(
    "outcome",
    [
        Rejected("http_400", ""),
        Unavailable("http_503"),
        Unknown("http_500"),
        Denied("http_401"),
        NotAttempted("stopping"),
        Accepted({}),
    ],
)
def test_a_call_that_ended_otherwise_is_not_split(outcome: Outcome) -> None:
    (call,) = plan(replace(a_request(), messages=FIVE), a_history(), Origin(NOW), POLICY)

    assert split(call, outcome) == ()
    assert not is_too_large(outcome)


def test_a_call_is_first_if_no_other_can_have_been_made_about_its_messages() -> None:
    (first,) = plan(a_request(), a_history(), Origin(), POLICY)
    (second,) = plan(a_request(), a_history(1), Origin(), POLICY)
    (replayed,) = plan(a_request(), replace(a_history(), redrives=2), Origin(), POLICY)

    assert (first.is_first, second.is_first, replayed.is_first) == (True, False, False)
    assert replayed.redrives == 2


REPORTS = "https://relay.example.com/reports/a-secret-token-0123"
ASKED = {"notify": True, "notifyUrl": REPORTS, "notifyContentType": "application/json"}


def asking(**changes: object) -> dict[str, object]:
    """Plan a call that may ask for reports; give what it says about them."""
    request = saying(a_content().model_copy(update=changes))
    (call,) = plan(request, a_history(), Origin(), replace(POLICY, notify_url=REPORTS))
    names = ("notify", "notifyUrl", "notifyContentType", "intermediateReport", "callbackData")
    return {name: value for name, value in payload_of(call).items() if name in names}


def test_a_call_asks_for_reports_where_its_request_does_not_say() -> None:
    assert asking() == ASKED
    assert asking(notify=True) == ASKED
    assert asking(notify_content_type="application/xml") == {**ASKED, "notifyContentType": "application/xml"}
    assert asking(callback_data="data", intermediate_report=True) == {
        **ASKED,
        "callbackData": "data",
        "intermediateReport": True,
    }


def test_a_call_is_unchanged_where_its_request_names_an_address_or_wants_no_reports() -> None:
    assert asking(notify=False) == {"notify": False}
    assert asking(notify=False, notify_url="https://example.com") == {
        "notify": False,
        "notifyUrl": "https://example.com",
    }
    assert asking(notify_url="https://example.com") == {"notifyUrl": "https://example.com"}


def test_to_ask_for_reports_changes_no_id_and_no_batch() -> None:
    """The token may change between two attempts at a request."""
    policies = [replace(POLICY, call_size=2, notify_url=url) for url in (None, REPORTS, f"{REPORTS}-new")]
    request = replace(a_request(), messages=FIVE)
    calls = [plan(request, a_history(), Origin(), policy) for policy in policies]

    assert calls[0] == calls[1] == calls[2]
    assert [content_key(plan(a_request(), a_history(), Origin(), policy)[0]) for policy in policies] == [
        a_content().to_json()
    ] * 3
    for part in (*calls[1], *split(calls[1][0], TOO_LARGE[0])):
        assert {name: payload_of(part)[name] for name in ASKED} == ASKED


def test_calls_made_as_one_ask_for_reports_too() -> None:
    policy = replace(POLICY, notify_url=REPORTS)
    calls = [plan(a_request(a_message(name)), a_history(), Origin(), policy)[0] for name in ("m-1", "m-2")]

    assert content_key(calls[0]) == content_key(calls[1])
    assert {name: payload_of(merge(calls))[name] for name in ASKED} == ASKED


def test_a_call_does_not_show_where_it_asks_for_reports() -> None:
    policy = replace(POLICY, notify_url=REPORTS)
    assert "a-secret-token" not in repr(policy) + repr(plan(a_request(), a_history(), Origin(), policy))
