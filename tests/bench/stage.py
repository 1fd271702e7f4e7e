"""CPU per message in each stage, in microseconds, in one process without network.

    .venv/bin/python -m tests.bench.stage
    chrt -f 1 .venv/bin/python -m tests.bench.stage --rate 200    # milliseconds without and with a shared memory

The best of several rounds each. The edges write to a wire that takes everything and read what is fed to them, so what a
whole message costs beside the sum is the kernel's: reading, writing and waiting for sockets. Ends by itself.
"""

import argparse
import asyncio
import contextlib
import io
import itertools
import json
import logging
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, cast

import structlog
from aiormq.abc import AbstractChannel as RawChannel

from service.adapters.logging import configure_logs, get_logger
from service.adapters.memory import connect
from service.adapters.metrics import Metrics
from service.adapters.omni.connection import HttpConnection
from service.adapters.rabbitmq import Acknowledger, codec, elapsed
from service.adapters.rabbitmq.fast_path import FastPath
from service.adapters.rabbitmq.lifetime import ConnectionLifetime
from service.core.attempt.answer import read_answer
from service.core.attempt.call import OmniCall, Origin, content_key, merge, plan
from service.core.attempt.concurrency import MOST, Limit
from service.core.attempt.disposition import judge
from service.core.attempt.lookup import LookupResult, Unanswered
from service.core.attempt.outcome import Accepted, Outcome
from service.core.attempt.retry import Policy, RetryPolicy
from service.core.delivery import Delivery, Publication
from service.core.handler import Effects, Handler
from service.core.history import History, LookupPurpose
from service.core.omni.status import Status
from service.core.request.decoding import finished
from service.core.request.parsing import parse
from service.core.result.decision import Attempt, report_attempt
from service.core.result.publication import publish_report
from service.core.topology import Lane
from service.worker.deduplicator import DeliveryDeduplicator
from service.worker.dispatcher import Dispatcher
from service.worker.memory import SharedMemory
from service.worker.ownership import SessionCheck
from service.worker.sending import make_send
from service.worker.sending.circuit_breaker import Guard
from service.worker.sending.limiter import Limiter
from service.worker.telemetry import Telemetry
from tests.bench.rivals.job import requests
from tests.support.memory import MemoryServer

_ROUNDS: Final = 7
_TIMES: Final = 2000
_MERGED: Final = 100
_NAMES: Final = itertools.count()
_READ: Final = 30
"""Deliveries that arrive in one read of the socket."""
_LATENCY: Final = 0.05
_SHARES: Final = (0.5, 0.99, 1)
_SHORT: Final = 510
"""Deliveries between two readings of the clock."""
_PENDING: Final = Status(group_id=1, group_name="PENDING", id=7, name="PENDING_ENROUTE")


def cost(work: Callable[[], object], times: int = _TIMES) -> float:
    """Give the microseconds of CPU that one call takes."""
    best = float("inf")
    for _ in range(_ROUNDS):
        began = time.process_time()
        for _ in range(times):
            work()
        best = min(best, time.process_time() - began)
    return best / times * 1e6


def _answer(call: OmniCall) -> bytes:
    status = {"groupId": 1, "groupName": "PENDING", "id": 7, "name": "PENDING_ENROUTE"}
    messages = [{"messageId": message.message_id, "status": status} for message in call.messages]
    return json.dumps({"bulkId": "bench", "messages": messages}).encode()


