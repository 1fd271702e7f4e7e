"""The events of valid requests and of requests with faults."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aio_pika
import pytest

from service.core.result.event import FINAL_EVENTS
from tests.e2e.stage import Stage, connected

NUMBER = "41793026727"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SHAPES: dict[str, dict[str, object]] = {
    "advanced": {
        "requestId": "advanced",
        "bulkId": "bulk-1",
        "destinations": [
            {"messageId": "first", "to": {"phoneNumber": "+41 79 302-67-27", "emailAddress": "a@example.com"}},
            {"messageId": "second", "to": {"phoneNumber": "0041793026731"}},
        ],
        "sms": {"text": "one"},
        "email": {"text": "two", "subject": "three"},
        "metadata": {"tenant": "acme"},
    },
    "simple": {
        "requestId": "simple",
        "destinations": [{"to": {"phoneNumber": NUMBER}}],
        "text": "four",
        "mailSubject": "five",
    },
    "flat": {"requestId": "flat", "phoneNumber": NUMBER, "messageId": "flat-1", "sms": {"text": "six"}},
}


async def test_each_shape_is_accepted_with_one_event_a_message(stage: Stage) -> None:
    await stage.worker()
    await stage.send(*SHAPES.values())
    await stage.send({"phoneNumber": NUMBER, "text": "named by the property"}, message_id="amqp-id")
    await stage.send(SHAPES["flat"] | {"requestId": "direct", "messageId": "direct"}, exchange="", key="omni.requests")
    await stage.until_final_events(6)

    assert set(map(tuple, stage.event_types().values())) == {("accepted",)}
    assert {event.data["requestId"] for event in stage.events} == {"advanced", "simple", "flat", "amqp-id", "direct"}
    (simple,) = stage.about("simple")
    assert UUID(simple.subject).version == 5
    assert set((await stage.posts()).values()) == {1}
    assert await stage.waiting("omni.requests") == 0
    posted = next(call["body"] for call in await stage.calls() if call["body"].get("bulkId"))
    assert posted == {
        "bulkId": "bulk-1",
        "destinations": [
            {"messageId": "first", "to": {"phoneNumber": NUMBER, "emailAddress": "a@example.com"}},
            {"messageId": "second", "to": {"phoneNumber": "41793026731"}},
        ],
        "sms": {"text": "one"},
        "email": {"text": "two", "subject": "three"},
    }


@pytest.mark.once
@pytest.mark.parametrize("fast", ["true", "false"])
async def test_a_body_is_read_in_its_encoding_or_refused_by_name(stage: Stage, fast: str) -> None:
    await stage.worker(RABBITMQ_FAST_PATH=fast)
    declared = '<?xml version="1.0" encoding="utf-16"?>'
    document = (
        f"<request><messageId> xml </messageId><phoneNumber>{NUMBER}</phoneNumber><sms><text>é €</text></sms></request>"
    )
    body = json.dumps({"messageId": "json", "phoneNumber": NUMBER, "sms": {"text": "é €"}}, ensure_ascii=False)
    large = json.dumps({"messageId": "large", "phoneNumber": NUMBER, "email": {"text": "x" * 60_000}}).encode()
    await stage.send(body.encode("utf-8-sig"), content_type="application/json", content_encoding="utf-8")
    await stage.send(gzip.compress(body.replace("json", "gzip").encode()), content_encoding="gzip")
    await stage.send(gzip.compress(large), content_encoding="gzip")
    await stage.send((declared + document).encode(), content_type="application/xml")
    await stage.send(document.replace("xml", "cp1252").encode("cp1252"), content_type="text/xml; charset=windows-1252")
    await stage.send(body.encode("utf-16"), message_id="utf-16")
    await stage.send(body.encode(), message_id="deflate", content_encoding="deflate")
    await stage.send(body.replace("json", "x").encode()[:-1] + b',"sms":{"text":"x"}}', message_id="twice")
    await stage.until_final_events(8)

    faults = {event.data["requestId"]: event.data["reason"]["faults"] for event in stage.events if event.data["reason"]}
    assert faults == {
        "utf-16": [{"path": "$", "message": "must be JSON in UTF-8, not in UTF-16"}],
        "deflate": [
            {"path": "$", "message": "has the content encoding deflate: send it with gzip, or without one"},
        ],
        "twice": [{"path": "sms", "message": "is given twice"}],
    }
    texts = {one["messageId"]: call["body"] for call in await stage.calls() for one in call["body"]["destinations"]}
    assert texts.keys() == {"json", "gzip", "large", "xml", "cp1252"}
    assert {name: call["sms"]["text"] for name, call in texts.items() if "sms" in call} == dict.fromkeys(
        ["json", "gzip", "xml", "cp1252"], "é €"
    )
    assert set((await stage.posts()).values()) == {1}


@pytest.mark.once
async def test_an_event_is_what_the_contract_says(stage: Stage) -> None:
    await stage.worker()
    before = datetime.now(UTC)
    await stage.send(SHAPES["advanced"], message_id="other", correlation_id="corr", headers={"traceparent": TRACE})
    await stage.send(SHAPES["flat"])
    await stage.until_final_events(3)

    (first,) = stage.about("first")
    moment = datetime.fromisoformat(first.body.pop("time"))
    assert before <= moment <= datetime.now(UTC)
    assert UUID(first.body["id"]).version == 5
    assert first.body == {
        "specversion": "1.0",
        "id": first.body["id"],
        "source": "/omni-relay",
        "type": "omni.message.accepted",
        "subject": "first",
        "datacontenttype": "application/json",
        "data": {
            "requestId": "advanced",
            "bulkId": "bulk-1",
            "messageId": "first",
            "to": {"phoneNumber": NUMBER, "emailAddress": "a@example.com"},
            "status": {
                "groupId": 1,
                "groupName": "PENDING",
                "id": 7,
                "name": "PENDING_ENROUTE",
                "description": "Message sent to next instance",
                "action": None,
            },
            "attempt": 1,
            "nextAttemptAt": None,
            "reason": None,
            "metadata": {"tenant": "acme"},
        },
    }
    message = first.message
    assert (message.exchange, message.routing_key) == ("omni.results", "message.accepted")
    assert (message.content_type, message.type) == ("application/cloudevents+json", "omni.message.accepted")
    assert (message.message_id, message.correlation_id) == (first.body["id"], "corr")
    assert message.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
    assert message.headers == {"traceparent": TRACE}
    assert message.timestamp is not None
    (flat,) = stage.about("flat-1")
    assert (flat.message.correlation_id, flat.data["metadata"], flat.data["bulkId"]) == ("flat", {}, None)


async def test_reply_to_gets_the_event_and_a_queue_of_the_relay_does_not(stage: Stage) -> None:
    worker = await stage.worker(REPLY_TO="*")
    async with connected(stage.url) as channel:
        await channel.declare_queue("replies", durable=True)
        await stage.send(SHAPES["flat"], reply_to="replies")
        copy = await stage.take("replies")
    for number, own in enumerate(("omni.requests", "omni.dead", "omni.requests.delay.0.1", "no.such.queue")):
        await stage.send(SHAPES["flat"] | {"requestId": own, "messageId": str(number)}, reply_to=own)
    await stage.until_final_events(5)

    (event,) = stage.about("flat-1")
    assert (copy.body, copy.message_id, copy.type) == (
        event.message.body,
        event.message.message_id,
        event.message.type,
    )
    assert stage.event_types() == {"flat-1": ["accepted"], **{str(number): ["accepted"] for number in range(4)}}
    assert await stage.waiting("omni.dead") == 0
    await worker.until_metric('omni_relay_reply_copies_total{result="confirmed"}', 1)
    await worker.until_metric('omni_relay_reply_copies_total{result="not_allowed"}', 3)
    await worker.until_metric('omni_relay_reply_copies_total{result="unroutable"}', 1)


@pytest.mark.once
async def test_a_reply_to_that_the_settings_do_not_allow_is_ignored_and_counted(stage: Stage) -> None:
    worker = await stage.worker()
    async with connected(stage.url) as channel:
        await channel.declare_queue("replies", durable=True)
    await stage.send(SHAPES["flat"], reply_to="replies")
    await stage.until_final_events(1)
    await worker.until_metric('omni_relay_reply_copies_total{result="not_allowed"}', 1)
    assert await stage.waiting("replies") == 0


@pytest.mark.once
async def test_a_wrong_destination_is_rejected_and_the_others_are_posted(stage: Stage) -> None:
    await stage.worker()
    wrong = {"messageId": "wrong", "to": {"phoneNumber": "call me"}}
    right = {"messageId": "right", "to": {"phoneNumber": NUMBER}}
    await stage.send({"requestId": "r", "destinations": [wrong, right], "text": "hello"})
    await stage.until_final_events(2)

    assert stage.event_types() == {"wrong": ["rejected"], "right": ["accepted"]}
    (event,) = stage.about("wrong")
    reason = event.data["reason"]
    assert reason["code"] == "invalid"
    assert [fault["path"] for fault in reason["faults"]] == ["destinations[0].to.phoneNumber"]
    assert "call me" not in json.dumps(reason)
    assert (event.data["attempt"], event.data["status"]) == (0, None)
    assert await stage.posts() == {"right": 1}


@pytest.mark.once
async def test_a_body_without_a_readable_message_is_rejected_as_a_request(stage: Stage) -> None:
    await stage.worker()
    await stage.send(b"{", b"", b"\xff", b"[]", b"null", b"[" * 100_000, message_id="broken")
    await stage.send(b"a,b", message_id="table", content_type="text/csv")
    await stage.send({"requestId": "nobody", "text": "hello"}, correlation_id="corr")
    await stage.until(lambda: len(stage.events) == 8)

    assert {event.body["type"] for event in stage.events} == {"omni.request.rejected"}
    assert {event.message.routing_key for event in stage.events} == {"request.rejected"}
    assert not any("subject" in event.body for event in stage.events)
    (nobody,) = stage.about("nobody")
    assert nobody.message.correlation_id == "corr"
    assert [fault["path"] for fault in nobody.data["reason"]["faults"]] == ["destinations"]
    assert await stage.calls() == []
    assert await stage.waiting("omni.dead") == 0


@pytest.mark.once
async def test_a_fault_of_the_whole_request_rejects_each_of_its_messages(stage: Stage) -> None:
    await stage.worker()
    destinations = [{"messageId": name, "to": {"phoneNumber": NUMBER}} for name in ("a", "b")]
    await stage.send(
        {"requestId": "r", "destinations": destinations, "text": "hello", "txt": "?", "metadata": {"k": "v"}}
    )
    await stage.until_final_events(2)

    assert stage.event_types() == {"a": ["rejected"], "b": ["rejected"]}
    for event in stage.events:
        assert [fault["path"] for fault in event.data["reason"]["faults"]] == ["txt"]
        assert event.data["metadata"] == {"k": "v"}
    assert await stage.calls() == []


@pytest.mark.once
async def test_a_message_that_omni_rejects_is_rejected_with_omnis_status(stage: Stage) -> None:
    await stage.worker()
    await stage.send({"requestId": "status", "messageId": "status", "phoneNumber": "41790091014", "text": "hello"})
    await stage.send({"requestId": "http", "messageId": "http", "phoneNumber": "41790091400", "text": "hello"})
    await stage.until_final_events(2)

    assert stage.event_types() == {"status": ["rejected"], "http": ["rejected"]}
    (status,), (http,) = stage.about("status"), stage.about("http")
    assert status.data["status"]["name"] == "REJECTED_DESTINATION_BLOCKLISTED"
    assert http.data["status"] is None
    assert {status.data["reason"]["code"], http.data["reason"]["code"]} == {"refused"}
    assert set((await stage.posts()).values()) == {1}


@pytest.mark.once
async def test_an_expired_message_is_never_posted(stage: Stage) -> None:
    await stage.worker()
    late = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    await stage.send({"requestId": "late", "messageId": "m", "phoneNumber": NUMBER, "text": "t", "expiresAt": late})
    await stage.until_final_events(1)

    (event,) = stage.events
    assert (event.type, event.data["attempt"], event.data["reason"]["code"]) == ("expired", 0, "expired")
    assert await stage.calls() == []


@pytest.mark.once
async def test_the_same_request_twice_has_the_same_event_ids(stage: Stage) -> None:
    """A consumer can recognise a repeated event by its id."""
    await stage.worker()
    await stage.send(SHAPES["simple"], SHAPES["simple"])
    await stage.until(lambda: len(stage.events) == 2)
    assert len({event.subject for event in stage.events}) == 1
    assert len({event.message.message_id for event in stage.events}) == 1


def test_every_event_except_a_deferral_is_final() -> None:
    """The helpers of these tests rely on it."""
    assert "message.deferred" not in FINAL_EVENTS


@pytest.mark.once
async def test_two_producers_that_use_the_same_ids_have_events_of_their_own(stage: Stage) -> None:
    await stage.worker()
    for number in ("41793010000", "41794010000"):
        flat = {"requestId": "r", "messageId": "m", "phoneNumber": number, "sms": {"text": "Your code"}}
        await stage.send(flat, message_id="r")
    await stage.send({"requestId": "r", "messageId": "m", "phoneNumber": "1"}, message_id="r")
    await stage.until(lambda: len(stage.events) == 3)

    assert {event.data["to"]["phoneNumber"] for event in stage.events} == {"41793010000", "41794010000", "1"}
    assert len(stage.final_ids()["m"]) == 3
    assert await stage.posts() == {"m": 2}
