"""How long an urgent message waits beside a campaign, from publishing to the arrival of its call at OMNI.

    .venv/bin/python -m tests.bench.urgent                                    # all cases
    .venv/bin/python -m tests.bench.urgent --only rate,flood --kind same --rabbitmq-root .tools/rabbitmq-sid

One worker, a private broker, and an OMNI that costs next to nothing and notes when each message arrives. Cases:

rate       3,000 messages queued, 50 per second
backlog    15,000 queued, OMNI answers after 200 ms, no rate
refused    as `rate`; each urgent message first gets a 503, and its second arrival counts
outage     2,000 queued, OMNI answers 503 for 10 s; counted from its end
flood      as `rate`, with 3,000 urgent messages as well: the share of the campaign while both wait
both       20,000 of each queued, no rate: messages per second and CPU per message
alone      the same with 40,000 of the campaign and an idle urgent lane

Ends by itself.
"""

import argparse
import asyncio
import json
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aio_pika

from service.core.topology import NORMAL, URGENT, Lane
from tests.bench.process import cpu
from tests.support.node import Node
from tests.support.worker import Worker, started

_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_ID: Final = re.compile(rb'"messageId": ?"([^"\\]*)"')
_STATUS: Final = '"status":{"groupId":1,"groupName":"PENDING","id":7,"name":"PENDING_ENROUTE"}'
_NOTHING: Final = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{"results":[]}'
_TIMEOUT: Final = 300.0


@dataclass
class Omni:
    """Accepts everything after `latency` seconds, except what `refuses`; notes when each message arrived."""

    latency: float = 0.02
    refuses: Callable[[list[str]], bool] = lambda _: False
    arrived: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def answer(self, body: bytes) -> bytes:
        """Note the messages of a call; returns the answer."""
        now, names = time.monotonic(), [name.decode() for name in _ID.findall(body)]
        refused = self.refuses(names)
        for name in names:
            self.arrived[name].append(now)
        if refused:
            return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
        messages = ",".join(f'{{"messageId":"{name}",{_STATUS}}}' for name in names)
        content = f'{{"bulkId":"bench","messages":[{messages}]}}'.encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            len(content),
            content,
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1])) if length else b""
                if head.startswith(b"POST"):
                    answer = self.answer(body)
                    await asyncio.sleep(self.latency)
                else:
                    answer = _NOTHING
                writer.write(answer)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()


@dataclass
class Stage:
    """A broker, OMNI and the settings of a worker."""

    url: str
    channel: aio_pika.abc.AbstractChannel
    directory: Path
    omni: Omni
    kind: str
    settings: dict[str, str]
    sent: dict[str, float] = field(default_factory=dict)

    async def publish(self, lane: Lane, count: int, prefix: str) -> list[str]:
        """Publish requests, and return when they are confirmed."""
        exchange = await self.channel.get_exchange(lane.requests, ensure=False)
        names = [f"{prefix}-{number}" for number in range(count)]
        for start in range(0, count, 500):
            await asyncio.gather(
                *(exchange.publish(self._message(name), "send") for name in names[start : start + 500])
            )
        return names

    def _message(self, name: str) -> aio_pika.Message:
        text = "one text for all" if self.kind == "same" and not name.startswith("urgent") else f"code {name}"
        body = {"messageId": name, "requestId": name, "phoneNumber": "41793026727", "sms": {"text": text}}
        self.sent[name] = time.monotonic()
        return aio_pika.Message(json.dumps(body).encode(), delivery_mode=2)

    def arrivals(self, prefix: str) -> list[float]:
        """List when messages first arrived, in order."""
        return sorted(times[0] for name, times in self.omni.arrived.items() if name.startswith(prefix))

    async def until_arrived(self, names: list[str], times: int = 1) -> None:
        """Wait until each of these messages has arrived so many times."""
        async with asyncio.timeout(_TIMEOUT):
            while not all(len(self.omni.arrived[name]) >= times for name in names):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def waits(self, names: list[str], times: int = 1) -> str:
        """Describe the seconds from publishing to an arrival."""
        return described([self.omni.arrived[name][times - 1] - self.sent[name] for name in names])


def described(waits: list[float]) -> str:
    """Write percentiles."""
    waits = sorted(waits)
    p50, p99, most = (waits[round(share * (len(waits) - 1))] for share in (0.5, 0.99, 1))
    return f"urgent p50 {p50:.3f} p99 {p99:.3f} most {most:.3f} s ({len(waits)})"


async def beside(stage: Stage, count: int, pause: float, times: int = 1) -> str:
    """Publish urgent messages one by one beside what is queued; returns their waits, and the campaign's rate."""
    began = time.monotonic()
    names: list[str] = []
    for number in range(count):
        names += await stage.publish(URGENT, 1, f"urgent-{number}")
        await asyncio.sleep(pause)
    ended = time.monotonic()
    await stage.until_arrived(names, times)
    others = sum(began <= moment < ended for moment in stage.arrivals("campaign"))
    return f"{stage.waits(names, times)}; campaign {others / (ended - began):.1f} messages/s"


