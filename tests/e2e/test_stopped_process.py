"""A worker whose process was stopped while another served its deliveries posts none of them when it continues."""

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.stage import Stage
from tests.support.broker import VirtualHost
from tests.support.worker import Worker

NUMBER = "41793026727"
COUNT = 12


def requests(**fields: object) -> list[dict[str, object]]:
    names = [f"m-{number}" for number in range(COUNT)]
    return [{"requestId": n, "messageId": n, "phoneNumber": NUMBER, "text": "hello", **fields} for n in names]


@pytest.fixture
async def stopped(vhost: VirtualHost) -> AsyncIterator[list[Worker]]:
    """List the workers that a test stops with SIGSTOP; they are continued at the end, so that they can be ended."""
    workers: list[Worker] = []
    yield workers
    for worker in workers:
        if worker.process.returncode is None and vhost.node.running:
            worker.send(signal.SIGCONT)


@pytest.mark.long
@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("holds", "settings"),
    [
        pytest.param("slow", {"OMNI_CONCURRENCY": "1"}, id="wait in a batch", marks=pytest.mark.once),
        pytest.param(
            "rate",
            {"OMNI_MESSAGES_PER_SECOND": "3", "OMNI_BATCHING": "false"},
            id="wait for the rate",
            marks=pytest.mark.once,
        ),
        pytest.param("unread", {}, id="are still unread", marks=pytest.mark.once),
        pytest.param("slow", {"RABBITMQ_FAST_PATH": "false", "OMNI_CONCURRENCY": "1"}, id="come by way of the library"),
        pytest.param("slow", {"OMNI_CONCURRENCY": "1", "OMNI_BATCHING": "false", "heartbeat": "1"}, id="heartbeats"),
    ],
)
async def test_deliveries_that_another_worker_has_served_are_not_posted_again(
    stage: Stage, vhost: VirtualHost, stopped: list[Worker], holds: str, settings: dict[str, Any]
) -> None:
    """The broker ends the session of the stopped worker, by itself or for missing heartbeats."""
    is_silent = settings.pop("heartbeat", None) is not None
    url = f"{stage.url}?heartbeat=1" if is_silent else stage.url
    first = await stage.worker(RABBITMQ_URL=url, **settings)
    if holds == "slow":
        await stage.fault(kind="latency", seconds=1, times=1)
    if holds != "unread":
        await stage.send(*requests())
        await stage.until_in_flight(1) if holds == "slow" else await stage.until(lambda: bool(stage.events))
    stopped.append(first)
    first.send(signal.SIGSTOP)
    await stage.mend()
    if holds == "unread":
        await stage.send(*requests())
        await asyncio.sleep(0.3)  # the broker sends them to the stopped worker
    if not is_silent:
        await vhost.close_connections()
    second = await stage.worker(UNKNOWN_LOG_CHECKS="1")
    await stage.until_final_events(COUNT, within=60)
    first.send(signal.SIGCONT)
    await first.until_metric("omni_relay_deliveries_in_flight", 0)
    await first.until_metric("omni_relay_connected", 1)
    await asyncio.sleep(0.5)  # a second post would be made now

    assert await stage.posts() == {f"m-{number}": 1 for number in range(COUNT)}
    assert set(map(tuple, stage.final_events().values())) <= {("accepted",), ("accepted", "accepted")}
    assert len({event.message.message_id for event in stage.events if event.type == "accepted"}) == COUNT
    await second.stop()
    await stage.send({"requestId": "after", "messageId": "after", "phoneNumber": NUMBER, "text": "hello"})
    await stage.until(lambda: bool(stage.about("after")))


@pytest.mark.once
@pytest.mark.long
@pytest.mark.timeout(150)
async def test_the_present_owner_of_an_expired_request_publishes_its_final_event(
    stage: Stage, vhost: VirtualHost, stopped: list[Worker]
) -> None:
    first = await stage.worker()
    await stage.worker(UNKNOWN_LOG_CHECKS="1")
    stopped.append(first)
    first.send(signal.SIGSTOP)
    deadline = datetime.now(UTC) + timedelta(seconds=6)
    await stage.send(*requests(expiresAt=deadline.isoformat())[:6])
    await stage.until(lambda: bool(stage.events))  # the other half is sent to the stopped worker
    await vhost.close_connections()
    await stage.until_final_events(6)
    await asyncio.sleep(max(0.0, (deadline - datetime.now(UTC)).total_seconds()))
    first.send(signal.SIGCONT)
    await first.until_metric("omni_relay_connected", 1)
    await asyncio.sleep(1)

    final = {(event.subject, event.message.message_id) for event in stage.events if event.type != "deferred"}
    assert len(final) == 6  # "accepted", or "expired" by the same worker if it is slow
    assert set((await stage.posts()).values()) <= {1}


async def test_a_stopped_process_that_kept_its_session_continues(stage: Stage, stopped: list[Worker]) -> None:
    first = await stage.worker(OMNI_CONCURRENCY="1", OMNI_BATCHING="false")
    await stage.fault(kind="latency", seconds=0.5, times=1)
    await stage.send(*requests())
    await stage.until_in_flight(1)
    stopped.append(first)
    first.send(signal.SIGSTOP)
    await asyncio.sleep(2)
    first.send(signal.SIGCONT)
    await stage.until_final_events(COUNT)

    assert stage.event_types() == {f"m-{number}": ["accepted"] for number in range(COUNT)}
    assert await stage.posts() == {f"m-{number}": 1 for number in range(COUNT)}
    assert first.lines("broker.disconnected") == []
