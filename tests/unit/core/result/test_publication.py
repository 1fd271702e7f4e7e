import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.delivery import Delivery, Publication, Unaccepted
from service.core.headers import history_of, is_returning, read_history
from service.core.request.request import Fault
from service.core.result.event import EventType, Reason, StatusEvent
from service.core.result.publication import (
    event_id,
    publish_instead,
    publish_report,
    render_request,
    schedule_unread_retry,
)
from service.core.result.report import DeadLetterMessage, Report, RetryMessage
from service.core.topology import URGENT
from tests.support.builder import (
    NOW,
    PHONE,
    a_body,
    a_delivery,
    a_history,
    a_message,
    a_request,
    a_status,
    parsed,
    rendered,
)
from tests.unit.strategy import headers, law

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
EVENT = StatusEvent(
    "message.accepted",
    NOW,
    "order-8812",
    1,
    message_id="m-1",
    to={"phoneNumber": PHONE},
    bulk_id="bulk-1",
    status=a_status(),
    metadata={"tenant": "acme"},
)
RETRY = RetryMessage(a_request(), a_history(2, ambiguous=True), 8)
DEAD = DeadLetterMessage(a_request(), a_history(8), "failed", "http_503")


def test_an_event_is_a_structured_cloud_event() -> None:
    assert json.loads(rendered(EVENT)) == {
        "specversion": "1.0",
        "id": event_id(EVENT),
        "source": "/omni-relay",
        "type": "omni.message.accepted",
        "subject": "m-1",
        "time": "2026-11-22T12:00:00Z",
        "datacontenttype": "application/json",
        "data": {
            "requestId": "order-8812",
            "bulkId": "bulk-1",
            "messageId": "m-1",
            "to": {"phoneNumber": PHONE},
            "status": {
                "groupId": 1,
                "groupName": "PENDING",
                "id": 7,
                "name": "PENDING_ENROUTE",
                "description": None,
                "action": None,
            },
            "attempt": 1,
            "nextAttemptAt": None,
            "reason": None,
            "metadata": {"tenant": "acme"},
        },
    }


def test_an_event_without_a_message_has_no_subject_and_a_reason() -> None:
    reason = Reason("invalid", "names no readable message", (Fault("$", "is not JSON"),))

    event = json.loads(rendered(StatusEvent("request.rejected", NOW, "order-1", 0, reason=reason)))

    assert "subject" not in event
    assert event["data"] == {
        "requestId": "order-1",
        "bulkId": None,
        "messageId": None,
        "to": {},
        "status": None,
        "attempt": 0,
        "nextAttemptAt": None,
        "reason": {
            "code": "invalid",
            "detail": "names no readable message",
            "faults": [{"path": "$", "message": "is not JSON"}],
        },
        "metadata": {},
    }


def test_a_deferral_has_the_time_of_the_next_attempt() -> None:
    event = replace(EVENT, type="message.deferred", next_attempt_at=NOW + timedelta(seconds=8.5))

    assert json.loads(rendered(event))["data"]["nextAttemptAt"] == "2026-11-22T12:00:08.500000Z"


def test_an_event_goes_to_the_results_exchange_by_its_type() -> None:
    delivery = replace(a_delivery(), headers={"traceparent": TRACE, "tracestate": "a=b", "mine": 1, "x-death": []})

    (publication,) = publish_report(Report((EVENT,)), delivery, NOW)

    assert publication == Publication(
        "omni.results",
        "message.accepted",
        rendered(EVENT),
        "application/cloudevents+json",
        event_id(EVENT),
        type="omni.message.accepted",
        correlation_id="order-8812",
        timestamp=NOW,
        headers={"traceparent": TRACE, "tracestate": "a=b"},
        must_arrive=False,
    )


def test_an_event_names_the_producer_by_its_app_id_and_is_not_published_under_that_name() -> None:
    (publication,) = publish_report(Report((EVENT,)), replace(a_delivery(), app_id="shop\n\x1b"), NOW)

    body = json.loads(publication.body)
    assert (body["data"]["appId"], publication.app_id) == ("shop\n\x1b", None)
    assert body["id"] == event_id(EVENT)


