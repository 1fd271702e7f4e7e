"""A worker that is stopped (SIGSTOP) between two steps of a call while another serves its deliveries, started by hand.

    .venv/bin/python -m tests.soak.stopped
    .venv/bin/python -m tests.soak.stopped --rabbitmq-root .tools/rabbitmq-sid

It is stopped when the memory has the start and no call is written (`started`), when OMNI has the call and the memory
does not have its end (`called`), and when the memory has the end and nothing is published (`ended`). Then the broker
redelivers to a second worker. The first one continues once all have their final events. Each with open logs, and with
closed logs and both policies.

Exit status 1 if a message has another number of final events than one, or was in two calls that OMNI took, unless its
call had been made before and the policy is `resend`.
"""

import argparse
import asyncio
import itertools
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from service.demo.rabbitmq.node import Node
from tests.e2e.stage import Stage, staged
from tests.soak.cancel import requests, say
from tests.support.memory import MemoryServer
from tests.support.proxy import Proxy

COUNT: Final = 10
LONGEST: Final = 60.0
STEPS: Final = {"started": b"started", "called": b'["accepted"', "ended": b'["accepted"'}
"""Bytes that the worker sends to the memory in the step at which it is held."""


async def run(stage: Stage, memory: MemoryServer, broker: str, step: str, policy: str) -> list[str]:
    """Run one case; return what is wrong."""
    name = f"{step}-{policy}"
    settings: dict[str, Any] = {
        "UNKNOWN_POLICY": policy.partition("-")[2],
        "UNKNOWN_LOG_CHECKS": "1",
        "MEMORY_URL": memory.url,
    }
    await stage.sandbox.post("/sandbox/options", json={"logsAllowed": policy.startswith("open")})
    port = urlsplit(broker).port
    assert port is not None
    async with Proxy(port) as to_broker, Proxy(memory.port) as to_memory:
        slow = {
            "MEMORY_URL": memory.url.replace(str(memory.port), str(to_memory.port)),
            "RABBITMQ_URL": broker.replace(str(port), str(to_broker.port)),
        }
        first = await stage.worker(**{**settings, **slow})
        held = to_memory.hold_at(STEPS[step])
        await stage.send(*requests(name, COUNT))
        async with asyncio.timeout(LONGEST):
            await held.wait()
        if step != "called":
            to_memory.release_requests()
            await asyncio.sleep(0.1)  # the memory applies it, and its answers are held
        first.send(signal.SIGSTOP)
        to_broker.cut()
        second = await stage.worker(**settings)
        await stage.until(lambda: len(ended(stage, name)) == COUNT, LONGEST)
        first.send(signal.SIGCONT)
        to_memory.release()
        await first.until_metric("omni_relay_deliveries_in_flight", 0)
        await asyncio.sleep(2)
        for worker in (first, second):
            worker.send(signal.SIGTERM)
            await worker.ended()
    posts = Counter({one: count for one, count in (await stage.posts()).items() if one.startswith(name)})
    events = ended(stage, name)
    say(f"{name:<16} final events {dict(Counter('+'.join(sorted(set(one))) for one in events.values()))}")
    say(f"{'':<16} calls for a message {dict(Counter(posts.values()))}")
    ids = stage.final_ids()
    wrong = [f"{one} has {sorted(ids[one])}" for one in events if len(ids[one]) != 1]
    most = 2 if step == "called" and policy == "closed-resend" else 1
    wrong += [f"{one} was in {count} calls" for one, count in posts.items() if count > most]
    expected = {"unknown"} if policy == "closed-park" and step != "ended" else {"accepted"}
    return wrong + [f"{one} is {types}" for one, types in events.items() if set(types) != expected]


def ended(stage: Stage, name: str) -> dict[str, list[str]]:
    return {one: types for one, types in stage.final_events().items() if one.startswith(f"{name}-")}


async def main(options: argparse.Namespace) -> int:
    """Run all cases."""
    directory, wrong = Path(tempfile.mkdtemp(prefix="omni-relay-stopped-")), list[str]()
    say(f"logs in {directory}")
    async with (
        Node(directory / "broker", root=options.rabbitmq_root) as node,
        MemoryServer(directory / "memory") as memory,
        staged(node.url, directory) as stage,
    ):
        for step, policy in itertools.product(STEPS, ("open-resend", "closed-park", "closed-resend")):
            wrong += await run(stage, memory, node.url, step, policy)
    for line in wrong[:20]:
        say(f"WRONG: {line}")
    return int(bool(wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rabbitmq-root", type=Path)
    sys.exit(asyncio.run(main(parser.parse_args())))
