"""The demo: a broker, the OMNI sandbox, a worker and a receiver of reports on this machine, with sample requests.

With a shared memory too, if the program of a server for it is installed.

Everything that it starts ends with it: a reaper ends the broker, the sandbox runs in this process, and the kernel ends
the worker and the receiver when this process ends. This file has more than 250 lines since what is started, shown and
ended has to be read together.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from service.adapters.rabbitmq import BrokerErrors, Session, connect, queues
from service.adapters.settings import PREFIX, Settings
from service.adapters.terminal import EventTable, read_row
from service.core import topology
from service.core.delivery import Publication
from service.core.printable import printable
from service.demo.memory import private_memory
from service.demo.rabbitmq.node import Node
from service.demo.rabbitmq.ports import free_port
from service.demo.rabbitmq.reaper import die_with_parent
from service.demo.samples import CANCELLED, SAMPLES, WITH_MEMORY, Sample
from service.sandbox import create_app, serve

_BROKER: Final = "RELAY_RABBITMQ_URL"
_MEMORY: Final = "RELAY_MEMORY_URL"
_TIMEOUT: Final = 60
_SPEED: Final = 60
"""Sandbox seconds in one second while samples are shown: a channel's validity period is at least a minute."""
_REPORTS: Final = ("delivered", "undelivered", "seen")


class DemoError(Exception):
    """The demo cannot run, or an event differs from the expected one."""


@dataclass(frozen=True, slots=True)
class Running:
    """The running processes and their addresses."""

    broker: str
    sandbox: str
    memory: str | None
    worker: "Process"
    receiver: "Process"


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the relay."""

    name: str
    port: int
    log: Path
    process: asyncio.subprocess.Process

    @property
    def operations(self) -> str:
        """The URL of its operations port."""
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
            private_memory(directory) as memory,
            _running(url, sandbox, memory, directory) as running,
        ):
            await asyncio.to_thread(_run_clock, running, _SPEED)
            await _perform(running)
            await asyncio.to_thread(_run_clock, running, 1)
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
    async with Node(directory) as node:
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
async def _running(broker: str, sandbox: str, memory: str | None, directory: Path) -> AsyncIterator[Running]:
    if memory is None:
        click.echo(
            "no valkey-server or redis-server, or no client for it: no duplicate and no cancelled campaign is shown"
        )
    else:
        await _cancel(memory, directory)
    remembers = {} if memory is None else {_MEMORY: memory}
    port, token = free_port(), secrets.token_hex(24)
    receives = {"RELAY_REPORTS_TOKEN": token, "RELAY_REPORTS_HOST": "127.0.0.1", "RELAY_REPORTS_PORT": str(port)}
    sends = {
        "RELAY_OMNI_BASE_URL": sandbox,
        "RELAY_OMNI_API_KEY": "demo",
        "RELAY_REPORTS_URL": f"http://127.0.0.1:{port}/reports",
        "RELAY_REPORTS_TOKEN": token,
    }
    async with (
        _started("worker", {_BROKER: broker, **sends, **remembers}, directory) as worker,
        _started("reports", {_BROKER: broker, **receives, **remembers}, directory) as receiver,
    ):
        yield Running(broker, sandbox, memory, worker, receiver)


async def _cancel(memory: str, directory: Path) -> None:
    """Order that a campaign is cancelled. A worker that starts later knows the order at once."""
    log = directory / "cancel.log"
    process = await _run(log, {_MEMORY: memory}, directory, "cancel", "--bulk-id", CANCELLED)
    if await process.wait():
        raise DemoError(f"omni-relay cancel failed; see {log}")


@contextlib.asynccontextmanager
async def _started(name: str, settings: Mapping[str, str], directory: Path) -> AsyncIterator[Process]:
    """Run a command of the relay."""
    log, port = directory / f"{name}.log", free_port()
    listens = {"RELAY_HTTP_HOST": "127.0.0.1", "RELAY_HTTP_PORT": str(port), "RELAY_LOG_FORMAT": "json"}
    process = await _run(log, {**settings, **listens}, directory, name)
    started = Process(name, port, log, process)
    try:
        await _ready(started)
        click.echo(f"{'worker' if name == 'worker' else 'receiver of reports'} is ready on {started.operations}")
        yield started
    finally:
        await _stop(process)


async def _run(log: Path, settings: Mapping[str, str], directory: Path, *command: str) -> asyncio.subprocess.Process:
    """Start a command of the relay with these settings only."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # no module from the working directory
            "-c",
            "from service.cli.main import main; main()",
            *command,
            cwd=directory,
            env={**inherited, **settings},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C reaches this process only, which then stops the others
            preexec_fn=die_with_parent,
        )


