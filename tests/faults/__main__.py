"""Makes ten faults, one after the other, and writes down which alerts fire and what the panels show.

    .venv/bin/python -m tests.faults --out DIRECTORY [--only NAME,NAME]

Each in a world of its own on this machine: a private broker, a sandbox, two workers under steady load and a Prometheus
with the rules that are shipped. A minute of the rules takes four seconds here; the relay's own times are what they are.
`DIRECTORY/NAME.json` then holds what was seen: which alerts fired after how many minutes, and what each panel showed by
the second; `dashboard.json`, what all panels showed while five of the faults were made in one world.
`python -m tests.faults.pictures` draws them. Takes about twenty minutes, and ends by itself.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aio_pika
import httpx

from service.demo.node import Node, private_node
from service.demo.port import free_port
from service.edges.rabbitmq import connect
from service.words import topology
from service.words.delivery import Publication
from tests.e2e.stage import BROKEN, Stage, connected, staged
from tests.support.worker import Worker

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "deploy/prometheus/omni-relay.rules.yml"
DASHBOARDS: Final = ROOT / "deploy/kubernetes/components/grafana/dashboards"
PROMETHEUS: Final = ROOT / ".tools/prometheus/usr/bin"
MINUTE: Final = 4.0
"""Seconds that a minute of the rules takes."""
BEFORE: Final = 15.0
"""Seconds of peace on the pictures."""
PATIENCE: Final = 100.0
"""Seconds for an alert to fire."""
RATE: Final = 15
NUMBER: Final = "41793026727"
UNITS: Final = {"m": 1, "h": 60, "d": 1440}


@dataclass
class World:
    """Everything there is."""

    node: Node
    stage: Stage
    workers: list[Worker]
    number: int = 0

    async def publish(self, *bodies: dict[str, Any] | bytes) -> None:
        """Publish as producers do; while the broker is away or blocks, nothing."""
        with contextlib.suppress(*BROKEN, TimeoutError):
            async with asyncio.timeout(3):
                await self.stage.send(*bodies, timestamp=datetime.now(UTC))

    def request(self, text: str = "Your code is 1234.") -> dict[str, Any]:
        """Make one that is new."""
        self.number += 1
        return {"requestId": f"r-{self.number}", "phoneNumber": NUMBER, "text": text}

    async def load(self) -> None:
        """Publish steadily, until cancelled."""
        while True:
            began = time.monotonic()
            await self.publish(*(self.request(f"Your code is {self.number}.") for _ in range(RATE)))
            await asyncio.sleep(max(0.0, began + 1 - time.monotonic()))


@dataclass(frozen=True)
class Fault:
    """A fault, what should tell of it, and the panels that show it."""

    name: str
    alerts: tuple[str, ...]
    panels: tuple[str, ...]
    make: Callable[[World], AbstractAsyncContextManager[None]]
    seconds: float = 15.0
    """At least so long."""


@asynccontextmanager
async def broker_gone(world: World) -> AsyncIterator[None]:
    """Stop it."""
    await world.node.stop()
    yield
    await world.node.start()


def omni(**fault: Any) -> Callable[[World], AbstractAsyncContextManager[None]]:  # noqa: ANN401 - JSON
    """Have OMNI misbehave."""

    @asynccontextmanager
    async def make(world: World) -> AsyncIterator[None]:
        await world.stage.fault(**fault)
        yield
        await world.stage.mend()

    return make


@asynccontextmanager
async def results_blocked(world: World) -> AsyncIterator[None]:
    """Bind a queue that is full."""
    arguments: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with connected(world.stage.url) as channel:
        full = await channel.declare_queue("full", durable=True, arguments=arguments)
        await channel.default_exchange.publish(aio_pika.Message(b"{}"), "full")
        await full.bind("omni.results", "#")
        yield
        await full.delete(if_empty=False, if_unused=False)


@asynccontextmanager
async def flood_of_nonsense(world: World) -> AsyncIterator[None]:
    """Publish what no relay can read, ten times as much as what it can."""

    async def flood() -> None:
        while True:
            await world.publish(*(b'{"phoneNumber": 7, "text": []}' for _ in range(RATE * 10)))
            await asyncio.sleep(0.5)

    async with background(flood()):
        yield


@asynccontextmanager
async def consumer_cancelled(world: World) -> AsyncIterator[None]:
    """Delete the queue beneath its consumers; every ten seconds, since it is mended in no time."""

    async def cancel() -> None:
        while True:
            with contextlib.suppress(*BROKEN):
                async with connected(world.stage.url) as channel:
                    await channel.queue_delete(topology.REQUESTS)
            await asyncio.sleep(10)

    async with background(cancel()):
        yield


@asynccontextmanager
async def campaign(world: World) -> AsyncIterator[None]:
    """Publish 50,000 at once."""
    session = await connect([world.stage.url])
    for start in range(0, 50_000, 500):
        bodies = [json.dumps(world.request("Everything must go.")).encode() for _ in range(500)]
        await asyncio.gather(
            *(
                session.publish(
                    Publication(
                        topology.REQUESTS,
                        "send",
                        body,
                        "application/json",
                        f"c-{start + number}",
                        timestamp=datetime.now(UTC),
                    )
                )
                for number, body in enumerate(bodies)
            )
        )
    await session.close()
    yield


@asynccontextmanager
async def worker_wedged(world: World) -> AsyncIterator[None]:
    """Stop one of two in its tracks."""
    world.workers[0].send(signal.SIGSTOP)
    yield
    world.workers[0].send(signal.SIGCONT)


@asynccontextmanager
async def disk_alarm(world: World) -> AsyncIterator[None]:
    """Have the broker ask for more room than any disk has."""
    await world.node.ctl("set_disk_free_limit", str(900 * 10**12))
    yield
    await world.node.ctl("set_disk_free_limit", "50MB")


FAULTS: Final = (
    Fault("broker-gone", ("OmniRelayDisconnected",), ("Connections and consumers", "Requests served"), broker_gone),
    Fault(
        "omni-slow",
        ("OmniRelayLateStartsBurnBudget",),
        ("Duration of a call", "Published to first attempt"),
        omni(kind="latency", seconds=20),
        seconds=45,
    ),
    Fault("omni-down", ("OmniRelayPaused",), ("Why attempts fail", "Paused"), omni(kind="status", status=503)),
    Fault("key-revoked", ("OmniRelayDenied",), ("Why attempts fail", "Paused"), omni(kind="status", status=401)),
    Fault("results-blocked", ("OmniRelayResultsStalled",), ("Events that went wrong", "Paused"), results_blocked),
    Fault("flood-of-nonsense", ("OmniRelayInvalidRequests",), ("Producers' faults",), flood_of_nonsense),
    Fault("consumer-cancelled", (), ("Workers that consume", "Requests served"), consumer_cancelled, seconds=40),
    Fault("campaign", (), ("Requests served", "Published to first attempt", "Messages in a call"), campaign),
    Fault("worker-wedged", ("OmniRelayNotAnswering",), ("Workers that consume", "Requests served"), worker_wedged),
    Fault("disk-alarm", ("OmniRelayBrokerAlarm",), ("Alarms", "Requests served"), disk_alarm),
)
TOUR: Final = {"broker-gone", "omni-down", "results-blocked", "flood-of-nonsense", "worker-wedged"}


def legend(pattern: str, labels: dict[str, str]) -> str:
    """Name a series as Grafana does."""
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), pattern)


@dataclass
class Eye:
    """Prometheus, asked."""

    client: httpx.AsyncClient
    panels: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in DASHBOARDS.iterdir():
            for panel in json.loads(path.read_text())["panels"]:
                self.panels[panel["title"]] = panel.get("targets", [])

    async def firing(self) -> set[str]:
        """List the alerts that fire."""
        answer = await self.client.get("/api/v1/query", params={"query": 'ALERTS{alertstate="firing"}'})
        return {series["metric"]["alertname"] for series in answer.json()["data"]["result"]}

    async def show(self, title: str, start: float, end: float) -> list[dict[str, Any]]:
        """Give what a panel shows between two times: names, and values by the second."""
        shown = []
        for target in self.panels[title]:
            text = target["expr"].replace("$namespace", ".*").replace("$job", ".*").replace("$__rate_interval", "8s")
            times = {"query": text, "start": str(start), "end": str(end), "step": "1"}
            answer = await self.client.get("/api/v1/query_range", params=times)
            for series in answer.json()["data"]["result"]:
                values = [[at, float(value)] for at, value in series["values"]]
                shown.append({"name": legend(target["legendFormat"], series["metric"]), "values": values})
        return shown


async def watch(fault: Fault, world: World, eye: Eye) -> dict[str, Any]:
    """Make one fault, and see what tells of it and how soon."""
    await asyncio.sleep(BEFORE)
    began = time.time()
    seen: dict[str, float] = {}

    async def look(until: Callable[[], bool], patience: float) -> None:
        end = time.time() + patience
        while time.time() < end and not until():
            for name in await eye.firing() - seen.keys():
                seen[name] = round((time.time() - began) / MINUTE, 1)
            await asyncio.sleep(0.5)

    async with fault.make(world):
        await look(lambda: time.time() > began + fault.seconds and set(fault.alerts) <= seen.keys(), PATIENCE)
        mended = time.time()
    await asyncio.sleep(BEFORE)
    end = time.time()
    panels = {title: await eye.show(title, began - BEFORE, end) for title in fault.panels}
    print(f"{fault.name}: {seen}", flush=True)  # noqa: T201
    return {
        "name": fault.name,
        "expected": fault.alerts,
        "alerts": seen,
        "from": began - BEFORE,
        "to": end,
        "faults": [(began, mended)],
        "panels": panels,
    }


def scaled(rules: str) -> str:
    """Shorten every time that rules name."""

    def seconds(found: re.Match[str]) -> str:
        return f"{found[1]}{max(1, round(int(found[2]) * UNITS[found[3]] * MINUTE))}s{found[4]}"

    return re.sub(
        r"(for: )(\d+)([mhd])()$", seconds, re.sub(r"(\[)(\d+)([mhd])(\])", seconds, rules), flags=re.MULTILINE
    )


@asynccontextmanager
async def prometheus(directory: Path, world: World) -> AsyncIterator[Eye]:
    """Run one with the rules, looking at workers and broker every second."""
    program = shutil.which("prometheus", path=f"{os.environ['PATH']}:{PROMETHEUS}")
    assert program, "prometheus is not installed; deploy/bootstrap --rabbitmq unpacks it"
    (directory / "rules.yml").write_text(scaled(RULES.read_text()))
    workers = [{"targets": [f"127.0.0.1:{worker.port}" for worker in world.workers]}]
    broker = [{"targets": [f"127.0.0.1:{world.node.prometheus_port}"]}]
    detailed = {"family": ["queue_coarse_metrics", "queue_consumer_count"]}
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {"job_name": "omni-relay", "static_configs": workers},
            {"job_name": "rabbitmq", "metrics_path": "/metrics/detailed", "params": detailed, "static_configs": broker},
            {"job_name": "rabbitmq-node", "static_configs": broker},
        ],
    }
    (directory / "prometheus.yml").write_text(json.dumps(configuration))
    address = f"127.0.0.1:{free_port()}"
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(program, f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"),
            f"--web.listen-address={address}",
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=10) as client:
            yield Eye(client)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def background(*works: Any) -> AsyncIterator[None]:  # noqa: ANN401 - coroutines
    """Do something beside."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[World, Eye]]:
    """Have a world of its own, under load, and an eye on it: what one fault leaves behind must not show in another."""
    async with AsyncExitStack() as life:
        directory = Path(life.enter_context(tempfile.TemporaryDirectory(prefix="omni-relay-faults-")))
        node = await life.enter_async_context(private_node(directory / "broker", management=True))
        stage = await life.enter_async_context(staged(node.url, directory))
        workers = [await stage.worker(RETRY_BASE_DELAY="1", RETRY_MAX_DELAY="10") for _ in range(2)]
        world = World(node, stage, workers)
        (directory / "prometheus").mkdir()
        eye = await life.enter_async_context(prometheus(directory / "prometheus", world))
        await life.enter_async_context(background(world.load()))
        await asyncio.sleep(BEFORE)
        yield world, eye


