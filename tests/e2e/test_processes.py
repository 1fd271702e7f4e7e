"""Several workers on one machine have one operations port, and a worker that ends is started again."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.stage import Stage
from tests.support.worker import TIMEOUT, Worker

pytestmark = pytest.mark.once

NUMBER = "41793026727"


def requests(count: int, prefix: str = "m") -> list[dict[str, object]]:
    return [
        {"requestId": f"{prefix}-{number}", "messageId": f"{prefix}-{number}", "phoneNumber": NUMBER, "text": "hello"}
        for number in range(count)
    ]


def children(supervisor: Worker) -> list[int]:
    pid = supervisor.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until_gone(pids: list[int]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while any(is_running(pid) for pid in pids):  # noqa: ASYNC110 - they are not ours to wait for
            await asyncio.sleep(0.05)


async def total(supervisor: Worker, name: str, labels: str = "") -> float:
    found = await supervisor.metrics()
    return sum(value for sample, value in found.items() if sample.startswith(f"{name}{{") and labels in sample)


@pytest.mark.long
async def test_all_workers_share_the_work_and_one_port_reports_each(stage: Stage) -> None:
    supervisor = await stage.workers(2)
    await stage.send(*requests(100))
    await stage.until_final_events(100)

    assert set((await stage.posts()).values()) == {1}
    assert await total(supervisor, "omni_relay_events_total", 'type="message.accepted"') == 100
    async with asyncio.timeout(TIMEOUT):
        while (await supervisor.readiness())[0] != 200:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
    assert (await supervisor.get("/livez"))[0] == 200
    found = await supervisor.metrics()
    assert found["omni_relay_process_restarts_total"] == 0
    assert {found[f'process_start_time_seconds{{process="{number}"}}'] > 0 for number in (1, 2)} == {True}
    assert {line["process"] for line in supervisor.lines("worker.started")} == {1, 2}
    for page in ("/metrics", "/readyz"):
        assert NUMBER not in (await supervisor.get(page))[1]


async def test_a_supervisor_asked_to_stop_lets_all_workers_finish_calls_in_flight(stage: Stage) -> None:
    supervisor = await stage.workers(2)
    pids = children(supervisor)
    await stage.fault(kind="latency", seconds=2)
    await stage.send(*requests(10))
    await stage.until_in_flight(10)

    assert await supervisor.stop() == 0
    await stage.until_final_events(10)
    assert await stage.posts() == {f"m-{number}": 1 for number in range(10)}
    assert not any(map(is_running, pids))
    assert len(supervisor.lines("worker.stopped")) == 2


async def test_a_supervisor_asked_to_stop_during_start_ends_all_workers_at_once(stage: Stage) -> None:
    supervisor = await stage.watching("worker", "--processes", "2")
    await supervisor.until_line("supervisor.started")
    supervisor.send(signal.SIGTERM)

    assert await supervisor.ended(within=20) == 0


async def test_a_second_signal_ends_all_workers_at_once(stage: Stage) -> None:
    supervisor = await stage.workers(2)
    await stage.fault(kind="hang")
    await stage.send(*requests(5))
    await stage.until_in_flight(5)
    supervisor.send(signal.SIGTERM)
    await supervisor.until(lambda: len(supervisor.lines("worker.stopping")) == 2)

    assert await supervisor.stop() == 0
    assert await stage.waiting("omni.requests") == 5


@pytest.mark.long
async def test_a_killed_worker_is_started_again_and_a_hanging_one_is_ended(stage: Stage) -> None:
    supervisor = await stage.workers(2)
    killed, hung = children(supervisor)
    os.kill(killed, signal.SIGKILL)
    os.kill(hung, signal.SIGSTOP)
    await stage.send(*requests(20))
    await stage.until_final_events(20, within=40)
    await until_gone([hung])
    await supervisor.until_metric("omni_relay_process_restarts_total", 2)

    await supervisor.until_all_ready(2)
    assert not {killed, hung} & set(children(supervisor))
    assert supervisor.lines("process.stuck")
    assert {line["status"] for line in supervisor.lines("process.ended")} == {-signal.SIGKILL}
    assert await supervisor.stop() == 0


async def test_a_killed_supervisor_leaves_no_process_behind(stage: Stage) -> None:
    supervisor = await stage.workers(2)
    pids = children(supervisor)
    supervisor.send(signal.SIGKILL)
    await supervisor.ended()

    await until_gone(pids)


async def test_a_wrong_configuration_is_not_retried_for_ever(stage: Stage) -> None:
    ended = await stage.command("worker", "--processes", "2", OMNI_API_KEY="")

    assert (ended.status, ended.output) == (os.EX_CONFIG, "")
    assert "RELAY_OMNI_API_KEY" in ended.errors
