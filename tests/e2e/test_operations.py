"""The operations port under load from strangers: sending goes on."""

import asyncio
import contextlib
import sys

from tests.e2e.stage import Stage
from tests.support.worker import PROGRAM

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
        await stage.until_last_words(REQUESTS)
        assert (await worker.get("/livez"))[0] == 200
    assert {tuple(words) for words in stage.last_words().values()} == {("accepted",)}
    metrics = await worker.metrics()
    assert metrics['omni_relay_attempts_total{outcome="unavailable"}'] == 0
    assert metrics["process_open_fds"] < LIMIT
