"""The receiver, its broker and what is between them fail; a push that has no 200 is made again, as OMNI does."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import httpx
import pytest

from service.demo.rabbitmq.ports import free_port
from tests.e2e.stage import Stage, staged
from tests.support.broker import VirtualHost
from tests.support.node import Node
from tests.support.proxy import Proxy
from tests.support.receiver import TOKEN, Receiver, a_report, receiving

PER_PUSH = 20
NUMBER = "41793026727"


async def push_until_taken(receiver: Callable[[], Receiver], names: list[str]) -> int:
    """Push until the answer is 200, without OMNI's pauses; give how often that took."""
    for attempt in range(1, 200):
        with suppress(httpx.HTTPError):
            if await receiver().push(*map(a_report, names)) == 200:
                return attempt
        await asyncio.sleep(0.3)
    raise AssertionError("it was never taken")


def about(stage: Stage, type_: str) -> set[str]:
    """Name the messages that have had an event of a type."""
    return {event.subject for event in stage.events if event.type == type_}


def contradictions(stage: Stage) -> list[str]:
    """List the messages about which there is more than one event id, and ids that stand for more than one fact."""
    ids: dict[str, set[str]] = {}
    for event in stage.events:
        ids.setdefault(event.subject, set()).add(event.body["id"])
    several = [name for name, names in ids.items() if len(names) > 1]
    return several + ([] if len(set[str]().union(*ids.values())) == len(ids) else ["an id for two messages"])


async def test_reports_published_by_a_receiver_that_is_killed_before_it_answers_have_the_same_ids_again(
    stage: Stage, vhost: VirtualHost, tmp_path: Path
) -> None:
    names = [f"m-{number}" for number in range(50)]
    async with Proxy(vhost.node.port) as proxy:
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/{vhost.name}"
        async with receiving(tmp_path / "killed", url) as receiver:
            proxy.hold_answers()
            pushing = asyncio.create_task(receiver.push(*map(a_report, names)))
            await stage.until(lambda: len(stage.events) >= 50)
            assert not pushing.done()
            receiver.process.process.kill()
            with pytest.raises(httpx.HTTPError):
                await pushing
    async with receiving(tmp_path / "next", vhost.url) as receiver:
        assert await receiver.push(*map(a_report, names)) == 200
    await stage.until(lambda: len(stage.events) >= 100)
    assert contradictions(stage) == []
    assert {event.subject for event in stage.events} == set(names)


async def test_a_connection_that_is_lost_before_the_confirm_is_no_200(
    stage: Stage, vhost: VirtualHost, tmp_path: Path
) -> None:
    async with Proxy(vhost.node.port) as proxy:
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/{vhost.name}"
        async with receiving(tmp_path / "receiver", url) as receiver:
            proxy.hold_answers()
            pushing = asyncio.create_task(receiver.push(a_report("m")))
            await stage.until(lambda: len(stage.events) == 1)
            proxy.cut()
            assert await pushing == 503
            proxy.release()
            await receiver.until_connected()
            assert await receiver.push(a_report("m")) == 200
    await stage.until(lambda: len(stage.events) == 2)
    assert contradictions(stage) == []


@pytest.mark.once
@pytest.mark.long
@pytest.mark.timeout(240)
async def test_no_report_is_lost_when_broker_and_receiver_are_killed(
    own_broker: Callable[[], Awaitable[Node]], tmp_path: Path
) -> None:
    node = await own_broker()
    pushes = [[f"m-{push}-{number}" for number in range(PER_PUSH)] for push in range(60)]
    async with staged(node.url, tmp_path / "stage") as stage, AsyncExitStack() as life:
        receivers = [await life.enter_async_context(receiving(tmp_path / "r-0", node.url))]
        attempts: list[int] = []

        async def push_all(some: list[list[str]]) -> None:
            for names in some:
                attempts.append(await push_until_taken(lambda: receivers[-1], names))
                await asyncio.sleep(0.8)  # so that pushes go on for as long as the harm

        async def harm() -> None:
            await asyncio.sleep(1)
            group.create_task(push_all([pushes[40]]))
            await asyncio.sleep(0)  # that push has begun, and cannot have been answered
            receivers[-1].process.process.kill()
            receivers.append(await life.enter_async_context(receiving(tmp_path / "r-1", node.url, connected=False)))
            await asyncio.sleep(1)
            await node.kill()
            await node.restart()

        async with asyncio.TaskGroup() as group:
            harming = group.create_task(harm())
            first = [group.create_task(push_all(pushes[start:40:8])) for start in range(8)]
            await asyncio.wait({harming, *first})
            group.create_task(push_all(pushes[41:]))
        await stage.until(lambda: len({event.subject for event in stage.events}) == len(pushes) * PER_PUSH, within=60)
        assert contradictions(stage) == []
        assert max(attempts) > 1  # the kill of the receiver met a push


@pytest.mark.once
@pytest.mark.long
@pytest.mark.timeout(120)
async def test_a_broker_that_is_silent_is_a_503_in_time_and_then_all_is_well(
    stage: Stage, vhost: VirtualHost, tmp_path: Path
) -> None:
    node = vhost.node
    async with receiving(tmp_path / "receiver", vhost.url) as receiver:
        await node.pause()
        begun = time.monotonic()
        try:
            statuses = await asyncio.gather(*(receiver.push(a_report(f"m-{number}")) for number in range(50)))
            assert set(statuses) == {503}
            assert 9 < time.monotonic() - begun < 20
            assert (await receiver.process.get("/livez"))[0] == 200
        finally:
            await node.resume()
        await receiver.until_connected()
        for number in range(50):
            await push_until_taken(lambda: receiver, [f"m-{number}"])
        await stage.until(lambda: len({event.subject for event in stage.events}) == 50, within=40)
        assert contradictions(stage) == []


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_each_message_has_one_final_event_and_one_delivery_while_everything_is_killed(
    own_broker: Callable[[], Awaitable[Node]], tmp_path: Path
) -> None:
    """Worker, receiver and broker: OMNI, as the sandbox, pushes again what was not answered with 200."""
    node, port = await own_broker(), free_port()
    async with staged(node.url, tmp_path / "stage") as stage, AsyncExitStack() as life:
        await stage.sandbox.post("/sandbox/clock", json={"speed": 60})  # a second retry comes after two seconds
        numbers = itertools.count()

        async def receive() -> Receiver:
            starting = receiving(tmp_path / f"r-{next(numbers)}", node.url, connected=False, REPORTS_PORT=str(port))
            return await life.enter_async_context(starting)

        stage.settings |= {"RELAY_REPORTS_URL": f"http://127.0.0.1:{port}/reports", "RELAY_REPORTS_TOKEN": TOKEN}
        worker, receiver = await stage.worker(), await receive()
        wanted = {f"m-{number}" for number in range(200)}
        shared = {"phoneNumber": NUMBER, "text": "Hi"}
        await stage.send(*({"requestId": name, "messageId": name, **shared} for name in wanted))
        await asyncio.sleep(0.5)
        receiver.process.process.kill()
        await receiver.process.ended()
        await receive()
        worker.process.kill()
        await stage.worker(ready=False)
        await node.kill()
        await node.restart()
        await stage.until(lambda: about(stage, "accepted") == wanted == about(stage, "delivered"), within=120)
        ids: dict[tuple[str, str], set[str]] = {}
        for event in stage.events:
            ids.setdefault((event.subject, event.type), set()).add(event.body["id"])
        assert {type_ for _, type_ in ids} <= {"accepted", "delivered", "deferred"}
        assert [key for key, several in ids.items() if len(several) > 1 and key[1] != "deferred"] == []
