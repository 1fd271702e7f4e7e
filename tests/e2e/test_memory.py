"""The memory that all workers share: attempts that never started are no ambiguous ones."""

import signal

import pytest

from tests.e2e.stage import Stage
from tests.support.memory import MemoryServer

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
