"""The demo: a broker, the OMNI sandbox and a worker on this machine, with sample requests and their events.

Everything that it starts ends with it: a reaper ends the broker, the sandbox runs in this process, and the kernel ends
the worker when this process ends.
"""

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from service.adapters.rabbitmq import BrokerErrors, Session, connect, queues
from service.adapters.settings import PREFIX, Settings
from service.adapters.terminal import EventTable, Row, read_row
from service.core import topology
from service.core.delivery import Publication
from service.core.printable import printable
from service.demo.rabbitmq.node import private_node
from service.demo.rabbitmq.ports import free_port
from service.demo.rabbitmq.reaper import die_with_parent
from service.demo.samples import SAMPLES
from service.sandbox import create_app, serve

_BROKER: Final = "RELAY_RABBITMQ_URL"
_TIMEOUT: Final = 60


class DemoError(Exception):
    """The demo cannot run, or an event differs from the expected one."""


@dataclass(frozen=True, slots=True)
class Running:
    """The running processes and their addresses."""

    broker: str
    sandbox: str
    port: int
    log: Path
    worker: asyncio.subprocess.Process

    @property
    def operations(self) -> str:
        """The URL of the worker's operations port."""
        return f"http://127.0.0.1:{self.port}"


async def show(settings: Settings | None, *, keep: bool) -> int:
    """Run the demo; return the exit status. Of the settings only the broker is used, if it is set."""
    given = settings if settings is not None and "rabbitmq_url" in settings.model_fields_set else None
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    directory = Path(tempfile.mkdtemp(prefix="omni-relay-demo-"))
    try:
        async with (
            _sandbox() as sandbox,
            _broker(given, directory / "broker") as url,
            _running(url, sandbox, directory) as running,
        ):
            await _perform(running)
            _print_addresses(running, is_private=given is None, keep=keep)
            if keep:
                await _keep(running)
    except DemoError as error:
        click.echo(printable(f"demo: {error}"), err=True)
        return 1
    finally:
        shutil.rmtree(directory / "broker", ignore_errors=True)
    click.echo("stopped everything that was started")
    return 0


@contextlib.asynccontextmanager
async def _sandbox() -> AsyncIterator[str]:
    """Run the OMNI sandbox; its page is the first thing to open."""
    async with serve(create_app()) as sandbox:
        click.echo(f"{sandbox.url} shows each message on the phone that receives it")
        yield sandbox.url


@contextlib.asynccontextmanager
async def _broker(settings: Settings | None, directory: Path) -> AsyncIterator[str]:
    if settings is not None:
        await _refuse_busy(settings)
        yield ",".join(settings.rabbitmq_urls)
        return
    click.echo("starting a private RabbitMQ node")
    async with private_node(directory) as node:
        click.echo(f"RabbitMQ {node.version} listens on 127.0.0.1:{node.port}")
        yield node.url


async def _refuse_busy(settings: Settings) -> None:
    """Refuse a broker that is in use: the demo's worker would send its requests to the sandbox."""
    session = await connect(settings.rabbitmq_urls)
    try:
        waiting, consumers = await session.waiting()
    except BrokerErrors:
        return  # no such queue: this broker is not used for send requests
    finally:
        await session.close()
    if waiting or consumers:
        raise DemoError(f"the broker of {_BROKER} is in use: {waiting} requests wait, {consumers} workers consume")


@contextlib.asynccontextmanager
async def _running(broker: str, sandbox: str, directory: Path) -> AsyncIterator[Running]:
    log, port = directory / "worker.log", free_port()
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)} | {
        _BROKER: broker,
        "RELAY_OMNI_BASE_URL": sandbox,
        "RELAY_OMNI_API_KEY": "demo",
        "RELAY_HTTP_HOST": "127.0.0.1",
        "RELAY_HTTP_PORT": str(port),
        "RELAY_LOG_FORMAT": "json",
    }
    with log.open("wb") as output:
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # no module from the working directory
            "-c",
            "from service.cli.main import main; main()",
            "worker",
            cwd=directory,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C reaches this process only, which then stops the worker
            preexec_fn=die_with_parent,
        )
    running = Running(broker, sandbox, port, log, worker)
    try:
        await _ready(running)
        click.echo(f"worker is ready on {running.operations}")
        yield running
    finally:
        await _stop(worker)


async def _ready(running: Running) -> None:
    for _ in range(_TIMEOUT * 10):
        if running.worker.returncode is not None:
            raise DemoError(f"the worker ended at once; see {running.log}")
        if await asyncio.to_thread(_answers, f"{running.operations}/readyz"):
            return
        await asyncio.sleep(0.1)
    raise DemoError(f"the worker was not ready within {_TIMEOUT} s; see {running.log}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own http:// address
            return bool(answer.status == 200)  # noqa: PLR2004 - OK
    except OSError:
        return False


async def _perform(running: Running) -> None:
    """Publish the samples and print events until every message has its final event."""
    session = await connect(url.strip() for url in running.broker.split(","))
    try:
        for sample in SAMPLES:
            click.echo(f"  {sample.body['requestId']:<14} {sample.title}")
        listening = asyncio.create_task(_listen(session))
        await asyncio.sleep(0.2)  # until the queue for events is bound
        for sample in SAMPLES:
            body = json.dumps(sample.body).encode()
            name = str(sample.body["requestId"])
            published = datetime.now(UTC)
            await session.publish(
                Publication(topology.REQUESTS, "send", body, "application/json", name, timestamp=published)
            )
        await listening
    finally:
        await session.close()


async def _listen(session: Session) -> None:
    expected = sorted((str(sample.body["requestId"]), events) for sample in SAMPLES for events in sample.expected)
    seen: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    table = EventTable()
    table.head()
    try:
        async with asyncio.timeout(_TIMEOUT):
            async for body in queues.status_events(session):
                row: Row = read_row(body)
                table.add(row)
                seen[row.request, row.to].append(row.event)
                if sum(map(len, seen.values())) == sum(len(events) for _, events in expected):
                    break
    except TimeoutError:
        raise DemoError(f"not every message had a final event within {_TIMEOUT} s") from None
    shown = sorted((request, tuple(events)) for (request, _), events in seen.items())
    if shown != expected:
        raise DemoError(f"the events differ from those expected: {shown}")


async def _keep(running: Running) -> None:
    await running.worker.wait()
    raise DemoError(f"the worker ended; see {running.log}")


def _print_addresses(running: Running, *, is_private: bool, keep: bool) -> None:
    if not keep:
        click.echo(f"the worker's log: {running.log}; --keep leaves everything running")
        return
    # The URL of the user's own broker holds a password, which must not be printed.
    command = f"export {_BROKER}={shlex.quote(running.broker)}" if is_private else f"with your own {_BROKER}"
    click.echo(
        f"running until Ctrl-C:\n"
        f"  messages         {running.sandbox}\n"
        f"  metrics          {running.operations}/metrics\n"
        f"  readiness        {running.operations}/readyz\n"
        f"  worker's log     {running.log}\n"
        f"  watch and send   {command}\n"
        f"                   .venv/bin/omni-relay watch &\n"
        f"                   .venv/bin/omni-relay send FILE"
    )


async def _stop(worker: asyncio.subprocess.Process) -> None:
    if worker.returncode is None:
        worker.terminate()
        try:
            await asyncio.wait_for(worker.wait(), 10)
        except TimeoutError:
            worker.kill()
            await worker.wait()
