"""Many requests, while workers and brokers are killed, connections are cut, and OMNI fails.

    .venv/bin/python -m tests.soak --requests 20000 --seed 1
    .venv/bin/python -m tests.soak --requests 20000 --seed 1 --logs refused --policy park
    .venv/bin/python -m tests.soak --requests 20000 --nodes 3 --rabbitmq-root .tools/rabbitmq-sid
    .venv/bin/python -m tests.soak --requests 20000 --clock-steps
    .venv/bin/python -m tests.soak --requests 2000 --memory --twice --logs refused --policy park

Prints a summary; exit status 1 if a message was lost, had two final events, or was accepted twice where that can be
known. On this machine alone, bounded in count and time, and it ends everything it has started.
"""

import argparse
import asyncio
import json
import logging
import random
import re
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from service.demo.rabbitmq.ports import free_port
from tests.soak.broker import Broker, running
from tests.soak.clock import SteppingClock
from tests.soak.observations import Observations, dead_letters, listen, prepare, publish
from tests.support.memory import MemoryServer
from tests.support.worker import Worker, run, started

KEY, TEXT, ADDRESS = "canary-key", "canary text", "canary@example.com"
_CANARY: Final = re.compile(rf"{KEY}|{TEXT}|{ADDRESS}|\b417\d{{9}}\b")
_IDLE: Final = 180.0
_LONGEST: Final = 3600.0

# Faults for a share of the calls; 5 % of the calls become ambiguous.
FAULTS: Final = (
    {"kind": "latency", "seconds": 0.05},
    {"kind": "reset", "taken": True, "probability": 0.015},
    {"kind": "reset", "probability": 0.01},
    {"kind": "status", "status": 500, "probability": 0.01},
    {"kind": "status", "status": 504, "taken": True, "probability": 0.01},
    {"kind": "garbage", "taken": True, "probability": 0.005},
    {"kind": "status", "status": 503, "probability": 0.01},
)