async def tour(out: Path) -> None:
    """Make some faults in one world, and keep what all panels of all dashboards show."""
    faults = []
    async with watched() as (world, eye):
        start = time.time() - BEFORE
        for fault in FAULTS:
            if fault.name in TOUR:
                await asyncio.sleep(BEFORE)
                began = time.time()
                async with fault.make(world):
                    await asyncio.sleep(BEFORE)
                faults.append((began, time.time()))
        await asyncio.sleep(2 * BEFORE)
        end = time.time()
        panels = {title: await eye.show(title, start, end) for title in eye.panels}
    seen = {"name": "dashboard", "from": start, "to": end, "faults": faults, "panels": panels}
    (out / "dashboard.json").write_text(json.dumps(seen))


async def main(out: Path, only: set[str]) -> int:
    """Make them all, each in a world of its own, then some in one."""
    unseen = 0
    for fault in FAULTS:
        if not only or fault.name in only:
            async with watched() as (world, eye):
                seen = await watch(fault, world, eye)
            (out / f"{fault.name}.json").write_text(json.dumps(seen))
            unseen += not set(fault.alerts) <= seen["alerts"].keys()
    if not only or "dashboard" in only:
        await tour(out)
    return unseen


if __name__ == "__main__":
    logging.disable()  # the clients here lose their connections over and over, on purpose
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="", help="names, separated by commas")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    raise SystemExit(asyncio.run(main(given.out, set(filter(None, given.only.split(","))))))
