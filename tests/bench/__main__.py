"""CPU and latency per message: the relay compared with workers for the same job on common libraries.

    .venv/bin/python -m tests.bench                                     # all rivals, all kinds of load
    .venv/bin/python -m tests.bench --requests 5000 --only relay,tuned --kinds distinct
    .venv/bin/python -m tests.bench --only relay --requests 1000,10000,100000       # does it grow?
    .venv/bin/python -m tests.bench --only relay --prefetch 30,100,300,1000         # and --concurrency 4,16,100
    .venv/bin/python -m tests.bench --only relay --processes 1,2,3,4
    .venv/bin/python -m tests.bench --rate 200 --latency 0.05                       # seconds from publish to event
    .venv/bin/python -m tests.bench --only relay --rate 200 --memory --repeat 6 --directory /dev/shm --realtime

One after the other on one machine, each against the same broker and an OMNI that costs next to nothing: a full queue is
drained by one process, whose CPU time (user and system, its children included) is read from the kernel. Compare ratios,
not seconds. The relay does more than its rivals: it checks, logs, measures and remembers. The rivals' packages come
from `tests/bench/requirements.txt`, into an environment of their own. The worker in Go is built where Go is installed;
`go-1` is the same program on one thread. Ends by itself.

With a rate, one run may have a p99 ten times that of the next: the broker waits for the disk for each message, and five
processes share the cores. So the relay runs without and with a shared memory in turn, several times. The medians
are compared, `--directory` leaves the disk out, and `--realtime` the other processes.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

import aio_pika

from service.compiled import VARIABLE
from service.demo.rabbitmq.ports import free_port
from tests.bench.process import Process
from tests.bench.rivals.job import requests
from tests.support.memory import MemoryServer
from tests.support.node import Node
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
    "go": ("in_go", "work"),
    "go-1": ("in_go", "work", "1"),
}
IN_GO: Final = frozenset({"go", "go-1"})
_WARM: Final = 0.1
_TIMEOUT: Final = 600.0


@dataclass(frozen=True)
class Run:
    """One worker with one load: `cpu` in microseconds per message, `rss` in MiB by quarters of the load."""

    name: str
    kind: str
    rate: float
    cpu: float
    rss: tuple[float, ...]
    waits: tuple[float, ...] = ()
    """Seconds from publish to event, in order."""

    def quantile(self, share: float) -> float:
        """Return the wait that this share of the requests did not exceed."""
        return self.waits[round(share * (len(self.waits) - 1))]


@dataclass(frozen=True)
class Variant:
    """Settings of the relay that are swept."""

    prefetch: str = ""
    concurrency: str = ""
    processes: str = "1"

    @property
    def settings(self) -> dict[str, str]:
        """As the environment has them; an empty one counts as not set."""
        return {"RELAY_RABBITMQ_PREFETCH": self.prefetch, "RELAY_OMNI_CONCURRENCY": self.concurrency}

    @property
    def published(self) -> str:
        """Name the settings that differ from the defaults."""
        parts = {"prefetch": self.prefetch, "calls": self.concurrency, "processes": self.processes.removeprefix("1")}
        return " ".join(f"{name} {value}" for name, value in parts.items() if value)


@dataclass(frozen=True)
class Bench:
    """Where everything is."""

    broker: str
    omni: str
    directory: Path
    memory: MemoryServer | None = None
    under: tuple[str, ...] = ()
    """The command that starts a worker's."""

    async def run(self, name: str, kind: str, count: int, variant: Variant) -> Run:
        """Fill the queue, and have it drained."""
        async with self._prepared(name) as channel:
            await self._load(channel, name, kind, count)
            process = self._start(name, variant)
            try:
                return await self._measure(channel, process, name, kind, count)
            finally:
                await process.stop()

    async def serve(self, name: str, kind: str, rate: float, seconds: float) -> Run:
        """Send requests one by one at a rate, and record when each event arrives."""
        async with self._prepared(name) as channel:
            process = self._start(name, Variant())
            try:
                return await self._listen(channel, process, (name, kind), requests(round(rate * seconds), kind), rate)
            finally:
                await process.stop()

    @contextlib.asynccontextmanager
    async def _prepared(self, name: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
        """Make the queues, empty, and forget the requests of the run before."""
        if self.memory is not None:
            await self.memory.ask("FLUSHALL")
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
            yield channel

    async def _measure(
        self, channel: aio_pika.abc.AbstractChannel, process: Process, name: str, kind: str, count: int
    ) -> Run:
        """Leave out the first part, in which imports and connections dominate."""
        first, began, spent, memory = 0, 0.0, 0.0, [0] * 4
        async with asyncio.timeout(_TIMEOUT):
            while True:
                published = (await channel.declare_queue(RESULTS, passive=True)).declaration_result.message_count or 0
                if not began and published >= count * _WARM:
                    first, began, spent = published, time.perf_counter(), process.cpu()
                if published >= count:
                    break
                quarter = published * 4 // count
                memory[quarter] = max(memory[quarter], process.rss())
                await asyncio.sleep(0.05)
        messages, seconds = count - first, time.perf_counter() - began
        cpu = (process.cpu() - spent) / messages * 1e6
        return Run(name, kind, messages / seconds, cpu, tuple(one / 2**20 for one in memory))

    async def _listen(
        self,
        channel: aio_pika.abc.AbstractChannel,
        process: Process,
        published: tuple[str, str],
        bodies: Iterator[dict[str, Any]],
        rate: float,
    ) -> Run:
        sent: dict[str, float] = {}
        waits: list[float] = []
        sync = asyncio.Event()

        async def receive(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            waits.append(time.perf_counter() - sent[json.loads(message.body)["data"]["requestId"]])
            sync.set()

        await (await channel.get_queue(RESULTS)).consume(receive, no_ack=True)
        body = next(bodies)
        async with asyncio.timeout(_TIMEOUT):
            sent[body["requestId"]] = time.perf_counter()
            await channel.default_exchange.publish(_request(body), _queue(published[0]))
            await sync.wait()  # it is up
            waits.clear()
            began, spent, number = time.perf_counter(), process.cpu(), 0
            for number, body in enumerate(bodies, 1):
                await asyncio.sleep(began + number / rate - time.perf_counter())
                sent[body["requestId"]] = time.perf_counter()
                await channel.default_exchange.publish(_request(body), _queue(published[0]))
            while len(waits) < number:  # noqa: ASYNC110 - counted by a callback
                await asyncio.sleep(0.01)
        cpu = (process.cpu() - spent) / number * 1e6
        return Run(*published, rate, cpu, (process.rss() / 2**20,), tuple(sorted(waits)))

    async def _load(self, channel: aio_pika.abc.AbstractChannel, name: str, kind: str, count: int) -> None:
        if name in OWN_FORM:
            command = [*self._program(name)[:2], "load", str(count), kind]
            loading = await asyncio.create_subprocess_exec(*command, env=self._environment(name))
            assert await loading.wait() == 0
            return
        bodies = requests(count, kind)
        while batch := list(itertools.islice(bodies, 500)):
            messages = map(_request, batch)
            await asyncio.gather(*(channel.default_exchange.publish(message, _queue(name)) for message in messages))

    def _start(self, name: str, variant: Variant) -> Process:
        with (self.directory / f"{name}.log").open("ab") as log:
            return Process(
                subprocess.Popen(
                    [
                        *self.under,
                        *self._program(name),
                        *(("--processes", variant.processes) if name == "relay" else ()),
                    ],
                    env={**self._environment(name), **variant.settings},
                    cwd=self.directory,
                    stdout=log,
                    stderr=log,
                )
            )

    def _program(self, name: str) -> list[str]:
        if name == "relay":
            return [sys.executable, "-c", "from service.cli.main import main; main()", "worker"]
        file, *arguments = RIVALS[name]
        if name in IN_GO:
            return [str(VENV / file), *arguments]
        return [str(VENV / "bin" / "python"), str(HERE / "rivals" / file), *arguments]

    def _environment(self, name: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            VARIABLE: os.environ.get(VARIABLE, ""),  # compiled modules, as this process
            "RIVAL_BROKER": self.broker,
            "RIVAL_OMNI": self.omni,
            "RIVAL_QUEUE": _queue(name),
            **self.settings,
            **({} if self.memory is None else {"RELAY_MEMORY_URL": self.memory.url}),
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
    directory, port = Path(tempfile.mkdtemp(prefix="omni-relay-bench-", dir=options.directory)), free_port()
    names, kinds = options.only.split(","), options.kinds.split(",")
    if set(names) - {"relay"} - IN_GO:
        _provide_rivals()
    if IN_GO & set(names) and not _build_rival_in_go():
        names = [name for name in names if name not in IN_GO]
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(Node(directory / "broker"))
        omni = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "omni.py"), str(port), str(options.latency)
        )
        stack.callback(omni.kill)
        server = await stack.enter_async_context(MemoryServer(directory / "memory")) if options.memory else None
        under = ("chrt", "-f", "1") if options.realtime else ()
        bench = Bench(node.url, f"http://127.0.0.1:{port}", directory, server, under)
        async with started(directory / "first", {**bench.settings, "RELAY_HTTP_PORT": "0"}, "worker") as first:
            await first.until_ready()  # makes the topology
        print(f"OMNI after {options.latency * 1000:.0f} ms, RabbitMQ {node.version}, Python {sys.version.split()[0]}")  # noqa: T201
        if options.rate:
            await _serve_all(bench, names, kinds, options)
            return
        print(f"{'worker':<12}{'load':<10}{'requests':>9}{'us CPU':>8}{'msg/s':>8}  MiB by quarters")  # noqa: T201
        swept = (options.prefetch.split(","), options.concurrency.split(","), options.processes.split(","))
        variants = [Variant(*values) for values in itertools.product(*swept)]
        for kind, count, name in itertools.product(kinds, options.requests.split(","), names):
            for variant in variants if name == "relay" else [Variant()]:
                run = await bench.run(name, kind, int(count), variant)
                memory = " ".join(f"{one:.0f}" for one in run.rss)
                row = f"{name:<12}{kind:<10}{count:>9}{run.cpu:>8.0f}{run.rate:>8.0f}  {memory:<16} {variant.published}"
                print(row, flush=True)  # noqa: T201


async def _serve_all(bench: Bench, names: list[str], kinds: list[str], options: argparse.Namespace) -> None:
    """Serve at a rate: all in turn, several times. Prints the medians, and the p99 of each run."""
    variants = {name: bench for name in names if name not in OWN_FORM}
    if bench.memory is not None:
        variants |= {"relay": replace(bench, memory=None), "with memory": bench}
    print(f"{'worker':<12}{'load':<10}{'us CPU':>8}{'p50 ms':>8}{'p99 ms':>8}{'most':>8}  each p99")  # noqa: T201
    for kind in kinds:
        runs: dict[str, list[Run]] = {label: [] for label in variants}
        for _, (label, one) in itertools.product(range(options.repeat), variants.items()):
            name = "relay" if label == "with memory" else label
            runs[label].append(await one.serve(name, kind, options.rate, options.seconds))
        for label, of_it in runs.items():
            cpu = median(run.cpu for run in of_it)
            p50, p99, most = ([1000 * run.quantile(share) for run in of_it] for share in (0.5, 0.99, 1))
            each = " ".join(f"{one:.1f}" for one in p99)
            row = f"{label:<12}{kind:<10}{cpu:>8.0f}{median(p50):>8.1f}{median(p99):>8.1f}{median(most):>8.1f}  {each}"
            print(row, flush=True)  # noqa: T201


def _request(body: dict[str, Any]) -> aio_pika.Message:
    return aio_pika.Message(json.dumps(body).encode(), delivery_mode=2)


def _queue(name: str) -> str:
    return "omni.requests" if name == "relay" else f"rival.{name}"


def _provide_rivals() -> None:
    """Install the rivals' packages, once."""
    wanted = (HERE / "requirements.txt").read_text()
    stamp = VENV / "requirements.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    pip = [
        str(VENV / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "-q",
        "--require-hashes",
        "-r",
        str(HERE / "requirements.txt"),
    ]
    subprocess.run(pip, check=True)
    stamp.write_text(wanted)


def _build_rival_in_go() -> bool:
    """Build the worker in Go; return whether there is one."""
    go = shutil.which("go")
    if go is None:
        print("The rivals in Go are left out: Go is not installed")  # noqa: T201
        return False
    VENV.mkdir(parents=True, exist_ok=True)
    subprocess.run([go, "build", "-o", VENV / "in_go", "."], cwd=HERE / "rivals" / "in_go", check=True)
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", default="20000")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second, instead of a full queue")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long, with --rate")
    parser.add_argument("--prefetch", default="", help="of the relay; several, separated by commas")
    parser.add_argument("--concurrency", default="", help="calls at once of the relay; several")
    parser.add_argument("--processes", default="1", help="of the relay; several")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds OMNI takes to answer")
    parser.add_argument("--directory", type=Path, help="of the broker's data; on a tmpfs it waits for no disk")
    parser.add_argument("--only", default=",".join(("relay", *RIVALS)))
    parser.add_argument("--kinds", default="distinct,campaign,mix")
    parser.add_argument("--memory", action="store_true", help="the relay has a shared memory")
    parser.add_argument("--realtime", action="store_true", help="a worker waits for no other process; needs root")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each, with --rate")
    asyncio.run(main(parser.parse_args()))