def test_retries_and_dead_letters_keep_the_producers_app_id() -> None:
    published = publish_report(Report((), (RETRY,), (DEAD,)), replace(a_delivery(), app_id="shop"), NOW)

    assert [publication.app_id for publication in published] == ["shop", "shop"]


@pytest.mark.parametrize("type_", ["message.accepted", "message.deferred"])
def test_what_is_accepted_or_not_final_is_not_logged_as_unaccepted(type_: EventType) -> None:
    (publication,) = publish_report(Report((replace(EVENT, type=type_),)), a_delivery(), NOW)

    assert publication.unaccepted is None


def test_what_is_logged_about_a_refused_message_has_ids_and_codes_only() -> None:
    refused = replace(EVENT, type="message.rejected", reason=Reason("refused", f"no route to {PHONE}"))

    (publication,) = publish_report(Report((refused,)), replace(a_delivery(), app_id="shop"), NOW)

    assert publication.unaccepted == Unaccepted("order-8812", "m-1", "refused", 1, 7, "shop")


@pytest.mark.parametrize(("given", "echoed"), [("corr-1", "corr-1"), (None, "order-8812"), ("", "order-8812")])
def test_the_correlation_id_is_the_requests_else_its_id(given: str | None, echoed: str) -> None:
    (publication,) = publish_report(Report((EVENT,)), replace(a_delivery(), correlation_id=given), NOW)

    assert publication.correlation_id == echoed


def test_only_texts_are_passed_on_as_a_trace() -> None:
    (publication,) = publish_report(Report((EVENT,)), replace(a_delivery(), headers={"traceparent": 5}), NOW)

    assert publication.headers == {}


def test_an_event_is_also_rendered_for_the_queue_that_reply_to_names() -> None:
    first, second = publish_report(Report((EVENT,)), replace(a_delivery(), reply_to="orders.replies"), NOW)

    assert (first.is_copy, second.is_copy) == (False, True)
    assert (second.exchange, second.routing_key) == ("", "orders.replies")
    assert replace(second, exchange=first.exchange, routing_key=first.routing_key, is_copy=False) == first


@pytest.mark.parametrize("name", ["", None])
def test_without_reply_to_there_is_no_copy(name: str | None) -> None:
    assert len(publish_report(Report((EVENT,)), replace(a_delivery(), reply_to=name), NOW)) == 1


@pytest.mark.parametrize("report", [Report((), (RETRY,)), Report((), (), (DEAD,))])
def test_retries_and_dead_letters_never_carry_a_reply_to_that_the_broker_refuses(report: Report) -> None:
    """RabbitMQ closes the channel of a client that publishes it without a consumer for direct replies."""
    delivery = replace(a_delivery(), reply_to="amq.rabbitmq.reply-to")

    (publication,) = publish_report(report, delivery, NOW)

    assert publication.reply_to is None


def test_a_retry_message_goes_to_its_delay_queue_with_its_history() -> None:
    delivery = replace(
        a_delivery(),
        correlation_id="corr-1",
        reply_to="orders.replies",
        timestamp=NOW,
        priority=5,
        expiration=60.0,
        exchange="omni.requests",
        routing_key="send",
        headers={"mine": 1, "x-death": [], "omni-attempt": 1, "CC": ["billing"], "omni-unheard-of": 1},
    )

    (publication,) = publish_report(Report((), (RETRY,)), delivery, NOW)

    assert publication == Publication(
        "omni.relay",
        "omni.requests.delay.8",
        render_request(RETRY.request),
        "application/json",
        "order-1",
        correlation_id="corr-1",
        reply_to="orders.replies",
        timestamp=NOW,
        priority=5,
        headers={
            "mine": 1,
            "omni-attempt": 2,
            "omni-first-seen": 1_795_348_800_000,
            "omni-ambiguous": True,
            "omni-log-checks": 0,
            "omni-resolved": False,
            "omni-retries": 0,
            "omni-redeliveries": 0,
            "omni-denials": 0,
            "omni-original-exchange": "omni.requests",
            "omni-original-routing-key": "send",
            "omni-redrive-count": 0,
        },
    )