def main() -> None:
    """Measure and print."""
    (body,) = (json.dumps(request).encode() for request in requests(1, "distinct"))
    now = datetime.now(UTC)
    policy = Policy(RetryPolicy(8, 1.0, 300.0))
    delivery = Delivery(body, "application/json", "r-0")
    history = History(now)
    parsed = finished(parse(delivery, history, str))
    assert parsed.request is not None
    request = parsed.request
    (call,) = plan(request, history, Origin(), policy)
    answer = _answer(call)
    outcome = read_answer(200, {}, answer, call.messages, now)
    assert isinstance(outcome, Accepted)
    attempt = Attempt(request, history, policy, now, 0.5)
    report = report_attempt(attempt, judge(call.messages, outcome, ambiguous=False))
    merged = merge([call] * _MERGED)
    merged_answer = _answer(merged)

    async def post(_: OmniCall) -> Outcome:
        return outcome

    async def publish(_: tuple[Publication, ...]) -> None:
        pass

    handler = Handler(Effects(post, _look, publish, lambda: now, lambda: 0.5, str), policy)

    def whole() -> None:
        with contextlib.suppress(StopIteration):
            handler.handle(handler.read(delivery)).__await__().send(None)

    metrics = Metrics()

    def count() -> None:
        metrics.deliveries["acked"].inc()
        metrics.attempts["accepted"].inc()
        metrics.events["message.accepted"].inc()
        metrics.handling_seconds.observe(0.1)
        metrics.attempt_seconds.observe(0.1)
        metrics.queue_seconds["normal"].observe(0.1)
        metrics.deliveries_in_flight.set(1)

    configure_logs("json", "info", 10**9)
    (output,) = logging.getLogger().handlers
    assert isinstance(output, logging.StreamHandler)
    output.setStream(io.StringIO())
    log = get_logger()

    def log_line() -> None:
        log.info("delivery.settled", settlement="acked", seconds=0.1, request_id="r-0", attempts=0, redelivered=False)

    stages: dict[str, Callable[[], object]] = {
        "parse": lambda: finished(parse(delivery, history, str)),
        "plan": lambda: plan(request, history, Origin(), policy),
        "render": call.to_json,
        "read answer": lambda: read_answer(200, {}, answer, call.messages, now),
        "judge": lambda: judge(call.messages, outcome, ambiguous=False),
        "report": lambda: report_attempt(attempt, judge(call.messages, outcome, ambiguous=False)),
        "publication": lambda: publish_report(report, delivery, now),
        "(whole path)": whole,
        "content key": lambda: content_key(call),
        "metrics": count,
        "log line": log_line,
    }
    for name, work in stages.items():
        print(f"{name:<28}{cost(work):>8.1f}")  # noqa: T201
    structlog.reset_defaults()
    configure_logs("json", "info", 1)
    log = get_logger()
    print(f"{'log line left out':<28}{cost(log_line):>8.1f}")  # noqa: T201
    shared: dict[str, Callable[[], object]] = {
        "merge": lambda: merge([call] * _MERGED),
        "render": merged.to_json,
        "read answer": lambda: read_answer(200, {}, merged_answer, merged.messages, now),
    }
    for name, work in shared.items():
        print(f"{name + f' (of {_MERGED} merged)':<28}{cost(work, _TIMES // _MERGED) / _MERGED:>8.1f}")  # noqa: T201
    asyncio.run(_edges(call, answer, publish_report(report, delivery, now)[0]))
    for kind in ("distinct", "campaign"):
        asyncio.run(_compare(kind))


