"""The demo: a broker, the OMNI sandbox and a worker on this machine; sample requests, and what becomes of them.

Whatever it starts ends with it: the broker has a reaper, the sandbox lives in this process, and the
kernel ends the worker when this process is gone.

Requests that show what the relay does, and what should become of each of their messages.

The last digits of a number tell the sandbox how to answer: 90503 is "unavailable once", 90014 "refused".
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
from service.sandbox import create_app, serve


@dataclass(frozen=True, slots=True)
class Sample:
    """One request, and the events each of its messages should have, in order."""

    title: str
    body: dict[str, object]
    expected: tuple[tuple[str, ...], ...]


_SCENARIO: Final = "AD9E01A5DC7BEE2C2B828D208182A611"

SAMPLES: Final = (
    Sample(
        "advanced: two people, a text for each channel",
        {
            "requestId": "order-8812",
            "bulkId": "BULK-ID-123-xyz",
            "scenarioKey": _SCENARIO,
            "destinations": [
                {
                    "messageId": "MESSAGE-ID-123-xyz",
                    "to": {"phoneNumber": "41793026727", "emailAddress": "email@example.com"},
                },
                {"to": {"phoneNumber": "+41 79 302 67 31"}},
            ],
            "sms": {
                "text": "Siparişiniz yolda.",
                "language": {"languageCode": "TR"},
                "transliteration": "TURKISH",
            },
            "viber": {"text": "Your order is on its way."},
            "voice": {"text": "Your order is on its way."},
            "email": {"text": "Your order is on its way.", "subject": "Order 8812"},
        },
        (("accepted",), ("accepted",)),
    ),
    Sample(
        "scheduled: Viber for a minute, SMS for ninety seconds, then e-mail",
        {
            "requestId": "reminder-17",
            "scenarioKey": _SCENARIO,
            "destinations": [{"to": {"phoneNumber": "41793026727", "emailAddress": "email@example.com"}}],
            "viber": {"text": "Your appointment is tomorrow.", "validityPeriod": 1},
            "sms": {
                "text": "Your appointment is tomorrow.",
                "validityPeriod": 90,
                "validityPeriodTimeUnit": "SECONDS",
            },
            "email": {
                "text": "Your appointment is tomorrow.",
                "subject": "Tomorrow",
                "validityPeriod": 2,
                "validityPeriodTimeUnit": "HOURS",
            },
            "sendAt": "2016-04-26T10:52:15.000+01:00",
        },
        (("accepted",),),
    ),
    Sample(
        "simple: one text for every channel, one number that is none",
        {
            "requestId": "newsletter-3",
            "destinations": [
                {"to": {"phoneNumber": "41793026727", "emailAddress": "email@example.com"}},
                {"to": {"phoneNumber": "call me"}},
            ],
            "text": "Our shop is open again.",
            "mailSubject": "Open again",
        },
        (("accepted",), ("rejected",)),
    ),
    Sample(
        "flat: one recipient, whom OMNI refuses",
        {"requestId": "login-4", "phoneNumber": "41790090014", "text": "Your code is 123456."},
        (("rejected",),),
    ),
    Sample(
        "flat: OMNI is unavailable at first",
        {"requestId": "login-5", "phoneNumber": "41790090503", "text": "Your code is 654321."},
        (("deferred", "accepted"),),
    ),
    Sample(
        "not a request",
        {"requestId": "oops-1", "sms": {"txt": "What is missing here?"}},
        (("rejected",),),
    ),
)


_BROKER: Final = "RELAY_RABBITMQ_URL"
_PATIENCE: Final = 60


class DemoError(Exception):
    """The demo cannot run, or did not show what it should."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs, and where to look at it."""

    broker: str
    sandbox: str
    port: int
    log: Path
    worker: asyncio.subprocess.Process

    @property
    def operations(self) -> str:
        """Where the worker's metrics and probes are."""
        return f"http://127.0.0.1:{self.port}"


