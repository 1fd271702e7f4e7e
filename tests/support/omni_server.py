"""An HTTP server with the faults of servers, proxies and networks.

Each request is read whole and kept; then the server does the next of the acts it was given, the last one
again and again. An act writes bytes as it likes: nothing here makes sure that they are HTTP.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

Act = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""An action for a request; afterwards the connection stays open, unless the action closed it."""

_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)

# Only for these tests: self-signed, valid for localhost until 2126.
_KEY_AND_CERTIFICATE: Final = """\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIKrLjz5yT3yKn8wsrKOqAY2umk3JJA44Sho0o3CUY1yroAoGCCqGSM49
AwEHoUQDQgAEUxocG4RlEUkelR6OtnAnOWCNGVPW2PwhAMGkppU5pTJiOUNxZksv
Jl4cZciuY+YW73PJJEw9foFnQl3HZk7SLg==
-----END EC PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUSKP59oEzyTrzcphaEiwqPrkpolQwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjA3MDgxOFoYDzIxMjYxMDI5
MDcwODE4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARTGhwbhGURSR6VHo62cCc5YI0ZU9bY/CEAwaSmlTmlMmI5Q3FmSy8m
XhxlyK5j5hbvc8kkTD1+gWdCXcdmTtIuo28wbTAdBgNVHQ4EFgQU5a3KTfWQ1vWL
KX+mJ6YdhtdNLmMwHwYDVR0jBBgwFoAU5a3KTfWQ1vWLKX+mJ6YdhtdNLmMwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIgKrNDO9AVXWsML4cTqu13Z8VQrFXYn261LlZs6uIF4GMCIQDR
PcyhVrFKqG66+TVMxvR00v4KcK7zyFhKsPiNJvOGow==
-----END CERTIFICATE-----
"""


@dataclass
class OmniServer:
    """A server that listens."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    """Every request that arrived whole."""
    connections: int = 0
    """How many were opened."""


@contextlib.asynccontextmanager
async def misbehaving(*acts: Act, tls: bool = False) -> AsyncIterator[OmniServer]:
    """Serve on 127.0.0.1 while inside; with `tls`, the certificate is not trusted."""
    server = OmniServer(0)
    plan = list(acts)
    tasks: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        server.connections += 1
        try:
            while (request := await _read_request(reader)) is not None:
                server.requests.append(request)
                await (plan.pop(0) if len(plan) > 1 else plan[0])(writer)
        except (OSError, asyncio.CancelledError):
            pass  # the caller has gone, or the test is over
        finally:
            tasks.discard(task)
            writer.transport.abort()

    listener = await asyncio.start_server(converse, "127.0.0.1", 0, ssl=untrusted() if tls else None)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read_request(reader: asyncio.StreamReader) -> bytes | None:
    """Read one request with its body; None when the caller is done."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        return head + await reader.readexactly(int(fields.get(b"content-length", b"0")))
    except asyncio.IncompleteReadError:
        return None


def untrusted() -> ssl.SSLContext:
    """Make a server's context with an untrusted certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(_KEY_AND_CERTIFICATE)
        file.flush()
        context.load_cert_chain(Path(file.name))
    return context


def write_authority(directory: Path) -> str:
    """Write the certificate of servers with `tls` as a file of authorities; return its name."""
    (directory / "authority.pem").write_text(_KEY_AND_CERTIFICATE)
    return str(directory / "authority.pem")


def say(data: bytes) -> Act:
    """Write bytes and keep the connection open."""

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return act


def answer(body: bytes, status: int = 200, *headers: str) -> Act:
    """Give a well-formed answer."""
    lines = (f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers)
    return say("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def drip(data: bytes, pause: float) -> Act:
    """Write a byte at a time."""

    async def act(writer: asyncio.StreamWriter) -> None:
        for number in range(len(data)):
            writer.write(data[number : number + 1])
            await writer.drain()
            await asyncio.sleep(pause)

    return act


def then_close(act: Act) -> Act:
    """Do something and close the connection, politely."""

    async def closing(writer: asyncio.StreamWriter) -> None:
        await act(writer)
        writer.close()

    return closing


def then_reset(act: Act) -> Act:
    """Do something and reset the connection."""

    async def resetting(writer: asyncio.StreamWriter) -> None:
        await act(writer)
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        writer.transport.abort()

    return resetting


silence: Final = say(b"")
"""Send nothing and keep the connection open."""


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """Listen on a port and accept nothing, with the queue of those who wait full; gives the port.

    The kernel drops every further attempt to connect without a word, as a firewall would.
    """
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(4):  # Linux queues one more than the backlog
            waiting = sockets.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(address)
        yield address[1]
