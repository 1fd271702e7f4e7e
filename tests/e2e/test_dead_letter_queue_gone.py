"""The queues of dead letters are deleted while a worker runs: no dead letter is lost."""

import asyncio
import json

import pytest
from aiormq.exceptions import ChannelNotFoundEntity

from tests.e2e.stage import Stage
from tests.e2e.test_trying_again import NUMBER, UNAVAILABLE, request
from tests.support.worker import TIMEOUT, Worker


async def delete(stage: Stage, *queues: str) -> None:
    async with stage.channel() as channel:
        for queue in queues:
            await channel.queue_delete(queue)


async def until_stored(stage: Stage, count: int) -> None:
    async with asyncio.timeout(TIMEOUT):
        while await there(stage, "omni.dead") < count:  # noqa: ASYNC110  # a server
            await asyncio.sleep(0.05)


async def there(stage: Stage, queue: str) -> int:
    """Count the messages in a queue; -1 if it does not exist."""
    try:
        return await stage.waiting(queue)
    except ChannelNotFoundEntity:
        return -1


async def reasons(stage: Stage) -> dict[str, str]:
    listed = await stage.command("dead", "list", "--json")
    assert listed.status == 0, listed.errors
    dead_letters = [json.loads(line) for line in listed.output.splitlines()]
    return {dead_letter["requestId"]: dead_letter["reason"] for dead_letter in dead_letters}


async def busy_worker(stage: Stage) -> Worker:
    """Start a worker that consumes nothing for some seconds: its only slot is in use."""
    worker = await stage.worker(RABBITMQ_PREFETCH="1")
    await stage.fault(kind="latency", seconds=4)
    await stage.send(request("slow", NUMBER))
    await stage.until_in_flight(1)
    return worker


@pytest.mark.parametrize(
    "queues", [("omni.dead",), ("omni.dead.notifications",), ("omni.dead", "omni.dead.notifications")]
)
async def test_a_dead_letter_of_the_relay_is_stored(stage: Stage, queues: tuple[str, ...]) -> None:
    """It may be stored twice, with one identity: both copies are listed as one dead letter, and a replay sends one.

    RabbitMQ 4.3 sometimes closes the connection on which a queue is consumed that is deleted (seen, reason unknown).
    """
    worker = await stage.worker(RETRY_MAX_ATTEMPTS="1")
    await stage.send(request("before", NUMBER))
    await stage.until_final_events(1)
    await delete(stage, *queues)
    await stage.send(request("first", UNAVAILABLE), request("second", UNAVAILABLE, sms={"text": "another"}))
    await stage.until_final_events(3)
    await until_stored(stage, 2)

    assert await reasons(stage) == {"first": "failed", "second": "failed"}
    assert await stage.waiting("omni.dead") >= 2
    assert stage.event_types() == {"before": ["accepted"], "first": ["failed"], "second": ["failed"]}
    assert {line["cause"] for line in worker.lines("broker.disconnected")} <= {"connection_refused"}
    assert await stage.waiting("omni.requests") == 0


@pytest.mark.timeout(120)
async def test_dead_letters_of_the_broker_are_stored_and_have_a_final_event(stage: Stage) -> None:
    """They expire in the queue while the worker is busy; the broker dead-letters them to the queues that exist."""
    worker = await busy_worker(stage)
    await delete(stage, "omni.dead")
    names = [f"m-{number}" for number in range(60)]
    await stage.send(*(request(name, NUMBER) for name in names), expiration=0.1)
    await stage.until(lambda: all(stage.event_types().get(name) == ["expired"] for name in names))
    async with asyncio.timeout(TIMEOUT):  # those that expired while the queue was declared may be there twice
        while await reasons(stage) != dict.fromkeys(names, "lapsed"):  # noqa: ASYNC110  # a command
            await asyncio.sleep(0.5)
    assert worker.lines("broker.disconnected") == []
    assert worker.lines("dead_letter.stored_again")


async def test_one_dead_letter_of_the_broker_is_stored_once(stage: Stage) -> None:
    await busy_worker(stage)
    await delete(stage, "omni.dead")
    await stage.send(request("m", NUMBER), expiration=0.1)
    await stage.until(lambda: stage.event_types().get("m") == ["expired"])
    await until_stored(stage, 1)
    await asyncio.sleep(0.5)

    assert await reasons(stage) == {"m": "lapsed"}
    assert await stage.waiting("omni.dead") == 1


async def test_a_deleted_queue_is_declared_again_before_it_is_needed(stage: Stage) -> None:
    await stage.worker()
    await delete(stage, "omni.dead", "omni.dead.notifications")
    async with asyncio.timeout(TIMEOUT):
        while min([await there(stage, queue) for queue in ("omni.dead", "omni.dead.notifications")]) < 0:  # noqa: ASYNC110  # a server
            await asyncio.sleep(0.2)


async def test_a_worker_without_the_right_to_declare_reports_it_and_the_request_stays(stage: Stage) -> None:
    declaring = await stage.worker()
    assert await declaring.stop() == 0
    worker = await stage.worker(RETRY_MAX_ATTEMPTS="1", RABBITMQ_DECLARE="false")
    await delete(stage, "omni.dead")
    await stage.send(request("m", UNAVAILABLE))
    assert await worker.ended() != 0
    assert "omni.dead" in worker.text.splitlines()[-1]
    assert await stage.waiting("omni.requests") == 1

    await stage.worker(RETRY_MAX_ATTEMPTS="1")
    await until_stored(stage, 1)
    assert set((await reasons(stage)).values()) == {"failed"}
    assert set(stage.final_events()["m"]) == {"failed"}
    assert len({event.body["id"] for event in stage.about("m") if event.type == "failed"}) == 1
