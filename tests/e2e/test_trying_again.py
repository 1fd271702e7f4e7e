"""Retries: which messages, how often, and the outcome after the last attempt."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.stage import Stage
from tests.integration.test_rabbitmq_connection import EVERY_TYPE, HEADERS, MESSAGE_ID, properties, publish_raw, short

# The sandbox answers a number with 90ccc once, and with 91ccc always, by the status ccc.
UNAVAILABLE_ONCE, UNAVAILABLE, GARBLED_ONCE, GARBLED, TRY_AGAIN_ONCE = (
    f"41790{suffix}" for suffix in ("090503", "091503", "090200", "091200", "090021")
)
NUMBER = "41793026727"


def request(name: str, number: str, **fields: object) -> dict[str, object]:
    return {"requestId": name, "messageId": name, "phoneNumber": number, "sms": {"text": "hello"}, **fields}


def moment(text: Any) -> datetime:  # noqa: ANN401  # JSON
    return datetime.fromisoformat(text)


@pytest.mark.once
async def test_a_retry_waits_as_long_as_retry_after_says(stage: Stage) -> None:
    await stage.worker(RETRY_MAX_DELAY="1.6")
    await stage.send(request("m", UNAVAILABLE_ONCE))
    await stage.until_final_events(1)

    deferred, accepted = stage.events
    assert (deferred.type, accepted.type) == ("deferred", "accepted")
    assert (deferred.data["attempt"], accepted.data["attempt"]) == (1, 2)
    assert deferred.data["reason"]["code"] == "unavailable"
    assert deferred.message.routing_key == "message.deferred"
    deferred_at = moment(deferred.body["time"])
    assert moment(deferred.data["nextAttemptAt"]) - deferred_at == timedelta(seconds=1.6)
    first, second = await stage.calls()
    assert moment(second["receivedAt"]) - moment(first["receivedAt"]) >= timedelta(seconds=1)
    assert first["body"] == second["body"]


@pytest.mark.once
async def test_only_messages_that_were_not_accepted_are_retried(stage: Stage) -> None:
    await stage.worker()
    destinations = [
        {"messageId": "again", "to": {"phoneNumber": TRY_AGAIN_ONCE}},
        {"messageId": "taken", "to": {"phoneNumber": NUMBER}},
    ]
    await stage.send({"requestId": "r", "destinations": destinations, "text": "hello"})
    await stage.until_final_events(2)

    assert stage.event_types() == {"again": ["deferred", "accepted"], "taken": ["accepted"]}
    assert await stage.posts() == {"again": 2, "taken": 1}


@pytest.mark.once
async def test_after_the_last_attempt_a_message_fails_and_is_dead_lettered(stage: Stage) -> None:
    await stage.worker(RETRY_MAX_ATTEMPTS="2", RETRY_MAX_DELAY="0.2")
    before = datetime.now(UTC)
    flat = {"requestId": "r", "phoneNumber": f"+{UNAVAILABLE}", "text": "hello", "metadata": {"tenant": "acme"}}
    await stage.send(flat, headers={"team": "blue"}, correlation_id="corr", priority=3)
    await stage.until_final_events(1)
    dead_letter = await stage.take("omni.dead")

    deferred, failed = stage.events
    assert (deferred.type, failed.type) == ("deferred", "failed")
    assert (failed.data["attempt"], failed.data["nextAttemptAt"]) == (2, None)
    assert failed.data["reason"]["code"] == "unavailable"
    headers = {name: value for name, value in dead_letter.headers.items() if not name.startswith("x-")}
    failed_at = datetime.fromisoformat(str(headers.pop("omni-failed-at")))
    first_seen = headers.pop("omni-first-seen")
    assert before <= failed_at <= datetime.now(UTC)
    assert isinstance(first_seen, int)
    assert abs(first_seen / 1000 - before.timestamp()) < 10
    assert headers == {
        "team": "blue",
        "omni-attempt": 2,
        "omni-ambiguous": False,
        "omni-reason": "failed",
        "omni-detail": "http_503",
        "omni-original-exchange": "omni.requests",
        "omni-original-routing-key": "send",
        "omni-redrive-count": 0,
    }
    assert (dead_letter.message_id, dead_letter.correlation_id, dead_letter.content_type) == (
        "r",
        "corr",
        "application/json",
    )
    assert dead_letter.priority == 3
    body = json.loads(dead_letter.body)
    assert (body["requestId"], body["metadata"]) == ("r", {"tenant": "acme"})
    assert body["destinations"] == [{"to": {"phoneNumber": UNAVAILABLE}, "messageId": failed.subject}]
    assert set(body) - {"requestId", "metadata", "destinations"} == {"sms", "viber", "voice", "facebook", "email"}
    assert set((await stage.posts()).values()) == {2}


@pytest.mark.once
async def test_a_deadline_ends_the_retries(stage: Stage) -> None:
    await stage.worker()
    deadline = datetime.now(UTC) + timedelta(seconds=3)
    await stage.send(request("m", UNAVAILABLE, expiresAt=deadline.isoformat()))
    await stage.until_final_events(1)

    *deferred, expired = stage.event_types()["m"]
    assert (set(deferred), expired) == ({"deferred"}, "expired")
    assert stage.events[-1].data["reason"]["code"] == "expired"
    assert all(moment(call["receivedAt"]) <= deadline for call in await stage.calls())
    assert await stage.waiting("omni.dead") == 0


@pytest.mark.parametrize("days", [-1, 1])
async def test_a_delivered_message_has_not_expired_whatever_its_timestamp_says(stage: Stage, days: int) -> None:
    await stage.worker()
    timestamp = datetime.now(UTC) + timedelta(days=days)
    await stage.send(request("m", UNAVAILABLE_ONCE), expiration=10, timestamp=timestamp)
    await stage.send(request("late", UNAVAILABLE), expiration=2, timestamp=timestamp)
    started = datetime.now(UTC)
    await stage.until_final_events(2)

    assert stage.event_types()["m"] == ["deferred", "accepted"]
    assert stage.event_types()["late"][-1] == "expired"
    late = [call for call in await stage.calls() if call["body"]["destinations"][0]["messageId"] == "late"]
    assert late
    assert all(moment(call["receivedAt"]) - started <= timedelta(seconds=3) for call in late)


@pytest.mark.once
@pytest.mark.parametrize("seconds", [0.0, 0.3])
async def test_refused_credentials_pause_sending_and_use_up_no_attempt(stage: Stage, seconds: float) -> None:
    """It holds also if many calls are refused at once, or late refusals arrive during the pause."""
    worker = await stage.worker(RETRY_MAX_ATTEMPTS="1")
    await stage.fault(kind="status", status=401, seconds=seconds)
    await stage.send(*(request(f"m-{number}", NUMBER) for number in range(8)))
    await worker.until_metric('omni_relay_paused{reason="denied"}', 1)
    assert await worker.readiness() == (200, {"ready": True, "reason": "http_401", "paused": True})

    await stage.mend()
    await stage.until_final_events(8)

    assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
    reasons = {event.data["reason"]["code"] for event in stage.events if event.type == "deferred"}
    assert reasons == {"denied"}
    assert await stage.waiting("omni.dead") == 0
    await worker.until_metric('omni_relay_paused{reason="denied"}', 0)
    assert await worker.readiness() == (200, {"ready": True, "reason": None, "paused": False})
    assert worker.lines("sending.paused")[0]["cause"] == "http_401"
    assert worker.lines("sending.resumed")


async def test_headers_of_every_type_do_not_prevent_a_retry(stage: Stage) -> None:
    await stage.worker()
    wire = properties((HEADERS, EVERY_TYPE), (MESSAGE_ID, short(b"hostile")))
    await publish_raw(stage.url, wire, json.dumps(request("m", UNAVAILABLE_ONCE)).encode())
    await stage.until(lambda: bool(stage.events))
    await stage.until_final_events(1)
    assert stage.event_types() == {"m": ["deferred", "accepted"]}
