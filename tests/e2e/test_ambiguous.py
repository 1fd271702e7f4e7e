"""Ambiguous attempts: messages are looked up in OMNI's logs before they are posted again."""

import asyncio
import signal

import pytest

from tests.e2e.stage import Stage
from tests.e2e.test_trying_again import GARBLED, GARBLED_ONCE, NUMBER, request
from tests.support.gateway import gateway_to
from tests.support.node import Node
from tests.support.worker import TIMEOUT


async def options(stage: Stage, **changes: object) -> None:
    answer = await stage.sandbox.post("/sandbox/options", json=changes)
    assert answer.status_code == 200, answer.text


@pytest.mark.once
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "reset"},
        {"kind": "garbage"},
        {"kind": "hang"},
    ],
    ids=lambda fault: str(fault.get("status", fault["kind"])),
)
async def test_a_message_accepted_without_an_answer_is_found_and_not_posted_again(
    stage: Stage, fault: dict[str, object]
) -> None:
    worker = await stage.worker(UNKNOWN_POLICY="resend", OMNI_READ_TIMEOUT="0.5", OMNI_CONNECT_TIMEOUT="0.5")
    await stage.fault(**fault, taken=True, times=1)
    await stage.send(request("m", NUMBER))
    await stage.until_final_events(1)

    assert stage.event_types() == {"m": ["deferred", "accepted"]}
    deferred, accepted = stage.events
    assert (deferred.data["reason"]["code"], deferred.data["attempt"]) == ("ambiguous", 1)
    assert accepted.data["attempt"] == 1
    assert accepted.data["status"]["groupId"] in {0, 1, 3}
    assert await stage.posts() == {"m": 1}
    assert (await worker.metrics())['omni_relay_log_lookups_total{result="answered"}'] == 1


@pytest.mark.once
async def test_a_message_not_accepted_is_posted_again_with_the_same_id_after_several_lookups(stage: Stage) -> None:
    worker = await stage.worker(UNKNOWN_POLICY="park", UNKNOWN_LOG_CHECKS="2")
    await stage.send(request("m", GARBLED_ONCE, onUnknown="resend"))
    await stage.until_final_events(1)

    assert stage.event_types() == {"m": ["deferred", "deferred", "accepted"]}
    assert [event.data["attempt"] for event in stage.events] == [1, 1, 2]
    assert await stage.posts() == {"m": 2}
    assert (await worker.metrics())['omni_relay_log_lookups_total{result="answered"}'] == 2


@pytest.mark.once
async def test_a_message_that_was_not_found_can_be_parked(stage: Stage) -> None:
    await stage.worker(UNKNOWN_LOG_CHECKS="1")
    await stage.send(request("m", GARBLED, onUnknown="park"))
    await stage.until_final_events(1)
    dead_letter = await stage.take("omni.dead")

    event = stage.events[-1]
    assert (event.type, event.data["reason"]["code"], event.data["attempt"]) == ("unknown", "ambiguous", 1)
    assert (dead_letter.headers["omni-reason"], dead_letter.headers["omni-detail"]) == ("unknown", "not_in_logs")
    assert dead_letter.headers["omni-ambiguous"] is True
    assert await stage.posts() == {"m": 1}


@pytest.mark.once
async def test_logs_that_lag_are_looked_up_until_they_show_the_message(stage: Stage) -> None:
    await stage.worker(UNKNOWN_LOG_CHECKS="10")
    await options(stage, logsLag=1)
    await stage.fault(kind="status", status=504, taken=True, times=1)
    await stage.send(request("m", NUMBER))
    await stage.until_final_events(1)

    assert set(stage.event_types()["m"][:-1]) == {"deferred"}
    assert stage.final_events() == {"m": ["accepted"]}
    assert await stage.posts() == {"m": 1}


@pytest.mark.once
@pytest.mark.parametrize(("policy", "word", "posts"), [("resend", "accepted", 2), ("park", "unknown", 1)])
async def test_the_policy_applies_when_the_credentials_may_not_read_logs(
    stage: Stage, policy: str, word: str, posts: int
) -> None:
    worker = await stage.worker(UNKNOWN_POLICY=policy)
    await options(stage, logsAllowed=False)
    await stage.fault(kind="reset", times=1)
    await stage.send(request("m", NUMBER))
    await stage.until_final_events(1)

    *deferred, last = stage.event_types()["m"]
    assert (set(deferred), last) == ({"deferred"}, word)
    assert await stage.posts() == {"m": posts}
    assert (await worker.metrics())['omni_relay_log_lookups_total{result="forbidden"}'] == 1
    assert (await worker.metrics())['omni_relay_log_lookups_total{result="unanswered"}'] >= 2
    assert {line["level"] for line in worker.lines("log_lookup.failed")} == {"warning"}


