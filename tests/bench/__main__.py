"""What a message costs: the relay beside workers that do the same job with what others would take.

    .venv/bin/python -m tests.bench                                     # all rivals, all kinds of load
    .venv/bin/python -m tests.bench --requests 5000 --only relay,tuned --kinds distinct

One after the other on one machine, each against the same broker and an OMNI that costs next to nothing: a full queue is
drained by one process, whose CPU time (user and system, its children included) is read from the kernel. Compare ratios,
not seconds. The relay does more than its rivals: it checks, tells, measures and remembers. The rivals' packages come
from `tests/bench/requirements.txt`, into an environment of their own. Ends by itself.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aio_pika

from service.demo.node import private_node
from service.demo.port import free_port
from tests.bench.process import Process
from tests.bench.rivals.job import requests
from tests.support.worker import started

HERE: Final = Path(__file__).parent
VENV: Final = HERE.parents[1] / ".tools" / "bench"
RESULTS: Final = "bench.results"
OWN_FORM: Final = frozenset({"taskiq", "celery"})
"""Those whose messages and queues have a form of their own: they declare and load by themselves."""
RIVALS: Final = {
    "plain": ("plain.py", "work"),
    "tuned": ("plain.py", "work", "tuned"),
    "faststream": ("with_faststream.py", "work"),
    "taskiq": ("with_taskiq.py", "work"),
    "celery": ("with_celery.py", "work"),
}
_WARM: Final = 0.1
_PATIENCE: Final = 600.0


@dataclass(frozen=True)
class Run:
    """What one worker did with one load. `cpu` is in microseconds a message, `rss` in MiB at its peak."""

    name: str
    kind: str
    rate: float
    cpu: float
    rss: float


@dataclass(frozen=True)
class Bench:
    """Where everything is."""

    broker: str
    omni: str
    directory: Path

    async def run(self, name: str, kind: str, count: int) -> Run:
        """Fill the queue, and have it drained."""
        async with await aio_pika.connect(self.broker) as connection:
            channel = await connection.channel()
            quorum: dict[str, Any] = {"x-queue-type": "quorum"}
            await channel.queue_delete(RESULTS)
            if name != "relay":
                await channel.queue_delete(_queue(name))
            if name not in OWN_FORM:
                await channel.declare_queue(_queue(name), durable=True, passive=name == "relay", arguments=quorum)
            results = await channel.declare_queue(RESULTS, durable=True, arguments=quorum)
            await results.bind("omni.results", "message.accepted")
            await self._load(channel, name, kind, count)
            process = self._start(name)
            try:
                return await self._measure(channel, process, Run(name, kind, 0, 0, 0), count)
            finally:
                await process.stop()

    async def _measure(self, channel: aio_pika.abc.AbstractChannel, process: Process, run: Run, count: int) -> Run:
        """Leave out the first part, in which imports and connections cost more than messages."""
        first, began, spent, peak = 0, 0.0, 0.0, 0
        async with asyncio.timeout(_PATIENCE):
            while True:
                told = (await channel.declare_queue(RESULTS, passive=True)).declaration_result.message_count or 0
                if not began and told >= count * _WARM:
                    first, began, spent = told, time.perf_counter(), process.cpu()
                if told >= count:
                    break
                peak = max(peak, process.rss())
                await asyncio.sleep(0.05)
        messages, seconds = count - first, time.perf_counter() - began
        return Run(run.name, run.kind, messages / seconds, (process.cpu() - spent) / messages * 1e6, peak / 2**20)

    async def _load(self, channel: aio_pika.abc.AbstractChannel, name: str, kind: str, count: int) -> None:
        if name in OWN_FORM:
            command = [*self._program(name)[:2], "load", str(count), kind]
            loading = await asyncio.create_subprocess_exec(*command, env=self._environment(name))
            assert await loading.wait() == 0
            return
        bodies = [json.dumps(body).encode() for body in requests(count, kind)]
        for start in range(0, count, 500):
            messages = (aio_pika.Message(body, delivery_mode=2) for body in bodies[start : start + 500])
            await asyncio.gather(*(channel.default_exchange.publish(message, _queue(name)) for message in messages))

    def _start(self, name: str) -> Process:
        with (self.directory / f"{name}.log").open("ab") as log:
            return Process(
                subprocess.Popen(  # noqa: S603 - our own
                    self._program(name), env=self._environment(name), cwd=self.directory, stdout=log, stderr=log
                )
            )

    def _program(self, name: str) -> list[str]:
        if name == "relay":
            return [sys.executable, "-c", "from service.app.cli import main; main()", "worker"]
        file, *arguments = RIVALS[name]
        return [str(VENV / "bin" / "python"), str(HERE / "rivals" / file), *arguments]

    def _environment(self, name: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "RIVAL_BROKER": self.broker,
            "RIVAL_OMNI": self.omni,
            "RIVAL_QUEUE": _queue(name),
            **self.settings,
        }

    @property
    def settings(self) -> dict[str, str]:
        """Settings of the relay: as in production, but for where things are."""
        return {
            "RELAY_RABBITMQ_URL": self.broker,
            "RELAY_OMNI_BASE_URL": self.omni,
            "RELAY_OMNI_API_KEY": "bench",
            "RELAY_HTTP_HOST": "127.0.0.1",
            "RELAY_HTTP_PORT": str(free_port()),
            "RELAY_LOG_FORMAT": "json",
        }


async def main(options: argparse.Namespace) -> None:
    """Run everything that is asked for, and print a table."""
    directory, port = Path(tempfile.mkdtemp(prefix="omni-relay-bench-")), free_port()
    names, kinds = options.only.split(","), options.kinds.split(",")
    if set(names) - {"relay"}:
        _provide_rivals()
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(private_node(directory / "broker"))
        omni = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "omni.py"), str(port), str(options.latency)
        )
        stack.callback(omni.kill)
        bench = Bench(node.url, f"http://127.0.0.1:{port}", directory)
        async with started(directory / "first", {**bench.settings, "RELAY_HTTP_PORT": "0"}, "worker") as first:
            await first.until_ready()  # makes the topology
        print(f"{options.requests} requests, OMNI after {options.latency * 1000:.0f} ms, RabbitMQ {node.version}")  # noqa: T201
        print(f"{'worker':<12}{'load':<10}{'us CPU a message':>18}{'messages/s':>12}{'MiB at peak':>12}")  # noqa: T201
        for kind in kinds:
            for name in names:
                run = await bench.run(name, kind, options.requests)
                print(f"{run.name:<12}{run.kind:<10}{run.cpu:>18.0f}{run.rate:>12.0f}{run.rss:>12.0f}", flush=True)  # noqa: T201


def _queue(name: str) -> str:
    return "omni.requests" if name == "relay" else f"rival.{name}"


def _provide_rivals() -> None:
    """Install the rivals' packages, once."""
    wanted = (HERE / "requirements.txt").read_text()
    stamp = VENV / "requirements.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)  # noqa: S603
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-q", "-r", str(HERE / "requirements.txt")]
    subprocess.run(pip, check=True)  # noqa: S603
    stamp.write_text(wanted)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds OMNI takes to answer")
    parser.add_argument("--only", default=",".join(("relay", *RIVALS)))
    parser.add_argument("--kinds", default="distinct,campaign,mix")
    asyncio.run(main(parser.parse_args()))
