"""A user with exactly the shipped rights can do everything, and each missing right is named."""

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator

import pytest

from service.adapters.rabbitmq import rights_needed
from service.core.attempt.retry import RetryPolicy
from tests.e2e.stage import Stage
from tests.support.broker import VirtualHost, manage, user
from tests.support.receiver import RIGHTS as RECEIVER
from tests.support.receiver import TOKEN
from tests.unit.adapters.rabbitmq.test_permissions import shipped

NUMBER = "41793026727"
DELAYS = RetryPolicy(8, 0.1, 0.4).delays


def request(name: str) -> dict[str, object]:
    return {"requestId": name, "messageId": name, "phoneNumber": NUMBER, "text": "Hello"}


@pytest.fixture
async def declared(stage: Stage) -> Stage:
    """Have a worker with the rights declare everything, and stop it."""
    worker = await stage.worker()
    assert await worker.stop() == 0
    return stage


async def test_the_shipped_rights_are_sufficient_for_everything(declared: Stage, vhost: VirtualHost) -> None:
    stage = declared
    with user(vhost, **shipped()) as url:
        stage.settings |= {"RELAY_RABBITMQ_URL": url, "RELAY_RABBITMQ_DECLARE": "false"}
        worker = await stage.worker(RETRY_MAX_ATTEMPTS="2", UNKNOWN_POLICY="park")
        await stage.send(request("accepted"))
        await stage.until_final_events(1)
        await stage.fault(kind="status", status=503, times=1)
        await stage.send(request("retried"))
        await stage.until_final_events(2)
        await stage.fault(kind="status", status=503, times=2)
        await stage.send(request("dead"))
        await stage.until_final_events(3)
        assert await worker.stop() == 0
        await stage.send(request("expired"), expiration=0.05)
        await asyncio.sleep(0.1)
        worker = await stage.worker()
        await stage.until_final_events(4)
        listed = await stage.command("dead", "list")
        replayed = await stage.command("dead", "replay", "--reason", "failed")
        await stage.until(lambda: stage.final_events()["dead"] == ["failed", "accepted"])
        checked = await stage.command("check")
        assert await worker.stop() == 0

    assert stage.final_events() == {
        "accepted": ["accepted"],
        "retried": ["accepted"],
        "dead": ["failed", "accepted"],
        "expired": ["expired"],
    }
    assert stage.event_types()["retried"] == ["deferred", "accepted"]
    assert (listed.status, replayed.status) == (0, 0), listed.errors + replayed.errors
    assert "1 dead letter sent again" in replayed.output
    assert (checked.status, "FAULT" in checked.output) == (0, False), checked.output
    assert "AccessRefused" not in worker.text


@pytest.mark.timeout(180)
async def test_a_check_names_each_missing_right(declared: Stage, vhost: VirtualHost) -> None:
    needed = [right for right in rights_needed(DELAYS, declares=False, replies=False) if not right.to_check]
    assert len(needed) == 7
    for right in needed:
        given = shipped()
        given[right.permission] = f"(?!^{re.escape(right.resource)}$){given[right.permission]}"
        with user(vhost, **given) as url:
            ended = await declared.command("check", RABBITMQ_URL=url, RABBITMQ_DECLARE="false")
        faults = [line for line in ended.output.splitlines() if line.startswith("FAULT")]
        assert ended.status == 1
        assert len(faults) == 1, ended.output
        assert faults[0].split()[1] == "rights"
        assert str(right) in faults[0]
        assert "Traceback" not in ended.errors


@pytest.mark.parametrize("permission", ["write", "read", "configure"])
async def test_a_check_of_a_user_without_a_permission_names_its_resources(
    declared: Stage, vhost: VirtualHost, permission: str
) -> None:
    given = {**shipped(), permission: "^$"}
    with user(vhost, **given) as url:
        ended = await declared.command(
            "check", RABBITMQ_URL=url, RABBITMQ_DECLARE=str(permission == "configure").lower()
        )
    assert ended.status == 1
    faults = [line for line in ended.output.splitlines() if line.startswith("FAULT")]
    assert any(f"may not {permission} omni." in line for line in faults), ended.output
    assert "Traceback" not in ended.errors


