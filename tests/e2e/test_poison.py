"""Requests that kill workers, and floods of wrong requests, do not affect others."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from service.core.delivery import Delivery
from service.core.poison import COUNT, rank
from service.core.result.dead_letter import REASONS
from tests.e2e.stage import Stage
from tests.e2e.test_trying_again import NUMBER, UNAVAILABLE, request
from tests.support.worker import DEADLY, TIMEOUT

LIMIT = 4


def turn(body: dict[str, object], count: int) -> tuple[bool, bytes]:
    """Return its rank in the quarantine."""
    delivery = Delivery(json.dumps(body).encode(), message_id=str(body["messageId"]))
    return rank(replace(delivery, headers={COUNT: count}))


async def limit_deliveries(stage: Stage, limit: int) -> None:
    """Lower the delivery limit of the request queue: twenty crashes take too long."""
    async with stage.channel() as channel:
        await channel.queue_delete("omni.requests")
        arguments: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-delivery-limit": limit,
            "x-dead-letter-exchange": "omni.dead",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        queue = await channel.declare_queue("omni.requests", durable=True, arguments=arguments)
        await queue.bind("omni.requests", "#")
        await queue.bind("omni.relay", "omni.requests")


@pytest.mark.long
async def test_a_request_that_kills_workers_is_dead_lettered_and_others_are_not(stage: Stage) -> None:
    await (await stage.worker()).stop()
    await limit_deliveries(stage, LIMIT)
    killer = request("killer", NUMBER)
    # Each of those prefetched with it is served before it in one of the runs with quarantine.
    innocent = [
        body
        for body in (request(f"m-{number}", NUMBER) for number in range(20))
        if any(turn(body, count) < turn(killer, count) for count in range(2, LIMIT))
    ]
    for body in (killer, *innocent):
        await stage.send(body, message_id=body["messageId"])
    for _ in range(LIMIT + 1):
        await (await stage.worker(ready=False, program=DEADLY, RABBITMQ_DECLARE="false")).ended()
    await stage.worker(program=DEADLY, RABBITMQ_DECLARE="false")
    await stage.until_final_events(len(innocent) + 1)

    assert len(innocent) > 10
    types = {name: set(types) for name, types in stage.final_events().items()}
    assert types.pop("killer") == {"rejected"}
    killed = stage.about("killer")[-1].data
    assert (killed["reason"]["code"], killed["messageIds"]) == ("defect", ["killer"])
    assert types == {str(body["messageId"]): {"accepted"} for body in innocent}
    # If a worker is killed between the event and the settlement, the event is repeated with the same id.
    assert {len(ids) for ids in stage.final_ids().values()} == {1}
    assert set((await stage.posts()).values()) == {1}
    dead_letter = await stage.take("omni.dead")
    assert json.loads(dead_letter.body)["requestId"] == "killer"
    assert await stage.waiting("omni.dead") == await stage.waiting("omni.requests") == 0


async def test_a_request_that_expires_in_the_queue_has_one_final_event_and_is_not_posted(stage: Stage) -> None:
    await (await stage.worker()).stop()
    await stage.send(request("late", NUMBER), expiration=0.2, message_id="late")
    await stage.send(request("in-time", NUMBER), expiration=60, message_id="in-time")
    async with asyncio.timeout(TIMEOUT):
        while await stage.waiting("omni.dead") == 0:  # noqa: ASYNC110  # a server
            await asyncio.sleep(0.05)

    worker = await stage.worker()
    await stage.until_final_events(2)
    assert stage.final_events() == {"late": ["expired"], "in-time": ["accepted"]}
    await worker.until_metric('omni_relay_dead_letters_total{reason="lapsed"}', 1)
    assert await stage.waiting("omni.dead") == 1
    assert await stage.posts() == {"in-time": 1}


async def test_a_dead_letter_that_has_its_final_event_gets_no_second_one(stage: Stage) -> None:
    await stage.worker(RETRY_MAX_ATTEMPTS="1")
    await stage.send(request("m", UNAVAILABLE))
    await stage.until_final_events(1)
    async with asyncio.timeout(TIMEOUT):
        while await stage.waiting("omni.dead.notifications"):  # noqa: ASYNC110  # a server
            await asyncio.sleep(0.05)
    assert stage.event_types() == {"m": ["failed"]}


@pytest.mark.once
async def test_a_flood_of_wrong_requests_is_rejected_one_by_one_and_does_not_flood_the_log(stage: Stage) -> None:
    worker = await stage.worker(LOG_LINES_PER_SECOND="20")
    wrong = [{**request(f"m-{number}", NUMBER), "unheardOf": number} for number in range(1000)]
    await stage.send(*wrong, request("good", NUMBER))
    await stage.until_final_events(1001)

    words = stage.final_events()
    assert words.pop("good") == ["accepted"]
    assert set(map(tuple, words.values())) == {("rejected",)}
    assert (await worker.metrics())["omni_relay_requests_invalid_total"] == 1000
    await worker.stop()
    for event, requests in (("delivery.settled", {*words, "good"}), ("message.unaccepted", set(words))):
        lines = worker.lines(event)
        assert len(lines) < 500
        named = [line["request_id"] for line in lines if "left_out" not in line]
        summaries = [line for line in lines if "left_out" in line]
        assert len(named) + sum(line["left_out"] for line in summaries) == len(requests)
        assert {*named, *(one for line in summaries for one in line["request_ids"])} == requests


@pytest.mark.once
async def test_in_a_flood_of_one_producer_each_refusal_of_another_has_its_line_and_names_its_producer(
    stage: Stage,
) -> None:
    worker = await stage.worker(LOG_LINES_PER_SECOND="20", RETRY_MAX_ATTEMPTS="1", RETRY_BASE_DELAY="0.1")
    flood = stage.send(*({**request(f"m-{number}", NUMBER), "none": 1} for number in range(1600)), app_id="broken")
    others = [
        stage.send({**request("order-8812", NUMBER), "none": 1}, app_id="shop\n\x1b[31m"),
        stage.send(request("order-8813", UNAVAILABLE), app_id="shop"),
        stage.send(b"{", message_id="order-8814", app_id="till"),
    ]
    await asyncio.gather(flood, *others)
    await stage.until_final_events(1603)

    lines = {line["request_id"]: line for line in worker.lines("message.unaccepted") if "left_out" not in line}
    seen = {name: [lines[name][fact] for fact in ("type", "message_id", "code", "app_id")] for name in OTHERS}
    assert seen == OTHERS
    assert len(lines) < 1000
    assert stage.about("order-8812")[-1].data["appId"] == "shop\n\x1b[31m"
    assert stage.about("order-8813")[-1].data["appId"] == "shop"
    dead_letter = await stage.take("omni.dead")
    assert (dead_letter.message_id, dead_letter.app_id) == ("order-8813", "shop")


OTHERS = {
    "order-8812": ["message.rejected", "order-8812", "invalid", "shop\n\x1b[31m"],
    "order-8813": ["message.failed", "order-8813", "unavailable", "shop"],
    "order-8814": ["request.rejected", None, "invalid", "till"],
}


HOSTILE = {
    "five megabytes": (b'{"text": "' + b"x" * 5_000_000 + b'"}', "application/json"),
    "a million faults": (b'{"destinations": [' + b"1," * 999_999 + b"1]}", "application/json"),
    "nesting": (b'{"sms":' * 10_000 + b"1" + b"}" * 10_000, "application/json"),
    "not a number": (b'{"requestId": "r", "phoneNumber": NaN, "text": Infinity}', "application/json"),
    "broken encoding": (b'{"requestId": "\xff\xfe", "phoneNumber": "41793026727", "text": "\xc3"}', "application/json"),
    "surrogates": (b'{"phoneNumber": "41793026727", "text": "\\ud800"}', "application/json"),
    "many keys": (b"{" + b",".join(b'"k%d": 1' % number for number in range(100_000)) + b"}", "application/json"),
    "entity bomb": (
        b'<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]><request><text>&b;</text></request>',
        "application/xml",
    ),
    "deep XML": (b"<request>" + b"<a>" * 50_000 + b"</a>" * 50_000 + b"</request>", "application/xml"),
    "a picture": (b"\x89PNG\r\n", "image/png"),
    "nothing": (b"", "application/json"),
}


async def test_hostile_input_causes_nothing_but_its_own_rejection(stage: Stage) -> None:
    worker = await stage.worker()
    before = (await worker.metrics())["process_resident_memory_bytes"]
    for number in range(5):
        for name, (body, content_type) in HOSTILE.items():
            await stage.send(body, content_type=content_type, message_id=f"{name} {number}")
    await stage.send(request("good", NUMBER))
    await stage.until(lambda: len(stage.events) >= 5 * len(HOSTILE) + 1)

    assert stage.final_events().pop("good") == ["accepted"]
    assert {event.type for event in stage.events if event.subject != "good"} == {"rejected"}
    assert max(len(event.message.body) for event in stage.events) < 10_000
    grown = (await worker.metrics())["process_resident_memory_bytes"] - before
    assert grown < 150e6  # five megabytes five times, read and freed
    assert worker.lines("delivery.settled")[-1]["level"] == "info"
    assert (await worker.metrics())['omni_relay_deliveries_total{settlement="dead_lettered"}'] == 0


@pytest.mark.parametrize("reason", ["poison", "defect", "lapsed", "other"])
async def test_a_dead_letter_of_the_broker_is_counted_by_its_reason(stage: Stage, reason: str) -> None:
    worker = await stage.worker()
    said = {"poison": "delivery_limit", "defect": "rejected", "lapsed": "expired", "other": "maxlen"}[reason]
    headers = {"x-death": [{"reason": said, "queue": "omni.requests", "exchange": "omni.requests", "count": 1}]}
    before = await worker.metrics()
    series = {one: f'omni_relay_dead_letters_total{{reason="{one}"}}' for one in REASONS}
    assert [before[name] for name in series.values()] == [0] * len(REASONS)
    await stage.send(request("m", NUMBER), exchange="omni.dead", key="", headers=headers)
    await worker.until_metric(series[reason], 1)

    after = await worker.metrics()
    assert {one: after[name] for one, name in series.items() if after[name]} == {reason: 1}


async def test_unreadable_dead_letters_do_not_stop_the_listener(stage: Stage) -> None:
    """Any producer with the right to that exchange can pretend to be the broker."""
    worker = await stage.worker()
    bodies = [body for body, _ in HOSTILE.values()] + [b'{"requestId": "' + b"x" * 1000 + b'"}']
    for reason in ("expired", "rejected", "delivery_limit"):
        headers = {"x-death": [{"reason": reason, "queue": "omni.requests"}], "omni-attempt": "many", "traceparent": 7}
        await stage.send(*bodies, exchange="omni.dead", key="", headers=headers)
    await stage.send(request("good", NUMBER))
    await stage.until(lambda: "good" in stage.final_events())
    async with asyncio.timeout(TIMEOUT):
        while await stage.waiting("omni.dead.notifications"):  # noqa: ASYNC110  # a server
            await asyncio.sleep(0.05)

    assert worker.process.returncode is None
    assert worker.lines("dead_letter.report_failed") == worker.lines("dead_letter_listener.failed") == []
    assert {event.type for event in stage.events} == {"accepted", "rejected"}
    assert max(len(event.message.body) for event in stage.events) < 10_000