def test_a_dead_letter_has_its_reason_and_cause_in_headers() -> None:
    delivery = replace(a_delivery(), headers={"omni-log-checks": 3, "omni-resolved": True, "omni-retries": 4})

    (publication,) = publish_report(Report((), (), (DEAD,)), delivery, NOW)

    assert (publication.exchange, publication.routing_key, publication.must_arrive) == ("omni.dead", "", True)
    assert publication.headers == {
        "omni-attempt": 8,
        "omni-first-seen": 1_795_348_800_000,
        "omni-ambiguous": False,
        "omni-original-exchange": "",
        "omni-original-routing-key": "",
        "omni-redrive-count": 0,
        "omni-reason": "failed",
        "omni-detail": "http_503",
        "omni-failed-at": "2026-11-22T12:00:00+00:00",
    }


def test_the_origin_of_a_request_survives_the_delay_queue() -> None:
    origin = {"omni-original-exchange": "orders", "omni-original-routing-key": "send"}
    delivery = replace(a_delivery(), headers=origin, exchange="", routing_key="omni.requests")

    (publication,) = publish_report(
        Report((), (), (replace(DEAD, history=replace(DEAD.history, redrives=2)),)), delivery, NOW
    )

    assert {name: publication.headers[name] for name in origin} == origin
    assert publication.headers["omni-redrive-count"] == 2


@pytest.mark.parametrize("nonsense", [5, "x" * 256, ["orders"], None])
def test_an_origin_that_is_no_name_is_written_anew(nonsense: object) -> None:
    headers = dict.fromkeys(("omni-original-exchange", "omni-original-routing-key", "omni-redrive-count"), nonsense)
    delivery = replace(a_delivery(), headers=headers, exchange="orders", routing_key="send")

    (publication,) = publish_report(Report((), (), (DEAD,)), delivery, NOW)

    assert publication.headers["omni-original-exchange"] == "orders"
    assert publication.headers["omni-original-routing-key"] == "send"
    assert publication.headers["omni-redrive-count"] == 0


def test_events_come_before_retries_and_dead_letters() -> None:
    """Both are confirmed before the request is settled; the order is for consumers that see them arrive."""
    published = publish_report(Report((EVENT, EVENT), (RETRY,), (DEAD,)), a_delivery(), NOW)

    assert [publication.exchange for publication in published] == [
        "omni.results",
        "omni.results",
        "omni.relay",
        "omni.dead",
    ]


def published(
    retry: RetryMessage | None = None, dead: DeadLetterMessage | None = None, event: StatusEvent = EVENT
) -> tuple[Report, list[Publication]]:
    """Render a report of an event and a letter."""
    report = Report((event,), (retry,) if retry else (), (dead,) if dead else ())
    return report, list(publish_report(report, DELIVERY, NOW))


DELIVERY = replace(
    a_delivery(), headers={"traceparent": TRACE}, correlation_id="corr-1", reply_to="replies", app_id="shop"
)
INVALID = Reason("invalid", "the request is not valid", (Fault("x" * 500, "is wrong"),))


def test_a_final_event_that_the_broker_never_takes_is_published_without_what_the_producer_gave() -> None:
    report, (event, _) = published(event=replace(EVENT, reason=INVALID))

    (instead,) = publish_instead(report, DELIVERY, NOW, [event])

    assert (instead.exchange, instead.routing_key, instead.message_id) == (
        "omni.results",
        "message.accepted",
        event.message_id,
    )
    assert (instead.headers, instead.correlation_id) == ({}, "order-8812")
    data = json.loads(instead.body)["data"]
    assert (data["metadata"], data["bulkId"], data["reason"]["faults"], data["messageId"]) == ({}, None, [], "m-1")
    assert "appId" not in data