async def _ready(started: Process) -> None:
    for _ in range(_TIMEOUT * 10):
        if started.process.returncode is not None:
            raise DemoError(f"omni-relay {started.name} ended at once; see {started.log}")
        if await asyncio.to_thread(_answers, f"{started.operations}/readyz"):
            return
        await asyncio.sleep(0.1)
    raise DemoError(f"omni-relay {started.name} was not ready within {_TIMEOUT} s; see {started.log}")


def _run_clock(running: Running, speed: int) -> None:
    """Set the speed of the sandbox's clock."""
    request = urllib.request.Request(  # noqa: S310 - our own http:// address
        f"{running.sandbox}/sandbox/clock", json.dumps({"speed": speed}).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=5):  # noqa: S310 - the same
        pass


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own http:// address
            return bool(answer.status == 200)  # noqa: PLR2004 - OK
    except OSError:
        return False


async def _perform(running: Running) -> None:
    """Publish the samples and print events until every message has its last one."""
    samples = SAMPLES if running.memory is None else SAMPLES + WITH_MEMORY
    session = await connect(url.strip() for url in running.broker.split(","))
    try:
        for sample in samples:
            click.echo(f"  {sample.body['requestId']:<14} {sample.title}")
        listening = asyncio.create_task(_listen(session, samples))
        await asyncio.sleep(0.2)  # until the queue for events is bound
        for sample in samples:
            body = json.dumps(sample.body).encode()
            name = str(sample.body["requestId"])
            published = datetime.now(UTC)
            request = Publication(topology.REQUESTS, "send", body, "application/json", name, timestamp=published)
            for _ in range(sample.copies):
                await session.publish(request)
        await listening
    finally:
        await session.close()


async def _listen(session: Session, samples: Sequence[Sample]) -> None:
    wanted = sum(len(events) for sample in samples for events in sample.expected)
    bodies: list[bytes] = []
    click.echo("each event; reports of OMNI's name the message, and not the request:")
    table = EventTable()
    table.head()
    try:
        async with asyncio.timeout(_TIMEOUT):
            async for body in queues.status_events(session):
                table.add(read_row(body))
                bodies.append(body)
                if len(bodies) == wanted:
                    break
    except TimeoutError:
        raise DemoError(f"not every message had its last event within {_TIMEOUT} s") from None
    if (shown := _by_message(bodies)) != sorted(
        (str(sample.body["requestId"]), events) for sample in samples for events in sample.expected
    ):
        raise DemoError(f"the events differ from those expected: {shown}")
    if wanted - len({json.loads(body)["id"] for body in bodies}) != sum(sample.copies - 1 for sample in samples):
        raise DemoError("a duplicate's event has another id than the first one, or two events have one id")


def _by_message(bodies: Iterable[bytes]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the request of each message, and its events: the relay's, and then those from reports.

    Reports name the message only, and may overtake the event that it was accepted.
    """
    requests: dict[str, str] = {}
    found: defaultdict[str, list[str]] = defaultdict(list)
    for event in map(json.loads, bodies):
        request, message = event["data"]["requestId"], event.get("subject")
        if request is not None:
            requests[message or request] = request
        found[message or request].append(event["type"].rpartition(".")[2])
    return sorted(
        (requests.get(message, ""), tuple(sorted(events, key=lambda event: event in _REPORTS)))
        for message, events in found.items()
    )


async def _keep(running: Running) -> None:
    waiting = [asyncio.create_task(one.process.wait()) for one in (running.worker, running.receiver)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
    ended = next(one for one in (running.worker, running.receiver) if one.process.returncode is not None)
    raise DemoError(f"omni-relay {ended.name} ended; see {ended.log}")


def _print_addresses(running: Running, *, is_private: bool, keep: bool) -> None:
    if not keep:
        logs = f"{running.worker.log}, {running.receiver.log}"
        click.echo(f"logs: {logs}; --keep leaves everything running")
        return
    # The URL of the user's own broker holds a password, which must not be printed.
    command = f"export {_BROKER}={shlex.quote(running.broker)}" if is_private else f"with your own {_BROKER}"
    memory = "" if running.memory is None else f"  find and cancel  export {_MEMORY}={running.memory}\n"
    click.echo(
        f"running until Ctrl-C:\n"
        f"  messages         {running.sandbox}\n"
        f"  worker           {running.worker.operations}/metrics, …/readyz; log: {running.worker.log}\n"
        f"  reports          {running.receiver.operations}/metrics, …/readyz; log: {running.receiver.log}\n"
        f"{memory}"
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
