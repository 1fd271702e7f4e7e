"""A worker that cannot start states the reason in one line, and ends with the exit status for it."""

import socket

import pytest

from tests.e2e.stage import Stage, connected

CANARY = "canary4711"
USUAL = {"OMNI_API_KEY": "key", "HTTP_PORT": "0", "HTTP_HOST": "127.0.0.1"}


@pytest.mark.once
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"RABBITMQ_PREFETCH": CANARY}, "RELAY_RABBITMQ_PREFETCH"),
        ({"RABBITMQ_URL": f"http://user:{CANARY}@host/"}, "RELAY_RABBITMQ_URL"),
        ({"OMNI_BASE_URL": f"http://{CANARY}.example"}, "RELAY_OMNI_BASE_URL"),
        ({"OMNI_BASE_URL": f"https://user:{CANARY}@host"}, "RELAY_OMNI_BASE_URL"),
        ({"OMNI_API_KEY": ""}, "RELAY_OMNI_API_KEY"),
        ({"OMNI_TOKEN": CANARY}, "RELAY_OMNI_TOKEN"),
        ({"RETRY_BASE_DELAY": "9", "RETRY_MAX_DELAY": "1"}, "RELAY_RETRY_BASE_DELAY"),
        ({"RABITMQ_URL": CANARY}, "RELAY_RABITMQ_URL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_wrong_setting_is_named_in_one_line_without_its_value(
    stage: Stage, settings: dict[str, str], named: str
) -> None:
    ended = await stage.command("worker", stdin=None, **settings)
    assert (ended.status, ended.output) == (78, "")
    assert ended.errors.startswith("omni-relay: ")
    assert ended.errors.count("\n") == 1
    assert named in ended.errors
    assert CANARY not in ended.errors


@pytest.mark.once
async def test_a_port_in_use_is_a_fault(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = await stage.command("worker", HTTP_PORT=str(taken.getsockname()[1]))
    assert ended.status == 1
    assert "in use" in ended.errors.splitlines()[-1]
    assert "Traceback" not in ended.errors


@pytest.mark.fresh
@pytest.mark.parametrize("declare", ["true", "false"])
async def test_a_topology_that_differs_is_a_fault(stage: Stage, declare: str) -> None:
    if declare == "true":
        async with connected(stage.url) as channel:
            await channel.declare_queue("omni.requests", durable=True)
    ended = await stage.command("worker", RABBITMQ_DECLARE=declare)
    last = ended.errors.splitlines()[-1]
    assert ended.status == 1
    assert last.startswith("omni-relay: TopologyError: ")
    assert "omni.requests" in last
    assert "Traceback" not in ended.errors


async def test_a_worker_waits_for_its_broker(stage: Stage, unused_tcp_port: int) -> None:
    """Broker and worker may be started in any order."""
    worker = await stage.worker(ready=False, RABBITMQ_URL=f"amqp://guest:{CANARY}@127.0.0.1:{unused_tcp_port}/")
    await worker.until(lambda: len(worker.lines("broker.refused")) >= 2)
    assert CANARY not in worker.text
    assert await worker.stop() == 0


@pytest.mark.once
async def test_wrong_usage_has_its_own_exit_status(stage: Stage) -> None:
    assert (await stage.command("nonsense")).status == 2