class _Wire(asyncio.Transport):
    """A transport that discards what is written and never receives."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        pass

    def is_closing(self) -> bool:
        return False


async def _edges(call: OmniCall, answer: bytes, event: Publication) -> None:
    fast_path = FastPath(asyncio.StreamReader())
    fast_path.connection_made(_Wire())
    fast_path.begin(1, 2, 0)
    fast_path.consume("c", lambda _, __: None)
    request = Publication("", "", call.to_json(), "application/json", "bench-0", timestamp=datetime.now(UTC))
    deliver = b"\x00\x3c\x00\x3c\x01c" + bytes(9) + b"\x00\x0domni.requests"
    content = codec.write_publish(1, request, 0)
    content = content[content.index(b"\xce\x02") + 1 :]  # without the method that published it
    delivery = b"\x01\x00\x01%s%s\xce%s" % (len(deliver).to_bytes(4), deliver, content)
    print(f"{'AMQP: take a delivery':<28}{cost(lambda: fast_path.data_received(delivery * 30), 60) / 30:>8.1f}")  # noqa: T201
    print(f"{'AMQP: ack':<28}{cost(lambda: fast_path.write(codec.write_ack(1, 1), fast_path.life)):>8.1f}")  # noqa: T201
    fast_path.flush()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
    connection = HttpConnection()
    connection.connection_made(_Wire())
    loop, life, tag = asyncio.get_running_loop(), ConnectionLifetime(), 0

    async def publish(together: int) -> None:
        nonlocal tag
        tag += together
        confirm = b"\x01\x00\x02\x00\x00\x00\x0d\x00\x3c\x00\x50%s\x01\xce" % tag.to_bytes(8)
        loop.call_soon(fast_path.data_received, confirm)
        await fast_path.publish([event] * together, life)

    async def ask() -> None:
        loop.call_soon(connection.data_received, head + answer)
        await connection.ask((b"", b"", call.to_json()), 30)

    works: dict[str, tuple[Callable[[], Awaitable[None]], int]] = {
        "AMQP: publish, confirmed": (lambda: publish(1), 1),
        "AMQP: publish, 30 together": (lambda: publish(30), 30),
        "HTTP: exchange": (ask, 1),
    }
    for name, (work, together) in works.items():
        best = float("inf")
        for _ in range(_ROUNDS):
            began = time.process_time()
            for _ in range(_TIMES // together):
                await work()
            best = min(best, time.process_time() - began)
        print(f"{name:<28}{best / _TIMES * 1e6:>8.1f}")  # noqa: T201


async def _compare(kind: str) -> None:
    """Everything except sockets, without and with a shared memory in turn: the machine is not equally fast for long.

    The cost of the memory's connection is included. It is left out if there is no Redis server here.
    """
    async with AsyncExitStack() as stack:
        applications = {"all but the edges": _Application()}
        if shutil.which("redis-server"):
            applications["with a shared memory"] = _Application(await stack.enter_async_context(_memory()))
        for together in (_READ, 1):
            best = dict.fromkeys(applications, float("inf"))
            for _ in range(_ROUNDS * _TIMES // _SHORT):
                for name, application in applications.items():
                    best[name] = min(best[name], await application.serve(kind, together))
            for name, cpu in best.items():
                row = f"{name}, {kind}{', alone' if together == 1 else ''}"
                print(f"{row:<36}{cpu:>8.1f}", flush=True)  # noqa: T201


@asynccontextmanager
async def _memory() -> AsyncIterator[SharedMemory]:
    telemetry = Telemetry(Metrics(), _now, time.monotonic)
    with tempfile.TemporaryDirectory() as directory:
        async with MemoryServer(Path(directory)) as server:
            memory = SharedMemory(partial(connect, server.url, None), telemetry, time.monotonic, kept=100)
            running = asyncio.create_task(memory.run())
            await memory.tried.wait()
            try:
                yield memory
            finally:
                running.cancel()
                await asyncio.wait({running})


async def _serve_at(rate: float) -> None:
    """Have one delivery arrive after the other, without and with a memory in turn; OMNI answers after 50 ms.

    The medians of several runs: neither the broker's disk nor the network is in them, which vary by far more.
    """
    async with _memory() as memory:
        applications = {"without": _Application(latency=_LATENCY), "with": _Application(memory, latency=_LATENCY)}
        waits: dict[str, list[list[float]]] = {name: [] for name in applications}
        for _, (name, application) in itertools.product(range(_ROUNDS), applications.items()):
            waits[name].append(await application.serve_at(rate))
    for name, runs in waits.items():
        quantiles = {
            f"p{share:.0%}".rstrip("%"): [run[round(share * (len(run) - 1))] for run in runs] for share in _SHARES
        }
        row = "  ".join(f"{quantile} {1000 * median(each):.1f}" for quantile, each in quantiles.items())
        print(f"{name:<10}{row}  each p99 {' '.join(f'{1000 * one:.1f}' for one in quantiles['p99'])}")  # noqa: T201


class _Application:
    """Everything except sockets; OMNI answers after `latency` seconds."""

    def __init__(self, memory: SharedMemory | None = None, latency: float = 0.0) -> None:
        async def post(call: OmniCall) -> Outcome:
            await asyncio.sleep(latency)
            assert call.may_send()
            return Accepted({message.message_id: _PENDING for message in call.messages})

        telemetry = Telemetry(Metrics(), _now, time.monotonic)
        guard = Guard(lambda *_: None, lambda _: None, time.monotonic, random.random)
        limiter = Limiter(Limit(MOST, MOST, fixed=True), None, lambda _: None, time.monotonic)
        orders = None if memory is None else memory.cancellations
        send = make_send(post, guard, limiter, telemetry, now=_now, most=1000, memory=memory, orders=orders)
        effects = Effects(send, _look, _confirm, _now, lambda: 0.5, str)
        if memory is not None:
            effects = replace(effects, record_start=memory.start, record_end=memory.end, release=memory.release)
        self._done = asyncio.Event()
        self._dispatcher = Dispatcher(
            Handler(effects, Policy(RetryPolicy())),
            telemetry,
            SessionCheck(elapsed),
            DeliveryDeduplicator(300, time.monotonic),
            most=1000,
            memory=memory,
            on_done=self._end,
        )
        self._arrived: dict[str | None, float] = {}
        self._waits: list[float] = []
        self._life = ConnectionLifetime()
        self._fast_path = FastPath(asyncio.StreamReader())
        self._fast_path.life = self._life
        self._fast_path.connection_made(_Wire())
        self._fast_path.begin(1, 2, 0)

    async def serve(self, kind: str, together: int) -> float:
        """Serve some deliveries, so many of which arrive `together`. Returns the microseconds for each."""
        deliveries = [_named(one) for one in requests(_SHORT, kind)]
        began = time.process_time()
        for start in range(0, _SHORT, together):
            self._receive(deliveries[start : start + together])
            await self._done.wait()
            self._done.clear()
        return (time.process_time() - began) / _SHORT * 1e6

    async def serve_at(self, rate: float) -> list[float]:
        """Serve some deliveries, of which so many arrive in a second. Returns how long each took, in order."""
        began, self._waits = time.perf_counter(), []
        for number, one in enumerate(requests(_SHORT, "distinct")):
            await asyncio.sleep(began + number / rate - time.perf_counter())
            delivery = _named(one)
            self._arrived[delivery.message_id] = time.perf_counter()
            self._receive([delivery])
        while self._arrived:
            await self._done.wait()
            self._done.clear()
        return sorted(self._waits)

    def _receive(self, deliveries: Sequence[Delivery]) -> None:
        self._fast_path.data_received(b"")  # bytes arrived just now, so the session counts as alive
        self._life.confirmed_at = self._life.last_read_at  # also after a pause in which the machine did something else
        for delivery in deliveries:
            acknowledger = Acknowledger(cast("RawChannel", None), 1, self._life, self._fast_path)
            self._dispatcher.receive(delivery, acknowledger)

    def _end(self, delivery: Delivery) -> None:
        if arrived := self._arrived.pop(delivery.message_id, None):
            self._waits.append(time.perf_counter() - arrived)
        if not self._dispatcher.in_flight:
            self._done.set()


async def _look(_: tuple[str, ...], __: LookupPurpose, ___: Lane) -> LookupResult:
    return Unanswered("busy")


async def _confirm(_: Sequence[Publication]) -> None:
    await asyncio.sleep(0)


def _named(request: Mapping[str, object]) -> Delivery:
    """Make a delivery of a request that there was not before: a shared memory would know it."""
    name = f"r-{next(_NAMES)}"
    return Delivery(json.dumps({**request, "requestId": name, "messageId": name}).encode(), "application/json", name)


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=float, default=0.0, help="deliveries a second")
    options = parser.parse_args()
    if options.rate:
        configure_logs("json", "warning", 1)
        asyncio.run(_serve_at(options.rate))
    else:
        main()
