"""OMNI's host name moves to another server while both answer: after a minute no call reaches the old one.

    .venv/bin/python -m tests.soak.moved

Needs root: in a mount namespace of its own another file lies over `/etc/hosts`, and the name is moved there. Runs at 20
and at 500 calls a second, two minutes each; `--rate 20` runs one. A resolver's memory is not part of it. Prints a
summary; exit status 1 if a call reached the old server after a minute, or a message was lost or posted twice.
"""

import argparse
import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httptools

from service.demo.rabbitmq.ports import free_port
from tests.e2e.stage import Stage, staged
from tests.support.node import Node

NAME: Final = "omni.moved.example"
BEFORE, AFTER = 20.0, 75.0
"""Seconds of sending before the move, and after it."""
LIFETIME: Final = 60.0
_INSIDE: Final = "TESTS_SOAK_MOVED"
STATUS: Final = '{"groupId":1,"groupName":"PENDING","id":7,"name":"PENDING_ENROUTE"}'


@dataclass
class Server:
    """Takes every call, and remembers when."""

    address: str
    taken: dict[str, int] = field(default_factory=dict)
    last_call: float = 0.0
    connections: int = 0


class Connection(asyncio.Protocol):
    """One client, as cheap as it can be: the machine belongs to the worker."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._server.connections += 1

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        name = self._body.partition(b'"messageId":"')[2].partition(b'"')[0].decode()
        self._server.taken[name] = self._server.taken.get(name, 0) + 1
        self._server.last_call = time.monotonic()
        body = f'{{"messages":[{{"messageId":"{name}","status":{STATUS}}}]}}'.encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        assert isinstance(self._transport, asyncio.Transport)
        self._transport.write(head + body)


@asynccontextmanager
async def serving(server: Server, port: int) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: Connection(server), server.address, port):
        yield


def point(address: str) -> None:
    """Let the name mean an address from now on."""
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{address} {NAME}\n", encoding="utf-8")


async def send(stage: Stage, numbers: Iterator[int], rate: int, seconds: float) -> int:
    """Send at a steady rate for so long; return how many were sent."""
    began, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds:
        ids = list(itertools.islice(numbers, round(elapsed * rate) - sent))
        await stage.send(
            *({"requestId": f"r-{n}", "messageId": f"m-{n}", "phoneNumber": "41793026727", "text": "x"} for n in ids)
        )
        sent += len(ids)
        await asyncio.sleep(0.1)
    return sent


async def main(directory: Path, rate: int) -> int:
    """Run once; return the exit status."""
    old, new, port, numbers = Server("127.0.0.2"), Server("127.0.0.3"), free_port(), itertools.count()
    point(old.address)
    async with (
        serving(old, port),
        serving(new, port),
        Node(directory / "broker") as node,
        staged(node.url, directory / "stage") as stage,
    ):
        worker = await stage.worker(
            OMNI_BASE_URL=f"http://{NAME}:{port}", OMNI_ALLOW_HTTP="true", OMNI_BATCHING="false"
        )
        sent = await send(stage, numbers, rate, BEFORE)
        point(new.address)
        moved_at, taken_before = time.monotonic(), len(old.taken)
        sent += await send(stage, numbers, rate, AFTER)
        rate_after = (len(old.taken) + len(new.taken) - taken_before) / (time.monotonic() - moved_at)
        await stage.until_final_events(sent, within=60)
        events = {tuple(types) for types in stage.final_events().values()}
        stopped = await worker.stop()
    taken = Counter(old.taken) + Counter(new.taken)
    late = old.last_call - moved_at
    print(f"{rate}/s: sent {sent}; final events {events}; old {len(old.taken)}, new {len(new.taken)} calls")  # noqa: T201 - the summary
    print(f"last call to the old server {late:.1f} s after the move; {rate_after:.0f} calls a second since then")  # noqa: T201 - the summary
    print(f"connections: old {old.connections}, new {new.connections}; stopped with {stopped}")  # noqa: T201 - the summary
    good = (
        late < LIFETIME
        and events == {("accepted",)}
        and (len(taken), set(taken.values())) == (sent, {1})
        and len(new.taken) > 0
    )
    print("good" if good else "NOT as it must be")  # noqa: T201 - the summary
    return int(not good)


def _cover_hosts(directory: Path) -> None:
    """Lay a file of our own over `/etc/hosts`, in a mount namespace of our own."""
    if _INSIDE not in os.environ:
        os.environ[_INSIDE] = "yes"
        again = ["unshare", "-m", sys.executable, "-m", "tests.soak.moved", *sys.argv[1:]]
        sys.exit(subprocess.run(again, check=False).returncode)
    own = directory / "hosts"
    own.write_bytes(Path("/etc/hosts").read_bytes())
    subprocess.run(["mount", "--bind", own, "/etc/hosts"], check=True, timeout=10)  # noqa: S607 - the system's


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=int, action="append")
    rates = parser.parse_args().rate or [20, 500]
    with tempfile.TemporaryDirectory() as place:
        _cover_hosts(Path(place))
        sys.exit(max(asyncio.run(main(Path(place) / str(rate), rate)) for rate in rates))
