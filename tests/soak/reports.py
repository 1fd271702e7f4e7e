"""Many messages with delivery reports, while worker, receiver and broker are killed in turn.

    .venv/bin/python -m tests.soak.reports --messages 5000 --seed 1
    .venv/bin/python -m tests.soak.reports --messages 5000 --seed 2 --rabbitmq-root .tools/rabbitmq-sid

The sandbox pushes each report again that was not answered with 200, as OMNI does; its clock runs sixty times as fast.
Prints a summary; exit status 1 if a message has no event that it was delivered, or two ids for one fact, or one id
stands for two facts.
"""

import argparse
import asyncio
import itertools
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from service.demo.rabbitmq.ports import free_port
from tests.e2e.stage import BROKEN, RESULTS, Stage, staged
from tests.support.node import Node
from tests.support.receiver import TOKEN, Receiver, receiving
from tests.support.worker import Worker

_NUMBERS = ("41793026727", "41790092101")
"""Delivered; delivered and seen."""


class Soak:
    """One run."""

    def __init__(self, stage: Stage, node: Node, life: AsyncExitStack, rng: random.Random) -> None:
        self.stage, self.node, self.life, self.rng = stage, node, life, rng
        self.port, self.numbers = free_port(), itertools.count()
        self.kills: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.is_sent = False
        self.worker: Worker | None = None
        self.receiver: Receiver | None = None
        stage.settings |= {"RELAY_REPORTS_URL": f"http://127.0.0.1:{self.port}/reports", "RELAY_REPORTS_TOKEN": TOKEN}

    async def start_worker(self) -> None:
        """Start a worker, which may find no broker."""
        self.worker = await self.stage.worker(ready=False)

    async def start_receiver(self) -> None:
        """Start a receiver at the address that calls name."""
        directory = self.stage.directory / f"receiver-{next(self.numbers)}"
        starting = receiving(directory, self.node.url, connected=False, REPORTS_PORT=str(self.port))
        self.receiver = await self.life.enter_async_context(starting)

    async def kill_in_turn(self) -> None:
        """Kill something every few seconds, until all is sent; what was killed runs again at the end."""
        while not self.is_sent:
            await asyncio.sleep(self.rng.uniform(2, 6))
            kind = self.rng.choice(["worker", "receiver", "receiver", "broker"])
            self.kills[kind] += 1
            if kind == "broker":
                await self.node.kill()
                await self.node.restart()
            elif kind == "worker" and self.worker is not None:
                self.worker.process.kill()
                await self.worker.ended()
                await self.start_worker()
            elif self.receiver is not None:
                self.receiver.process.process.kill()
                await self.receiver.process.ended()
                await self.start_receiver()

    async def send_all(self, count: int) -> None:
        """Publish so many requests, 250 at a time."""
        for first in range(0, count, 250):
            await self.send(first, min(250, count - first))
            sys.stderr.write(f"sent {first + 250}, events {len(self.stage.events)}, killed {dict(self.kills)}\n")
            await asyncio.sleep(0.7)
        self.is_sent = True

    async def send(self, first: int, count: int) -> None:
        """Publish requests until the broker has confirmed them; one that is published twice has the same id."""
        bodies = [
            {"requestId": f"m-{n}", "messageId": f"m-{n}", "phoneNumber": _NUMBERS[n % 2], "text": f"Number {n % 7}"}
            for n in range(first, first + count)
        ]
        while True:
            try:
                async with asyncio.timeout(20):
                    return await self.stage.send(*bodies)
            except Exception as error:  # noqa: BLE001 - the broker is being killed
                self.answers[type(error).__name__] += 1
                await asyncio.sleep(1)


def faults(stage: Stage, wanted: int) -> tuple[list[str], Counter[str]]:
    """Return what contradicts the promise, and the events by type."""
    facts: dict[str, set[tuple[str, str]]] = {}
    ids: dict[tuple[str, str], set[str]] = {}
    counts: Counter[str] = Counter()
    for event in stage.events:
        counts[event.type] += 1
        facts.setdefault(event.body["id"], set()).add((event.subject, event.type))
        if event.type in {"delivered", "seen", "undelivered"}:
            ids.setdefault((event.subject, event.type), set()).add(event.body["id"])
    missing = [n for n in range(wanted) if (f"m-{n}", "delivered") not in ids]
    missing += [n for n in range(1, wanted, 2) if (f"m-{n}", "seen") not in ids]
    found = [f"{len(missing)} reports lost: {missing[:5]}"] if missing else []
    found += [f"{fact} has {len(several)} ids" for fact, several in ids.items() if len(several) > 1]
    found += [f"{id_} stands for {several}" for id_, several in facts.items() if len(several) > 1]
    return found, counts


async def waiting(stage: Stage) -> int | None:
    """Count the events that this program has not read."""
    try:
        return await stage.waiting(RESULTS)
    except BROKEN:
        return None


async def main(options: argparse.Namespace) -> int:
    """Run it; return the exit status."""
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="soak-reports-") as name:
        directory = Path(name)
        async with (
            Node(directory / "broker", root=options.rabbitmq_root) as node,
            staged(node.url, directory / "stage") as stage,
            AsyncExitStack() as life,
        ):
            await stage.sandbox.post("/sandbox/clock", json={"speed": 60})
            soak = Soak(stage, node, life, random.Random(options.seed))  # noqa: S311 - repeatable
            await soak.start_worker()
            assert soak.worker is not None
            await soak.worker.until_ready()  # a request that no queue is bound for is confirmed, and gone
            await soak.start_receiver()
            began = time.monotonic()
            async with asyncio.TaskGroup() as tasks:  # a broker that does not start again ends the run
                tasks.create_task(soak.kill_in_turn())
                tasks.create_task(soak.send_all(options.messages))
            sys.stderr.write(f"killed {dict(soak.kills)}\n")
            until = time.monotonic() + options.wait
            while faults(stage, options.messages)[0] and time.monotonic() < until:
                await asyncio.sleep(2)
                await stage.sandbox.post("/sandbox/clock", json={"advance": 600})  # a further try comes after hours
                sys.stderr.write(f"events {len(stage.events)}, {await waiting(stage)} wait\n")
            found, counts = faults(stage, options.messages)
            summary = {
                "seed": options.seed,
                "broker": node.version,
                "messages": options.messages,
                "seconds": round(time.monotonic() - began),
                "kills": dict(soak.kills),
                "events": dict(counts),
                "faults": found[:10],
            }
            sys.stdout.write(json.dumps(summary, indent=1) + "\n")
            return 1 if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wait", type=float, default=120, help="seconds for the last reports")
    parser.add_argument("--rabbitmq-root", type=Path)
    sys.exit(asyncio.run(main(parser.parse_args())))
