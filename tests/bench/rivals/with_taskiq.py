"""The job with Taskiq, in its receiver's own process loop."""

import asyncio
import sys
from typing import Any

import aio_pika
import httpx
from httpx_aiohttp import AiohttpTransport
from job import BROKER, HEADERS, OMNI, PREFETCH, QUEUE, RESULTS, event, payload, requests
from taskiq.api import run_receiver_task
from taskiq_aio_pika import AioPikaBroker, Queue

broker = AioPikaBroker(BROKER, qos=PREFETCH, task_queues=[Queue(name=QUEUE)])
clients: list[httpx.AsyncClient] = []
exchanges: list[aio_pika.abc.AbstractExchange] = []


@broker.task(task_name="serve")
async def serve(body: dict[str, Any]) -> None:
    """Serve one request."""
    answer = await clients[0].post(OMNI, json=payload(body))
    message = aio_pika.Message(event(body, answer.json()), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await exchanges[0].publish(message, "message.accepted")


async def work() -> None:
    """Serve until killed."""
    limits = httpx.Limits(max_connections=PREFETCH, max_keepalive_connections=PREFETCH)
    clients.append(httpx.AsyncClient(headers=HEADERS, transport=AiohttpTransport(limits=limits), timeout=30))
    connection = await aio_pika.connect_robust(BROKER)
    exchanges.append(await (await connection.channel()).get_exchange(RESULTS))
    await run_receiver_task(broker, max_async_tasks=PREFETCH, run_startup=True)


async def load(count: int, kind: str) -> None:
    """Fill the queue."""
    await broker.startup()
    bodies = list(requests(count, kind))
    for start in range(0, count, 500):
        await asyncio.gather(*(serve.kiq(body) for body in bodies[start : start + 500]))
    await broker.shutdown()


if __name__ == "__main__":
    if sys.argv[1] == "load":
        asyncio.run(load(int(sys.argv[2]), sys.argv[3]))
    else:
        import uvloop

        uvloop.run(work())
