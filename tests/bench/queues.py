"""How many requests a second go through one quorum queue of a broker, through two, and what that costs the broker.

    .venv/bin/python -m tests.bench.queues --requests 40000 --queues 1,2

A private broker of one node on this machine, without a worker. For each queue, in a virtual host of its own, one
process publishes with confirms and one consumes and acknowledges, at the same time. If two queues take no more than
one, the limit is the node, not the queue. Clients and node share the cores of this machine. Ends by itself.
"""

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Final

import aio_pika

from service.adapters.rabbitmq import connect, declare
from service.core import topology
from service.core.attempt.retry import RetryPolicy
from service.core.delivery import Publication
from service.demo.rabbitmq.node import Node, private_node
from tests.support.broker import manage

_AT_ONCE: Final = 500
_TIMEOUT: Final = 300.0
_BODY: Final = b"x" * 300


async def publish(url: str, requests: int) -> None:
    """Publish requests, so many at once, and wait for their confirms."""
    session = await connect([url], fast=True)
    for start in range(0, requests, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, requests))
        failed = await session.publish_all(
            [Publication(topology.REQUESTS, "send", _BODY, "application/json", f"bench-{one}") for one in numbers]
        )
        assert not failed
    await session.close()


async def consume(url: str, requests: int) -> None:
    """Take requests, and acknowledge a hundred at once."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(300)
        queue = await channel.get_queue(topology.REQUESTS, ensure=False)
        taken = 0
        async with queue.iterator() as messages:
            async for message in messages:
                taken += 1
                if taken % 100 == 0 or taken == requests:
                    await message.ack(multiple=True)
                if taken == requests:
                    return


def _publish(url: str, requests: int) -> None:
    asyncio.run(publish(url, requests))


def _consume(url: str, requests: int) -> None:
    asyncio.run(consume(url, requests))


async def node_seconds(node: Node) -> float:
    """Ask a node how many seconds of CPU time it has used."""
    return int(await node.evaluate("element(1, erlang:statistics(runtime))")) / 1000


async def bench(directory: Path, root: Path | None, requests: int, queues: int) -> None:
    """Send so many requests through so many queues, and print what that took."""
    async with private_node(directory, root=root, management=True) as node:
        urls = []
        for number in range(queues):
            manage(node, "PUT", f"vhosts/bench-{number}")
            urls.append(f"{node.url}bench-{number}")
            session = await connect([urls[-1]])
            await declare(session.connection, RetryPolicy().delays, passive=False)
            await session.close()
        context = multiprocessing.get_context("spawn")
        each = requests // queues
        clients = [context.Process(target=work, args=(url, each)) for url in urls for work in (_publish, _consume)]
        spent, started = await node_seconds(node), time.perf_counter()
        for client in clients:
            client.start()
        for client in clients:
            await asyncio.to_thread(client.join, _TIMEOUT)
            if client.exitcode != 0:
                client.kill()
                raise SystemExit("a client did not end")
        seconds, spent = time.perf_counter() - started, await node_seconds(node) - spent
    print(  # noqa: T201
        f"{requests} requests, {queues} queues, RabbitMQ {node.version}: {requests / seconds:.0f} a second, "
        f"{spent / requests * 1e6:.0f} µs of the node's CPU for each ({spent / seconds:.2f} cores)"
    )


def main() -> None:
    """Measure each number of queues."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=40_000)
    parser.add_argument("--queues", default="1,2", help="how many queues, comma-separated")
    parser.add_argument("--rabbitmq-root", type=Path, help="the system tree of another RabbitMQ")
    options = parser.parse_args()
    for queues in map(int, options.queues.split(",")):
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(bench(Path(directory), options.rabbitmq_root, options.requests, queues))


if __name__ == "__main__":
    main()
