"""Publishes requests: python producer.py FIRST COUNT [urgent]. Needs aio-pika."""

import asyncio
import json
import os
import sys

import aio_pika


async def main(first: int, count: int, *, urgent: bool) -> None:
    """Publish one request after the other; return when the broker has stored the last."""
    connection = await aio_pika.connect(os.environ["RABBITMQ_URL"])
    async with connection:
        channel = await connection.channel(on_return_raises=True)  # publisher confirms are on
        exchange = await channel.get_exchange("omni.requests.urgent" if urgent else "omni.requests", ensure=False)
        for order in range(first, first + count):
            name = f"shop-order-{order}"  # the same after a crash: a repeat is recognisable
            request = {"requestId": name, "messageId": name, "phoneNumber": "41793026727", "sms": {"text": "Shipped"}}
            message = aio_pika.Message(
                json.dumps(request).encode(),
                message_id=name,
                content_type="application/json",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await exchange.publish(message, "send", mandatory=True)  # raises unless the broker has stored it


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), urgent="urgent" in sys.argv[3:]))
