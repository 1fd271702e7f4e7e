"""The way of one accepted request through the code: which functions, in which files, in which layers.

    .venv/bin/python -m tests.trace

The real classes, from the callback that takes a delivery to its ack. Only the wires are fakes: the broker confirms and
OMNI accepts at once. Left out is `adapters.rabbitmq.publisher`, which publishes again over the next session, and all
between it and the wire. Counted are the functions and files of `service/`, how often a function calls one of a higher
layer (a climb), and how many frames of `service/` wait while the POST is in flight. Ends by itself.
"""

import asyncio
import contextlib
import io
import json
import random
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import CodeType, CoroutineType, FrameType
from typing import Any, Final, cast

from aiormq.abc import AbstractChannel as RawChannel

import service
from service import COMPILED
from service.adapters.logging import configure_logs
from service.adapters.metrics import Metrics
from service.adapters.omni import Credentials, OmniAccess, OmniClient
from service.adapters.omni.connection import HttpConnection
from service.adapters.rabbitmq import Acknowledger, ConnectionLifetime, elapsed
from service.adapters.rabbitmq.fast_path import FastPath
from service.core.attempt.concurrency import MOST, START, Limit
from service.core.attempt.retry import Policy, RetryPolicy
from service.core.delivery import Delivery, Publication
from service.core.handler import Effects, Handler
from service.worker.admission import Admission
from service.worker.deduplicator import DeliveryDeduplicator
from service.worker.dispatcher import Dispatcher
from service.worker.ownership import SessionCheck
from service.worker.sending import make_send
from service.worker.sending.circuit_breaker import Guard
from service.worker.sending.limiter import Limiter
from service.worker.sending.log_lookup import LogLookup
from service.worker.telemetry import Telemetry

_ROOT: Final = Path(service.__file__).parent
_LAYERS: Final = ("core", "adapters", "worker", "cli")
BODY: Final = {"requestId": "r-1", "phoneNumber": "41793026727", "text": "Hello"}


