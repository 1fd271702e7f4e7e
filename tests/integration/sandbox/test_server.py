import asyncio
import os
import re
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process

import httpx
import pytest

from service.sandbox import create_app, serve

PROGRAM = "import sys; from service.sandbox import run; run('127.0.0.1', 0, 'secret', 1)"
HANGING = {"destinations": [{"to": {"phoneNumber": "4179391000"}}], "sms": {"text": "t"}}


async def test_serving_ends_at_once_even_while_calls_hang() -> None:
    async with httpx.AsyncClient(headers={"authorization": "App key"}) as client:
        async with serve(create_app()) as running:
            calls = [asyncio.create_task(client.post(f"{running.url}/omni/1/advanced", json=HANGING)) for _ in range(5)]
            await asyncio.sleep(0.2)
            started = time.monotonic()
        took = time.monotonic() - started
        ends = await asyncio.gather(*calls, return_exceptions=True)

    assert took < 5  # the calls hang for ever
    assert all(isinstance(end, httpx.TransportError) for end in ends)


async def test_serving_handles_no_signals() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    async with serve(create_app()):
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_two_sandboxes_in_one_loop_share_nothing() -> None:
    async with serve(create_app()) as one, serve(create_app()) as other, httpx.AsyncClient() as client:
        await client.post(f"{one.url}/omni/1/advanced")

        assert (await client.get(f"{one.url}/sandbox/stats")).json()["calls"] == 1
        assert (await client.get(f"{other.url}/sandbox/stats")).json()["calls"] == 0


async def test_a_port_in_use_is_an_error() -> None:
    async with serve(create_app()) as running:
        with pytest.raises(OSError, match="in use"):
            async with serve(create_app(), port=int(running.url.rpartition(":")[2])):
                pass


async def announced_url(process: Process) -> str:
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    found = re.fullmatch(r"sandbox listening on (http://127\.0\.0\.1:[0-9]+)\n", line)
    assert found, line
    return found[1]


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
async def test_the_program_writes_its_url_and_stops_on_a_signal(asked: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    url = await announced_url(process)
    async with httpx.AsyncClient(headers={"authorization": "App secret"}) as client:
        hanging = asyncio.create_task(client.post(f"{url}/omni/1/advanced", json=HANGING))
        await asyncio.sleep(0.2)
        process.send_signal(asked)
        async with asyncio.timeout(20):
            out, errors = await process.communicate()
        with pytest.raises(httpx.TransportError):
            await hanging

    assert (process.returncode, out, errors) == (0, b"", b"")
