"""Requests that are published twice at once, and again later, to two workers, started by hand. OMNI's logs are closed.

    .venv/bin/python -m tests.soak.twice
    .venv/bin/python -m tests.soak.twice --kill
    .venv/bin/python -m tests.soak.twice --later 300
    .venv/bin/python -m tests.soak.twice --held     # 5 calls in flight and 90 requests held by a worker that is killed

Exit status 1 if a message was in two calls, has another number of final events than one, or is unknown without need.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.e2e.stage import Stage, staged
from tests.soak.cancel import requests, say
from tests.support.memory import MemoryServer
from tests.support.node import Node

COUNT = 300
LONGEST = 120.0
IN_FLIGHT, HELD = 5, 90


def judge(stage: Stage, posts: Counter[str], most_unknown: int) -> list[str]:
    """List what is not as promised."""
    ids, types = stage.final_ids(), stage.final_events()
    say(f"final events: {dict(Counter('+'.join(sorted(set(one))) for one in types.values()))}")
    say(f"calls for a message: {dict(Counter(posts.values()))}; events: {len(stage.events)}")
    wrong = [f"{name} has {sorted(one)}" for name, one in ids.items() if len(one) != 1]
    wrong += [f"{name} was in {count} calls" for name, count in posts.items() if count > 1]
    unknown = sum("unknown" in one for one in types.values())
    return wrong + ([f"{unknown} are unknown"] if unknown > most_unknown else [])


async def publish_twice(stage: Stage, options: argparse.Namespace, settings: dict[str, Any]) -> list[str]:
    """Publish at once, and later again."""
    workers = [await stage.worker(**settings) for _ in range(2)]
    bodies = requests("twice", COUNT)
    await stage.fault(kind="latency", seconds=0.1)
    await stage.send(*[body for body in bodies for _ in "12"])
    if options.kill:
        await stage.until_final_events(COUNT // 4)
        workers[0].send(signal.SIGKILL)
    await stage.until_final_events(COUNT, LONGEST)
    await stage.until(lambda: all(len(one) > 1 for one in stage.final_events().values()), LONGEST)
    posts = await stage.posts()
    await asyncio.sleep(options.later)
    await stage.send(*bodies)
    await stage.until(lambda: all(len(one) > 2 for one in stage.final_events().values()), LONGEST)
    again = (await stage.posts()) - posts
    say(f"{options.later:.0f} s later: {again.total()} further calls")
    return judge(stage, await stage.posts(), 100 if options.kill else 0) + [
        f"{name} was called later" for name in again
    ]


async def die_with_held(stage: Stage, settings: dict[str, Any]) -> list[str]:
    """Kill a worker with calls in flight, and requests that it has not begun."""
    several: dict[str, Any] = {"OMNI_BATCHING": "false", "OMNI_CONCURRENCY": str(IN_FLIGHT)}
    first = await stage.worker(**{**settings, **several})
    await stage.fault(kind="latency", seconds=30, times=IN_FLIGHT)
    await stage.send(*requests("held", IN_FLIGHT + HELD))
    await stage.until_in_flight(IN_FLIGHT)
    await asyncio.sleep(1)
    await stage.worker(**settings)
    began = time.monotonic()
    first.send(signal.SIGKILL)

    def accepted() -> int:
        return sum("accepted" in one for one in stage.final_events().values())

    await stage.until(lambda: accepted() >= HELD, LONGEST)
    seconds = time.monotonic() - began
    say(f"{HELD} accepted {seconds:.1f} s after the kill")
    await stage.until_final_events(IN_FLIGHT + HELD, LONGEST)
    return judge(stage, await stage.posts(), IN_FLIGHT) + (["that took too long"] if seconds > 8 else [])


async def main(options: argparse.Namespace) -> int:
    """Run once."""
    directory = Path(tempfile.mkdtemp(prefix="omni-relay-twice-"))
    say(f"logs in {directory}")
    async with (
        Node(directory / "broker", root=options.rabbitmq_root) as node,
        MemoryServer(directory / "memory") as memory,
        staged(node.url, directory) as stage,
    ):
        await stage.sandbox.post("/sandbox/options", json={"logsAllowed": False})
        settings = {"UNKNOWN_POLICY": "park", "MEMORY_URL": memory.url, "RABBITMQ_PREFETCH": "100"}
        run = die_with_held(stage, settings) if options.held else publish_twice(stage, options, settings)
        wrong = await run
    for line in wrong[:20]:
        say(f"WRONG: {line}")
    return int(bool(wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kill", action="store_true", help="a worker in between")
    parser.add_argument("--later", type=float, default=2.0, help="seconds until all are published again")
    parser.add_argument("--held", action="store_true")
    parser.add_argument("--rabbitmq-root", type=Path)
    sys.exit(asyncio.run(main(parser.parse_args())))
