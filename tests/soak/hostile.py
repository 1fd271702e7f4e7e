"""A hostile producer beside ordinary requests, which must not be affected.

    .venv/bin/python -m tests.soak.hostile --case foreign-reply-to --seconds 60
    .venv/bin/python -m tests.soak.hostile --case cc --case bcc --rabbitmq-root .tools/rabbitmq-sid
    .venv/bin/python -m tests.soak.hostile --case metadata --memory 256   # MiB for the worker, as a pod has
    .venv/bin/python -m tests.soak.hostile                    # every case, one after the other

For each case it starts a broker, the sandbox behind a gateway, and a worker with default settings. The hostile producer
publishes five messages every few seconds, an ordinary one ten requests every half second. Prints what came of both.
Exit status 1 if a limit is broken: see `Measured.broken`. On this machine alone, bounded in count and time.
"""

import argparse
import asyncio
import json
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aio_pika
import aiormq

from service.adapters.settings import Settings
from service.demo.rabbitmq.handshake import handshake
from service.demo.rabbitmq.ports import free_port
from tests.soak.broker import Broker, running
from tests.soak.hostile_requests import BILLING, CASES, FULL, Hostile
from tests.soak.observations import dead_letters, prepare
from tests.support import amqp_1_0
from tests.support.worker import PROGRAM, Worker, started

RESULTS: Final = "soak.results"
_MIB: Final = 2**20
_MAX_ACCEPTANCE: Final = 1.0  # s
_MAX_STALL: Final = 0.5  # s
_MAX_RSS: Final = 150 * _MIB
_PROBE: Final = 0.05  # s
_BATCH, _EVERY = 10, 0.5
_FINAL: Final = frozenset({"accepted", "rejected", "failed", "expired", "unknown", "cancelled"})


@dataclass
class Measured:
    """The effects of one case on the ordinary requests and the worker. Times in seconds, sizes in bytes."""

    sent: dict[str, float] = field(default_factory=dict)
    """When each ordinary request was published."""
    hostile: list[bool] = field(default_factory=list)
    """For each hostile message, whether its final event is due by the end."""
    accepted: dict[str, float] = field(default_factory=dict)
    """How long each ordinary request took, from publishing to its `message.accepted`."""
    finals: dict[str, set[str]] = field(default_factory=dict)
    """Final events by message or request, each by its event id."""
    deferred: set[str] = field(default_factory=set)
    disconnects: Counter[str] = field(default_factory=Counter)
    posted: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    strayed: int = 0
    """Messages in a queue that is bound to nothing."""
    stall: float = 0.0
    """The longest that /livez took to answer."""
    refused: Counter[str] = field(default_factory=Counter)
    """Answers of /livez other than 200."""
    rss: int = 0
    alive: bool = True

    def read(self, body: bytes) -> None:
        """Take in one status event."""
        if b'"hostile-' in body[:600] and b"deferred" in body[:300]:
            return
        event = json.loads(body)
        name, kind = event.get("subject") or event["data"]["requestId"], event["type"].rpartition(".")[2]
        if name in self.sent:
            if kind == "deferred":
                self.deferred.add(name)
            elif kind == "accepted":
                self.accepted.setdefault(name, time.monotonic() - self.sent[name])
        if kind in _FINAL:
            self.finals.setdefault(name, set()).add(event["id"])

    @property
    def ended(self) -> int:
        """How many hostile requests have a final event; one of many messages counts more than once."""
        return sum(name not in self.sent for name in self.finals)

    @property
    def is_complete(self) -> bool:
        """Whether everything expected has arrived."""
        return len(self.accepted) == len(self.sent) and self.ended >= sum(self.hostile)

    @property
    def slowest(self) -> float:
        """The slowest acceptance of an ordinary request."""
        return max(self.accepted.values(), default=0.0)

    def broken(self) -> Iterator[str]:
        """Name each limit that is broken."""
        missing = self.sent.keys() - self.accepted.keys()
        repeated = [name for name, times in self.posted.items() if times > 1 and name in self.sent]
        several = [name for name, ids in self.finals.items() if len(ids) > 1]
        late = sum(seconds > _MAX_ACCEPTANCE for seconds in self.accepted.values())
        for number, what in (
            (len(missing), "ordinary requests were not accepted"),
            (late, f"ordinary requests took longer than {_MAX_ACCEPTANCE} s"),
            (len(self.deferred), "ordinary requests were deferred"),
            (len(repeated), "ordinary messages were posted twice"),
            (len(several), "messages have several final events"),
            (max(sum(self.hostile) - self.ended, 0), "hostile requests have no final event"),
            (sum(self.disconnects.values()), "disconnects"),
            (self.strayed, "messages in a queue that is bound to nothing"),
            (int(self.stall > _MAX_STALL), f"stall of /livez is longer than {_MAX_STALL} s"),
            (int(self.rss > _MAX_RSS), f"peak RSS is above {_MAX_RSS // _MIB} MiB"),
            (sum(self.refused.values()), "answers of /livez were not 200"),
            (int(not self.alive), "worker died"),
        ):
            if number:
                yield f"{number} {what}"


