"""Requests that kill workers, and floods of wrong ones: nobody else suffers."""

import json
from dataclasses import replace
from typing import Any

from service.rules.poison import COUNT, rank
from service.words.delivery import Delivery
from tests.e2e.stage import Stage
from tests.e2e.test_trying_again import NUMBER, request
from tests.support.worker import DEADLY

LIMIT = 4


def turn(body: dict[str, object], count: int) -> bytes:
    """Tell when it is served among the suspects of a life."""
    delivery = Delivery(json.dumps(body).encode(), message_id=str(body["messageId"]))
    return rank(replace(delivery, headers={COUNT: count}))


async def limit_deliveries(stage: Stage, limit: int) -> None:
    """Have the request queue take a request for poison sooner: twenty deaths take their time."""
    async with stage.channel() as channel:
        await channel.queue_delete("omni.requests")
        arguments: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-delivery-limit": limit,
            "x-dead-letter-exchange": "omni.dead",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        queue = await channel.declare_queue("omni.requests", durable=True, arguments=arguments)
        await queue.bind("omni.requests", "#")


async def test_a_request_that_kills_workers_ends_among_the_dead_letters_and_its_neighbours_do_not(stage: Stage) -> None:
    await (await stage.worker()).stop()
    await limit_deliveries(stage, LIMIT)
    killer = request("killer", NUMBER)
    # Of those prefetched with it, each goes before it in one of the lives in which suspects go alone.
    innocent = [
        body
        for body in (request(f"m-{number}", NUMBER) for number in range(20))
        if any(turn(body, count) < turn(killer, count) for count in range(2, LIMIT))
    ]
    for body in (killer, *innocent):
        await stage.send(body, message_id=body["messageId"])
    for _ in range(LIMIT + 1):
        await (await stage.worker(ready=False, program=DEADLY, RABBITMQ_DECLARE="false")).ended()
    await stage.worker(program=DEADLY, RABBITMQ_DECLARE="false")
    await stage.until_last_words(len(innocent))

    assert len(innocent) > 10
    assert stage.last_words() == {str(body["messageId"]): ["accepted"] for body in innocent}
    letter = await stage.take("omni.dead")
    assert json.loads(letter.body)["requestId"] == "killer"
    assert await stage.waiting("omni.dead") == await stage.waiting("omni.requests") == 0
