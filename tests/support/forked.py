"""Processes that the fork server starts, with as much of asyncio's `Process` as the tests use."""

import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import BinaryIO

from tests.support.fork_server import NUMBER


class Forked:
    """A forked process. It is not a child of this one: a pipe reports its id and how it ended."""

    def __init__(self, pid: int, report: asyncio.StreamReader, pipe: asyncio.ReadTransport) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.create_task(self._wait(report, pipe))

    async def wait(self) -> int:
        """Wait for its end; gives the exit status, or the negative number of the signal."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it by force."""
        self.send_signal(signal.SIGKILL)

    async def _wait(self, report: asyncio.StreamReader, pipe: asyncio.ReadTransport) -> int:
        (returncode,) = NUMBER.unpack(await report.readexactly(NUMBER.size))
        pipe.close()
        self.returncode = int(returncode)
        return self.returncode


async def fork(
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    directory: Path,
    files: tuple[BinaryIO, BinaryIO, BinaryIO],
) -> Forked:
    """Start `omni-relay` with standard input, output and error of its own."""
    request = {"arguments": arguments, "environment": environment, "directory": str(directory)}
    reading, writing = os.pipe()
    try:
        socket.send_fds(_server(), [json.dumps(request).encode()], [*(file.fileno() for file in files), writing])
    finally:
        os.close(writing)
    reader = asyncio.StreamReader()
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb")
    )
    (pid,) = NUMBER.unpack(await reader.readexactly(NUMBER.size))
    return Forked(pid, reader, pipe)


@cache
def _server() -> socket.socket:
    """Start the fork server of these tests. It ends with them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen([sys.executable, "-m", "tests.support.fork_server"], stdin=theirs.fileno())
    atexit.register(_end, ours, process)
    return ours


def _end(requests: socket.socket, process: subprocess.Popen[bytes]) -> None:
    requests.close()
    process.wait(10)
