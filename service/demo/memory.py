"""The demo's shared memory: a server of its own that stores nothing, if one is installed."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from service.demo.rabbitmq.ports import free_port
from service.demo.rabbitmq.reaper import die_with_parent

_PROGRAMS: Final = ("valkey-server", "redis-server")
_TIMEOUT: Final = 10.0


@asynccontextmanager
async def private_memory(directory: Path) -> AsyncIterator[str | None]:
    """Run a server; gives its URL, or None if there is no server, or no client for it."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None or find_spec("redis") is None:
        yield None
        return
    port = free_port()
    options = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", "", "--appendonly", "no")
    process = await asyncio.create_subprocess_exec(
        program,
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C reaches the demo only
        preexec_fn=die_with_parent,
    )
    try:
        yield f"redis://127.0.0.1:{port}/0" if await _listens(process, port) else None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _listens(process: asyncio.subprocess.Process, port: int) -> bool:
    """Return whether it accepts connections; False if it has ended, or does not within some seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_TIMEOUT):
            while process.returncode is None:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    return True
                await asyncio.sleep(0.05)
    return False
