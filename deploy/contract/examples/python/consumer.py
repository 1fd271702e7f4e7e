"""Prints each status event once, until it is ended: python consumer.py. Needs aio-pika."""

import asyncio
import json
import os

import aio_pika


async def main() -> None:
    """Consume from a durable queue, which collects events while this program does not run."""
    connection = await aio_pika.connect_robust(os.environ["RABBITMQ_URL"])
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=50)
    queue = await channel.declare_queue("shop.events", durable=True, arguments={"x-queue-type": "quorum"})
    await queue.bind("omni.results", "#")
    seen: set[str] = set()  # in a database: an event may be repeated for 48 hours
    async with queue.iterator() as messages:
        async for message in messages:
            event = json.loads(message.body)
            if event["id"] not in seen:
                print(event["id"], event["type"], event.get("subject", ""), flush=True)
                seen.add(event["id"])
            await message.ack()  # after the work is done: else the broker delivers it again


asyncio.run(main())
