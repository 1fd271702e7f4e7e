"""A producer with unusual properties does not affect ordinary requests."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stage import DEFERRED, Stage, staged
from tests.e2e.test_trying_again import NUMBER, TRY_AGAIN_ONCE, UNAVAILABLE_ONCE, moment, request
from tests.integration.test_reply_publisher import FOREIGN
from tests.support.broker import VirtualHost, largest_message
from tests.support.worker import Worker

ROUNDS, BESIDE = 3, 10
HOSTILE: dict[str, dict[str, Any]] = {
    "a reply token of another cluster": {"reply_to": FOREIGN},
    "a reply queue that is full": {"reply_to": "full"},
    "a reply queue that does not exist": {"reply_to": "gone"},
    "an address that is none": {"reply_to": "/queues/\u0000%ff"},
    "CC": {"headers": {"CC": ["billing"]}},
    "BCC": {"headers": {"BCC": ["billing"]}},
    "a header as large as a frame": {"headers": {"baggage": "x" * 130_950}},
    "a header of a hundred thousand values": {"headers": {"list": [None] * 120_000}},
    "many headers as large as a frame": {"headers": {f"h{number}": "x" * 6_000 for number in range(21)}},
}


async def ordinary_requests(stage: Stage, hostile: dict[str, Any]) -> dict[str, datetime]:
    """Send ordinary and hostile requests for some seconds; return when each ordinary one was sent."""
    sent: dict[str, datetime] = {}
    for turn in range(ROUNDS):
        names = [f"ordinary-{turn}-{number}" for number in range(BESIDE)]
        await stage.send(request(f"hostile-{turn}", TRY_AGAIN_ONCE), **hostile)
        sent |= dict.fromkeys(names, datetime.now(UTC))
        await stage.send(*(request(name, NUMBER) for name in names))
        await asyncio.sleep(0.5)
    return sent


async def check_neighbours(stage: Stage, worker: Worker, sent: dict[str, datetime]) -> None:
    await stage.until_final_events(len(sent) + ROUNDS)
    assert all(stage.event_types()[name] == ["accepted"] for name in sent), stage.event_types()
    late = {
        name: waited
        for name, at in sent.items()
        if (waited := (moment(stage.about(name)[0].body["time"]) - at).total_seconds()) > 1
    }
    assert late == {}
    assert worker.lines("broker.disconnected") == []
    assert worker.lines("publish.retried") == []
    assert len(stage.events) == len(sent) + 2 * ROUNDS  # each hostile request has one deferral and one final event
    assert sum(event.body["type"] == DEFERRED for event in stage.events) == ROUNDS
    assert await stage.waiting("omni.dead") == 0
    posts = await stage.posts()
    assert {posts[name] for name in sent} == {1}
    assert {posts[f"hostile-{turn}"] for turn in range(ROUNDS)} == {2}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_no_property_of_one_producer_affects_another(stage: Stage, kind: str) -> None:
    worker = await stage.worker(REPLY_TO="*")
    async with stage.channel() as channel:
        await channel.declare_queue("billing", durable=True)
        full: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
        await channel.declare_queue("full", durable=True, arguments=full)
        await stage.send({}, exchange="", key="full")

        sent = await ordinary_requests(stage, HOSTILE[kind])
        await check_neighbours(stage, worker, sent)

    assert await stage.waiting("billing") == 0
    assert await stage.waiting("full") == 1
    metrics = await worker.metrics()
    copies = {
        name: value for name, value in metrics.items() if name.startswith("omni_relay_reply_copies_total") and value
    }
    assert sum(copies.values()) == (2 * ROUNDS if "reply_to" in HOSTILE[kind] else 0), copies
    assert await worker.stop() == 0


async def test_the_attempts_of_a_request_with_cc_keep_their_schedule(stage: Stage) -> None:
    """Routed to the request queue by CC, a retry would skip its delay."""
    await stage.worker(RETRY_BASE_DELAY="0.4", RETRY_MAX_DELAY="0.4")
    for number, name in enumerate(("CC", "BCC", "cc")):
        body = request(f"m-{number}", UNAVAILABLE_ONCE)
        await stage.send(body, headers={name: ["omni.requests"]}, exchange="", key="omni.requests")
    await stage.until_final_events(3)
    await asyncio.sleep(0.5)

    assert {tuple(types) for types in stage.event_types().values()} <= {("deferred", "accepted")}
    for number in range(3):
        deferred = stage.about(f"m-{number}")[0]
        due = moment(deferred.data["nextAttemptAt"])
        received = [
            moment(call["receivedAt"])
            for call in await stage.calls()
            if call["body"]["destinations"][0]["messageId"] == f"m-{number}"
        ]
        assert len(received) == 2
        assert received[1] >= due - timedelta(milliseconds=50)
    assert await stage.waiting("omni.dead") == 0


async def test_a_dead_letter_has_no_header_that_the_broker_interprets(stage: Stage) -> None:
    await stage.worker(RETRY_MAX_ATTEMPTS="1")
    headers = {"team": "blue", "BCC": ["billing"], "x-delay": 5, "omni-reason": "forged", "baggage": "x" * 130_000}
    async with stage.channel() as channel:
        await channel.declare_queue("billing", durable=True)
    await stage.send(request("m", UNAVAILABLE_ONCE), headers=headers)
    await stage.until_final_events(1)
    dead_letter = await stage.take("omni.dead")

    assert dead_letter.headers["team"] == "blue"
    assert dead_letter.headers["omni-reason"] == "failed"
    assert not {"BCC", "x-delay", "baggage"} & set(dead_letter.headers)
    assert json.loads(dead_letter.body)["requestId"] == "m"
    assert await stage.waiting("billing") == 0


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_an_unpublishable_retry_ends_in_a_final_event_and_does_not_affect_others(
    vhost: VirtualHost, tmp_path: Path
) -> None:
    """A retry is larger than its request, and this broker accepts no message of more than 4,000 bytes."""
    async with largest_message(vhost.node, 4000), staged(vhost.url, tmp_path) as stage:
        worker = await stage.worker()
        large: dict[str, object] = {
            "requestId": "large",
            "phoneNumber": TRY_AGAIN_ONCE,
            "messageId": "large",
            "text": "x" * 600,
        }
        large |= {"metadata": {"tenant": "y" * 1_500}}
        await stage.send(large, *(request(f"m-{number}", NUMBER) for number in range(30)))
        await stage.until_final_events(31)

        events = {event.body["id"]: event.type for event in stage.about("large")}  # a repeat has the same id
        assert list(events.values()) == ["deferred", "failed"]
        assert all(stage.event_types()[f"m-{number}"][-1:] == ["accepted"] for number in range(30))
        assert stage.about("large")[-1].data["reason"]["code"] == "defect"
        assert await stage.waiting("omni.requests") == 0
        assert worker.lines("publish.skipped")[0]["queue"].startswith("omni.requests.delay.")
        assert len(worker.lines("broker.disconnected")) == 2
        await worker.until_metric("omni_relay_publications_skipped_total", 1)
