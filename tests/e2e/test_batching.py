"""Requests with equal contents share calls, and each keeps its own outcome."""

import pytest

from tests.e2e.stage import Stage
from tests.e2e.test_trying_again import NUMBER, request

pytestmark = pytest.mark.once

WRONG = "4179091400"  # the sandbox rejects every call with it


async def test_waiting_requests_share_calls_and_keep_their_own_fields(stage: Stage) -> None:
    await stage.worker(OMNI_CONCURRENCY="1")
    await stage.fault(kind="latency", seconds=0.3, times=1)
    await stage.send(*(request(f"m-{number}", NUMBER, metadata={"n": str(number)}) for number in range(50)))
    await stage.until_final_events(50)

    assert stage.event_types() == {f"m-{number}": ["accepted"] for number in range(50)}
    for event in stage.events:
        assert event.data["requestId"] == event.subject == f"m-{event.data['metadata']['n']}"
    assert await stage.posts() == {f"m-{number}": 1 for number in range(50)}
    assert len(await stage.calls()) < 10


async def test_one_wrong_request_of_a_batch_does_not_affect_the_others(stage: Stage) -> None:
    await stage.worker(OMNI_CONCURRENCY="1")
    await stage.fault(kind="latency", seconds=0.3, times=1)
    await stage.send(*(request(f"m-{number}", WRONG if number == 13 else NUMBER) for number in range(30)))
    await stage.until_final_events(30)

    types = stage.final_events()
    assert types.pop("m-13") == ["rejected"]
    assert set(map(tuple, types.values())) == {("accepted",)}


async def test_an_ambiguous_batch_makes_each_of_its_requests_ambiguous_and_none_is_posted_again(stage: Stage) -> None:
    await stage.worker(OMNI_CONCURRENCY="1")
    await stage.fault(kind="latency", seconds=0.3, times=1)
    await stage.fault(kind="reset", taken=True)
    await stage.send(*(request(f"m-{number}", NUMBER) for number in range(20)))
    await stage.until_final_events(20)

    assert {tuple(types) for types in stage.event_types().values()} == {("deferred", "accepted")}
    assert set((await stage.posts()).values()) == {1}


async def test_without_batching_each_request_takes_a_call(stage: Stage) -> None:
    await stage.worker(OMNI_CONCURRENCY="1", OMNI_BATCHING="false")
    await stage.send(*(request(f"m-{number}", NUMBER) for number in range(20)))
    await stage.until_final_events(20)

    assert len(await stage.calls()) == 20
