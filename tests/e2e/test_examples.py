"""The examples for producers and consumers, each in its language, with a broker that restarts after the second half.

An example whose compiler or client library is not on this machine is skipped as not run. `deploy/bootstrap --rabbitmq`
installs the library for TypeScript; those for Go and Java are taken from the caches of their own tools.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from service.demo.rabbitmq.node import Node
from tests.e2e.stage import connected, staged
from tests.support.documents import ROOT

EXAMPLES: Final = ROOT / "deploy/contract/examples"
MODULES: Final = ROOT / ".tools/schemas/node_modules"
COUNT: Final = 1000
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


@asynccontextmanager
async def running(*command: str, output: Path, **environment: str) -> AsyncIterator[None]:
    with output.open("ab") as lines:
        process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **environment}, stdout=lines)
        try:
            yield
        finally:
            process.kill()
            await process.wait()


@pytest.mark.long
@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_request_is_accepted_and_every_event_consumed(
    language: str, own_broker: Callable[[], Awaitable[Node]], tmp_path: Path
) -> None:
    (work := tmp_path / "work").mkdir()
    producer, consumer = await LANGUAGES[language](work)
    events = tmp_path / "events"

    def consumed() -> set[str]:
        return {line.split()[0] for line in events.read_text().splitlines(keepends=True) if line.endswith("\n")}

    node = await own_broker()
    async with staged(node.url, tmp_path / "stage") as stage:
        await stage.worker()
        async with connected(node.url) as channel:  # as operators do, before the first producer starts
            queue = await channel.declare_queue("shop.events", durable=True, arguments={"x-queue-type": "quorum"})
            await queue.bind("omni.results", "#")
        async with running(*consumer, output=events, RABBITMQ_URL=node.url.rstrip("/")):
            await done(*producer, "0", str(COUNT // 2), RABBITMQ_URL=node.url.rstrip("/"))
            await stage.until(lambda: len(consumed()) >= COUNT // 2, within=60)
        await done(*producer, str(COUNT // 2), str(COUNT // 2), RABBITMQ_URL=node.url.rstrip("/"))
        await node.restart()
        async with running(*consumer, output=events, RABBITMQ_URL=node.url.rstrip("/")):
            await stage.until(lambda: len(consumed()) >= COUNT, within=60)
        await stage.until_final_events(COUNT)

        assert set(stage.final_events()) == {f"shop-order-{order}" for order in range(COUNT)}
        assert {type_ for types in stage.final_events().values() for type_ in types} == {"accepted"}
        assert {len(ids) for ids in stage.final_ids().values()} == {1}
        assert consumed() == {event.body["id"] for event in stage.events}