@contextlib.asynccontextmanager
async def watched(stage: Stage, url: str) -> AsyncIterator[str]:
    """Run `watch` until it ends by itself; return its output."""
    ended = await stage.command("watch", RABBITMQ_URL=url)
    assert ended.status == 1
    assert "Traceback" not in ended.errors
    yield ended.errors


async def test_watching_with_a_workers_rights_names_the_missing_right(declared: Stage, vhost: VirtualHost) -> None:
    with user(vhost, **shipped()) as url:
        async with watched(declared, url) as output:
            assert output.startswith("omni-relay: this user may not configure amq.gen-* (queue)")
    with user(vhost, configure="^amq\\.gen-.*$", write="^amq\\.gen-.*$", read="^amq\\.gen-.*$") as url:
        async with watched(declared, url) as output:
            assert output.startswith("omni-relay: this user may not read omni.results (exchange)")
    given = {"configure": "^amq\\.gen-.*$", "write": "^amq\\.gen-.*$", "read": "^(amq\\.gen-.*|omni\\.results)$"}
    with user(vhost, **given) as url:
        watcher = await declared.watching("watch", RABBITMQ_URL=url)
        await watcher.until(lambda: "detail" in watcher.output.read_text())
        await asyncio.sleep(0.5)
        watcher.send(signal.SIGINT)
        assert await watcher.ended() == 0
        assert watcher.text == ""


async def test_a_command_without_a_right_names_the_queue_or_exchange(declared: Stage, vhost: VirtualHost) -> None:
    await declared.send(b"{}", exchange="omni.dead", key="")
    with user(vhost) as url:
        listing = await declared.command("dead", "list", RABBITMQ_URL=url)
        sending = await declared.command("send", "--unchecked", stdin=b'{"requestId": "r"}', RABBITMQ_URL=url)
    assert (listing.status, sending.status) == (1, 1)
    assert "queue 'omni.dead'" in listing.errors
    assert "exchange 'omni.requests'" in sending.errors
    assert "Traceback" not in listing.errors + sending.errors


async def test_a_worker_without_the_right_to_read_requests_retries_with_growing_waits_and_recovers(
    declared: Stage, vhost: VirtualHost
) -> None:
    """Each failure costs two connections and several log lines, and it may take hours until the right is granted."""
    given = {**shipped(), "read": f"(?!^omni\\.requests$){shipped()['read']}"}
    with user(vhost, **given) as url:
        name = url.partition("//")[2].partition(":")[0]
        worker = await declared.worker(RABBITMQ_URL=url, RABBITMQ_DECLARE="false", ready=False)
        # RabbitMQ 4 refuses the passive declaration, RabbitMQ 3 the consumer.
        failure = "consumer.failed" if vhost.node.version.startswith("3.") else "broker.refused"
        await worker.until(lambda: bool(worker.lines(failure)))
        await asyncio.sleep(3)
        assert len(worker.lines(failure)) <= 8

        manage(vhost.node, "PUT", f"permissions/{vhost.name}/{name}", **{"configure": "^$", **shipped()})
        await declared.send(request("accepted"))
        await declared.until_final_events(1)


async def test_a_check_of_the_receiver_needs_no_other_right_and_no_credentials(
    declared: Stage, vhost: VirtualHost
) -> None:
    del declared.settings["RELAY_OMNI_API_KEY"]
    with user(vhost, **RECEIVER) as enough, user(vhost, read=".*") as too_few:
        fine, refused, unset = await asyncio.gather(
            declared.command("check", "--reports", RABBITMQ_URL=enough, REPORTS_TOKEN=TOKEN),
            declared.command("check", "--reports", RABBITMQ_URL=too_few, REPORTS_TOKEN=TOKEN),
            declared.command("check", "--reports", RABBITMQ_URL=enough),
        )
    assert (fine.status, "FAULT" in fine.output) == (0, False), fine.output
    assert "this user may publish to omni.results" in fine.output
    assert refused.status == unset.status == 1
    assert "this user may not write omni.results (exchange)" in refused.output
    assert "RELAY_REPORTS_TOKEN" in unset.output
    async with declared.channel() as channel:
        await channel.exchange_delete("omni.results")
    missing = await declared.command("check", "--reports", REPORTS_TOKEN=TOKEN)
    assert (missing.status, "no exchange omni.results" in missing.output) == (1, True)
