"""The surroundings of a worker: a broker, an OMNI sandbox, a producer, and a consumer of the events."""

import asyncio
import contextlib
import itertools
import json
import ssl
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aio_pika
import aiormq
import httpx

from service.adapters.rabbitmq import connect, declare
from service.core.attempt.retry import RetryPolicy
from service.sandbox import create_app, serve
from tests.support.worker import TIMEOUT, Ended, Worker, run, started

KEY = "canary-key"
RESULTS = "results"
_BASE_DELAY, _MAX_DELAY = 0.1, 0.2
DEFERRED = "omni.message.deferred"
BROKEN = (aiormq.exceptions.AMQPError, RuntimeError, OSError)

Message = aio_pika.abc.AbstractIncomingMessage


@dataclass(frozen=True)
class Event:
    """A status event."""

    message: Message
    body: dict[str, Any]

    @property
    def type(self) -> str:
        """The last part of its type."""
        return str(self.body["type"].rpartition(".")[2])

    @property
    def subject(self) -> str:
        """The message id; empty for an event about a whole request."""
        return str(self.body.get("subject", ""))

    @property
    def data(self) -> dict[str, Any]:
        """The data of the event."""
        data: dict[str, Any] = self.body["data"]
        return data


@dataclass
class Stage:
    """The surroundings of one test."""

    url: str
    directory: Path
    sandbox: httpx.AsyncClient
    life: AsyncExitStack
    settings: dict[str, str]
    events: list[Event] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def worker(self, *, ready: bool = True, program: Sequence[str] | None = None, **settings: str) -> Worker:
        """Start a worker; names of settings are without their prefix. Without `program` it is forked."""
        starting = started(self._folder(), self._with(settings), "worker", program=program)
        worker = await self.life.enter_async_context(starting)
        if ready:
            await worker.until_ready()
        return worker

    async def workers(self, processes: int, **settings: str) -> Worker:
        """Start a supervisor of several workers."""
        starting = started(self._folder(), self._with(settings), "worker", "--processes", str(processes))
        supervisor = await self.life.enter_async_context(starting)
        await supervisor.until_all_ready(processes)
        return supervisor

    async def command(self, *arguments: str, stdin: bytes | None = None, **settings: str) -> Ended:
        """Run a command and wait for its end."""
        return await run(self._folder(), self._with(settings), *arguments, stdin=stdin, program=None)

    async def watching(self, *arguments: str, **settings: str) -> Worker:
        """Start a command that does not end by itself."""
        starting = started(self._folder(), self._with(settings), *arguments, program=None)
        return await self.life.enter_async_context(starting)

    def _folder(self) -> Path:
        return self.directory / f"process-{next(self._numbers)}"

    def _with(self, settings: dict[str, str]) -> dict[str, str]:
        return {**self.settings, **{f"RELAY_{name}": value for name, value in settings.items()}}

    async def send(self, *bodies: object, exchange: str = "omni.requests", key: str = "send", **fields: Any) -> None:  # noqa: ANN401  # AMQP properties
        """Publish requests, bytes unchanged and other values as JSON; return when they are confirmed."""
        async with connected(self.url) as channel:
            target = await channel.get_exchange(exchange, ensure=False)
            contents = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
            fields = {"delivery_mode": aio_pika.DeliveryMode.PERSISTENT, **fields}
            for first in range(0, len(contents), 100):
                messages = [aio_pika.Message(content, **fields) for content in contents[first : first + 100]]
                await asyncio.gather(*(target.publish(message, key) for message in messages))

    async def listen(self) -> None:
        """Record every event, over as many connections as that takes, until cancelled."""
        while True:
            with contextlib.suppress(*BROKEN):
                async with connected(self.url) as channel:
                    await channel.set_qos(100)
                    queue = await channel.get_queue(RESULTS, ensure=False)
                    broken = asyncio.Event()
                    channel.close_callbacks.add(partial(_set, broken))
                    await queue.consume(self._receive)
                    await broken.wait()
            await asyncio.sleep(0.1)

    async def _receive(self, message: Message) -> None:
        self.events.append(Event(message, json.loads(message.body)))
        with contextlib.suppress(*BROKEN):
            await message.ack()

    async def until(self, condition: Callable[[], bool], within: float = TIMEOUT) -> None:
        """Wait until the events so far meet the condition."""
        try:
            async with asyncio.timeout(within):
                while not condition():  # noqa: ASYNC110  # conditions are the test's own
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not within {within} s; events {dict(self.event_types())}") from None

    async def until_final_events(self, count: int, within: float = TIMEOUT) -> None:
        """Wait until that many messages have a final event."""
        await self.until(lambda: len(self.final_events()) >= count, within)

    def final_events(self) -> dict[str, list[str]]:
        """List the types of each message's final events."""
        types: defaultdict[str, list[str]] = defaultdict(list)
        for event in self.events:
            if event.body["type"] != DEFERRED:
                types[event.subject or event.body["data"]["requestId"]].append(event.type)
        return dict(types)

    def final_ids(self) -> dict[str, set[str]]:
        """List the ids of the final events about each message; a repeated event has the same id."""
        ids: defaultdict[str, set[str]] = defaultdict(set)
        for event in self.events:
            if event.body["type"] != DEFERRED:
                ids[event.subject or event.body["data"]["requestId"]].add(event.body["id"])
        return dict(ids)

    def event_types(self) -> dict[str, list[str]]:
        """List the types of all events about each message, in order."""
        types: defaultdict[str, list[str]] = defaultdict(list)
        for event in self.events:
            types[event.subject or event.body["data"]["requestId"]].append(event.type)
        return dict(types)

    def about(self, name: str) -> list[Event]:
        """List the events with a message id or a request id."""
        return [event for event in self.events if name in (event.subject, event.data["requestId"])]

    async def calls(self) -> list[dict[str, Any]]:
        """List the calls that the sandbox received."""
        calls: list[dict[str, Any]] = (await self.sandbox.get("/sandbox/calls")).json()["calls"]
        return calls

    async def posts(self, answered: int | None = None) -> Counter[str]:
        """Count how often each message was posted, or only in calls with that HTTP status."""
        calls = [call for call in await self.calls() if answered in (None, call["status"])]
        return Counter(one["messageId"] for call in calls for one in call["body"]["destinations"])

    async def fault(self, **options: Any) -> None:  # noqa: ANN401  # JSON
        """Inject a fault into the sandbox."""
        answer = await self.sandbox.post("/sandbox/faults", json=options)
        assert answer.status_code == 201, answer.text

    async def mend(self) -> None:
        """Remove all faults from the sandbox."""
        await self.sandbox.delete("/sandbox/faults")

    async def until_in_flight(self, count: int) -> None:
        """Wait until calls with at least that many messages are in flight."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                serving = [call["body"] for call in await self.calls() if call["status"] is None and call["body"]]
                if sum(len(body["destinations"]) for body in serving) >= count:
                    return
                await asyncio.sleep(0.02)

    def channel(self) -> AbstractAsyncContextManager[aio_pika.abc.AbstractChannel]:
        """Open a channel of the test's own."""
        return connected(self.url)

    async def waiting(self, queue: str) -> int:
        """Count the messages that are ready in a queue."""
        async with connected(self.url) as channel:
            found = await channel.declare_queue(queue, passive=True)
            return found.declaration_result.message_count or 0

    async def until_waiting(self, queue: str, count: int) -> None:
        """Wait until so many messages are ready in a queue, which need not exist yet."""
        async with asyncio.timeout(TIMEOUT), await aio_pika.connect(self.url) as connection:
            while True:
                with contextlib.suppress(aiormq.exceptions.ChannelNotFoundEntity):
                    channel = await connection.channel()
                    found = await channel.declare_queue(queue, passive=True)
                    await channel.close()
                    if found.declaration_result.message_count == count:
                        return
                await asyncio.sleep(0.05)

    async def exists(self, queue: str) -> bool:
        """Return whether a queue exists."""
        return await self.waiting_if_any(queue) is not None

    async def waiting_if_any(self, queue: str) -> int | None:
        """Count the messages that are ready in a queue; None if there is no such queue."""
        try:
            return await self.waiting(queue)
        except aiormq.exceptions.ChannelNotFoundEntity:
            return None

    async def consumers(self, queue: str) -> int:
        """Count the consumers of a queue."""
        async with connected(self.url) as channel:
            found = await channel.declare_queue(queue, passive=True)
            return found.declaration_result.consumer_count or 0

    async def take(self, queue: str) -> Message:
        """Take one message from a queue; wait for it if necessary."""
        async with connected(self.url) as channel, asyncio.timeout(TIMEOUT):
            source = await channel.get_queue(queue)
            while (message := await source.get(no_ack=True, fail=False)) is None:  # noqa: ASYNC110  # a server
                await asyncio.sleep(0.02)
            return message


