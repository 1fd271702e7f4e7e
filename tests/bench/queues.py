"""How many requests a second go through one quorum queue of a broker, through two, and what that costs the broker.

    .venv/bin/python -m tests.bench.queues --requests 200000 --queues 1,2

A private broker of one node on this machine, without a worker. For each queue, in a virtual host of its own, one
process publishes with confirms and one consumes and acknowledges, at the same time. If two queues take no more than
one, the limit is the node, not the queue. Clients and node share the cores of this machine. Ends by itself.
"""

import argparse
import asyncio
import multiprocessing
import socket
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.exceptions import UnmarshalingException
from pamqp.header import ContentHeader, ProtocolHeader

from service.adapters.rabbitmq import connect, declare
from service.core import topology
from service.core.attempt.retry import RetryPolicy
from tests.support.broker import manage
from tests.support.node import Node

_AT_ONCE: Final = 500
_TIMEOUT: Final = 300.0
_BODY: Final = b"x" * 300
_CONFIRM_BYTES: Final = 21


class Client:
    """A connection that costs next to nothing for each message, so that the broker is measured: it does not decode."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=_TIMEOUT)
        self._channel, self._received = 0, b""
        self._socket.sendall(ProtocolHeader().marshal())
        self._expect(commands.Connection.Start)
        login = commands.Connection.StartOk({}, "PLAIN", f"\0{parts.username}\0{parts.password}")
        self._call(login, commands.Connection.Tune)
        self._socket.sendall(frame.marshal(commands.Connection.TuneOk(2047, 131072, 0), 0))
        self._call(commands.Connection.Open(parts.path.strip("/")), commands.Connection.OpenOk)
        self._channel = 1
        self._call(commands.Channel.Open(), commands.Channel.OpenOk)

    def _call(self, request: frame.FrameTypes, answer: type[object]) -> None:
        self._socket.sendall(frame.marshal(request, self._channel))
        self._expect(answer)

    def _expect(self, kind: type[object]) -> int:
        """Receive one frame, and return its length in bytes."""
        while True:
            try:
                length, _, received = frame.unmarshal(self._received)
            except UnmarshalingException:
                self._received += self._socket.recv(65536)
                continue
            assert isinstance(received, kind), received
            self._received = self._received[length:]
            return length

    def publish(self, requests: int) -> None:
        """Publish requests, and wait for their confirms: at most a thousand are on their way."""
        self._call(commands.Confirm.Select(), commands.Confirm.SelectOk)
        properties = commands.Basic.Properties(content_type="application/json", message_id="bench", delivery_mode=2)
        parts = (
            commands.Basic.Publish(0, topology.REQUESTS, "send"),
            ContentHeader(0, len(_BODY), properties),
            ContentBody(_BODY),
        )
        one = b"".join(frame.marshal(part, self._channel) for part in parts)
        for sent in range(0, requests, _AT_ONCE):
            self._socket.sendall(one * min(_AT_ONCE, requests - sent))
            self._confirmed(sent - _AT_ONCE)
        self._confirmed(requests)

    def _confirmed(self, tag: int) -> None:
        """Wait until a publication is confirmed; those before it may follow."""
        last = 0
        while last < tag:
            self._received += self._socket.recv(65536)
            whole = len(self._received) // _CONFIRM_BYTES * _CONFIRM_BYTES
            if whole:
                last = int.from_bytes(self._received[whole - 10 : whole - 2])
                self._received = self._received[whole:]

    def consume(self, requests: int) -> None:
        """Take requests, and acknowledge a hundred at once: each delivery has as many bytes as the first."""
        self._call(commands.Basic.Qos(0, 1000), commands.Basic.QosOk)
        self._call(commands.Basic.Consume(0, topology.REQUESTS, "bench"), commands.Basic.ConsumeOk)
        size = sum(map(self._expect, (commands.Basic.Deliver, ContentHeader, ContentBody)))
        taken, acknowledged, rest = 1, 0, len(self._received)
        while taken < requests or acknowledged < requests:
            taken, rest = taken + rest // size, rest % size
            if taken - acknowledged >= 100 or taken == requests:
                self._socket.sendall(frame.marshal(commands.Basic.Ack(taken, multiple=True), self._channel))
                acknowledged = taken
            if taken < requests:
                rest += len(self._socket.recv(65536))


def _work(what: str, url: str, requests: int, ready: Barrier) -> None:
    client = Client(url)
    ready.wait(_TIMEOUT)
    getattr(client, what)(requests)


async def node_seconds(node: Node) -> float:
    """Ask a node how many seconds of CPU time it has used."""
    return int(await node.evaluate("element(1, erlang:statistics(runtime))")) / 1000


async def bench(directory: Path, root: Path | None, requests: int, queues: int) -> None:
    """Send so many requests through so many queues, and print what that took."""
    async with Node(directory, root=root, management=True) as node:
        urls = []
        for number in range(queues):
            manage(node, "PUT", f"vhosts/bench-{number}")
            urls.append(f"{node.url}bench-{number}")
            session = await connect([urls[-1]])
            await declare(session.connection, RetryPolicy().delays, passive=False)
            await session.close()
        context = multiprocessing.get_context("spawn")
        each = requests // queues
        ready = context.Barrier(2 * queues + 1)
        clients = [
            context.Process(target=_work, args=(what, url, each, ready))
            for url in urls
            for what in ("publish", "consume")
        ]
        for client in clients:
            client.start()
        await asyncio.to_thread(ready.wait, _TIMEOUT)
        spent, started = await node_seconds(node), time.perf_counter()
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
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--queues", default="1,2", help="how many queues, comma-separated")
    parser.add_argument("--rabbitmq-root", type=Path, help="the system tree of another RabbitMQ")
    options = parser.parse_args()
    for queues in map(int, options.queues.split(",")):
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(bench(Path(directory), options.rabbitmq_root, options.requests, queues))


if __name__ == "__main__":
    main()
