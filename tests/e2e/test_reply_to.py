"""`reply_to` works only for queues that the operator allows, since the producer may have no right to them."""

from pathlib import Path

import pytest

from tests.e2e.stage import Stage
from tests.e2e.test_forged_headers import PRODUCER, WORKER
from tests.e2e.test_trying_again import NUMBER, request
from tests.support.broker import VirtualHost, user
from tests.support.worker import Worker

WITH_REPLIES = "^(omni\\.(results|dead|relay)|amq\\.default)$"


async def declare(stage: Stage, *queues: str) -> None:
    async with stage.channel() as channel:
        for queue in queues:
            await channel.declare_queue(queue, durable=True)


async def copies(worker: Worker, result: str, count: int) -> None:
    await worker.until_metric(f'omni_relay_reply_copies_total{{result="{result}"}}', count)


@pytest.mark.parametrize("settings", [{}, {"REPLY_TO": "replies.*"}], ids=["by default", "with a pattern"])
async def test_a_producer_reaches_no_queue_that_is_not_allowed(
    stage: Stage, vhost: VirtualHost, settings: dict[str, str]
) -> None:
    worker = await stage.worker(**settings)  # type: ignore[arg-type]  # names of settings alone
    own = ("omni.requests", "omni.dead", "omni.dead.notifications", "omni.requests.delay.0.2")
    others = ("billing.commands", "my.replies.orders", "replies", "Replies.orders")
    await declare(stage, *others)
    before = await stage.waiting("omni.dead")
    with user(vhost, write=PRODUCER) as url:
        producer = Stage(url, stage.directory, stage.sandbox, stage.life, stage.settings)
        for number, queue in enumerate((*own, *others)):
            body = {**request(f"m-{number}", NUMBER), "metadata": {"command": "refund"}}
            await producer.send(body, reply_to=queue, correlation_id="refund-1")
    await stage.until_final_events(len(own) + len(others))
    await copies(worker, "not_allowed", len(own) + len(others))

    assert [await stage.waiting(queue) for queue in others] == [0] * len(others)
    assert await stage.waiting("omni.dead") == before
    assert await stage.waiting("omni.requests.delay.0.2") == 0
    assert {tuple(types) for types in stage.event_types().values()} == {("accepted",)}


async def test_one_request_with_many_destinations_sends_no_reply_if_none_is_allowed(stage: Stage) -> None:
    worker = await stage.worker()
    await declare(stage, "billing.commands")
    destinations = [{"to": {"phoneNumber": f"4179400{number:05}"}} for number in range(2000)]
    await stage.send(
        {"requestId": "r", "sms": {"text": "x"}, "destinations": destinations}, reply_to="billing.commands"
    )
    await stage.until(lambda: len(stage.events) == 2000)
    await copies(worker, "not_allowed", 2000)

    assert await stage.waiting("billing.commands") == 0


async def test_an_allowed_queue_gets_replies_from_a_worker_with_the_rights_for_it(
    stage: Stage, vhost: VirtualHost
) -> None:
    await (await stage.worker()).stop()
    await declare(stage, "replies.orders")
    with user(vhost, write=WITH_REPLIES, read=WORKER["read"]) as url:
        worker = await stage.worker(RABBITMQ_URL=url, RABBITMQ_DECLARE="false", REPLY_TO="replies.*")
        await stage.send(request("m", NUMBER), reply_to="replies.orders")
        copy = await stage.take("replies.orders")
        await copies(worker, "confirmed", 1)
        assert await worker.stop() == 0

    await stage.until_final_events(1)
    assert copy.body == stage.events[0].message.body
    assert f"`{WITH_REPLIES}`" in (Path(__file__).parents[2] / "deploy/contract/request.md").read_text(encoding="utf-8")


@pytest.mark.long
async def test_a_worker_without_the_right_to_send_replies_drops_only_them(stage: Stage, vhost: VirtualHost) -> None:
    await (await stage.worker()).stop()
    await declare(stage, "replies.orders")
    with user(vhost, **WORKER) as url:
        worker = await stage.worker(RABBITMQ_URL=url, RABBITMQ_DECLARE="false", REPLY_TO="replies.*")
        await stage.send(*(request(f"m-{number}", NUMBER) for number in range(20)), reply_to="replies.orders")
        await stage.until_final_events(20)
        await copies(worker, "closed", 20)
        assert worker.lines("broker.disconnected") == []
        assert await worker.stop() == 0

    assert {tuple(types) for types in stage.event_types().values()} == {("accepted",)}
    assert await stage.waiting("replies.orders") == 0