def _set(event: asyncio.Event, *_: object) -> None:
    event.set()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    """Open a channel on a connection of its own."""
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel()


async def prepare(url: str) -> None:
    """Declare what a worker of a stage declares, and a queue for its results that survives restarts."""
    session = await connect([url])
    await declare(session.connection, RetryPolicy(base_delay=_BASE_DELAY, max_delay=_MAX_DELAY).delays, passive=False)
    await session.close()
    async with connected(url) as channel:
        await _declare_results(channel)


async def _declare_results(channel: aio_pika.abc.AbstractChannel) -> None:
    results = await channel.declare_exchange("omni.results", "topic", durable=True)
    queue = await channel.declare_queue(RESULTS, durable=True)
    await queue.bind(results, "#")


@asynccontextmanager
async def staged(url: str, directory: Path) -> AsyncIterator[Stage]:
    """Make a stage on a broker. The queue for results survives lost connections and restarts."""
    async with (
        serve(create_app(api_key=KEY)) as sandbox,
        httpx.AsyncClient(
            base_url=sandbox.url,
            timeout=10,
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # loads no certificates: the URL is plain HTTP
        ) as client,
        AsyncExitStack() as life,
    ):
        async with connected(url) as channel:
            await _declare_results(channel)
        settings = {
            "RELAY_RABBITMQ_URL": url,
            "RELAY_OMNI_BASE_URL": sandbox.url,
            "RELAY_OMNI_API_KEY": KEY,
            "RELAY_HTTP_HOST": "127.0.0.1",
            "RELAY_HTTP_PORT": "0",
            "RELAY_RETRY_BASE_DELAY": str(_BASE_DELAY),
            "RELAY_RETRY_MAX_DELAY": str(_MAX_DELAY),
        }
        stage = Stage(url, directory, client, life, settings)
        listening = asyncio.create_task(stage.listen())
        try:
            yield stage
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
