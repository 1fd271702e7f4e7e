"""How fast one worker drains a queue, what that costs, and whether its memory stays flat.

    .venv/bin/python -m tests.bench.drain --requests 10000

A private broker and a sandbox on this machine; the worker is a process of its own, whose CPU time and memory are
read from the kernel. Every message is counted by its id, so a lost or doubled one shows. Ends by itself.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from service.adapters.rabbitmq import Session, connect, queues
from service.compiled import VARIABLE
from service.core import topology
from service.core.delivery import Publication
from service.demo.rabbitmq.ports import free_port
from service.sandbox import create_app, serve
from tests.bench.process import cpu, rss
from tests.support.node import Node

_TIMEOUT = 600


@dataclass
class Result:
    """The result of one run."""

    events: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0


async def main(requests: int, latency: float) -> None:
    """Run once and print."""
    directory = Path(tempfile.mkdtemp(prefix="omni-relay-bench-"))
    async with Node(directory / "broker") as node, serve(create_app()) as sandbox:
        session = await connect([node.url])
        worker = await _worker(node.url, sandbox.url, directory)  # declares the topology
        while not await _declared(node.url):  # noqa: ASYNC110 - the broker sets no event of ours
            await asyncio.sleep(0.2)
        worker.terminate()
        await worker.wait()
        if latency:
            await _post(f"{sandbox.url}/sandbox/faults", {"kind": "latency", "seconds": latency})
        await _publish(session, requests)
        result = await _drain(session, node.url, sandbox.url, directory, requests)
        await session.close()
    per_message = result.cpu / requests * 1e6
    print(f"{requests} requests, OMNI answers after {latency * 1000:.0f} ms, RabbitMQ {node.version}")  # noqa: T201
    print(f"  {requests / result.seconds:.0f} messages/s, {per_message:.0f} us CPU per message")  # noqa: T201
    print(f"  RSS in MiB at each tenth: {' '.join(str(one >> 20) for one in result.memory)}")  # noqa: T201
    lost = requests - len(result.events)
    doubled = sum(1 for count in result.events.values() if count > 1)
    print(f"  lost {lost}, more than one final event {doubled}")  # noqa: T201


async def _drain(session: Session, broker: str, sandbox: str, directory: Path, requests: int) -> Result:
    result = Result()
    bodies = queues.status_events(session)
    listening = asyncio.ensure_future(anext(bodies))
    await asyncio.sleep(0.5)
    started = time.perf_counter()
    worker = await _worker(broker, sandbox, directory)
    async with asyncio.timeout(_TIMEOUT):
        body = await listening
        started = time.perf_counter()
        before = cpu(worker.pid)
        while True:
            result.events[json.loads(body)["subject"]] += 1
            if len(result.events) % max(1, requests // 10) == 0:
                result.memory.append(rss(worker.pid))
            if len(result.events) == requests:
                break
            body = await anext(bodies)
    result.seconds = time.perf_counter() - started
    result.cpu = cpu(worker.pid) - before
    worker.terminate()
    await worker.wait()
    return result


async def _publish(session: Session, requests: int) -> None:
    for start in range(0, requests, 500):
        await asyncio.gather(
            *(session.publish(_request(number)) for number in range(start, min(start + 500, requests)))
        )


def _request(number: int) -> Publication:
    # Its last five digits never ask the sandbox for a fault.
    phone_number = f"417{number // 10_000:04d}1{number % 10_000:04d}"
    body = {"phoneNumber": phone_number, "sms": {"text": f"Your code is {number:06d}."}}
    content = json.dumps(body).encode()
    return Publication(
        topology.REQUESTS, "send", content, "application/json", f"bench-{number}", timestamp=datetime.now(UTC)
    )


async def _worker(broker: str, sandbox: str, directory: Path) -> asyncio.subprocess.Process:
    environment = {
        "PATH": os.environ["PATH"],
        VARIABLE: os.environ.get(VARIABLE, ""),  # compiled modules, as this process
        "RELAY_RABBITMQ_URL": broker,
        "RELAY_OMNI_BASE_URL": sandbox,
        "RELAY_OMNI_API_KEY": "bench",
        "RELAY_HTTP_HOST": "127.0.0.1",
        "RELAY_HTTP_PORT": str(free_port()),
        "RELAY_LOG_FORMAT": "json",
    }
    with (directory / "worker.log").open("ab") as log:
        command = (sys.executable, "-c", "from service.cli.main import main; main()", "worker")
        return await asyncio.create_subprocess_exec(*command, env=environment, cwd=directory, stdout=log, stderr=log)


async def _declared(broker: str) -> bool:
    session = await connect([broker])
    try:
        await session.waiting()
    except Exception:  # noqa: BLE001 - whatever the broker says, it is not there yet
        return False
    finally:
        await session.close()
    return True


async def _post(url: str, body: object) -> None:
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    content = json.dumps(body).encode()
    head = (
        f"POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    )
    writer.write(head.encode() + b"Connection: close\r\n\r\n" + content)
    await reader.read()
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds OMNI takes to answer")
    arguments = parser.parse_args()
    asyncio.run(main(min(arguments.requests, 1_000_000), arguments.latency))
