"""The examples for producers and consumers, with a broker that restarts before the second half of the events.

An example whose compiler or client library is not on this machine is skipped as not run. `deploy/bootstrap --rabbitmq`
installs the library for TypeScript; those for Go and Java are taken from the caches of their own tools.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.stage import Stage, connected, staged
from tests.support.broker import VirtualHost, virtual_host
from tests.support.documents import ROOT
from tests.support.node import Node
from tests.support.worker import Worker

pytestmark = pytest.mark.once

EXAMPLES: Final = ROOT / "deploy/contract/examples"
MODULES: Final = ROOT / ".tools/schemas/node_modules"
COUNT: Final = 200
"""Requests, in two halves."""

Commands = tuple[Sequence[str], Sequence[str]]
"""How the producer and the consumer are started."""


async def done(*command: str, folder: Path = ROOT, **environment: str) -> None:
    """Run a program to its end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def python(_: Path) -> Commands:
    folder = EXAMPLES / "python"
    return (sys.executable, str(folder / "producer.py")), (sys.executable, str(folder / "consumer.py"))


async def typescript(work: Path) -> Commands:
    node = shutil.which("node")
    if node is None or not (MODULES / "amqplib").exists():
        pytest.skip("not run: node, or amqplib, is not installed")
    for name in ("producer.ts", "consumer.ts"):
        shutil.copy(EXAMPLES / "typescript" / name, work)
    (work / "node_modules").symlink_to(MODULES)
    options = ("--strict", "--target", "es2022", "--module", "commonjs", "--esModuleInterop", "--skipLibCheck")
    compiler = str(MODULES / ".bin/tsc")
    await done(compiler, *options, "--types", "node", "producer.ts", "consumer.ts", folder=work)
    return (node, str(work / "producer.js")), (node, str(work / "consumer.js"))


async def go(work: Path) -> Commands:
    compiler = shutil.which("go")
    if compiler is None:
        pytest.skip("not run: Go is not installed")
    environment = {"GOPROXY": "off", "GOFLAGS": "-mod=readonly"}
    try:
        await done(compiler, "mod", "verify", folder=EXAMPLES / "go", **environment)
    except AssertionError:
        pytest.skip("not run: amqp091-go is not in Go's cache of modules")
    await done(compiler, "build", "-o", str(work), "./producer", "./consumer", folder=EXAMPLES / "go", **environment)
    return (str(work / "producer"),), (str(work / "consumer"),)


async def java(_: Path) -> Commands:
    program = shutil.which("java")
    repository = Path.home() / ".m2/repository"
    jars = [*repository.glob("com/rabbitmq/amqp-client/*/*.jar"), *repository.glob("org/slf4j/slf4j-api/*/*.jar")]
    if program is None or len(jars) < 2:
        pytest.skip("not run: Java, or amqp-client, is not installed")
    start = (program, "-cp", ":".join(map(str, jars)))
    folder = EXAMPLES / "java"
    return (*start, str(folder / "Producer.java")), (*start, str(folder / "Consumer.java"))


LANGUAGES: Final[dict[str, Callable[[Path], Awaitable[Commands]]]] = {
    "python": python,
    "typescript": typescript,
    "go": go,
    "java": java,
}


def test_each_example_has_a_language_here_or_is_known_not_to_run() -> None:
    """C# would need a project file and a client from a registry."""
    assert {folder.name for folder in EXAMPLES.iterdir()} == {*LANGUAGES, "csharp"}


@pytest.mark.parametrize("language", LANGUAGES)
async def test_an_example_can_be_built_here(language: str, tmp_path: Path) -> None:
    """It is reported as skipped otherwise."""
    await LANGUAGES[language](tmp_path)


@asynccontextmanager
async def running(*command: str, output: Path, **environment: str) -> AsyncIterator[None]:
    with output.open("ab") as lines:
        process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **environment}, stdout=lines)
        try:
            yield
        finally:
            process.kill()
            await process.wait()


@dataclass(frozen=True)
class Example:
    """A language's programs, and the virtual host that they use."""

    producer: Sequence[str]
    consumer: Sequence[str]
    url: str
    stage: Stage
    worker: Worker
    output: Path

    def consumed(self) -> set[str]:
        """List the ids of the events that the consumer has printed."""
        lines = self.output.read_text().splitlines(keepends=True)
        return {line.split()[0] for line in lines if line.endswith("\n")}

    async def serve_first_half(self) -> None:
        """Publish a half and consume its events; publish the other half as urgent."""
        async with running(*self.consumer, output=self.output, RABBITMQ_URL=self.url):
            await done(*self.producer, "0", str(COUNT // 2), RABBITMQ_URL=self.url)
            await self.stage.until(lambda: len(self.consumed()) >= COUNT // 2, within=60)
        await done(*self.producer, str(COUNT // 2), str(COUNT // 2), "urgent", RABBITMQ_URL=self.url)

    async def serve_second_half(self) -> None:
        """Consume the events of the other half, and look at all."""
        async with running(*self.consumer, output=self.output, RABBITMQ_URL=self.url):
            await self.stage.until(lambda: len(self.consumed()) >= COUNT, within=60)
        await self.stage.until_final_events(COUNT)

        assert set(self.stage.final_events()) == {f"shop-order-{order}" for order in range(COUNT)}
        assert {type_ for types in self.stage.final_events().values() for type_ in types} == {"accepted"}
        assert {len(ids) for ids in self.stage.final_ids().values()} == {1}
        metrics = await self.worker.metrics()
        lanes = [metrics[f'omni_relay_acceptance_seconds_count{{lane="{lane}"}}'] for lane in ("normal", "urgent")]
        assert lanes == [COUNT // 2] * 2
        assert self.consumed() == {event.body["id"] for event in self.stage.events}


@asynccontextmanager
async def example(language: str, host: VirtualHost, folder: Path) -> AsyncIterator[Example]:
    """Build the programs of a language; start a worker for them."""
    (work := folder / "work").mkdir(parents=True)
    producer, consumer = await LANGUAGES[language](work)
    async with staged(host.url, folder / "stage") as stage:
        worker = await stage.worker()
        async with connected(host.url) as channel:  # as operators do, before the first producer starts
            queue = await channel.declare_queue("shop.events", durable=True, arguments={"x-queue-type": "quorum"})
            await queue.bind("omni.results", "#")
        yield Example(producer, consumer, host.url, stage, worker, folder / "events")


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_every_request_is_accepted_and_every_event_consumed(tmp_path: Path, rabbitmq_root: Path | None) -> None:
    """All languages at the same time, each in a virtual host of its own on the broker that restarts."""
    async with Node(tmp_path / "broker", root=rabbitmq_root, management=True) as node, AsyncExitStack() as life:
        examples: list[Example] = []
        for language in LANGUAGES:
            host = life.enter_context(virtual_host(node))
            with suppress(pytest.skip.Exception):
                examples.append(await life.enter_async_context(example(language, host, tmp_path / language)))
        await asyncio.gather(*(one.serve_first_half() for one in examples))
        await node.restart()
        await asyncio.gather(*(one.serve_second_half() for one in examples))
