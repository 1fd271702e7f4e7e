"""The commands for dead letters: list, show, replay, purge."""

import asyncio
import json
from typing import Any

import pytest
from pydantic import SecretStr

from service.adapters.settings import Settings
from service.cli.dead_letter_queue import Choice
from service.cli.dead_letters import list_dead
from service.core.result.dead_letter import Selection
from tests.e2e.stage import Stage
from tests.e2e.test_trying_again import GARBLED, NUMBER, UNAVAILABLE, request
from tests.support.worker import TIMEOUT, Ended


async def listed(stage: Stage, *arguments: str) -> list[dict[str, Any]]:
    ended = await stage.command("dead", "list", "--json", *arguments)
    assert ended.status == 0, ended.errors
    return [json.loads(line) for line in ended.output.splitlines()]


async def dead(stage: Stage, *arguments: str) -> Ended:
    ended = await stage.command("dead", *arguments)
    assert ended.status == 0, ended.errors
    return ended


async def with_dead_letters(stage: Stage) -> None:
    """Make three dead letters: two failed, one ambiguous with another text, since equal texts would share a call."""
    await stage.worker(RETRY_MAX_ATTEMPTS="1", UNKNOWN_POLICY="park", UNKNOWN_LOG_CHECKS="1")
    ambiguous = request("u-1", GARBLED, sms={"text": "another"})
    await stage.send(request("f-1", UNAVAILABLE), request("f-2", UNAVAILABLE), ambiguous)
    await stage.until_final_events(3)
    async with asyncio.timeout(TIMEOUT):
        while await stage.waiting("omni.dead") < 3:  # noqa: ASYNC110  # the event may arrive first
            await asyncio.sleep(0.02)


async def test_dead_letters_are_listed_and_shown_and_stay_where_they_are(stage: Stage) -> None:
    await with_dead_letters(stage)

    dead_letters = await listed(stage)
    assert sorted(
        (dead_letter["requestId"], dead_letter["reason"], dead_letter["attempts"]) for dead_letter in dead_letters
    ) == [
        ("f-1", "failed", 1),
        ("f-2", "failed", 1),
        ("u-1", "unknown", 1),
    ]
    assert [dead_letter["requestId"] for dead_letter in await listed(stage, "--reason", "unknown")] == ["u-1"]
    assert len(await listed(stage, "--limit", "2")) == 2
    assert await listed(stage, "--older-than", "1h") == []
    assert len(await listed(stage, "--newer-than", "1h", "--request-id", "f-1")) == 1
    table = (await dead(stage, "list")).output
    assert "3 dead letters" in table
    assert NUMBER[:5] not in table
    shown = (await dead(stage, "show", "u-1")).output
    assert '"omni-reason": "unknown"' in shown
    assert GARBLED in shown
    assert await stage.waiting("omni.dead") == 3
    assert (await stage.command("dead", "show", "nobody")).status == 1


