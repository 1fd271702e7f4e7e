"""No call is made while calls cannot succeed, or their events cannot be published. Sending resumes by itself."""

import asyncio
import itertools
import json
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stage import RESULTS, Stage
from tests.e2e.test_trying_again import NUMBER, moment, request
from tests.support.broker import VirtualHost
from tests.support.worker import PROGRAM

LIBFAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
DENIED, NO_CREDIT = "4179091403", "4179091012"
FAILING, STALLED = 'omni_relay_paused{reason="failing"}', 'omni_relay_paused{reason="results_stalled"}'


def requests(count: int, prefix: str = "m") -> list[dict[str, object]]:
    return [request(f"{prefix}-{number}", NUMBER) for number in range(count)]


@pytest.mark.once
async def test_while_omni_is_down_only_probes_are_sent_and_no_message_fails(stage: Stage) -> None:
    worker = await stage.worker(RETRY_MAX_ATTEMPTS="8", RETRY_BASE_DELAY="0.5", RETRY_MAX_DELAY="4")
    await stage.fault(kind="status", status=503)
    await stage.send(*requests(60))
    await worker.until_metric(FAILING, 1)
    status, body = await worker.readiness()
    assert (status, body["ready"], body["paused"], body["reason"]) == (200, True, True, "http_503")
    assert (await worker.get("/livez"))[0] == 200
    called = len(await stage.calls())
    await asyncio.sleep(2)
    assert len(await stage.calls()) - called <= 3 + 32  # probes, and calls in flight
    await stage.send(*requests(20, "later"))

    await stage.mend()
    mended = time.monotonic()
    await stage.until(lambda: any(event.type == "accepted" for event in stage.events))
    assert time.monotonic() - mended < 15  # a probe's pause and a delay queue: four seconds each at most
    await stage.until_final_events(80)

    assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
    assert await stage.waiting("omni.dead") == 0
    await worker.until_metric(FAILING, 0)
    assert worker.lines("sending.paused")[0]["cause"] == "http_503"
    assert worker.lines("sending.resumed")


@pytest.mark.once
@pytest.mark.long
async def test_an_outage_makes_no_attempt_ambiguous_and_no_message_late(stage: Stage) -> None:
    """No worker ends and OMNI accepts nothing, so nothing is looked up, and all are posted as soon as OMNI answers.

    The consumer stays, since the broker would hand out again, as redelivered, what was on its way to it.
    """
    worker = await stage.worker(UNKNOWN_POLICY="park", RETRY_BASE_DELAY="1", RETRY_MAX_DELAY="2")
    await stage.fault(kind="status", status=403, path="logs")
    await stage.fault(kind="status", status=503)
    await stage.send(*requests(12))
    await worker.until_metric(FAILING, 1)
    for number in range(4):
        await asyncio.sleep(1)
        assert await stage.consumers("omni.requests") == 1
        await stage.send(*requests(4, f"later-{number}"))
    await stage.mend()
    mended = time.monotonic()
    await stage.until_final_events(12 + 4 * 4)

    assert time.monotonic() - mended < 20  # a probe's pause, and a delay queue
    assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
    assert {code for event in stage.events if (code := (event.data["reason"] or {}).get("code"))} == {"unavailable"}
    assert not [line for line in worker.lines("delivery.settled") if line["redelivered"]]
    assert await stage.posts(answered=200) == dict.fromkeys(stage.final_events(), 1)
    assert await stage.waiting("omni.dead") == 0


@pytest.mark.long
@pytest.mark.parametrize("fast", ["true", pytest.param("false", marks=pytest.mark.once)])
async def test_a_connection_that_ends_during_a_pause_makes_nothing_ambiguous_that_was_not_posted(
    stage: Stage, vhost: VirtualHost, fast: str
) -> None:
    """The broker delivers it again to the same worker, which knows that it has not posted it.

    A message whose lookup is forbidden is deferred, and ends as unknown. The request that OMNI refused has no retry:
    its publication could be cut, and a retry that is published twice is ambiguous.
    """
    worker = await stage.worker(UNKNOWN_POLICY="park", RABBITMQ_FAST_PATH=fast, RETRY_MAX_ATTEMPTS="1")
    await stage.fault(kind="status", status=403, path="logs")
    await stage.fault(kind="status", status=503, retryAfter="6", times=1)
    await stage.send(request("first", NUMBER))
    await worker.until_metric(FAILING, 1)
    await stage.send(*requests(12))
    large = {"requestId": "large", "text": "x", "destinations": [{"messageId": "large", "to": {"phoneNumber": NUMBER}}]}
    await stage.send(*(json.dumps({**large, "metadata": {"n": f"{n}"}}).encode().ljust(2**20) for n in range(3)))
    await worker.until_metric("omni_relay_deliveries_in_flight", 13)  # and two that wait for memory
    for _ in range(2):
        await vhost.close_connections()
        await worker.until_metric("omni_relay_connected", 1)
        await worker.until(lambda: len(worker.lines("broker.connected")) > len(worker.lines("broker.disconnected")))
        await asyncio.sleep(0.5)
    await stage.until_final_events(14)
    await stage.until(lambda: len(stage.about("large")) == 3)

    posts = await stage.posts(answered=200)
    assert posts.pop("large") == 3
    assert posts == {f"m-{number}": 1 for number in range(12)}
    assert {name: types for name, types in stage.event_types().items() if types != ["accepted"]} == {
        "first": ["failed"],
        "large": ["accepted"] * 3,
    }


