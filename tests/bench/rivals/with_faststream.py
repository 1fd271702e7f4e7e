"""The job with FastStream."""

import asyncio
import sys
from typing import Any

import httpx
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue
from httpx_aiohttp import AiohttpTransport
from job import BROKER, HEADERS, OMNI, PREFETCH, QUEUE, RESULTS, event, payload
from plain import load

broker = RabbitBroker(BROKER, default_channel=Channel(prefetch_count=PREFETCH, publisher_confirms=True), logger=None)
app = FastStream(broker)
requests_queue = RabbitQueue(QUEUE, durable=True, declare=False)
results = RabbitExchange(RESULTS, type=ExchangeType.TOPIC, durable=True, declare=False)
clients: list[httpx.AsyncClient] = []


@broker.subscriber(requests_queue, ack_policy=AckPolicy.REJECT_ON_ERROR)
async def handle(body: dict[str, Any]) -> None:
    """Serve one request."""
    if not clients:
        limits = httpx.Limits(max_connections=PREFETCH, max_keepalive_connections=PREFETCH)
        clients.append(httpx.AsyncClient(headers=HEADERS, transport=AiohttpTransport(limits=limits), timeout=30))
    answer = await clients[0].post(OMNI, json=payload(body))
    await broker.publish(event(body, answer.json()), exchange=results, routing_key="message.accepted", persist=True)


if __name__ == "__main__":
    if sys.argv[1] == "load":
        asyncio.run(load(int(sys.argv[2]), sys.argv[3]))
    else:
        import uvloop

        uvloop.run(app.run())
