"""An urgent request goes first wherever something waits, and stays urgent whatever happens to it."""

import asyncio
import json
import signal
import time
from datetime import UTC, datetime

import pytest

from tests.e2e.stage import Stage
from tests.e2e.test_cost import MIB, large
from tests.e2e.test_dead_letters import listed
from tests.e2e.test_trying_again import NUMBER, UNAVAILABLE, UNAVAILABLE_ONCE, moment, request

URGENT = "omni.requests.urgent"
RATE = 20
CAMPAIGN = 200
"""Messages of the normal lane that wait: ten seconds at that rate."""


def codes(count: int, number: str = NUMBER) -> list[dict[str, object]]:
    return [request(f"code-{one}", number, sms={"text": f"Your code is {one}"}) for one in range(count)]


def campaign(kind: str) -> list[dict[str, object]]:
    """Make requests with one text for all, or a text for each."""
    texts = ("hello" if kind == "same" else f"hello {one}" for one in range(CAMPAIGN))
    return [request(f"campaign-{one}", NUMBER, sms={"text": text}) for one, text in enumerate(texts)]


async def arrivals(stage: Stage) -> list[tuple[str, datetime]]:
    """List the messages in the order in which they were posted, with the times."""
    return [
        (one["messageId"], moment(call["receivedAt"]))
        for call in await stage.calls()
        for one in call["body"]["destinations"]
    ]


async def ahead_of_last_code(stage: Stage, since: datetime) -> int:
    """Count the messages of the campaign that were posted from a time on, until the last code was."""
    posted = await arrivals(stage)
    last = max(place for place, (name, _) in enumerate(posted) if name.startswith("code"))
    return sum(name.startswith("campaign") and posted_at >= since for name, posted_at in posted[:last])


@pytest.mark.once
@pytest.mark.parametrize("kind", ["same", "distinct"])
async def test_urgent_messages_overtake_a_campaign_that_keeps_most_of_the_rate(stage: Stage, kind: str) -> None:
    await stage.worker(OMNI_MESSAGES_PER_SECOND=str(RATE))
    await stage.send(*campaign(kind))
    await stage.until(lambda: len(stage.events) > RATE)
    waits = []
    for code in codes(10):
        published = datetime.now(UTC)
        await stage.send(code, exchange=URGENT)
        await stage.until(lambda name=str(code["messageId"]): name in stage.final_events())  # type: ignore[misc]
        waits.append((dict(await arrivals(stage))[str(code["messageId"])] - published).total_seconds())
        await asyncio.sleep(0.3)

    assert sorted(waits)[5] < 0.5
    assert max(waits) < 2  # a busy machine; ten seconds without the lane
    posted = await arrivals(stage)
    seconds = (posted[-1][1] - posted[0][1]).total_seconds()
    assert sum(name.startswith("campaign") for name, _ in posted) > 0.7 * RATE * seconds
    assert len(stage.final_events()) < CAMPAIGN


@pytest.mark.once
async def test_urgent_messages_are_never_posted_in_a_call_with_others(stage: Stage) -> None:
    worker = await stage.worker(OMNI_CONCURRENCY="1")
    await stage.fault(kind="latency", seconds=0.2)
    same = [request(f"{lane}-{number}", NUMBER) for number in range(20) for lane in ("normal", "urgent")]
    await asyncio.gather(
        stage.send(*same[::2]),
        stage.send(*same[1::2], exchange=URGENT),
    )
    await stage.until_final_events(40)

    lanes = [
        {one["messageId"].partition("-")[0] for one in call["body"]["destinations"]} for call in await stage.calls()
    ]
    assert all(len(lane) == 1 for lane in lanes)
    assert len(lanes) < 30  # equal ones of a lane share calls
    assert await worker.stop() == 0


@pytest.mark.once
async def test_a_flood_of_urgent_messages_leaves_the_campaign_a_tenth(stage: Stage) -> None:
    await (await stage.worker()).stop()  # it has declared the queues
    await stage.send(*campaign("distinct"))
    await stage.send(*codes(300), exchange=URGENT)
    await stage.worker(OMNI_MESSAGES_PER_SECOND=str(5 * RATE))
    await stage.until(lambda: sum(name.startswith("code") for name in stage.final_events()) == 300)

    lanes = [name.partition("-")[0] for name, _ in await arrivals(stage)]
    while lanes[-1] != "code":
        lanes.pop()
    both = lanes[
        lanes.index("campaign") :
    ]  # the urgent lane is consumed first, and has half a second of the rate alone
    assert 0.1 < both.count("campaign") / len(both) < 0.5


@pytest.mark.once
async def test_a_retry_of_an_urgent_message_overtakes_the_campaign_too(stage: Stage) -> None:
    await stage.worker(OMNI_MESSAGES_PER_SECOND=str(RATE))
    await stage.send(*campaign("distinct"))
    await stage.until(lambda: len(stage.events) > RATE)
    for code in codes(2, UNAVAILABLE_ONCE):
        started = time.monotonic()
        await stage.send(code, exchange=URGENT)
        await stage.until(lambda name=str(code["messageId"]): name in stage.final_events())  # type: ignore[misc]
        assert time.monotonic() - started < 5  # the sandbox asks for one second; ten without the lane

    posts = await stage.posts()
    assert {posts[f"code-{one}"] for one in range(2)} == {2}
    assert len(stage.final_events()) < CAMPAIGN