@pytest.mark.once
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 403},
        {"kind": "html", "status": 404},
    ],
    ids=lambda fault: f"{fault['kind']} {fault['status']}",
)
async def test_one_refused_lookup_does_not_end_lookups(stage: Stage, fault: dict[str, object]) -> None:
    worker = await stage.worker(UNKNOWN_LOG_CHECKS="1")
    await stage.fault(**fault, path="logs", times=1)
    await stage.fault(kind="reset", taken=True, times=3)
    await stage.send(request("m", NUMBER))
    await stage.until_final_events(1)

    assert stage.final_events() == {"m": ["accepted"]}
    assert await stage.posts() == {"m": 1}
    assert (await worker.metrics())['omni_relay_log_lookups_total{result="forbidden"}'] == 0


@pytest.mark.once
async def test_all_messages_of_a_large_request_are_looked_up_before_it_is_retried(stage: Stage) -> None:
    """The logs lag, so an ambiguous attempt is repeated. OMNI rejects the repetition; then the logs show the first."""
    await stage.worker(
        UNKNOWN_LOG_CHECKS="1",
        RETRY_BASE_DELAY="0.2",
        RETRY_MAX_DELAY="3.2",
        OMNI_LOG_QUERIES_PER_MINUTE="6000",
    )
    await options(stage, logsLag=3600)
    await stage.fault(kind="reset", taken=True, times=1)
    await stage.fault(kind="status", status=503, retryAfter="2", times=1)
    people = [{"messageId": f"m-{n}", "to": {"phoneNumber": f"4179300{n:04}"}} for n in range(150)]
    await stage.send({"requestId": "r", "destinations": people, "sms": {"text": "hello"}})
    await stage.until(lambda: any(event.data["reason"]["code"] == "unavailable" for event in stage.events))
    await options(stage, logsLag=0)
    await stage.until_final_events(150)

    assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
    assert await stage.posts(answered=503) == {f"m-{n}": 1 for n in range(150)}
    assert await stage.posts() == {f"m-{n}": 2 for n in range(150)}


@pytest.mark.once
async def test_a_lookup_with_more_entries_than_an_answer_holds_posts_no_message_again(stage: Stage) -> None:
    """An answer has at most a thousand entries in the order of ids, so the last messages are missing."""
    people = [{"messageId": f"m-{n:02}", "to": {"phoneNumber": f"4179300{n:04}"}} for n in range(100)]
    async with gateway_to(stage.sandbox) as gateway:
        gateway.entries = 12
        await stage.worker(
            OMNI_BASE_URL=gateway.url, UNKNOWN_LOG_CHECKS="1", OMNI_LOG_QUERIES_PER_MINUTE="6000", OMNI_READ_TIMEOUT="5"
        )
        await stage.fault(kind="status", status=500, taken=True, times=1)
        await stage.send({"requestId": "r", "destinations": people, "sms": {"text": "hello"}})
        await stage.until_final_events(100)

    assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
    assert set((await stage.posts()).values()) == {1}


@pytest.mark.once
async def test_an_id_that_a_gateway_refuses_leaves_the_lookups_of_others_answered(stage: Stage) -> None:
    """Requests of several producers share a lookup. The messages of one have ids that a filter takes for an attack."""
    others = [f"m-{number}" for number in range(10)]
    refused = [f"r-{number}' OR '1'='1" for number in range(8)]
    async with gateway_to(stage.sandbox) as gateway:
        gateway.refused = "' OR '1'='1"
        worker = await stage.worker(OMNI_BASE_URL=gateway.url, OMNI_LOG_QUERIES_PER_MINUTE="240")
        await stage.fault(kind="latency", seconds=9)
        await stage.send(*(request(name, NUMBER) for name in (*refused[:4], *others, *refused[4:])))
        await stage.until_in_flight(18)
        await stage.mend()
        worker.send(signal.SIGKILL)
        await stage.worker(OMNI_BASE_URL=gateway.url, OMNI_LOG_QUERIES_PER_MINUTE="240")
        await stage.until(lambda: stage.final_events().keys() >= {*others})

        assert stage.final_events() == {name: ["accepted"] for name in others}
        gateway.refused = ""
        await stage.until_final_events(18)

    assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
    assert set((await stage.posts()).values()) == {1}