@dataclass
class Scene:
    """One case's processes, and what is measured."""

    name: str
    options: argparse.Namespace
    broker: Broker
    sandbox: str
    worker: Worker
    measured: Measured = field(default_factory=Measured)

    async def send_ordinary(self, until: float) -> None:
        """Publish ten ordinary requests every half second."""
        async with await aio_pika.connect(self.broker.direct[0]) as connection:
            exchange = await (await connection.channel()).get_exchange("omni.requests", ensure=False)
            number, due = 0, time.monotonic()
            while time.monotonic() < until:
                for _ in range(_BATCH):
                    name = f"ordinary-{number}"
                    phone = f"427{number:05d}10000"
                    body = {"requestId": name, "messageId": name, "phoneNumber": phone, "sms": {"text": f"t {number}"}}
                    message = aio_pika.Message(json.dumps(body).encode(), delivery_mode=2, message_id=name)
                    self.measured.sent[name] = time.monotonic()
                    await exchange.publish(message, "send")
                    number += 1
                due += _EVERY
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    def send_hostile(self, until: float) -> None:
        """Publish five hostile messages every few seconds. Runs in a thread of its own, to hold up no measurement."""
        asyncio.run(self._send_hostile(until))

    async def _send_hostile(self, until: float) -> None:
        async with await aio_pika.connect(self.broker.direct[0]) as connection:
            exchange = await (await connection.channel()).get_exchange("omni.requests", ensure=False)
            number = 0
            while time.monotonic() < until:
                for _ in range(self.options.at_once):
                    await self._publish(exchange, number, CASES[self.name](number))
                    number += 1
                await asyncio.sleep(self.options.every)

    async def _publish(self, exchange: aio_pika.abc.AbstractExchange, number: int, hostile: Hostile) -> None:
        if hostile.amqp_1_0:
            port, name = self.broker.nodes[0].port, f"hostile-{number}"
            await amqp_1_0.publish(port, hostile.body, message_id=name, reply_to=hostile.reply_to or "")
        else:
            message = aio_pika.Message(
                hostile.body,
                delivery_mode=2,
                content_type=hostile.content_type,
                content_encoding=hostile.content_encoding,
                headers=dict(hostile.headers),
                reply_to=hostile.reply_to,
                message_id=f"hostile-{number}",
                expiration=hostile.expiration,
            )
            await exchange.publish(message, "send")
        self.measured.hostile.append(hostile.must_end)

    async def listen(self) -> None:
        """Read every status event; beneath the library's own classes, since a case may make ten thousand of them."""
        connection = await aiormq.connect(self.broker.direct[0])
        channel = await connection.channel(publisher_confirms=False)

        async def receive(message: aiormq.abc.DeliveredMessage) -> None:
            self.measured.read(message.body)

        await channel.basic_consume(RESULTS, receive, no_ack=True)
        await asyncio.Event().wait()

    def probe(self, ended: threading.Event) -> None:
        """Ask /livez all the time, in a thread; keep the longest answer and the memory in use."""
        url = f"http://127.0.0.1:{self.worker.port}/livez"
        while not ended.wait(_PROBE):
            asked = time.monotonic()
            try:
                with urllib.request.urlopen(url, timeout=60) as answer:
                    answer.read()
            except urllib.error.HTTPError as error:
                self.measured.refused[f"status {error.code}"] += 1
            except OSError as error:
                self.measured.refused[type(error).__name__] += 1
            self.measured.stall = max(self.measured.stall, time.monotonic() - asked)
            self.measured.rss = max(self.measured.rss, peak_rss(self.worker.process.pid))

    async def finish(self) -> None:
        """Wait for the remaining events, then read the broker's and the sandbox's state."""
        measured, end = self.measured, time.monotonic() + self.options.settle
        while time.monotonic() < end and not measured.is_complete:  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.2)
        measured.alive = self.worker.process.returncode is None
        measured.disconnects = Counter(line["cause"] for line in self.worker.lines("broker.disconnected"))
        measured.posted = await asyncio.to_thread(self._posted)
        async with await aio_pika.connect(self.broker.direct[0]) as connection:
            queue = await (await connection.channel()).declare_queue(BILLING, passive=True)
            measured.strayed = queue.declaration_result.message_count or 0
        found = await dead_letters(self.broker.direct[0])
        measured.dead = Counter(str(dead_letter.get("omni-reason") or _reason(dead_letter)) for dead_letter in found)

    def _posted(self) -> Counter[str]:
        """Count how often OMNI accepted each message."""
        with urllib.request.urlopen(f"{self.sandbox}/sandbox/messages", timeout=60) as answer:  # noqa: S310 - ours
            return Counter({message["messageId"]: message["times"] for message in json.load(answer)["messages"]})