@pytest.mark.parametrize(("ambiguous", "word"), [(True, "message.unknown"), (False, "message.failed")])
def test_in_place_of_a_retry_that_the_broker_never_takes_its_messages_get_their_final_event(
    *, ambiguous: bool, word: str
) -> None:
    scheduled = RetryMessage(a_request(a_message("m-1"), a_message("m-2")), a_history(2, ambiguous=ambiguous), 8)
    report, (_, _, retry) = published(scheduled)

    events = publish_instead(report, DELIVERY, NOW, [replace(retry, headers={"omni-republished": True})])

    assert [one.routing_key for one in events] == [word, word]
    bodies = [json.loads(one.body) for one in events]
    assert [body["subject"] for body in bodies] == ["m-1", "m-2"]
    assert {body["data"]["reason"]["code"] for body in bodies} == {"defect"}


def test_events_that_are_not_final_and_dead_letters_need_no_replacement() -> None:
    deferral = replace(EVENT, type="message.deferred", next_attempt_at=NOW)
    report, (event, _, dead_letter) = published(None, DEAD, deferral)

    assert publish_instead(report, DELIVERY, NOW, [event, dead_letter]) == ()
    report, _ = published(RETRY)
    assert publish_instead(report, DELIVERY, NOW, []) == ()


def test_the_normal_form_writes_everything_out() -> None:
    request = replace(
        a_request(a_message("m-1", PHONE, "email@example.com")),
        expires_at=NOW,
        on_unknown="park",
        metadata={"tenant": "acme"},
    )

    assert json.loads(render_request(request)) == {
        "requestId": "order-1",
        "destinations": [{"messageId": "m-1", "to": {"phoneNumber": PHONE, "emailAddress": "email@example.com"}}],
        "sms": {"text": "Hello"},
        "email": {"text": "Hello", "subject": "A greeting"},
        "expiresAt": "2026-11-22T12:00:00Z",
        "onUnknown": "park",
        "metadata": {"tenant": "acme"},
    }


@law
@given(given_headers=headers, report=st.sampled_from([Report((), (RETRY,)), Report((), (), (DEAD,))]))
def test_headers_that_the_broker_or_the_relay_reads_are_only_those_that_the_relay_writes(
    given_headers: dict[str, object], report: Report
) -> None:
    hostile = {"x-death": [], "x-delivery-count": 3, "CC": ["a"], "BCC": ["b"], "bcc": ["c"], "omni-reason": "forged"}
    plain, attacked = (
        dict(publish_report(report, replace(a_delivery(), headers=table), NOW)[0].headers)
        for table in ({}, {**given_headers, **hostile})
    )

    assert {name: attacked[name] for name in plain} == plain
    assert set(attacked) - set(plain) <= set(given_headers)
    assert not {name for name in set(attacked) - set(plain) if name.lower().startswith(("x-", "omni-", "cc", "bcc"))}
    assert list(attacked)[: len(plain)] == list(plain)  # what is left out for want of room is the producer's


def test_an_unread_delivery_is_scheduled_for_retry_unchanged_and_no_attempt_is_counted() -> None:
    delivery = replace(
        a_delivery(b"\xff nobody can read this"),
        content_type="text/xml; charset=latin1",
        correlation_id="c",
        reply_to="r",
        timestamp=NOW,
        priority=3,
        expiration=60.5,
        headers={"tenant": "acme", "CC": ["x"], "omni-attempt": 2, "omni-first-seen": 1},
        exchange="omni.requests",
        routing_key="send",
    )
    history = history_of(delivery, NOW)

    aside = schedule_unread_retry(delivery, history, 30.0, "made-up")

    assert aside.content_encoding is None
    assert (
        schedule_unread_retry(replace(delivery, content_encoding="gzip"), history, 30.0, "x").content_encoding == "gzip"
    )
    assert (aside.exchange, aside.routing_key, aside.body) == ("omni.relay", "omni.requests.delay.30", delivery.body)
    assert (aside.content_type, aside.message_id) == ("text/xml; charset=latin1", "made-up")
    assert (aside.correlation_id, aside.reply_to, aside.timestamp, aside.priority) == ("c", "r", NOW, 3)
    assert aside.headers["tenant"] == "acme"
    assert "CC" not in aside.headers
    assert aside.headers["omni-original-exchange"] == "omni.requests"
    assert read_history(aside.headers, NOW) == replace(history, retries=1)
    assert schedule_unread_retry(replace(delivery, message_id="m"), history, 30.0, "made-up").message_id == "m"


