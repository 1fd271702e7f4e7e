"""`omni-relay status` names the cause of an incident, or says which part it could not ask."""

import asyncio
import json
import re
from typing import Any

import aio_pika
import pytest

from tests.e2e.stage import Stage
from tests.e2e.test_trying_again import NUMBER, UNAVAILABLE, request
from tests.support.broker import VirtualHost, user
from tests.support.worker import TIMEOUT, Ended, Worker
from tests.unit.adapters.rabbitmq.test_permissions import shipped


async def status(stage: Stage, *workers: Worker, broker: str | None = None) -> Ended:
    urls = [option for worker in workers for option in ("--worker", f"http://127.0.0.1:{worker.port}/")]
    return await stage.command("status", "--seconds", "0.3", *urls, RABBITMQ_URL=broker or stage.url)


async def report(stage: Stage, *workers: Worker) -> tuple[int, dict[str, Any]]:
    urls = [option for worker in workers for option in ("--worker", f"http://127.0.0.1:{worker.port}")]
    ended = await stage.command("status", "--seconds", "0.3", "--json", *urls)
    assert "Traceback" not in ended.errors
    return ended.status, json.loads(ended.output)


@pytest.mark.once
async def test_a_worker_that_serves_needs_nobody(stage: Stage) -> None:
    worker = await stage.worker()
    await stage.send(request("m", NUMBER))
    await stage.until_final_events(1)
    ended = await status(stage, worker)

    assert ended.status == 0, ended.output + ended.errors
    assert f"http://127.0.0.1:{worker.port}  connected, consuming" in ended.output
    assert re.search(r"omni\.requests +0 +\+0\.0 +1", ended.output)
    assert "omni.requests.delay.0.1" in ended.output
    assert "failed 0, unknown 0, poison 0, lapsed 0, defect 0, other 0" in ended.output
    assert ended.output.endswith("nothing that needs a person\n")


@pytest.mark.once
async def test_requests_are_counted_as_they_come_in_and_go_out(stage: Stage) -> None:
    worker = await stage.worker()
    command = asyncio.create_task(
        stage.command("status", "--seconds", "10", "--json", "--worker", f"http://127.0.0.1:{worker.port}")
    )
    await asyncio.sleep(4)  # it has read the first values
    await stage.send(*(request(f"m-{number}", NUMBER) for number in range(20)))
    found = json.loads((await command).output)

    assert found["rates"]["requests in"] == found["rates"]["deliveries settled"] == 2
    assert found["rates"]["events message.accepted"] == 2
    assert found["averages"]["attempt"] > 0
    assert found["ok"] is True


@pytest.mark.once
async def test_a_wrong_key_is_named_with_the_time_since_when_sending_is_paused(stage: Stage) -> None:
    worker = await stage.worker(OMNI_API_KEY="wrong-canary")
    await stage.send(request("m", NUMBER))
    await worker.until_metric('omni_relay_paused{reason="denied"}', 1)
    exit_status, found = await report(stage, worker)

    assert exit_status == 1
    (process,) = found["processes"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", process["pauses"]["denied"])
    (problem,) = found["problems"]
    assert f"paused since {process['pauses']['denied']}, denied: OMNI refuses the credentials" in problem


async def test_a_full_queue_of_results_is_named(stage: Stage) -> None:
    worker = await stage.worker()
    arguments: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with stage.channel() as channel:
        full = await channel.declare_queue("full", durable=True, arguments=arguments)
        await channel.default_exchange.publish(aio_pika.Message(b"{}"), "full")
        await full.bind("omni.results", "#")
    await stage.send(request("m", NUMBER))
    await worker.until_metric('omni_relay_paused{reason="results_stalled"}', 1)
    exit_status, found = await report(stage, worker)

    assert exit_status == 1
    assert any("look for a full queue bound to omni.results" in problem for problem in found["problems"])
    assert found["counts"]["refused by the broker"]["publish_failures"] > 0
    async with stage.channel() as channel:
        await channel.queue_delete("full", if_empty=False, if_unused=False)


@pytest.mark.once
async def test_dead_letters_are_counted_by_reason(stage: Stage) -> None:
    worker = await stage.worker(RETRY_MAX_ATTEMPTS="1")
    await stage.send(request("m", UNAVAILABLE))
    await stage.until_waiting("omni.dead", 1)
    exit_status, found = await report(stage, worker)

    assert exit_status == 1
    assert "omni.dead: 1 dead letters: `omni-relay dead list` shows why" in found["problems"]
    assert found["counts"]["dead letters"]["failed"] == 1


async def test_a_queue_without_workers_is_named_and_so_is_a_worker_that_does_not_answer(
    stage: Stage, unused_tcp_port: int
) -> None:
    worker = await stage.worker()
    assert await worker.stop() == 0
    await stage.send(request("m", NUMBER))
    url = f"http://127.0.0.1:{unused_tcp_port}"
    ended = await stage.command("status", "--seconds", "0.1", "--worker", url)

    assert ended.status == 1
    assert f"{url}: no answer from a worker: ConnectionRefusedError" in ended.output
    assert "omni.requests: 1 requests wait and no worker consumes" in ended.output
    assert "nothing that needs a person" not in ended.output


async def test_a_broker_that_cannot_be_asked_is_named(stage: Stage, unused_tcp_port: int) -> None:
    worker = await stage.worker()
    ended = await status(stage, worker, broker=f"amqp://guest:secret-canary@127.0.0.1:{unused_tcp_port}/")

    assert ended.status == 1
    assert "NOT ASKED  the broker: " in ended.output
    assert "connected, consuming" in ended.output
    assert "secret-canary" not in ended.output + ended.errors


async def test_a_workers_rights_are_enough_and_a_missing_one_is_named(stage: Stage, vhost: VirtualHost) -> None:
    worker = await stage.worker()
    with user(vhost, **shipped()) as url:
        enough = await status(stage, worker, broker=url)
    with user(vhost) as url:
        lacking = await status(stage, worker, broker=url)

    assert enough.status == 0, enough.output
    if vhost.node.version.startswith("3."):  # any user may look whether a queue is there
        assert lacking.status == 0, lacking.output
    else:
        assert lacking.status == 1
        assert "the length of omni.dead: this user may not read omni.dead (queue)" in lacking.output


@pytest.mark.once
async def test_each_process_of_a_supervisor_is_shown(stage: Stage) -> None:
    supervisor = await stage.workers(2)
    async with asyncio.timeout(TIMEOUT):
        while (await supervisor.readiness())[0] != 200:  # noqa: ASYNC110  # another process, seen every few seconds
            await asyncio.sleep(0.1)
    exit_status, found = await report(stage, supervisor)

    assert exit_status == 0, found
    assert [process["number"] for process in found["processes"]] == ["1", "2"]


@pytest.mark.once
async def test_an_answer_that_is_not_a_workers_is_no_worker(stage: Stage) -> None:
    ended = await stage.command("status", "--seconds", "0.1", "--worker", stage.settings["RELAY_OMNI_BASE_URL"])
    wrong = await stage.command("status", "--worker", "ftp://127.0.0.1")

    assert ended.status == 1
    assert "no answer from a worker" in ended.output or "no worker process" in ended.output
    assert (wrong.status, "Traceback" in ended.errors + wrong.errors) == (2, False)