@pytest.mark.once
async def test_while_lookups_fail_nothing_is_decided(stage: Stage) -> None:
    worker = await stage.worker(UNKNOWN_LOG_CHECKS="1", UNKNOWN_POLICY="park")
    await stage.fault(kind="status", status=503, path="logs")
    await stage.fault(kind="reset", taken=True, times=1)
    await stage.send(request("m", NUMBER))
    await worker.until(lambda: len(worker.lines("log_lookup.failed")) >= 2)
    assert stage.final_events() == {}

    await stage.mend()
    await stage.until_final_events(1)
    assert stage.final_events() == {"m": ["accepted"]}
    assert await stage.posts() == {"m": 1}


@pytest.mark.parametrize("taken", [True, pytest.param(False, marks=pytest.mark.once)])
async def test_messages_that_a_killed_worker_may_have_posted_are_looked_up(stage: Stage, *, taken: bool) -> None:
    worker = await stage.worker(RABBITMQ_PREFETCH="10")
    kind = {"kind": "latency"} if taken else {"kind": "status", "status": 503}
    await stage.fault(**kind, seconds=30)
    await stage.send(*(request(f"m-{number}", NUMBER) for number in range(10)))
    await stage.until_in_flight(10)
    await stage.mend()
    worker.send(signal.SIGKILL)
    await worker.ended()

    await stage.worker(UNKNOWN_LOG_CHECKS="2")
    await stage.until_final_events(10)
    await asyncio.sleep(0.5)  # a second final event would arrive now

    assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
    assert set((await stage.posts()).values()) == {1 if taken else 2}
    assert await stage.waiting("omni.requests") == await stage.waiting("omni.dead") == 0


async def test_messages_that_a_killed_worker_may_have_posted_before_they_expired_in_the_queue_are_looked_up(
    stage: Stage, broker: Node
) -> None:
    worker = await stage.worker()
    await stage.fault(kind="latency", seconds=30)
    await stage.send(request("m", NUMBER), expiration=3)
    await stage.until_in_flight(1)
    await stage.mend()
    await asyncio.sleep(3)
    worker.send(signal.SIGKILL)
    await worker.ended()

    await stage.worker(UNKNOWN_POLICY="park")
    await stage.until_final_events(1)
    # RabbitMQ 3 does not mark a dead letter as delivered before; it may also deliver it once more first.
    forgetful = broker.version.startswith("3.")
    assert stage.final_events()["m"] in ([["accepted"], ["expired"]] if forgetful else [["accepted"]])
    assert await stage.posts() == {"m": 1}


@pytest.mark.once
@pytest.mark.parametrize(("policy", "word"), [("resend", "expired"), ("park", "unknown")])
async def test_an_expired_message_that_is_not_found_is_never_posted(stage: Stage, policy: str, word: str) -> None:
    worker = await stage.worker()
    await worker.stop()
    await stage.send(request("m", NUMBER), expiration=0.1)
    async with stage.channel() as channel, asyncio.timeout(TIMEOUT):
        died = await channel.get_queue("omni.dead.notifications")
        async with died.iterator() as taking:
            await anext(taking)  # a worker that takes it and ends: the broker marks it as redelivered

    await stage.worker(UNKNOWN_POLICY=policy)
    await stage.until_final_events(1)
    assert stage.final_events() == {"m": [word]}
    assert stage.event_types()["m"][0] == "deferred"
    assert await stage.posts() == {}
    dead_letters = [await stage.take("omni.dead") for _ in range(2 if policy == "park" else 1)]
    assert [dead_letter.headers.get("omni-original-exchange") for dead_letter in dead_letters[1:]] == (
        ["omni.requests"] if policy == "park" else []
    )
    assert await stage.waiting("omni.dead") == 0


@pytest.mark.once
async def test_a_rejection_that_a_killed_worker_had_not_published_is_found_and_published(stage: Stage) -> None:
    worker = await stage.worker()
    await stage.fault(kind="refuse", statusId=6, times=1)
    await stage.fault(kind="latency", seconds=1.5, times=1)
    await stage.send(request("m", NUMBER))
    await stage.until_in_flight(1)
    worker.send(signal.SIGKILL)
    await worker.ended()

    await stage.worker()
    await stage.until_final_events(1)
    assert stage.final_events() == {"m": ["rejected"]}
    assert await stage.posts() == {"m": 1}