@pytest.mark.once
async def test_after_an_outage_urgent_messages_go_first(stage: Stage) -> None:
    worker = await stage.worker(OMNI_MESSAGES_PER_SECOND=str(RATE), RETRY_BASE_DELAY="1", RETRY_MAX_DELAY="2")
    await stage.fault(kind="status", status=503)
    await stage.send(*campaign("distinct"))
    await worker.until_metric('omni_relay_paused{reason="failing"}', 1)
    await stage.send(*codes(10), exchange=URGENT)
    await asyncio.sleep(1)
    await stage.mend()
    mended = datetime.now(UTC)
    await stage.until(lambda: sum(name.startswith("code") for name in stage.final_events()) == 10)

    assert await ahead_of_last_code(stage, mended) < RATE * 5
    assert len(stage.final_events()) < CAMPAIGN
    assert set(map(tuple, stage.final_events().values())) == {("accepted",)}


@pytest.mark.parametrize("taken", [True, pytest.param(False, marks=pytest.mark.once)])
async def test_a_killed_worker_loses_no_urgent_message_sends_none_twice_and_they_stay_urgent(
    stage: Stage, *, taken: bool
) -> None:
    worker = await stage.worker()
    await stage.fault(kind="latency" if taken else "status", seconds=30, **({} if taken else {"status": 503}))
    await stage.send(*codes(10), exchange=URGENT)
    await stage.until_in_flight(10)
    await stage.mend()
    worker.send(signal.SIGKILL)
    await worker.ended()
    await stage.send(*campaign("distinct"))
    since = datetime.now(UTC)
    await stage.worker(UNKNOWN_LOG_CHECKS="2", OMNI_MESSAGES_PER_SECOND=str(RATE))
    await stage.until(lambda: sum(name.startswith("code") for name in stage.final_events()) == 10)

    last = max(place for place, name in enumerate(stage.final_events()) if name.startswith("code"))
    assert last < CAMPAIGN  # overtaken, also after the log lookups and their delay queue
    assert taken or await ahead_of_last_code(stage, since) < CAMPAIGN
    await stage.until_final_events(CAMPAIGN + 10)
    assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
    posts = await stage.posts()
    assert {posts[f"code-{one}"] for one in range(10)} == {1 if taken else 2}
    assert {posts[f"campaign-{one}"] for one in range(CAMPAIGN)} == {1}


async def test_a_replayed_dead_letter_returns_to_its_lane(stage: Stage) -> None:
    worker = await stage.worker(RETRY_MAX_ATTEMPTS="1")
    await stage.send(request("normal", UNAVAILABLE))
    await stage.send(request("urgent", UNAVAILABLE), exchange=URGENT, priority=4)
    await stage.until_final_events(2)
    assert await worker.stop() == 0
    lanes = {one["requestId"]: one["lane"] for one in await listed(stage)}
    assert lanes == {"normal": "normal", "urgent": "urgent"}
    assert (await stage.command("dead", "replay")).status == 0

    urgent, normal = await stage.take(URGENT), await stage.take("omni.requests")
    assert (urgent.message_id, urgent.priority, normal.message_id) == ("urgent", 4, "normal")
    assert [message.headers["omni-redrive-count"] for message in (urgent, normal)] == [1, 1]


async def test_an_urgent_request_that_expired_in_its_queue_is_reported(stage: Stage) -> None:
    worker = await stage.worker()
    await worker.stop()
    await stage.send(request("late", NUMBER), exchange=URGENT, expiration=0.1)
    await stage.until_waiting("omni.dead", 1)
    await stage.worker()
    await stage.until_final_events(1)

    assert stage.final_events() == {"late": ["expired"]}
    assert await stage.posts() == {}


@pytest.mark.once
async def test_a_command_sends_urgent_requests(stage: Stage) -> None:
    worker = await stage.worker()
    await worker.stop()
    sent = await stage.command("send", "--urgent", stdin=json.dumps(request("one", NUMBER)).encode())
    assert (sent.status, sent.errors) == (0, "1 request confirmed by the broker\n")
    assert [await stage.waiting(queue) for queue in (URGENT, "omni.requests")] == [1, 0]

    waiting = await stage.command("status", "--json", "--seconds", "0.1")
    status = json.loads(waiting.output)
    assert (status["queues"][URGENT]["after"], status["queues"]["omni.requests"]["after"]) == (1, 0)
    assert f"{URGENT}: 1 requests wait and no worker consumes" in status["problems"]

    worker = await stage.worker()
    await stage.until_final_events(1)
    await worker.until_metric('omni_relay_acceptance_seconds_count{lane="urgent"}', 1)
    await worker.until_metric('omni_relay_acceptance_seconds_count{lane="normal"}', 0)


@pytest.mark.once
async def test_large_requests_that_fill_the_memory_do_not_hold_urgent_ones_up_for_long(stage: Stage) -> None:
    worker = await stage.worker(
        RABBITMQ_MAX_BYTES_IN_FLIGHT=str(8 * MIB), OMNI_MAX_MESSAGES_PER_CALL="10000", OMNI_CONCURRENCY="4"
    )
    await stage.fault(kind="latency", seconds=3)
    await stage.send(*(large(f"large-{number}") for number in range(20)))
    await worker.until_line("delivery.set_aside")
    waits = []
    for code in codes(5):
        published = datetime.now(UTC)
        await stage.send(code, exchange=URGENT)
        while not (arrived := [at for name, at in await arrivals(stage) if name == code["messageId"]]):  # noqa: ASYNC110 - a server
            await asyncio.sleep(0.1)
        waits.append((arrived[0] - published).total_seconds())

    assert max(waits) < 5  # four slots, and each call takes three seconds