def test_a_request_scheduled_for_retry_unread_keeps_its_deadline_however_often() -> None:
    delivery = replace(a_delivery(), timestamp=NOW, expiration=60.0)
    expected = parsed(delivery).request
    assert expected is not None
    assert expected.expires_at == NOW + timedelta(seconds=60)

    for _ in range(2):
        aside = schedule_unread_retry(delivery, history_of(delivery, NOW), 30.0, "made-up")
        delivery = Delivery(aside.body, message_id=aside.message_id, timestamp=NOW, headers=aside.headers)
        assert parsed(delivery, history_of(delivery, NOW + timedelta(hours=1))).request == expected


def test_a_request_scheduled_for_retry_unread_is_validated_like_a_new_one() -> None:
    """Else a producer whose requests come faster than there is memory for them would get past the limits."""
    delivery = a_delivery({"phoneNumber": "41793026727", "text": "x", "sendAt": "2099-01-01T00:00:00.000+0000"})
    refused = parsed(delivery)
    assert refused.request is None

    for _ in range(2):
        aside = schedule_unread_retry(delivery, history_of(delivery, NOW), 30.0, "made-up")
        delivery = Delivery(aside.body, message_id=aside.message_id, headers=aside.headers, exchange=aside.exchange)
        again = parsed(delivery, history_of(delivery, NOW))
        assert [one.faults for one in again.rejections] == [one.faults for one in refused.rejections]


def test_a_request_that_was_parsed_before_stays_so_when_it_is_scheduled_for_retry_unread() -> None:
    delivery = replace(a_delivery(), headers={"omni-first-seen": 1, "omni-retries": 1})

    aside = schedule_unread_retry(delivery, history_of(delivery, NOW), 30.0, "made-up")
    assert is_returning(aside.headers)


def test_of_two_deadlines_the_earlier_counts_and_without_any_there_is_none() -> None:
    body = a_body(expiresAt=(NOW + timedelta(seconds=30)).isoformat())
    for expiration, seconds in ((60.0, 30), (20.0, 20), (None, 30)):
        delivery = replace(a_delivery(body), timestamp=NOW, expiration=expiration)
        aside = schedule_unread_retry(delivery, history_of(delivery, NOW), 30.0, "made-up")
        request = parsed(Delivery(aside.body, headers=aside.headers)).request
        assert request is not None
        assert request.expires_at == NOW + timedelta(seconds=seconds)

    aside = schedule_unread_retry(a_delivery(), history_of(a_delivery(), NOW), 30.0, "made-up")
    assert "omni-expires-at" not in aside.headers


def test_what_is_published_about_an_urgent_request_stays_in_its_lane() -> None:
    delivery = replace(a_delivery(), lane=URGENT, priority=5)
    published = publish_report(Report((EVENT,), (RETRY,), (DEAD,)), delivery, NOW)
    aside = schedule_unread_retry(delivery, history_of(delivery, NOW), 30.0, "made-up")

    assert [publication.routing_key for publication in published[1:]] == ["omni.requests.urgent.delay.8", ""]
    assert aside.routing_key == "omni.requests.urgent.delay.30"
    assert {publication.lane for publication in (*published, aside)} == {URGENT}
    assert published[2].headers["omni-lane"] == "urgent"
    assert {published[1].priority, aside.priority} == {5}