@pytest.mark.once
async def test_no_call_is_made_before_the_time_of_retry_after(stage: Stage) -> None:
    worker = await stage.worker(OMNI_CONCURRENCY="1")
    await stage.fault(kind="status", status=429, retryAfter="2", times=1)
    await stage.send(*requests(20))
    await stage.until_final_events(20)

    received = [moment(call["receivedAt"]) for call in await stage.calls()]
    assert received[1] - received[0] >= timedelta(seconds=2)
    assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
    assert [line["cause"] for line in worker.lines("sending.paused")] == ["http_429"]


@pytest.mark.once
@pytest.mark.long
@pytest.mark.skipif(not LIBFAKETIME, reason="libfaketime is not installed")
async def test_a_wall_clock_that_steps_during_a_pause_neither_prolongs_nor_shortens_it(stage: Stage) -> None:
    offset = stage.directory / "offset"
    offset.write_text("+0s\n")
    stage.settings |= {
        "LD_PRELOAD": str(LIBFAKETIME[0]),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    worker = await stage.worker(program=PROGRAM, OMNI_CONCURRENCY="1")
    for number, seconds in enumerate((-0.1, -30.1, -0.1), 1):
        await stage.fault(kind="status", status=503, retryAfter="2", times=1)
        paused = time.monotonic()
        await stage.send(*requests(10, f"step-{number}"))
        await worker.until(lambda: len(worker.lines("sending.paused")) == number)  # noqa: B023 - awaited here
        offset.write_text(f"{seconds:+}s\n")
        await stage.until_final_events(10 * number)
        assert time.monotonic() - paused > 1
        assert (await worker.get("/livez"))[0] == 200

    assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
    calls = [(moment(call["receivedAt"]), call["status"]) for call in await stage.calls()]
    waits = [after - at for (at, status), (after, _) in itertools.pairwise(calls) if status == 503]
    assert len(waits) == 3
    assert all(timedelta(seconds=2) <= wait < timedelta(seconds=20) for wait in waits)


@pytest.mark.once
async def test_rejected_requests_do_not_cause_a_pause(stage: Stage) -> None:
    worker = await stage.worker()
    await stage.send(*(request(f"m-{number}", "4179091400") for number in range(40)))
    await stage.until_final_events(40)

    assert set(map(tuple, stage.final_events().values())) == {("rejected",)}
    assert worker.lines("sending.paused") == []


@pytest.mark.once
@pytest.mark.long
@pytest.mark.parametrize("number", [DENIED, NO_CREDIT], ids=["call", "message"])
async def test_requests_that_omni_denies_individually_end_and_do_not_slow_others(stage: Stage, number: str) -> None:
    """A producer sends such requests continuously, some with the contents of others."""
    worker = await stage.worker(RETRY_MAX_DELAY="1")
    await stage.send(request("first", NUMBER))  # only an accepted call shows that the account is not denied
    await stage.until_final_events(1)
    sent: dict[str, datetime] = {}
    wrong = {f"bad-{round_}-{one}" for round_ in range(6) for one in range(10)}
    for round_ in range(60):  # others succeed for as long as it takes
        good, bad = requests(10, f"good-{round_}"), [request(f"bad-{round_}-{one}", number) for one in range(10)]
        await stage.send(*good, *(bad if round_ < 6 else []))
        sent |= dict.fromkeys((str(one["messageId"]) for one in good), datetime.now(UTC))
        if wrong <= stage.final_events().keys():
            break
        await asyncio.sleep(0.25)
    await stage.until_final_events(1 + len(sent) + len(wrong))

    types = stage.final_events()
    assert {tuple(types[name]) for name in types if name.startswith("good")} == {("accepted",)}
    assert {tuple(types[name]) for name in types if name.startswith("bad")} == {("rejected",)}
    assert not [event for event in stage.events if event.type == "deferred" and event.subject.startswith("good")]
    waits = [moment(event.body["time"]) - sent[event.subject] for event in stage.events if event.subject in sent]
    assert statistics.median(wait.total_seconds() for wait in waits) < 1
    reasons = [event.data["reason"]["code"] for event in stage.events if event.type == "rejected"]
    assert set(reasons) == {"refused"}
    # Where no call has succeeded for a second, as while this test gets no time, a denial may be about the account.
    accepted = [moment(event.body["time"]) for event in stage.events if event.type == "accepted"]
    pauses = [moment(line["timestamp"]) for line in worker.lines("sending.paused")]
    since = [pause - at for pause in pauses for at in accepted]
    assert not [wait for wait in since if timedelta() <= wait < timedelta(seconds=0.5)]
    assert await stage.waiting("omni.dead") == 0


@pytest.mark.once
async def test_a_single_denied_request_waits_until_another_one_arrives(stage: Stage) -> None:
    worker = await stage.worker(RETRY_MAX_DELAY="1")
    await stage.send(request("alone", DENIED))
    await worker.until_metric('omni_relay_paused{reason="denied"}', 1)
    await stage.until(lambda: len(stage.about("alone")) >= 4)
    assert stage.final_events() == {}

    others = 0
    while "alone" not in stage.final_events():
        await stage.send(request(f"other-{others}", NUMBER))
        others += 1
        await asyncio.sleep(0.2)
    await stage.until_final_events(1 + others)
    types = stage.final_events()
    assert types.pop("alone") == ["rejected"]
    assert set(map(tuple, types.values())) == {("accepted",)}


async def test_while_events_are_not_confirmed_no_call_is_made_and_none_is_repeated(stage: Stage) -> None:
    worker = await stage.worker(RABBITMQ_PREFETCH="10", OMNI_CONCURRENCY="10")
    async with stage.channel() as channel:
        limited: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
        blocked = await channel.declare_queue("blocked", durable=True, arguments=limited)
        await blocked.bind("omni.results", "#")
        await stage.send(*requests(30))
        await worker.until_metric(STALLED, 1)
        assert (await worker.readiness()) == (200, {"ready": True, "reason": "results_stalled", "paused": True})
        stuck = len(await stage.calls())
        await asyncio.sleep(2)
        assert len(await stage.calls()) == stuck < 30
        await channel.queue_delete("blocked")
    await stage.until_final_events(30)

    assert await stage.posts() == {f"m-{number}": 1 for number in range(30)}
    assert {len(set(types)) for types in stage.final_events().values()} == {1}
    await worker.until_metric(STALLED, 0)


@pytest.mark.once
async def test_a_worker_stopped_during_a_pause_leaves_no_ambiguous_attempt(stage: Stage) -> None:
    worker = await stage.worker(OMNI_CONCURRENCY="1")
    await stage.fault(kind="status", status=503, retryAfter="8", times=1, seconds=0.5)
    await stage.send(*requests(20))
    await worker.until_metric(FAILING, 1)
    stopping = time.monotonic()
    assert await worker.stop() == 0
    assert time.monotonic() - stopping < 7  # it does not wait for the end of the pause

    # A broker whose disk is slow may not have applied all acks, and deliver again what was handed back. Lookups then go
    # on for longer than the pause, and find the messages.
    await stage.worker(UNKNOWN_POLICY="park", RETRY_BASE_DELAY="1", RETRY_MAX_DELAY="4")
    await stage.until_final_events(20)
    assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
    assert await stage.posts(answered=200) == {f"m-{number}": 1 for number in range(20)}
    assert [call["status"] for call in await stage.calls()].count(503) == 1
    assert await stage.waiting("omni.dead") == 0


@pytest.mark.once
async def test_a_configured_rate_is_not_exceeded(stage: Stage) -> None:
    await stage.worker(OMNI_MESSAGES_PER_SECOND="20", OMNI_BATCHING="false")
    started = datetime.now(UTC)
    await stage.send(*requests(40))
    await stage.until_final_events(40)

    assert datetime.now(UTC) - started >= timedelta(seconds=39 / 20)


async def test_a_queue_deleted_and_declared_by_another_client_is_consumed_within_seconds(stage: Stage) -> None:
    worker = await stage.worker()
    for name in ("omni.requests", RESULTS):
        async with stage.channel() as channel:
            await channel.queue_delete(name)
    await asyncio.sleep(1)
    await worker.until_metric("omni_relay_consuming", 1)
    await stage.send(*requests(3))
    await worker.until(lambda: len(worker.lines("delivery.settled")) == 3, within=12)
    assert (await worker.get("/livez"))[0] == 200


@pytest.mark.long
async def test_a_broker_that_is_short_of_disk_ends_no_session(stage: Stage, vhost: VirtualHost) -> None:
    """It reads nothing from connections that publish, but still answers whether the consumer exists."""
    worker = await stage.worker()
    await stage.fault(kind="latency", seconds=8)  # the command takes seconds on a busy machine
    await stage.send(*requests(3))
    await stage.until_in_flight(3)
    await vhost.node.evaluate(f"rabbit_disk_monitor:set_disk_free_limit({900 * 10**12})")
    try:
        await worker.until_metric(STALLED, 1)
        await asyncio.sleep(12)  # two rounds of checks, and the longest time of an answer
    finally:
        await vhost.node.evaluate("rabbit_disk_monitor:set_disk_free_limit(50000000)")
    await stage.until_final_events(3)

    assert worker.lines("consumer.lost") == worker.lines("broker.disconnected") == []
    assert set((await stage.posts()).values()) == {1}
