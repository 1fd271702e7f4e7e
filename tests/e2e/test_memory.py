"""The memory that all workers share: attempts that never started are no ambiguous ones."""

import asyncio
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.stage import Stage
from tests.support.memory import MemoryServer
from tests.support.proxy import Proxy

NUMBER = "41793026727"


def requests(count: int, **fields: object) -> list[dict[str, object]]:
    names = [f"m-{number}" for number in range(count)]
    return [{"requestId": n, "messageId": n, "phoneNumber": NUMBER, "text": "hello", **fields} for n in names]


async def close_logs(stage: Stage) -> None:
    answer = await stage.sandbox.post("/sandbox/options", json={"logsAllowed": False})
    assert answer.status_code == 200, answer.text


def kinds(stage: Stage) -> dict[str, int]:
    """Count the messages by the type of their final event; each has one."""
    ids = stage.final_ids()
    assert all(len(one) == 1 for one in ids.values()), ids
    found: dict[str, int] = {}
    for types in stage.final_events().values():
        found[types[0]] = found.get(types[0], 0) + 1
    return found


@pytest.mark.long
async def test_what_a_killed_worker_had_not_started_is_posted_at_once_though_the_logs_are_closed(
    stage: Stage, memory: MemoryServer
) -> None:
    await close_logs(stage)
    first = await stage.worker(
        UNKNOWN_POLICY="park", OMNI_BATCHING="false", MEMORY_URL=memory.url, OMNI_CONCURRENCY="5"
    )
    await stage.fault(kind="latency", seconds=20)
    await stage.send(*requests(95))
    await stage.until_in_flight(5)
    await first.until_metric("omni_relay_deliveries_in_flight", 95)
    second = await stage.worker(UNKNOWN_POLICY="park", OMNI_BATCHING="false", MEMORY_URL=memory.url)
    await stage.mend()
    first.send(signal.SIGKILL)
    await stage.until(lambda: kinds(stage).get("accepted", 0) >= 90, within=8)
    await stage.until_final_events(95)

    assert kinds(stage) == {"accepted": 90, "unknown": 5}
    assert set((await stage.posts()).values()) == {1}
    assert (await second.metrics())["omni_relay_untouched_redeliveries_total"] == 90
    assert NUMBER not in str(await memory.keys())


@pytest.mark.once
@pytest.mark.long
@pytest.mark.parametrize("fault", ["killed", "flushed", "killed, with old data on disk", "killed, and stays away"])
async def test_after_a_memory_that_lost_its_data_everything_held_is_ambiguous_and_nothing_is_posted_twice(
    stage: Stage, tmp_path: Path, fault: str
) -> None:
    await close_logs(stage)
    options = ("--appendonly", "no") if "disk" in fault else ("--save", "", "--appendonly", "no")
    async with MemoryServer(tmp_path / "own", options) as memory:
        settings: dict[str, Any] = {"UNKNOWN_POLICY": "park", "OMNI_BATCHING": "false", "MEMORY_URL": memory.url}
        first = await stage.worker(**settings, OMNI_CONCURRENCY="5")
        await stage.fault(kind="latency", seconds=2, times=5)
        await stage.send(*requests(20))
        await stage.until_in_flight(5)
        if "disk" in fault:
            await memory.ask("SAVE")
        await stage.fault(kind="latency", seconds=20)
        await stage.until_final_events(5)
        await stage.until_in_flight(5)
        if fault == "flushed":
            await memory.ask("FLUSHALL")
        else:
            await memory.kill()
            if "stays away" not in fault:
                await memory.start()
        if "stays away" not in fault:
            await first.until_metric("omni_relay_memory_unavailable", 0)
        await asyncio.sleep(2)
        second = await stage.worker(**settings)
        await stage.mend()
        first.send(signal.SIGKILL)
        await stage.until_final_events(20)

        found = kinds(stage)
        assert set((await stage.posts()).values()) == {1}
        assert found["accepted"] + found["unknown"] == 20
        assert found["unknown"] >= 5
        assert (await second.metrics())["omni_relay_untouched_redeliveries_total"] == 0


@pytest.mark.once
@pytest.mark.long
async def test_sending_goes_on_without_a_memory_that_does_not_answer(stage: Stage, memory: MemoryServer) -> None:
    worker = await stage.worker(MEMORY_URL=memory.url)
    await stage.send(*requests(1))
    await stage.until_final_events(1)
    memory.pause()
    await stage.send({"requestId": "slow", "messageId": "slow", "phoneNumber": NUMBER, "text": "hello"})
    await stage.until_final_events(2, within=8)
    await stage.send({"requestId": "next", "messageId": "next", "phoneNumber": NUMBER, "text": "hello"})
    await stage.until_final_events(3, within=1)
    metrics = await worker.metrics()
    assert metrics["omni_relay_memory_unavailable"] == 1
    assert metrics['omni_relay_memory_failures_total{cause="timeout"}'] >= 1
    assert worker.lines("memory.unavailable")[0]["cause"] == "timeout"
    memory.resume()
    await worker.until_metric("omni_relay_memory_unavailable", 0, within=40)
    await stage.send({"requestId": "last", "messageId": "last", "phoneNumber": NUMBER, "text": "hello"})
    await stage.until_final_events(4)
    assert set(kinds(stage)) == {"accepted"}


