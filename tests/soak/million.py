"""`omni-relay send` with a million rows of CSV, interrupted twice: every row is sent once, in constant memory.

    .venv/bin/python -m tests.soak.million [--rows 1000000]

The queue is consumed meanwhile. Prints the resident memory of each run, after a tenth of it and at most; exit status 1
if a row was sent twice or not at all, or if memory grew by more than 32 MiB from then on.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import aio_pika

from tests.e2e.stage import Stage, staged
from tests.support.node import Node
from tests.support.worker import PROGRAM

GROWTH: Final = 32 * 1024
"""KiB that memory may grow by, from a tenth of a run on."""


async def count(url: str, counts: bytearray) -> None:
    """Take all requests until cancelled, and count each row."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        raw = await channel.get_underlay_channel()

        async def take(message: Any) -> None:  # noqa: ANN401 - the library's
            counts[int(message.body.partition(b'"m-')[2].partition(b'"')[0])] += 1

        await raw.basic_consume("omni.requests", take, no_ack=True)
        await asyncio.Event().wait()


def _rss(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    return int(found[1]) if found else 0


def _sent(progress: Path) -> int:
    return int(json.loads(progress.read_text(encoding="ascii"))["sent"])


async def run(stage: Stage, arguments: list[str], progress: Path, stop_at: int | None) -> tuple[str, list[int]]:
    """Run the command; interrupt it when so many rows are confirmed. Return its last line and samples of its memory."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "send", *arguments, env={**os.environ, **stage.settings}, stderr=asyncio.subprocess.PIPE
    )
    samples: list[int] = []
    ending = asyncio.create_task(process.communicate())
    while not ending.done():
        with contextlib.suppress(OSError):
            samples.append(_rss(process.pid))
        with contextlib.suppress(OSError, ValueError, KeyError):
            if stop_at is not None and _sent(progress) >= stop_at:
                process.send_signal(signal.SIGINT)
                stop_at = None
        await asyncio.sleep(0.2)
    _, errors = await ending
    return errors.decode().strip().splitlines()[-1], [one for one in samples if one]


async def main(directory: Path, rows: int) -> int:
    """Run once; return the exit status."""
    file, progress = directory / "rows.csv", directory / "rows.csv.progress"
    with file.open("w", encoding="utf-8") as written:
        written.write("phoneNumber;messageId;sms.text\n")
        written.writelines(f'41793026727;m-{row};"Hello, {row}"\n' for row in range(rows))
    counts, growth = bytearray(rows), 0
    async with Node(directory / "broker") as node, staged(node.url, directory / "stage") as stage:
        assert await (await stage.worker()).stop() == 0
        counting = asyncio.create_task(count(node.url, counts))
        for stop_at in (rows // 4, rows * 6 // 10, None):
            began = time.monotonic()
            said, samples = await run(stage, [str(file)], progress, stop_at)
            steady = samples[len(samples) // 10 :]
            growth = max(growth, max(steady) - steady[0])
            sizes = f"{steady[0] >> 10} MiB, at most {max(steady) >> 10} MiB"
            print(f"{time.monotonic() - began:.0f} s; memory {sizes}; {said}")  # noqa: T201 - the summary
        async with asyncio.timeout(240):
            while await stage.waiting("omni.requests"):  # noqa: ASYNC110 - a server
                await asyncio.sleep(0.5)
        counted = -1
        while counted != (counted := sum(counts)):  # noqa: ASYNC110 - what the queue has sent is not all read yet
            await asyncio.sleep(5)
        counting.cancel()
    found = {times: counts.count(times) for times in set(counts)}
    print(f"rows by times sent: {found}")  # noqa: T201 - the summary
    good = found == {1: rows} and growth < GROWTH and not progress.exists()
    print("good" if good else "NOT as it must be")  # noqa: T201 - the summary
    return int(not good)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    with tempfile.TemporaryDirectory() as place:
        sys.exit(asyncio.run(main(Path(place), parser.parse_args().rows)))