def peak_rss(pid: int) -> int:
    """Return the most memory that a process has used, in bytes; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


@contextmanager
def limited(mebibytes: int) -> Iterator[Sequence[str]]:
    """Return a program that runs the relay with a memory limit. The kernel enforces it, as in a pod."""
    group = Path("/sys/fs/cgroup/memory") / f"omni-relay-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(mebibytes * _MIB), encoding="ascii")
        yield "/bin/sh", "-c", 'echo $$ >"$0"; exec "$@"', str(group / "cgroup.procs"), *PROGRAM
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    """Remove a group whose last process may be about to end."""
    end = time.monotonic() + 10
    while True:
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def _reason(dead_letter: dict[str, Any]) -> str:
    deaths = dead_letter.get("x-death")
    return f"broker: {deaths[0].get('reason')}" if isinstance(deaths, list) and deaths else "none given"


async def run_case(name: str, options: argparse.Namespace) -> bool:
    """Run one case; give whether it kept every limit."""
    directory, port = Path(tempfile.mkdtemp(prefix=f"omni-relay-{name}-")), free_port()
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(running(directory / "broker", 1, options.rabbitmq_root))
        version = await handshake(broker.nodes[0].port, broker.nodes[0].name)
        if CASES[name](0).amqp_1_0 and version.startswith("3."):
            _print("case", f"{name} is left out: RabbitMQ {version} takes no AMQP 1.0")
            return True
        gateway = ("-m", "tests.soak.gateway", "--port", str(port))
        path = {"PYTHONPATH": str(Path(__file__).parents[2])}
        await stack.enter_async_context(started(directory / "sandbox", path, *gateway, program=(sys.executable,)))
        settings = {
            "RELAY_RABBITMQ_URL": broker.direct[0],
            "RELAY_OMNI_BASE_URL": f"http://127.0.0.1:{port}",
            "RELAY_OMNI_API_KEY": "hostile",
            "RELAY_HTTP_HOST": "127.0.0.1",
            "RELAY_HTTP_PORT": "0",
        }
        if "reply_to" in Settings.model_fields:
            settings["RELAY_REPLY_TO"] = "replies.*,amq.rabbitmq.*"
        program = stack.enter_context(limited(options.memory)) if options.memory else PROGRAM
        worker = await stack.enter_async_context(started(directory / "worker", settings, "worker", program=program))
        await worker.until_ready()
        await prepare(broker.direct)
        await _prepare_queues(broker)
        scene = Scene(name, options, broker, f"http://127.0.0.1:{port}", worker)
        listening, ended = asyncio.create_task(scene.listen()), threading.Event()
        probing = asyncio.create_task(asyncio.to_thread(scene.probe, ended))
        try:
            until = time.monotonic() + options.seconds
            await asyncio.gather(scene.send_ordinary(until), asyncio.to_thread(scene.send_hostile, until))
            await scene.finish()
        finally:
            ended.set()
            listening.cancel()
            await asyncio.gather(listening, probing, return_exceptions=True)
    return _report(scene, directory)


async def _prepare_queues(broker: Broker) -> None:
    """Declare a queue that must stay empty, and one that refuses everything."""
    async with await aio_pika.connect(broker.direct[0]) as connection:
        channel = await connection.channel()
        await channel.declare_queue(BILLING, durable=True)
        await channel.declare_queue(FULL, durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        await channel.default_exchange.publish(aio_pika.Message(b"full"), FULL)


def _report(scene: Scene, directory: Path) -> bool:
    measured = scene.measured
    broken = list(measured.broken())
    for what, value in {
        "case": f"{scene.name}, in {directory}",
        "ordinary requests": f"{len(measured.sent)} sent, {len(measured.accepted)} accepted",
        "slowest acceptance": f"{measured.slowest:.2f} s",
        "deferred": len(measured.deferred),
        "disconnects": dict(measured.disconnects),
        "peak RSS": f"{measured.rss / _MIB:.0f} MiB",
        "longest stall of /livez": f"{measured.stall:.2f} s",
        "hostile messages": f"{len(measured.hostile)} sent, {measured.ended} final events",
        "omni.dead": dict(measured.dead),
        "limits broken": "; ".join(broken) or "none",
    }.items():
        _print(what, value)
    if not broken:
        shutil.rmtree(directory)
    return not broken


def _print(what: str, value: object) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what:>24}: {value}", flush=True)  # noqa: T201


async def main(options: argparse.Namespace) -> int:
    """Run the cases; give the exit status."""
    kept = [await run_case(name, options) for name in options.case or CASES]
    return int(not all(kept))


if __name__ == "__main__":
    logging.disable()  # the broker refuses some of what is published here
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES), help="may be repeated; without it, every case")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long both producers publish")
    parser.add_argument("--at-once", type=int, default=5, help="hostile messages published one after the other")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between them and the next")
    parser.add_argument("--settle", type=float, default=20.0, help="seconds to wait for the last events")
    parser.add_argument("--memory", type=int, help="MiB for the worker; takes a cgroup of version 1, and root")
    parser.add_argument("--rabbitmq-root", type=Path, help="a system tree with another RabbitMQ")
    sys.exit(asyncio.run(main(parser.parse_args())))