@dataclass
class Soak:
    """One run."""

    options: argparse.Namespace
    directory: Path
    rng: random.Random
    observed: Observations
    settings: dict[str, str]
    """The environment of each worker."""
    sandbox: str
    memory: MemoryServer | None = None
    done: Counter[str] = field(default_factory=Counter)
    workers: list[Worker] = field(default_factory=list)
    lives: list[Path] = field(default_factory=list)

    async def keep_working(self, number: int) -> None:
        """Run a worker, and another one when it has ended, until cancelled."""
        for life in range(100_000):
            folder = self.directory / f"worker-{number}-{life}"
            async with started(folder, self.settings, "worker") as worker:
                self.workers.append(worker)
                self.lives.append(worker.log)
                try:
                    await worker.process.wait()
                finally:
                    self.workers.remove(worker)

    async def make_trouble(self, broker: Broker) -> None:
        """Kill and cut at moments spread over the run, in an order chosen by the seed."""
        options = self.options
        troubles = ["kill"] * options.kills + ["cut"] * options.cuts + ["crash"] * options.crashes
        troubles += ["forget"] * options.memory_kills
        self.rng.shuffle(troubles)
        for number, trouble in enumerate(troubles, 1):
            due = len(self.observed.expected) * 0.95 * number / (len(troubles) + 1)
            while len(self.observed.types) < due:
                self.observed.sync.clear()
                await self.observed.sync.wait()
            match trouble:
                case "kill":
                    while not self.workers:  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.1)
                    self.rng.choice(self.workers).send(signal.SIGKILL)
                case "cut":
                    broker.cut()
                case "forget":
                    assert self.memory is not None
                    await self.memory.kill()
                    await asyncio.sleep(self.rng.choice((0, 1, 8)))
                    await self.memory.start()
                case _:
                    await broker.crash(self.done[trouble])
            self.done[trouble] += 1
            _progress(
                f"{trouble} {self.done[trouble]}: {len(self.observed.types)} of {len(self.observed.expected)} final"
            )

    async def until_all_final(self) -> None:
        """Wait until each message has a final event, or no event arrives any more."""
        before, since = -1, time.monotonic()
        while self.observed.lost and time.monotonic() - since < _IDLE:
            if len(self.observed.types) != before:
                before, since = len(self.observed.types), time.monotonic()
            await asyncio.sleep(0.5)
        await asyncio.sleep(self.options.settle)  # a second final event, or a second post, would come now

    async def read_metrics(self) -> None:
        """Store the metrics of the workers."""
        for number, worker in enumerate(self.workers):
            await worker.until_ready()
            page = self.directory / f"metrics-{number}"
            page.write_text((await worker.get("/metrics"))[1])
            self.lives.append(page)

    def ask(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Ask the sandbox."""
        with urllib.request.urlopen(self.sandbox + path, timeout=60) as answer:  # noqa: S310 - our own
            return json.load(answer)

    def post(self, path: str, body: object) -> None:
        """Send JSON to the sandbox."""
        content, header = json.dumps(body).encode(), {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.sandbox + path, content, header), timeout=60):  # noqa: S310
            pass


def requests(count: int) -> list[dict[str, object]]:
    """Write them: most of them good, some wrong, some for numbers that OMNI refuses, or refuses once."""
    bodies: list[dict[str, object]] = []
    for number in range(count):
        ending = {97: "91006", 98: "90021"}.get(number % 200, f"1{number % 10_000:04d}")
        body: dict[str, object] = {
            "requestId": f"r-{number}",
            "messageId": f"m-{number}",
            "phoneNumber": f"417{number // 10_000:04d}{ending}",
            "emailAddress": ADDRESS,
            "text": TEXT,
        }
        bodies.append(body if number % 200 != 99 else {**body, "unheardOf": TEXT})
    return bodies


async def main(options: argparse.Namespace) -> int:
    """Run once, print the summary, and return the exit status."""
    directory = Path(tempfile.mkdtemp(prefix="omni-relay-soak-"))
    bodies, port = requests(options.requests), free_port()
    observed = Observations({f"m-{number}" for number in range(options.requests)})
    _progress(f"in {directory}")
    async with AsyncExitStack() as stack, asyncio.timeout(_LONGEST):
        broker = await stack.enter_async_context(running(directory / "broker", options.nodes, options.rabbitmq_root))
        sandbox = ("sandbox", "--port", str(port), "--api-key", KEY, "--seed", str(options.seed))
        await stack.enter_async_context(started(directory / "sandbox", {}, *sandbox))
        settings = {
            "RELAY_RABBITMQ_URL": broker.urls,
            "RELAY_OMNI_BASE_URL": f"http://127.0.0.1:{port}",
            "RELAY_OMNI_API_KEY": KEY,
            "RELAY_HTTP_HOST": "127.0.0.1",
            "RELAY_HTTP_PORT": "0",
            "RELAY_UNKNOWN_POLICY": options.policy,
            "RELAY_OMNI_LOG_QUERIES_PER_MINUTE": str(100 / options.workers),
            "RELAY_OMNI_READ_TIMEOUT": "5",
        }
        memory = None
        if options.memory:
            kept = ("--save", "", "--appendonly", "yes" if options.memory_persists else "no")
            memory = await stack.enter_async_context(MemoryServer(directory / "memory", kept))
            settings["RELAY_MEMORY_URL"] = memory.url
            settings["RELAY_MEMORY_REQUIRED"] = str(options.memory_required)
        rng, url = random.Random(options.seed), f"http://127.0.0.1:{port}"  # noqa: S311
        soak = Soak(options, directory, rng, observed, settings, url, memory)
        checked = await run(directory / "check", settings, "check", within=60)
        _progress(checked.output.strip().replace("\n", "; "))
        await _declare(directory, settings)
        await prepare(broker.direct)
        urgent = {number for number in range(options.requests) if number % 100 < options.urgent}
        for _ in range(1 + options.twice):
            await publish(broker.direct[0], [body for number, body in enumerate(bodies) if number not in urgent])
        await publish(broker.direct[0], [bodies[number] for number in sorted(urgent)], "omni.requests.urgent")
        for fault in FAULTS:
            soak.post("/sandbox/faults", fault)
        soak.post("/sandbox/options", {"logsAllowed": options.logs == "answered"})
        tasks = [asyncio.create_task(listen(broker.direct, observed))]
        if options.clock_steps:
            clock = SteppingClock(directory / "clock", random.Random(options.seed))  # noqa: S311
            soak.settings |= clock.environment()
            tasks.append(asyncio.create_task(clock.step(soak.done)))
        tasks += [asyncio.create_task(soak.keep_working(number)) for number in range(options.workers)]
        began = time.monotonic()
        try:
            await soak.make_trouble(broker)
            await soak.until_all_final()
            await soak.read_metrics()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return _judge(soak, time.monotonic() - began, await dead_letters(broker.direct[0]))


async def _declare(directory: Path, settings: dict[str, str]) -> None:
    """Have a worker declare the topology."""
    async with started(directory / "first", settings, "worker") as worker:
        await worker.until_ready()
        await worker.stop()


def _judge(soak: Soak, seconds: float, dead_letters: list[dict[str, Any]]) -> int:
    observed, stats = soak.observed, soak.ask("/sandbox/stats")
    twice = {one["messageId"] for one in soak.ask("/sandbox/messages")["messages"] if one["times"] > 1}
    types = observed.final_events
    leaks = [str(log) for log in soak.lives if _CANARY.search(log.read_text(encoding="utf-8"))]
    leaks += [f"dead letter {dead_letter}" for dead_letter in dead_letters if _CANARY.search(str(dead_letter))]
    summary = {
        "requests": len(observed.expected),
        "done": dict(soak.done),
        "seconds": round(seconds),
        "attempted": stats["calls"],
        **{word: types[word] for word in ("accepted", "rejected", "failed", "expired", "unknown")},
        "deferred": dict(observed.reasons),
        "repeats of a final event": sum(observed.events[word] for word in types) - sum(types.values()),
        "dead letters": dict(Counter(str(dead_letter.get("omni-reason")) for dead_letter in dead_letters)),
        "lost": len(observed.lost),
        "more than one final event": len(observed.contradicted),
        "taken twice": len(twice),
        "of these never ambiguous": len(twice - observed.ambiguous),
        "leaks": leaks,
    }
    for name, value in summary.items():
        _progress(f"{name:>24}: {value}")
    for name, several in list(observed.contradicted.items())[:20]:
        _progress(f"contradicted: {name} {several}")
    _progress(f"lost: {sorted(observed.lost)[:20]}; twice: {sorted(twice)[:20]}")
    answered = soak.options.logs == "answered"
    unexplained = twice if answered or soak.options.policy == "park" else twice - observed.ambiguous
    is_contradicted = observed.contradicted and (answered or soak.options.memory)
    return int(bool(observed.lost or leaks or unexplained or is_contradicted))


def _progress(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)  # noqa: T201


if __name__ == "__main__":
    for library in ("aiormq", "aio_pika"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # connections are cut on purpose
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--nodes", type=int, default=1, help="of RabbitMQ, as one cluster")
    parser.add_argument("--kills", type=int, default=20, help="of workers")
    parser.add_argument("--cuts", type=int, default=20, help="of all connections")
    parser.add_argument("--crashes", type=int, default=3, help="of a broker's node")
    parser.add_argument("--urgent", type=int, default=5, help="percent of the requests in the urgent lane")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--settle", type=float, default=30.0, help="seconds to wait for what must not come")
    parser.add_argument("--logs", choices=["answered", "refused"], default="answered")
    parser.add_argument("--policy", choices=["resend", "park"], default="resend")
    parser.add_argument(
        "--clock-steps", action="store_true", help="the workers' wall clock steps by up to 5 s, either way"
    )
    parser.add_argument("--memory", action="store_true", help="a memory that all workers share")
    parser.add_argument("--memory-kills", type=int, default=0, help="of the memory; it starts again soon")
    parser.add_argument("--memory-required", action="store_true", help="sending pauses while the memory is away")
    parser.add_argument("--memory-persists", action="store_true", help="the memory keeps its data when it is killed")
    parser.add_argument("--twice", action="store_true", help="publish each request twice; needs --memory")
    parser.add_argument("--rabbitmq-root", type=Path, help="a system tree with another RabbitMQ")
    sys.exit(asyncio.run(main(parser.parse_args())))
