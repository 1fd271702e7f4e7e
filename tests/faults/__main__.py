"""Makes eleven faults, one after the other, and writes down which alerts fire and what the panels show.

    .venv/bin/python -m tests.faults --out DIRECTORY [--only NAME,NAME]

Each in a world of its own on this machine: a private broker, a sandbox, two workers under steady load and a Prometheus
with the rules that are shipped. A minute of the rules takes four seconds here; the relay's own times are what they are.
`DIRECTORY/NAME.json` then holds what was seen: which alerts fired after how many minutes, and what each panel showed by
the second; `dashboard.json`, what all panels showed while five of the faults were made in one world.
`python -m tests.faults.pictures` draws them. Takes about twenty minutes, and ends by itself.
"""

import argparse
import asyncio
import json
import logging
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from tests.e2e.stage import staged
from tests.faults.fault import FAULTS, MINUTE, NUMBER, NUMBERS, TOUR, Fault, World, background
from tests.support.memory import MemoryServer
from tests.support.node import Node
from tests.support.prometheus import DASHBOARDS, RULES, filled, prometheus
from tests.support.receiver import TOKEN, receiving

BEFORE: Final = 15.0
"""Seconds without a fault in the pictures."""
TIMEOUT: Final = 100.0
"""Seconds for an alert to fire."""
UNITS: Final = {"m": 1, "h": 60, "d": 1440}


def legend(pattern: str, labels: dict[str, str]) -> str:
    """Name a series as Grafana does."""
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), pattern)


@dataclass
class Eye:
    """Prometheus, asked."""

    client: httpx.AsyncClient
    panels: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for dashboard in DASHBOARDS.values():
            self.panels |= {panel["title"]: panel.get("targets", []) for panel in dashboard["panels"]}

    async def firing(self) -> set[str]:
        """List the alerts that fire."""
        answer = await self.client.get("/api/v1/query", params={"query": 'ALERTS{alertstate="firing"}'})
        return {series["metric"]["alertname"] for series in answer.json()["data"]["result"]}

    async def show(self, title: str, start: float, end: float) -> list[dict[str, Any]]:
        """Give what a panel shows between two times: names, and values by the second."""
        shown = []
        for target in self.panels[title]:
            times = {"query": filled(target["expr"], "8s"), "start": str(start), "end": str(end), "step": "1"}
            answer = await self.client.get("/api/v1/query_range", params=times)
            for series in answer.json()["data"]["result"]:
                # A quantile of nothing is no number, and the panel draws nothing at all where there is one.
                values = [[at, float(value)] for at, value in series["values"] if value != "NaN"]
                shown.append({"name": legend(target["legendFormat"], series["metric"]), "values": values})
        return shown


async def watch(fault: Fault, world: World, eye: Eye) -> dict[str, Any]:
    """Inject one fault, and record which alerts fire and when."""
    await asyncio.sleep(BEFORE)
    began = time.time()
    seen: dict[str, float] = {}

    async def look(until: Callable[[], bool], limit: float) -> None:
        end = time.time() + limit
        while time.time() < end and not until():
            for name in await eye.firing() - seen.keys():
                seen[name] = round((time.time() - began) / MINUTE, 1)
            await asyncio.sleep(0.5)

    async with fault.make(world):
        await look(lambda: time.time() > began + fault.seconds and set(fault.alerts) <= seen.keys(), TIMEOUT)
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
async def watched(settings: Mapping[str, str], *, all_parts: bool = False) -> AsyncIterator[tuple[World, Eye]]:
    """Yield surroundings under load with a Prometheus. Each fault has its own, so that none affects another.

    `all_parts`: with a receiver of delivery reports and a shared memory.
    """
    async with AsyncExitStack() as life:
        directory = Path(life.enter_context(tempfile.TemporaryDirectory(prefix="omni-relay-faults-")))
        node = await life.enter_async_context(Node(directory / "broker", management=True))
        stage = await life.enter_async_context(staged(node.url, directory))
        receivers = []
        if all_parts:
            memory = await life.enter_async_context(MemoryServer(directory / "memory"))
            receiver = await life.enter_async_context(
                receiving(directory / "receiver", node.url, MEMORY_URL=memory.url)
            )
            receivers.append(receiver.process)
            reports = {"REPORTS_URL": f"http://127.0.0.1:{receiver.port}/reports", "REPORTS_TOKEN": TOKEN}
            settings = {**settings, "MEMORY_URL": memory.url, **reports}
        workers = [
            await stage.worker(ready=True, program=None, RETRY_BASE_DELAY="1", RETRY_MAX_DELAY="10", **settings)
            for _ in range(2)
        ]
        world = World(node, stage, workers, NUMBERS if all_parts else (NUMBER,))
        assert node.prometheus_port
        looking = prometheus(
            directory / "prometheus", workers, node.prometheus_port, receivers=receivers, rules=scaled(RULES)
        )
        eye = Eye(await life.enter_async_context(looking))
        await life.enter_async_context(background(world.load()))
        await asyncio.sleep(BEFORE)
        yield world, eye


async def tour(out: Path) -> None:
    """Inject some faults in one run, and keep the data of all panels of all dashboards."""
    faults = []
    async with watched({}, all_parts=True) as (world, eye):
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
    """Inject each fault in a run of its own, then some in one run."""
    unseen = 0
    for fault in FAULTS:
        if not only or fault.name in only:
            async with watched(fault.settings) as (world, eye):
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