class Trace:
    """The functions that were called since it was switched on."""

    def __init__(self) -> None:
        self.functions: dict[CodeType, None] = {}
        self.climbs: list[tuple[CodeType, CodeType]] = []
        self.waiting: list[str] = []
        self._entered: set[FrameType] = set()

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Note a call; a coroutine that is resumed is not called again."""
        if event != "call" or not _is_ours(frame.f_code) or frame in self._entered:
            return
        self._entered.add(frame)
        self.functions[frame.f_code] = None
        caller = frame.f_back
        while caller is not None and not _is_ours(caller.f_code):
            caller = caller.f_back
        if caller is not None and _layer(frame.f_code) > _layer(caller.f_code):
            self.climbs.append((caller.f_code, frame.f_code))

    @property
    def files(self) -> list[str]:
        """The files, each once."""
        return list(dict.fromkeys(_file(code) for code in self.functions))


def _is_ours(code: CodeType) -> bool:
    """Return whether it is a function of `service/`, and neither a comprehension nor a class body."""
    return code.co_filename.startswith(str(_ROOT)) and (code.co_name == "<lambda>" or not code.co_name.startswith("<"))


def _file(code: CodeType) -> str:
    return str(Path(code.co_filename).relative_to(_ROOT))


def _layer(code: CodeType) -> int:
    folder = _file(code).split("/", 1)[0]
    return _LAYERS.index(folder) if folder in _LAYERS else 0


def _frames(task: "asyncio.Task[Any]") -> list[str]:
    """List the frames of `service/` that wait in a task, the outermost first."""
    waiting: object = task.get_coro()
    names = []
    while isinstance(waiting, CoroutineType):
        if _is_ours(waiting.cr_code):
            names.append(f"{_file(waiting.cr_code)}: {waiting.cr_code.co_qualname}")
        waiting = waiting.cr_await
    return names


class _Wire(asyncio.Transport):
    """Takes everything, and calls back with it."""

    def __init__(self, on_write: Callable[[bytes], None] = lambda _: None) -> None:
        super().__init__()
        self._on_write = on_write

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._on_write(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self._on_write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass


def _now() -> datetime:
    return datetime.now(UTC)


def _omni(trace: Trace) -> OmniClient:
    """Return a client with an open connection, over which OMNI accepts."""
    client = OmniClient(OmniAccess("http://omni.invalid", Credentials(fixed="App key")), _now)
    connection = HttpConnection()

    def answer(written: bytes) -> None:
        (name,) = re.findall(rb'"messageId":"([^"]+)"', written)
        status = {"groupId": 1, "groupName": "PENDING", "id": 7, "name": "PENDING_ENROUTE"}
        body = json.dumps({"messages": [{"messageId": name.decode(), "status": status}]}).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)

        def arrive() -> None:
            stacks = [_frames(task) for task in asyncio.all_tasks()]
            trace.waiting = max(
                (stack for stack in stacks if any("HttpConnection.ask" in one for one in stack)), key=len
            )
            connection.data_received(head + body)

        asyncio.get_running_loop().call_soon(arrive)

    connection.connection_made(_Wire(answer))
    client._transport._idle.append((time.monotonic(), connection))  # noqa: SLF001 - a wire of our own
    return client


def _broker(trace: Trace) -> tuple[Callable[[Delivery], None], Callable[[], bool]]:
    """Bind the worker to fake wires; returns what takes a delivery, and whether all is settled."""
    lifetime, fast_path = ConnectionLifetime(), FastPath(asyncio.StreamReader())
    fast_path.life = lifetime
    fast_path.connection_made(_Wire())
    fast_path.begin(1, 2, 0)
    fast_path.consume("c", lambda _, __: None)
    fast_path.data_received(b"")
    telemetry = Telemetry(Metrics(), _now, time.monotonic)
    guard = Guard(telemetry.breaker_changed, lambda _: None, time.monotonic, random.random)
    limiter = Limiter(Limit(START, MOST), None, telemetry.limit_changed, time.monotonic)
    client, confirmed = _omni(trace), 0

    async def publish(publications: Sequence[Publication]) -> None:
        nonlocal confirmed
        confirmed += len(publications)
        confirm = b"\x01\x00\x02\x00\x00\x00\x0d\x00\x3c\x00\x50%s\x01\xce" % confirmed.to_bytes(8)
        asyncio.get_running_loop().call_soon(fast_path.data_received, confirm)
        assert not await fast_path.publish(publications, lifetime)

    async def published(publications: Sequence[Publication]) -> None:
        await publish(publications)
        telemetry.published(publications)

    effects = Effects(
        send=make_send(client.post, guard, limiter, telemetry, now=_now, most=100),
        look_up=LogLookup(client.look, 60, telemetry.logs_looked_up, time.monotonic, random.random).look,
        publish=published,
        now=_now,
        jitter=random.random,
        make_id=str,
    )
    deduplicator = DeliveryDeduplicator(100, time.monotonic)
    admission = Admission(2**26, lambda _: asyncio.sleep(0), telemetry)
    unsettled = 0

    def done(delivery: Delivery) -> None:
        nonlocal unsettled
        unsettled -= 1
        admission.done(delivery)

    dispatcher = Dispatcher(
        Handler(effects, Policy(RetryPolicy())),
        telemetry,
        SessionCheck(elapsed),
        deduplicator,
        most=100,
        on_done=done,
    )
    receive = admission.into(dispatcher.receive, dispatcher.release)

    def deliver(delivery: Delivery) -> None:
        nonlocal unsettled
        unsettled += 1
        receive(delivery, Acknowledger(cast("RawChannel", None), 1, lifetime, fast_path))

    return deliver, lambda: not unsettled


async def trace_one() -> Trace:
    """Trace one accepted request, after another has loaded and cached everything."""
    trace = Trace()
    deliver, is_settled = _broker(trace)
    for name in ("warm-up", "traced"):
        delivery = Delivery(json.dumps({**BODY, "requestId": name}).encode(), "application/json", name)
        sys.setprofile(trace if name == "traced" else None)
        deliver(delivery)
        while not is_settled():  # noqa: ASYNC110 - no event shows it
            await asyncio.sleep(0)
        sys.setprofile(None)
    return trace


def main() -> None:
    """Trace and print."""
    if COMPILED:
        raise SystemExit("OMNI_RELAY_COMPILED: it has to be false, since no compiled function can be traced")
    configure_logs("json", "info", 1)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        trace = asyncio.run(trace_one())
    for file in trace.files:
        print(file)  # noqa: T201
        for code in trace.functions:
            if _file(code) == file:
                print("   ", code.co_qualname)  # noqa: T201
    print("\nclimbs")  # noqa: T201
    for caller, called in trace.climbs:
        print(f"    {_file(caller)}: {caller.co_qualname} -> {_file(called)}: {called.co_qualname}")  # noqa: T201
    print("\nframes while the POST is in flight")  # noqa: T201
    for name in trace.waiting:
        print("   ", name)  # noqa: T201
    functions, climbs = len(trace.functions), len(trace.climbs)
    print(f"\n{functions} functions, {len(trace.files)} files, {climbs} climbs, {len(trace.waiting)} frames")  # noqa: T201


if __name__ == "__main__":
    main()
