"""A Prometheus with the shipped rules that scrapes every second, and the queries of the dashboards."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from service.demo.rabbitmq.ports import free_port
from tests.support.worker import Worker

ROOT: Final = Path(__file__).parents[2]
SHIPPED: Final = ROOT / "deploy/prometheus"
RULES: Final = (SHIPPED / "omni-relay.rules.yml").read_text()
UNPACKED: Final = ROOT / ".tools/prometheus/usr/bin"
DASHBOARDS: Final[dict[str, dict[str, Any]]] = {
    path.stem: json.loads(path.read_text())
    for path in sorted((ROOT / "deploy/kubernetes/components/grafana/dashboards").iterdir())
}


def filled(expression: str, interval: str) -> str:
    """Fill a query's variables in as Grafana would, all chosen; `interval` is what rates look back over."""
    text = expression.replace("$namespace", ".*").replace("$job", ".*").replace("$__rate_interval", interval)
    assert "$" not in text
    return text


def configure(folder: Path, targets: Mapping[str, Sequence[int]], rules: str, vhost: str | None) -> None:
    """Write the shipped configuration with ports on this machine for each job, and no alert manager."""
    configuration = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    del configuration["alerting"]
    configuration["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    for job in configuration["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in targets[job["job_name"]]]}]
        if vhost is not None and "params" in job:
            job["params"]["vhost"] = [vhost]
    folder.mkdir()
    (folder / "prometheus.yml").write_text(json.dumps(configuration))
    (folder / "omni-relay.rules.yml").write_text(rules)


@asynccontextmanager
async def prometheus(  # noqa: PLR0913 - all but three have defaults and are given by name
    folder: Path,
    workers: Sequence[Worker],
    broker: int,
    *,
    receivers: Sequence[Worker] = (),
    rules: str = RULES,
    vhost: str | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    """Run one that looks at workers and at a broker's metrics port; gives a client of it."""
    program = shutil.which("prometheus", path=f"{os.environ['PATH']}:{UNPACKED}")
    assert program, "prometheus is not installed; deploy/bootstrap --rabbitmq unpacks it"
    relay = {
        "omni-relay": [worker.port for worker in workers],
        "omni-relay-reports": [receiver.port for receiver in receivers],
    }
    targets = {**relay, "rabbitmq": [broker], "rabbitmq-node": [broker]}
    configure(folder, targets, rules, vhost)
    address = f"127.0.0.1:{free_port()}"
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"),
            f"--web.listen-address={address}",
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=10) as client:
            yield client
    finally:
        process.kill()
        await process.wait()
