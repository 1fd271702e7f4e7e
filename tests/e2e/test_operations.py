"""Sending continues while the operations port is under load from other clients."""

import asyncio
import contextlib
import sys

import pytest

from tests.e2e.stage import Stage
from tests.support.worker import PROGRAM

pytestmark = pytest.mark.once

LIMIT = 256
"""Descriptors the worker may have."""
LIMITED = (
    sys.executable,
    "-c",
    (
        f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}));"
        " os.execv(sys.argv[1], sys.argv[1:])"
    ),
    *PROGRAM,
)
IDLE = 300
REQUESTS = 300


async def test_idle_connections_to_the_operations_port_leave_descriptors_for_sending(stage: Stage) -> None:
    await stage.fault(kind="latency", seconds=0.2)
    worker = await stage.worker(program=LIMITED)
    async with contextlib.AsyncExitStack() as life:

        async def connect_idle() -> None:
            for _ in range(IDLE):
                _, writer = await asyncio.open_connection("127.0.0.1", worker.port)
                life.callback(writer.close)

        bodies = [
            {"requestId": f"r-{number}", "phoneNumber": "41793026727", "text": f"Hello {number}"}
            for number in range(REQUESTS)
        ]
        await asyncio.gather(connect_idle(), stage.send(*bodies))
        await stage.until_final_events(REQUESTS)
        assert (await worker.get("/livez"))[0] == 200
    assert {tuple(types) for types in stage.final_events().values()} == {("accepted",)}
    metrics = await worker.metrics()
    assert metrics['omni_relay_attempts_total{outcome="unavailable"}'] == 0
    assert metrics["process_open_fds"] < LIMIT


HOST = b"Host: a\r\n"
BAD = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /livez HTTP/1.1\r\n\r\n",
    b"GET /livez HTTP/1.1\r\n" + HOST + b"a b: c\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\n" + HOST + b"Accept: application/openmetrics-text; version=abc\r\n\r\n",
    b"GET /%ff%zz\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET //[:: HTTP/1.1\r\n" + HOST + b"\r\n",
    b"POST /livez HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
    b"POST /livez HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"GET /livez HTTP/1.1\r\n" + HOST + b"a: " + b"x" * 100_000 + b"\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"M\xc3\xa9THOD / HTTP/1.1\r\n" + HOST + b"\r\n",
)


async def write_and_go(port: int, request: bytes) -> None:
    """Send a request, read the beginning of an answer, and reset the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(OSError, TimeoutError):
        writer.write(request)
        async with asyncio.timeout(1):
            await reader.read(10)
    writer.transport.abort()


@pytest.mark.parametrize(("processes", "count"), [(1, 500), (2, 100)])
async def test_bad_requests_do_not_write_a_log_line_each(stage: Stage, processes: int, count: int) -> None:
    worker = await (stage.worker() if processes == 1 else stage.workers(processes))
    before = len(worker.text.splitlines())
    for number in range(0, count, 10):
        await asyncio.gather(*(write_and_go(worker.port, BAD[one % len(BAD)]) for one in range(number, number + 10)))
    assert (await worker.get("/livez"))[0] == 200
    assert len(worker.text.splitlines()) - before <= 3
    assert await worker.stop() == 0


async def test_endless_header_sections_take_no_memory_and_delay_nothing(stage: Stage) -> None:
    worker = await stage.worker()
    before = (await worker.metrics())["process_resident_memory_bytes"]

    async def write_on() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", worker.port)
        with contextlib.suppress(OSError):
            writer.write(b"GET /livez HTTP/1.1\r\n")
            for number in range(2_000):  # 32 connections: 64 MiB, if it is kept
                writer.write(b"header-%d: %s\r\n" % (number, b"x" * 1_000))
                await writer.drain()
        writer.transport.abort()

    writing = [asyncio.create_task(write_on()) for _ in range(32)]
    await stage.send({"requestId": "r", "messageId": "m", "phoneNumber": "41793026727", "text": "Hello"})
    await stage.until_final_events(1, within=15)
    await asyncio.gather(*writing)
    assert (await worker.get("/livez"))[0] == 200
    assert (await worker.metrics())["process_resident_memory_bytes"] - before < 20 * 2**20
