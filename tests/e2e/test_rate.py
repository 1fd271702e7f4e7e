"""Producers share the account's rate: a large request lets others call in between."""

import asyncio
import time

import pytest

from tests.e2e.stage import Stage
from tests.e2e.test_trying_again import NUMBER, request

pytestmark = pytest.mark.once

RATE = 10
MESSAGES = 150


def campaign(name: str, messages: int = MESSAGES) -> dict[str, object]:
    numbers = [f"4179400{number:03}0" for number in range(messages)]
    destinations = [{"to": {"phoneNumber": phone}, "messageId": f"{name}-{phone}"} for phone in numbers]
    return {"requestId": name, "sms": {"text": name}, "destinations": destinations}


async def waits(stage: Stage, count: int, pause: float) -> list[float]:
    """Send that many ordinary requests one after the other; return the seconds that each took."""
    taken = []
    for number in range(count):
        started = time.monotonic()
        await stage.send(request(f"ordinary-{number}", NUMBER, sms={"text": str(number)}))
        await stage.until(lambda name=f"ordinary-{number}": name in stage.final_events())  # type: ignore[misc]
        taken.append(time.monotonic() - started)
        await asyncio.sleep(pause)
    return taken


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("campaigns", [1, 30])
async def test_a_large_request_lets_others_call_between_its_calls(stage: Stage, campaigns: int) -> None:
    worker = await stage.worker(OMNI_MESSAGES_PER_SECOND=str(RATE))
    started = time.monotonic()
    await stage.send(*(campaign(f"campaign-{number}") for number in range(campaigns)))
    await asyncio.sleep(1)
    taken = await waits(stage, 6, 0.1)
    sent = (await stage.posts()).total()
    seconds = time.monotonic() - started

    assert max(taken) < 5  # a campaign alone takes 15 seconds
    assert RATE * (seconds - 2) * 0.8 <= sent <= RATE * (seconds + 1)  # the rate is used completely
    calls = [call["body"] for call in await stage.calls()]
    assert max(len(call["destinations"]) for call in calls) == RATE // 2
    assert len({call["bulkId"] for call in calls if "bulkId" in call}) == sum("bulkId" in call for call in calls)
    assert await worker.stop() == 0
    assert set((await stage.posts()).values()) == {1}


async def test_a_batch_takes_at_most_half_a_second_of_the_rate(stage: Stage) -> None:
    worker = await stage.worker(OMNI_MESSAGES_PER_SECOND=str(RATE), OMNI_CONCURRENCY="1")
    await stage.send(*(request(f"same-{number}", NUMBER) for number in range(30)))
    await stage.until_final_events(30)

    assert 1 < max(len(call["body"]["destinations"]) for call in await stage.calls()) <= RATE // 2
    assert await worker.stop() == 0


async def test_a_stop_does_not_wait_for_the_turns_of_large_requests(stage: Stage) -> None:
    worker = await stage.worker(OMNI_MESSAGES_PER_SECOND="1")
    await stage.send(*(campaign(f"campaign-{number}", 20) for number in range(40)))
    await asyncio.sleep(1)
    started = time.monotonic()

    assert await worker.stop() == 0
    assert time.monotonic() - started < 15
    assert worker.lines("worker.drained")[0]["abandoned"] == 0