async def test_listing_many_times_loses_no_dead_letter(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """RabbitMQ 4 drops a message after twenty deliveries if the queue sets no limit."""
    await with_dead_letters(stage)
    settings = Settings(rabbitmq_url=SecretStr(stage.url))
    for _ in range(25):
        await list_dead(settings, Choice(Selection()), as_json=False)
    assert capsys.readouterr().out.count("3 dead letters") == 25
    assert await stage.waiting("omni.dead") == 3


async def test_a_replayed_request_keeps_its_ids_and_messages_known_to_omni_are_not_posted_again(stage: Stage) -> None:
    await with_dead_letters(stage)
    await stage.fault(kind="reset", taken=True, times=1)
    await stage.send(request("u-2", NUMBER))
    await stage.until_final_events(4)
    before = await stage.posts()

    assert "1 dead letter would be sent again" in (await dead(stage, "replay", "--limit", "1", "--dry-run")).output
    ended = await dead(stage, "replay", "--reason", "unknown", "--rate", "100")

    assert "sent again" in ended.output
    await stage.until(lambda: bool(stage.about("u-1")) and len(stage.final_events()["u-1"]) == 2)
    assert stage.final_events()["u-2"] == ["accepted"]
    posts = await stage.posts()
    assert posts["u-1"] == before["u-1"] + 1  # OMNI did not have it: the replay posts it once more
    assert posts["u-2"] == 1
    (dead_letter,) = await listed(stage, "--reason", "unknown")
    assert (dead_letter["requestId"], dead_letter["redrives"]) == ("u-1", 1)


@pytest.mark.long
@pytest.mark.parametrize("logs", [True, pytest.param(False, marks=pytest.mark.once)])
async def test_an_ambiguous_message_that_was_parked_is_accepted_after_a_replay(stage: Stage, *, logs: bool) -> None:
    """Without the right to read logs it stays unknown; the operator who replays it has decided."""
    worker = await stage.worker(UNKNOWN_POLICY="park", UNKNOWN_LOG_CHECKS="1")
    answer = await stage.sandbox.post("/sandbox/options", json={"logsAllowed": False})
    assert answer.status_code == 200
    await stage.fault(kind="reset", taken=True, times=1)
    await stage.send(request("m", NUMBER))
    await stage.until_final_events(1)
    assert stage.final_events() == {"m": ["unknown"]}
    await stage.sandbox.post("/sandbox/options", json={"logsAllowed": logs})
    await worker.stop()  # a worker remembers for a while that lookups are forbidden
    await stage.worker()

    await dead(stage, "replay")
    await stage.until(lambda: stage.final_events()["m"] == ["unknown", "accepted"])
    assert await stage.posts() == {"m": 1 if logs else 2}
    assert await stage.waiting("omni.dead") == 0


async def test_dead_letters_are_deleted_only_after_confirmation(stage: Stage) -> None:
    await with_dead_letters(stage)

    assert (await stage.command("dead", "purge")).status == 1
    assert "2 dead letters would be dropped" in (await dead(stage, "purge", "--reason", "failed", "--dry-run")).output
    assert await stage.waiting("omni.dead") == 3
    assert "2 dead letters dropped" in (await dead(stage, "purge", "--reason", "failed", "--yes")).output
    assert [dead_letter["requestId"] for dead_letter in await listed(stage)] == ["u-1"]


async def replayed(stage: Stage, *, republished: bool) -> None:
    """Publish a replay of a dead letter, as `dead replay` does."""
    headers: dict[str, Any] = {
        "omni-attempt": 0,
        "omni-ambiguous": True,
        "omni-redrive-count": 1,
        "omni-first-seen": 1_795_348_800_123,
    }
    if republished:
        headers["omni-republished"] = True
    await stage.send(request("m", NUMBER), message_id="m", headers=headers, exchange="omni.relay", key="omni.requests")


@pytest.mark.parametrize("pause", [0.0, 0.7], ids=["at once", "one after the other"])
async def test_two_replays_of_a_dead_letter_in_one_worker_are_one_call(stage: Stage, pause: float) -> None:
    """An interrupted replay, or two at once, may leave two duplicates."""
    worker = await stage.worker()
    await stage.fault(kind="latency", seconds=0.5, times=1)
    await replayed(stage, republished=False)
    await asyncio.sleep(pause)
    await replayed(stage, republished=False)
    await stage.until_final_events(1)
    await worker.until_metric("omni_relay_duplicate_deliveries_total", 1)
    await worker.until_metric("omni_relay_deliveries_in_flight", 0)

    assert await stage.posts() == {"m": 1}
    assert stage.event_types()["m"] == ["accepted"]


@pytest.mark.parametrize("latency", [0.0, 1.0])
async def test_two_replays_of_a_dead_letter_in_two_workers_are_one_call(stage: Stage, latency: float) -> None:
    """The possible duplicate waits, and finds the first one's message in OMNI's logs."""
    workers = [await stage.worker(RABBITMQ_PREFETCH="1") for _ in range(2)]
    if latency:
        await stage.fault(kind="latency", seconds=latency, times=1)
    await replayed(stage, republished=False)
    await replayed(stage, republished=True)
    await stage.until(lambda: stage.event_types().get("m", []).count("accepted") == 2)

    assert await stage.posts() == {"m": 1}
    assert len({event.message.message_id for event in stage.events if event.type == "accepted"}) == 1
    assert [await stage.waiting(queue) for queue in ("omni.requests", "omni.dead")] == [0, 0]
    for worker in workers:
        await worker.stop()


@pytest.mark.parametrize("policy", ["resend", "park"])
async def test_a_possible_second_replay_is_posted_in_the_end(stage: Stage, policy: str) -> None:
    await stage.worker(UNKNOWN_POLICY=policy, UNKNOWN_LOG_CHECKS="1")
    await replayed(stage, republished=True)
    await stage.until_final_events(1)

    assert stage.final_events() == {"m": ["accepted"]}
    assert await stage.posts() == {"m": 1}
