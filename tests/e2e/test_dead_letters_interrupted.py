"""Commands for dead letters that are interrupted, or run concurrently, lose no letter and send none twice."""

import asyncio
import json
import os
import random
import signal
import sys
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from pydantic import SecretStr

from service.adapters.settings import Settings
from service.cli.dead_letter_queue import Choice
from service.cli.dead_letters import list_dead
from service.core.result.dead_letter import Selection
from tests.e2e.stage import Stage
from tests.e2e.test_dead_letters import dead, listed
from tests.e2e.test_trying_again import NUMBER, request
from tests.support.broker import VirtualHost, manage
from tests.support.proxy import Proxy
from tests.support.worker import PROGRAM, TIMEOUT, Worker

FAILED_AT = datetime(2026, 11, 22, 11, 0, tzinfo=UTC).isoformat()
OWN = {"omni-reason": "failed", "omni-detail": "http_503", "omni-failed-at": FAILED_AT, "omni-attempt": 8}


async def put_dead_letters(stage: Stage, count: int, *, listening: bool = False) -> list[str]:
    """Store dead letters whose requests would be accepted now; return their ids. A worker declares the topology."""
    worker = await stage.worker()
    names = [f"r-{number}" for number in range(count)]
    for name in names:
        await stage.send(request(name, NUMBER, sms={"text": name}), exchange="omni.dead", key="", headers=OWN)
    await stage.until_waiting("omni.dead", count)
    await stage.until_waiting("omni.dead.notifications", 0)
    if not listening:
        await worker.stop()
    return names


async def limit_deliveries(vhost: VirtualHost, limit: int) -> None:
    definition = {"pattern": "^omni\\.dead$", "definition": {"delivery-limit": limit}, "apply-to": "queues"}
    await asyncio.to_thread(manage, vhost.node, "PUT", f"policies/{vhost.name}/limit", **definition)
    async with asyncio.timeout(TIMEOUT):  # a policy takes effect a moment later
        while not (await asyncio.to_thread(queue, vhost, "omni.dead")).get("policy"):  # noqa: ASYNC110  # a server
            await asyncio.sleep(0.1)


def queue(vhost: VirtualHost, name: str) -> dict[str, Any]:
    found = manage(vhost.node, "GET", f"queues/{vhost.name}/{name}")
    assert isinstance(found, dict)
    return found


SHOW_AGAIN_AND_AGAIN = """
import asyncio, os, sys
from service.cli.dead_letter_queue import Choice
from service.cli.dead_letters import show_dead
from service.adapters.settings import load_settings
from service.core.result.dead_letter import Selection
for _ in range(int(sys.argv[1])):
    try:
        asyncio.run(show_dead(load_settings(), Choice(Selection())))
    except BrokenPipeError:
        continue
    sys.exit("the pipe is open")
os._exit(0)  # the rest of the buffer cannot be written
"""


async def run_with_a_closed_pipe(stage: Stage, *command: str) -> int:
    """Run a command whose standard output is not read; return its exit status."""
    reading, writing = os.pipe()
    os.close(reading)
    settings = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")} | stage.settings
    process = await asyncio.create_subprocess_exec(
        *command, env=settings, cwd=stage.directory, stdout=writing, stderr=asyncio.subprocess.PIPE
    )
    os.close(writing)
    _, errors = await asyncio.wait_for(process.communicate(), 2 * TIMEOUT)
    assert b"Traceback" not in errors
    return process.returncode or 0


async def test_showing_into_a_closed_pipe_many_times_loses_no_letter(stage: Stage) -> None:
    """RabbitMQ 4 deletes a message that was returned more than twenty times; RabbitMQ 3 does not."""
    names = await put_dead_letters(stage, 2)
    assert await run_with_a_closed_pipe(stage, sys.executable, "-c", SHOW_AGAIN_AND_AGAIN, "25") == 0

    assert [dead_letter["requestId"] for dead_letter in await listed(stage)] == names


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_showing_into_a_closed_pipe_loses_no_letter_by_the_delivery_limit(
    stage: Stage, vhost: VirtualHost
) -> None:
    names = await put_dead_letters(stage, 2)
    await limit_deliveries(vhost, 1)
    for _ in range(3):
        assert await run_with_a_closed_pipe(stage, *PROGRAM, "dead", "show") == 1

    assert [dead_letter["requestId"] for dead_letter in await listed(stage)] == names


