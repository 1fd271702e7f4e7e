"""Outages, started by hand: OMNI down for a while, or the results exchange blocked, with a full queue of requests.

    .venv/bin/python -m tests.soak.outage omni --seconds 120
    .venv/bin/python -m tests.soak.outage results --seconds 60

OMNI away: prints the calls a second before and after, how soon the first one succeeds again, and what was given up.
Results blocked: prints posts against messages; none may be repeated. Exit status 1 where it is not as promised.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import aio_pika

from service.demo.rabbitmq.ports import free_port
from tests.soak.broker import Broker, running
from tests.soak.observations import Observations, dead_letters, listen, prepare, publish
from tests.support.proxy import Proxy
from tests.support.worker import Worker, started

_STEADY: Final = 20
_AFTER: Final = 60
_LONGEST: Final = 1200.0


@dataclass
class Scene:
    """The processes and connections of one run."""

    broker: Broker
    omni: Proxy
    sandbox: str
    worker: Worker
    observed: Observations

    def calls(self) -> list[dict[str, Any]]:
        """List OMNI's calls."""
        with urllib.request.urlopen(f"{self.sandbox}/sandbox/calls", timeout=60) as answer:  # noqa: S310 - our own
            calls: list[dict[str, Any]] = json.load(answer)["calls"]
            return calls

    def posts(self) -> int:
        """Count the messages in them; several may share a call."""
        return sum(len(call["body"]["destinations"]) for call in self.calls())

    async def until(self, condition: Callable[[], bool], within: float) -> None:
        """Wait until the observations meet a condition."""
        async with asyncio.timeout(within):
            while not condition():
                self.observed.sync.clear()
                await self.observed.sync.wait()


async def main(options: argparse.Namespace) -> int:
    """Start everything, and run the outage."""
    directory, port = Path(tempfile.mkdtemp(prefix="omni-relay-outage-")), free_port()
    bodies: list[dict[str, object]] = [
        # The last five digits never ask the sandbox for a fault.
        {
            "requestId": f"r-{number}",
            "messageId": f"m-{number}",
            "phoneNumber": f"417{number:04d}10000",
            "text": "hello",
        }
        for number in range(options.requests)
    ]
    observed = Observations({str(body["messageId"]) for body in bodies})
    async with AsyncExitStack() as stack, asyncio.timeout(_LONGEST):
        broker = await stack.enter_async_context(running(directory / "broker", 1, None))
        await stack.enter_async_context(started(directory / "sandbox", {}, "sandbox", "--port", str(port)))
        omni = await stack.enter_async_context(Proxy(port))
        settings = {
            "RELAY_RABBITMQ_URL": broker.direct[0],
            "RELAY_OMNI_BASE_URL": f"http://127.0.0.1:{omni.port}",
            "RELAY_OMNI_API_KEY": "soak",
            "RELAY_HTTP_HOST": "127.0.0.1",
            "RELAY_HTTP_PORT": "0",
        }
        async with started(directory / "first", settings, "worker") as first:
            await first.until_ready()
            await first.stop()
        sandbox = f"http://127.0.0.1:{port}"
        _post_to_sandbox(sandbox, {"kind": "latency", "seconds": 0.05})
        await prepare(broker.direct)
        await publish(broker.direct[0], bodies)
        worker = await stack.enter_async_context(started(directory / "worker", settings, "worker"))
        await worker.until_ready()
        listening = asyncio.create_task(listen(broker.direct, observed))
        try:
            scene = Scene(broker, omni, sandbox, worker, observed)
            return await (omni_away if options.what == "omni" else results_blocked)(scene, options.seconds)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def omni_away(scene: Scene, seconds: float) -> int:
    """Let it run, stop OMNI, and start it again."""
    await asyncio.sleep(_STEADY)
    await scene.omni.refuse()
    scene.omni.cut()
    left, before = time.time(), len(scene.observed.types)
    await asyncio.sleep(seconds / 2)
    _print("ready and live meanwhile", [await scene.worker.get("/readyz"), await scene.worker.get("/livez")])
    await asyncio.sleep(seconds / 2)
    _print("final events while it was down", len(scene.observed.types) - before)
    before = scene.observed.events["accepted"]
    await scene.omni.accept()
    back = time.time()
    await scene.until(lambda: scene.observed.events["accepted"] > before, 60)
    first = time.time() - back
    await asyncio.sleep(_AFTER)
    calls = [datetime.fromisoformat(call["receivedAt"]).timestamp() for call in scene.calls()]
    steady = _rates(calls, left - _STEADY + 5, left)
    after = _rates(calls, back, back + _AFTER)
    found = await dead_letters(scene.broker.direct[0])
    _print("calls a second before", f"mean {sum(steady) / len(steady):.0f}, most {max(steady)}")
    _print("calls a second after", f"mean {sum(after) / len(after):.0f}, most {max(after)}, first ten {after[:10]}")
    _print("first success after", f"{first:.1f} s")
    _print("dead letters", len(found))
    _print("final events", dict(scene.observed.final_events))
    _print("requests left", len(scene.observed.lost))
    return int(bool(found) or first > 5 or max(after) > max(steady) * 1.1)


async def results_blocked(scene: Scene, seconds: float) -> int:
    """Have a full queue refuse every event, then remove it."""
    limited: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with await aio_pika.connect(scene.broker.direct[0]) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("soak.blocked", durable=True, arguments=limited)
        await scene.until(lambda: len(scene.observed.types) > len(scene.observed.expected) / 10, 60)
        await queue.bind("omni.results", "#")
        await asyncio.sleep(seconds)
        _print("ready meanwhile", await scene.worker.get("/readyz"))
        _print("final and posted by then", (len(scene.observed.types), scene.posts()))
        await channel.queue_delete("soak.blocked")
    await scene.until(lambda: not scene.observed.lost, 300)
    posts = scene.posts()
    _print("posts, calls, messages", (posts, len(scene.calls()), len(scene.observed.expected)))
    _print("final events", dict(scene.observed.final_events))
    return int(posts != len(scene.observed.expected) or bool(scene.observed.contradicted))


def _rates(calls: list[float], start: float, end: float) -> list[int]:
    counted = Counter(int(call - start) for call in calls if start <= call < end)
    return [counted[second] for second in range(int(end - start))]


def _post_to_sandbox(sandbox: str, fault: dict[str, object]) -> None:
    content, header = json.dumps(fault).encode(), {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{sandbox}/sandbox/faults", content, header), timeout=60):  # noqa: S310
        pass


def _print(name: str, value: object) -> None:
    print(f"{time.strftime('%H:%M:%S')} {name:>26}: {value}", flush=True)  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["omni", "results"])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--requests", type=int, default=40_000)
    sys.exit(asyncio.run(main(parser.parse_args())))
