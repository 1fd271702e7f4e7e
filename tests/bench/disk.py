"""What waiting requests cost the broker: bytes of disk and memory for each, and how fast one queue takes them.

    .venv/bin/python -m tests.bench.disk --requests 20000 --bytes 300,3000,30000

A private broker of one node on this machine, without a worker. The bytes are those of a body. Disk is the growth of the
node's directory, memory that of its processes. A cluster stores a request on each node of the queue. Ends by itself.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from service.adapters.rabbitmq import connect, declare
from service.core import topology
from service.core.attempt.retry import RetryPolicy
from service.core.delivery import Publication
from tests.support.node import Node

_AT_ONCE = 500
_QUIET = 5.0
"""Seconds for the node to write what it has confirmed."""


async def bench(directory: Path, requests: int, size: int) -> None:
    """Fill the queue of one node, and print what it costs."""
    async with Node(directory) as node:
        session = await connect([node.url])
        await declare(session.connection, RetryPolicy().delays, passive=False)
        await asyncio.sleep(_QUIET)
        disk, memory = on_disk(directory), await in_memory(node)
        started = time.perf_counter()
        for start in range(0, requests, _AT_ONCE):
            part = range(start, min(start + _AT_ONCE, requests))
            await asyncio.gather(*(session.publish(request(number, size)) for number in part))
        seconds = time.perf_counter() - started
        await asyncio.sleep(_QUIET)
        disk, memory = on_disk(directory) - disk, await in_memory(node) - memory
        await session.close()
    print(  # noqa: T201
        f"{requests} requests of {size} bytes, RabbitMQ {node.version}: {requests / seconds:.0f} confirmed/s, "
        f"{disk / requests:.0f} bytes of disk and {memory / requests:.0f} of memory for each"
    )


def request(number: int, size: int) -> Publication:
    """Make one with a body of so many bytes."""
    return Publication(topology.REQUESTS, "send", b"x" * size, "application/json", f"bench-{number}")


def on_disk(directory: Path) -> int:
    """Add up the bytes that the files in a directory take, holes left out."""
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))


async def in_memory(node: Node) -> int:
    """Ask a node for the bytes of memory that it uses."""
    return int(await node.ctl("eval", "erlang:memory(total)."))


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--bytes", default="300,3000,30000", help="sizes of a body, comma-separated")
    options = parser.parse_args()
    for size in map(int, options.bytes.split(",")):
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(bench(Path(directory), options.requests, size))


if __name__ == "__main__":
    main()