async def test_reading_changes_neither_letters_nor_their_order(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    names = await put_dead_letters(stage, 5)
    before = await listed(stage)
    settings = Settings(rabbitmq_url=SecretStr(stage.url))
    for limit in (2, None, 1, 3, None, 2, 3):
        await list_dead(settings, Choice(Selection(), limit), as_json=False)

    assert await listed(stage) == before
    assert [dead_letter["requestId"] for dead_letter in before] == names
    assert {dead_letter["failedAt"] for dead_letter in before} == {FAILED_AT}
    assert await stage.waiting("omni.dead.notifications") == 0  # no second notification
    assert capsys.readouterr().out.count("dead letter") == 7


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_a_command_killed_while_reading_leaves_every_letter(stage: Stage, vhost: VirtualHost) -> None:
    names = await put_dead_letters(stage, 3)
    await limit_deliveries(vhost, 2)
    for number in range(8):
        reading = await stage.watching("dead", "list")
        await asyncio.sleep(0.4 + 0.06 * number)
        if reading.process.returncode is None:
            reading.send(signal.SIGKILL)
        await reading.ended()

    assert sorted({dead_letter["requestId"] for dead_letter in await listed(stage)}) == names


async def test_the_first_signal_ends_a_replay_after_the_current_letter(stage: Stage) -> None:
    names = await put_dead_letters(stage, 4, listening=True)
    replay = await stage.watching("dead", "replay", "--rate", "0.5")
    await stage.until(lambda: len(stage.final_events()) == 1)
    replay.send(signal.SIGINT)

    assert await replay.ended(3) == 0
    assert replay.output.read_text() == "stopped on request: 1 dead letter sent again\n"
    assert await stage.waiting("omni.dead") == 3
    assert "3 dead letters sent again" in (await dead(stage, "replay")).output
    await stage.until_final_events(4)
    assert await stage.posts() == dict.fromkeys(names, 1)
    assert not await stage.exists("omni.dead.replay")  # no letter may have been sent twice


@pytest.mark.once
@pytest.mark.long
async def test_a_second_signal_ends_a_replay_at_once(stage: Stage, vhost: VirtualHost) -> None:
    await put_dead_letters(stage, 2, listening=True)
    async with Proxy(vhost.node.port) as proxy:
        replay = await stage.watching("dead", "replay", "--rate", "1", RABBITMQ_URL=through(proxy, vhost))
        await stage.until(lambda: len(stage.final_events()) == 1)
        proxy.hold()
        await asyncio.sleep(1.5)  # the second letter waits for an answer of the broker
        replay.send(signal.SIGTERM)
        await asyncio.sleep(0.5)
        assert replay.process.returncode is None
        replay.send(signal.SIGTERM)
        assert await replay.ended(10) == 1
    assert "ended at once: 1 dead letter sent again; the current letter may be sent again" in replay.text


async def test_letters_that_an_interrupted_replay_may_have_sent_are_marked_by_the_next(stage: Stage) -> None:
    names = await put_dead_letters(stage, 2)
    async with stage.channel() as channel:
        await channel.queue_delete("omni.requests")
    interrupted = await stage.command("dead", "replay", "--limit", "1")
    assert interrupted.status == 1
    assert "no queue takes send requests" in interrupted.errors
    worker = await stage.worker()  # it declares the queue again
    await worker.stop()
    await dead(stage, "replay")

    sent = [await stage.take("omni.requests") for _ in range(2)]
    marked = {json.loads(message.body)["requestId"]: message.headers.get("omni-republished") for message in sent}
    assert marked == {names[0]: True, names[1]: None}
    assert not await stage.exists("omni.dead.replay")


async def test_only_one_replay_or_purge_runs_at_a_time(stage: Stage) -> None:
    names = await put_dead_letters(stage, 3, listening=True)
    first = await stage.watching("dead", "replay", "--rate", "0.01")
    await stage.until(lambda: bool(stage.final_events()))

    commands = stage.command("dead", "replay"), stage.command("dead", "purge", "--yes")
    for second in await asyncio.gather(*commands):
        assert second.status == 1
        assert "another replay or purge is running" in second.errors
    assert len(await listed(stage)) == 2  # listing is allowed meanwhile
    first.send(signal.SIGTERM)
    assert await first.ended() == 0
    await dead(stage, "replay")
    await stage.until_final_events(3)
    assert await stage.posts() == dict.fromkeys(names, 1)


async def test_two_duplicates_of_a_letter_count_as_one(stage: Stage) -> None:
    """A command that was killed while it published a letter again has left two."""
    await put_dead_letters(stage, 1)
    await stage.send(request("r-0", NUMBER, sms={"text": "r-0"}), exchange="omni.dead", key="", headers=OWN)
    await stage.until_waiting("omni.dead", 2)

    assert len(await listed(stage)) == 1
    assert "1 dead letter would be sent again" in (await dead(stage, "replay", "--dry-run")).output
    ended = (await dead(stage, "replay")).output
    assert ended == "1 dead letter sent again; duplicates of these dropped: 1\n"
    assert await stage.waiting("omni.requests") == 1


async def test_a_user_who_may_not_declare_queues_can_replay(stage: Stage, vhost: VirtualHost) -> None:
    """Its letters are sent as possible duplicates, since there is no journal."""
    await put_dead_letters(stage, 1)
    manage(vhost.node, "PUT", f"users/{vhost.name}", password="made-up", tags="")
    rights = {"configure": "^$", "write": "^(omni\\..*|amq\\.default)$", "read": "^omni\\..*$"}
    manage(vhost.node, "PUT", f"permissions/{vhost.name}/{vhost.name}", **rights)
    url = f"amqp://{vhost.name}:made-up@127.0.0.1:{vhost.node.port}/{vhost.name}"
    assert (await stage.command("dead", "list", RABBITMQ_URL=url)).status == 0
    replay = await stage.command("dead", "replay", RABBITMQ_URL=url)
    manage(vhost.node, "DELETE", f"users/{vhost.name}")

    assert replay.status == 0
    assert "this user may not declare omni.dead.lock" in replay.errors
    assert (await stage.take("omni.requests")).headers["omni-republished"] is True


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_replay_interrupted_at_any_moment_sends_no_message_twice(stage: Stage, number: signal.Signals) -> None:
    names = await put_dead_letters(stage, 8, listening=True)
    draw = random.Random(22)  # noqa: S311
    for _ in range(30):
        if not await stage.waiting("omni.dead"):
            break
        replay = await stage.watching("dead", "replay", "--rate", "20")
        started = await stage.waiting_if_any("omni.dead.replay") or 0
        await until_replaying(stage, replay, started)
        await asyncio.sleep(draw.uniform(0, 0.15))
        if replay.process.returncode is None:
            replay.send(number)
        status = await replay.ended()
        assert "Traceback" not in replay.text
        assert status in (0, 1, -signal.SIGINT, -signal.SIGKILL)
        await asyncio.sleep(0.3)  # the broker requeues what a killed command had taken
    await stage.until_final_events(8, within=60)

    assert await stage.posts() == dict.fromkeys(names, 1)
    assert {len(ids) for ids in stage.final_ids().values()} == {1}


_PUBLISH = b"\x00\x3c\x00\x28\x00\x00"
WRITES_DOWN = _PUBLISH + b"\x0aomni.relay\x10omni.dead.replay"
PUBLISHES = _PUBLISH + b"\x0aomni.relay\x0domni.requests"
ACKNOWLEDGES = b"\x00\x3c\x00\x50"
"""The first bytes of the frames that a replay sends at each step: method, exchange and routing key."""


class Kill(NamedTuple):
    """The moment at which a replay is killed, and the expected results."""

    step: bytes
    copies: list[bool]
    """For each request sent in total, whether it is marked as a possible duplicate."""
    arrives: bool = False
    """Whether the broker still receives the frames of this step."""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "listening", [pytest.param(False, id="no worker", marks=pytest.mark.once), pytest.param(True, id="worker")]
)
@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(Kill(WRITES_DOWN, [False, False, False]), id="before it is written down"),
        pytest.param(Kill(PUBLISHES, [False, True, False]), id="before it is published"),
        pytest.param(Kill(PUBLISHES, [False, False, True, False], arrives=True), id="before its confirm is seen"),
        pytest.param(Kill(ACKNOWLEDGES, [False, False, True, False]), id="before it is acknowledged"),
    ],
)
async def test_a_replay_killed_at_any_step_loses_no_letter_and_sends_no_message_twice(
    stage: Stage, vhost: VirtualHost, kill: Kill, *, listening: bool
) -> None:
    """It is killed at the second of three letters. The next replay sends the rest."""
    names = await put_dead_letters(stage, 3, listening=listening)
    async with Proxy(vhost.node.port) as proxy:
        held = proxy.hold_at(kill.step, 2)
        replay = await stage.watching("dead", "replay", "--rate", "100", RABBITMQ_URL=through(proxy, vhost))
        await asyncio.wait_for(held.wait(), TIMEOUT)
        if kill.arrives:
            proxy.release_requests()
            await asyncio.sleep(0.5)
        replay.send(signal.SIGKILL)
        assert await replay.ended() == -signal.SIGKILL
    await stage.until_waiting("omni.dead", 2)  # the broker has requeued them

    assert "2 dead letters sent again" in (await dead(stage, "replay")).output
    if not listening:
        assert await copies_waiting(stage, len(kill.copies)) == kill.copies
        await stage.worker()
    await stage.until_final_events(3)
    await stage.until_waiting("omni.requests", 0)
    await asyncio.sleep(0.5)  # a worker finishes a duplicate that it has taken
    assert await stage.posts() == dict.fromkeys(names, 1)
    assert {len(ids) for ids in stage.final_ids().values()} == {1}
    assert await stage.waiting("omni.dead") == 0


async def copies_waiting(stage: Stage, count: int) -> list[bool]:
    """Return for each request whether it is marked as a possible duplicate. Takes them and publishes them again."""
    messages = [await stage.take("omni.requests") for _ in range(count)]
    async with stage.channel() as channel:
        relay = await channel.get_exchange("omni.relay", ensure=False)
        for message in messages:
            await relay.publish(message, "omni.requests")
    return [bool(message.headers.get("omni-republished")) for message in messages]


async def until_replaying(stage: Stage, replay: Worker, before: int) -> None:
    """Wait until a replay has recorded a letter in the journal, or has ended."""
    async with asyncio.timeout(TIMEOUT):
        while replay.process.returncode is None:
            if (await stage.waiting_if_any("omni.dead.replay") or 0) > before:
                return
            await asyncio.sleep(0.02)


def through(proxy: Proxy, vhost: VirtualHost) -> str:
    return f"amqp://guest:guest@127.0.0.1:{proxy.port}/{vhost.name}"