async def show(settings: Settings | None, *, keep: bool) -> int:
    """Run the demo; returns the exit status. Of the settings, only the broker counts, if one is set."""
    given = settings if settings is not None and "rabbitmq_url" in settings.model_fields_set else None
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    directory = Path(tempfile.mkdtemp(prefix="omni-relay-demo-"))
    try:
        async with _broker(given, directory / "broker") as url, _stage(url, directory) as stage:
            await _perform(stage)
            _tell_more(stage, is_private=given is None, keep=keep)
            if keep:
                await _keep(stage)
    except DemoError as error:
        click.echo(printable(f"demo: {error}"), err=True)
        return 1
    finally:
        shutil.rmtree(directory / "broker", ignore_errors=True)
    click.echo("stopped everything that was started")
    return 0


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
    """Keep away from a broker in use: the demo's worker would take its requests and feed them to a sandbox."""
    session = await connect(settings.rabbitmq_urls)
    try:
        waiting, consumers = await session.waiting()
    except BrokerErrors:
        return  # no such queue: nobody uses this broker for send requests
    finally:
        await session.close()
    if waiting or consumers:
        raise DemoError(f"the broker of {_BROKER} is in use: {waiting} requests wait, {consumers} workers consume")


@contextlib.asynccontextmanager
async def _stage(broker: str, directory: Path) -> AsyncIterator[Stage]:
    log, port = directory / "worker.log", free_port()
    async with serve(create_app()) as sandbox:
        click.echo(f"OMNI sandbox listens on {sandbox.url}")
        environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)} | {
            _BROKER: broker,
            "RELAY_OMNI_BASE_URL": sandbox.url,
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
                start_new_session=True,  # a Ctrl-C is for us; the worker is asked to stop in its turn
                preexec_fn=die_with_parent,
            )
        stage = Stage(broker, sandbox.url, port, log, worker)
        try:
            await _ready(stage)
            click.echo(f"worker is ready on {stage.operations}")
            yield stage
        finally:
            await _stop(worker)


async def _ready(stage: Stage) -> None:
    for _ in range(_PATIENCE * 10):
        if stage.worker.returncode is not None:
            raise DemoError(f"the worker ended at once; see {stage.log}")
        if await asyncio.to_thread(_answers, f"{stage.operations}/readyz"):
            return
        await asyncio.sleep(0.1)
    raise DemoError(f"the worker was not ready within {_PATIENCE} s; see {stage.log}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own http:// address
            return bool(answer.status == 200)  # noqa: PLR2004 - OK
    except OSError:
        return False


async def _perform(stage: Stage) -> None:
    """Publish the samples and print events until every message has had its last word."""
    session = await connect(url.strip() for url in stage.broker.split(","))
    try:
        for sample in SAMPLES:
            click.echo(f"  {sample.body['requestId']:<14} {sample.title}")
        listening = asyncio.create_task(_listen(session))
        await asyncio.sleep(0.2)  # until it is bound
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
        async with asyncio.timeout(_PATIENCE):
            async for body in queues.status_events(session):
                row: Row = read_row(body)
                table.add(row)
                seen[row.request, row.to].append(row.event)
                if sum(map(len, seen.values())) == sum(len(events) for _, events in expected):
                    break
    except TimeoutError:
        raise DemoError(f"not every message had its last word within {_PATIENCE} s") from None
    shown = sorted((request, tuple(events)) for (request, _), events in seen.items())
    if shown != expected:
        raise DemoError(f"what was shown is not what was expected: {shown}")


async def _keep(stage: Stage) -> None:
    await stage.worker.wait()
    raise DemoError(f"the worker ended; see {stage.log}")


def _tell_more(stage: Stage, *, is_private: bool, keep: bool) -> None:
    if not keep:
        click.echo(f"the worker's log: {stage.log}; --keep leaves everything running, to be looked at")
        return
    # A broker of the user's own has a password of their own: it is not for a screen.
    command = f"export {_BROKER}={shlex.quote(stage.broker)}" if is_private else f"with your own {_BROKER}"
    click.echo(
        f"running until Ctrl-C:\n"
        f"  metrics          {stage.operations}/metrics\n"
        f"  readiness        {stage.operations}/readyz\n"
        f"  worker's log     {stage.log}\n"
        f"  what OMNI took   {stage.sandbox}/sandbox/messages\n"
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