async def rate(stage: Stage, worker: Worker) -> str:
    """See the module's docstring."""
    await stage.publish(NORMAL, 3000, "campaign")
    await worker.until(lambda: len(stage.omni.arrived) > 100)
    return await beside(stage, 100, 0.4)


async def backlog(stage: Stage, worker: Worker) -> str:
    """See the module's docstring."""
    stage.omni.latency = 0.2
    await worker.stop()
    await stage.publish(NORMAL, 15_000, "campaign")
    async with started(stage.directory / "backlog-worker", stage.settings, "worker") as again:
        await again.until_ready()
        await again.until(lambda: len(stage.omni.arrived) > 100)
        return await beside(stage, 100, 0.05)


async def refused(stage: Stage, worker: Worker) -> str:
    """See the module's docstring."""
    stage.omni.refuses = lambda names: any(name.startswith("urgent") and not stage.omni.arrived[name] for name in names)
    await stage.publish(NORMAL, 3000, "campaign")
    await worker.until(lambda: len(stage.omni.arrived) > 100)
    return await beside(stage, 100, 0.4, times=2)


async def outage(stage: Stage, worker: Worker) -> str:
    """See the module's docstring."""
    stage.omni.refuses = lambda _: True
    await stage.publish(NORMAL, 2000, "campaign")
    await worker.until(lambda: len(stage.omni.arrived) > 4)
    names: list[str] = []
    for number in range(50):
        names += await stage.publish(URGENT, 1, f"urgent-{number}")
        await asyncio.sleep(0.2)
    stage.omni.refuses, mended = lambda _: False, time.monotonic()
    async with asyncio.timeout(_TIMEOUT):
        while not all(stage.omni.arrived[name] and stage.omni.arrived[name][-1] > mended for name in names):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return described([stage.omni.arrived[name][-1] - mended for name in names])


async def flood(stage: Stage, worker: Worker) -> str:
    """See the module's docstring."""
    await stage.publish(NORMAL, 3000, "campaign")
    await worker.until(lambda: len(stage.omni.arrived) > 100)
    before = len(stage.arrivals("campaign"))
    names = await stage.publish(URGENT, 1000, "urgent")
    await stage.until_arrived(names)
    others = len(stage.arrivals("campaign")) - before
    seconds = stage.arrivals("urgent")[-1] - stage.arrivals("urgent")[0]
    share = others / (others + len(names))
    return f"campaign {share:.1%} of {(others + len(names)) / seconds:.1f} messages/s"


async def both(stage: Stage, worker: Worker) -> str:
    """See the module's docstring."""
    return await drain(stage, worker, {NORMAL: 20_000, URGENT: 20_000})


async def alone(stage: Stage, worker: Worker) -> str:
    """See the module's docstring."""
    return await drain(stage, worker, {NORMAL: 40_000})


async def drain(stage: Stage, worker: Worker, counts: dict[Lane, int]) -> str:
    """Measure what the worker does while it has so many of each lane to serve."""
    await worker.stop()
    names = [name for lane, count in counts.items() for name in await stage.publish(lane, count, lane.name)]
    async with started(stage.directory / "drain-worker", stage.settings, "worker") as again:
        await again.until_ready()
        await again.until(lambda: len(stage.omni.arrived) > len(names) * 0.1)
        before, spent, began = len(stage.omni.arrived), cpu(again.process.pid), time.monotonic()
        await stage.until_arrived(names)
        messages, seconds = len(names) - before, time.monotonic() - began
        per_message = (cpu(again.process.pid) - spent) / messages * 1e6
        return f"{messages / seconds:.0f} messages/s, {per_message:.0f} us CPU per message"


CASES: Final = {one.__name__: one for one in (rate, backlog, refused, outage, flood, both, alone)}
_LIMITED: Final = {"rate", "refused", "flood"}


async def main(options: argparse.Namespace) -> None:
    """Run the cases, each with a broker of its own: a worker that is killed leaves deliveries that are looked up."""
    for name in options.only.split(","):
        async with AsyncExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="omni-relay-bench-")))
            node = await stack.enter_async_context(Node(directory / "node", root=options.rabbitmq_root))
            omni = Omni()
            server = await stack.enter_async_context(await asyncio.start_server(omni.serve, "127.0.0.1", 0))
            settings = {
                "RELAY_RABBITMQ_URL": node.url,
                "RELAY_OMNI_BASE_URL": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
                "RELAY_OMNI_API_KEY": "bench",
                "RELAY_HTTP_HOST": "127.0.0.1",
                "RELAY_HTTP_PORT": "0",
                **({"RELAY_OMNI_MESSAGES_PER_SECOND": "50"} if name in _LIMITED else {}),
            }
            connection = await stack.enter_async_context(await aio_pika.connect(node.url))
            worker = await stack.enter_async_context(started(directory / "worker", settings, "worker"))
            await worker.until_ready()
            stage = Stage(node.url, await connection.channel(), directory, omni, options.kind, settings)
            print(f"{node.version} {options.kind} {name:<8}{await CASES[name](stage, worker)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--kind", default="distinct", choices=("distinct", "same"))
    parser.add_argument("--rabbitmq-root", type=Path)
    asyncio.run(main(parser.parse_args()))
