"""A straightforward worker: aio-pika and httpx, as their documentation shows them. `tuned` for the faster parts.

Tuned: httpx over the aiohttp transport, uvloop, requests validated by pydantic.
"""

import asyncio
import json
import sys
from typing import Any

import aio_pika
import httpx
from httpx_aiohttp import AiohttpTransport
from job import BROKER, HEADERS, OMNI, PREFETCH, QUEUE, RESULTS, event, payload, requests
from pydantic import BaseModel


class Sms(BaseModel):
    """A text."""

    text: str


class Request(BaseModel):
    """A flat request."""

    requestId: str  # noqa: N815 - as on the wire
    messageId: str  # noqa: N815 - the same
    phoneNumber: str  # noqa: N815 - the same
    sms: Sms


async def work(*, tuned: bool) -> None:
    """Serve until killed."""
    limits = httpx.Limits(max_connections=PREFETCH, max_keepalive_connections=PREFETCH)
    transport = AiohttpTransport(limits=limits) if tuned else None
    connection = await aio_pika.connect_robust(BROKER)
    async with httpx.AsyncClient(headers=HEADERS, transport=transport, limits=limits, timeout=30) as client, connection:
        channel, outlet = await connection.channel(), await connection.channel()
        await channel.set_qos(PREFETCH)
        queue = await channel.get_queue(QUEUE)
        results = await outlet.get_exchange(RESULTS)

        async def handle(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            body: dict[str, Any] = (
                Request.model_validate_json(message.body).model_dump() if tuned else json.loads(message.body)
            )
            answer = await client.post(OMNI, json=payload(body))
            content = event(body, answer.json())
            publication = aio_pika.Message(content, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await results.publish(publication, "message.accepted")
            await message.ack()

        await queue.consume(handle)
        await asyncio.Event().wait()


async def load(count: int, kind: str) -> None:
    """Fill the queue."""
    async with await aio_pika.connect(BROKER) as connection:
        channel = await connection.channel()
        await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        bodies = [json.dumps(body).encode() for body in requests(count, kind)]
        for start in range(0, count, 500):
            messages = (aio_pika.Message(body, delivery_mode=2) for body in bodies[start : start + 500])
            await asyncio.gather(*(channel.default_exchange.publish(message, QUEUE) for message in messages))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["load", count, kind]:
            asyncio.run(load(int(count), kind))
        case ["work", "tuned"]:
            import uvloop

            uvloop.run(work(tuned=True))
        case _:
            asyncio.run(work(tuned=False))