@pytest.mark.once
@pytest.mark.long
async def test_sending_pauses_while_a_required_memory_is_away(stage: Stage, memory: MemoryServer) -> None:
    worker = await stage.worker(MEMORY_URL=memory.url, MEMORY_REQUIRED="true")
    await memory.kill()
    await worker.until_metric('omni_relay_paused{reason="memory_unavailable"}', 1)
    await stage.send(*requests(5))
    await asyncio.sleep(1)
    assert await worker.readiness() == (200, {"ready": True, "reason": "memory_unavailable", "paused": True})
    assert await stage.calls() == []
    await memory.start()
    await stage.until_final_events(5, within=40)
    assert await stage.posts() == {f"m-{number}": 1 for number in range(5)}
    assert (await worker.metrics())['omni_relay_paused{reason="memory_unavailable"}'] == 0


@pytest.mark.once
async def test_a_refused_password_is_named_and_sending_goes_on(stage: Stage, tmp_path: Path) -> None:
    async with MemoryServer(tmp_path / "own", password="right") as memory:
        url = memory.url.replace("right", "wrong-password")
        worker = await stage.worker(MEMORY_URL=url)
        await stage.send(*requests(1))
        await stage.until_final_events(1, within=5)
        assert worker.lines("memory.unavailable")[0]["cause"] == "login_refused"
        checked = await stage.command("check", MEMORY_URL=url)
        assert "FAULT memory         refuses user and password; see RELAY_MEMORY_URL" in checked.output
        assert "wrong-password" not in worker.text + checked.output + checked.errors
        checked = await stage.command("check", MEMORY_URL=memory.url)
        assert "ok    memory         connected; it can be written" in checked.output


@pytest.mark.once
@pytest.mark.long
async def test_a_worker_that_lost_the_memory_and_posted_without_it_leaves_no_record_that_it_had_not(
    stage: Stage, memory: MemoryServer
) -> None:
    """The memory never misses it, and the other worker can ask it all the time."""
    await close_logs(stage)
    async with Proxy(memory.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        first = await stage.worker(UNKNOWN_POLICY="park", OMNI_BATCHING="false", OMNI_CONCURRENCY="5", MEMORY_URL=url)
        await stage.fault(kind="latency", seconds=3, times=5)
        await stage.send(*requests(20))
        await stage.until_in_flight(5)
        proxy.hold()
        await stage.fault(kind="latency", seconds=30)
        second = await stage.worker(UNKNOWN_POLICY="park", OMNI_BATCHING="false", MEMORY_URL=memory.url)
        async with asyncio.timeout(20):
            while len(await stage.posts(answered=200)) < 5:  # noqa: ASYNC110 - a server
                await asyncio.sleep(0.02)
        assert len(await stage.posts()) == 5  # the first worker waits for the end of its lease
        await stage.until_in_flight(5)
        await stage.until_final_events(5)
        proxy.release()  # held commands are applied now
        await stage.mend()
        first.send(signal.SIGKILL)
        await stage.until_final_events(20)

        assert set((await stage.posts()).values()) == {1}
        assert kinds(stage)["unknown"] >= 5
        assert (await second.metrics())["omni_relay_consuming"] == 1


@pytest.mark.long
async def test_deliveries_of_a_lost_session_are_posted_once_by_the_worker_that_has_them_now(
    stage: Stage, memory: MemoryServer
) -> None:
    """Both workers live on."""
    await close_logs(stage)
    broker = urlsplit(stage.url)
    assert broker.port
    async with Proxy(broker.port) as proxy:
        url = stage.url.replace(str(broker.port), str(proxy.port))
        await stage.worker(
            UNKNOWN_POLICY="park",
            OMNI_BATCHING="false",
            OMNI_CONCURRENCY="3",
            MEMORY_URL=memory.url,
            RABBITMQ_URL=url,
        )
        await stage.fault(kind="latency", seconds=12)
        await stage.send(*requests(60))
        await stage.until_in_flight(3)
        await stage.worker(UNKNOWN_POLICY="park", OMNI_BATCHING="false", MEMORY_URL=memory.url)
        await stage.mend()
        begun = set(await stage.posts())
        proxy.cut()
        await stage.until_final_events(60, within=60)

    assert set((await stage.posts()).values()) == {1}
    ambiguous = {name for name, types in stage.final_events().items() if "unknown" in types}
    assert len(begun) == 3
    assert ambiguous <= begun
