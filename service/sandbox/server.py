"""Serve the sandbox: in a running event loop for tests, or as a program of its own.

Both use one uvicorn server that handles no signals, stops at once even while calls hang, and can reset a connection.
The port is bound before the caller gets the URL.
"""

import asyncio
import contextlib
import functools
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.sandbox.app import create_app
from service.sandbox.wire.connection import RESET

# Longer than clients keep idle connections: if the server closed first, a caller could see a reset that no fault
# requested.
_IDLE_SECONDS = 120
_STOP_SECONDS = 2


@dataclass(frozen=True)
class Running:
    """A sandbox that listens at `url`."""

    url: str


class _Protocol(H11Protocol):
    """HTTP/1.1 that lets the app reset the connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn itself
        super().connection_made(transport)
        # asyncio does this only for sockets made with a protocol number. Without it the kernel delays a response's
        # body until its head is acknowledged: 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app = functools.partial(_with_reset, self.app, transport)


async def _with_reset(
    app: Any,  # noqa: ANN401  # uvicorn and starlette type the same callable differently
    transport: asyncio.Transport,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    extensions = {**scope.get("extensions", {}), RESET: functools.partial(_reset, transport)}
    await app({**scope, "extensions": extensions}, receive, send)


def _reset(transport: asyncio.Transport) -> None:
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # Lingering for zero seconds makes the kernel send RST instead of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class _Server(uvicorn.Server):
    """A server that is stopped by its owner."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle no signals: they belong to the program that runs the loop."""
        yield

    async def main_loop(self) -> None:
        """Serve until `stopping` is set."""
        self.listening.set()
        while not self.stopping.is_set():
            await self.on_tick(0)  # renews the Date header
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), timeout=1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop at once: calls in flight get no response.

        Replaces uvicorn's own, which waits for calls to end, for ever if one hangs.
        """
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        state = self.server_state
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                while state.connections or state.tasks:
                    for connection in list(state.connections):
                        connection.transport.abort()
                    await asyncio.sleep(0.01)
        await self.lifespan.shutdown()


@contextlib.asynccontextmanager
async def serve(app: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Running]:
    """Serve an app in this event loop while the context lasts; port 0 chooses a free one."""
    listener = _bind(host, port)
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="auto",
        proxy_headers=False,
        log_config=None,
        access_log=False,  # a path may contain an id, and calls are in the store anyway
        server_header=False,
        timeout_keep_alive=_IDLE_SECONDS,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    serving.add_done_callback(lambda _: server.listening.set())  # a failure is raised below
    try:
        await server.listening.wait()
        if serving.done():
            await serving
        yield Running(_url(listener))
    finally:
        server.stopping.set()
        await serving


def run(  # noqa: PLR0913 - two have defaults, and one of them is given by name
    host: str,
    port: int,
    api_key: str | None,
    seed: int | None,
    hosts: Collection[str] = (),
    *,
    push_anywhere: bool = False,
) -> None:
    """Serve a sandbox until SIGINT or SIGTERM; writes its URL to standard output.

    `hosts` are names by which it is reached, besides `host` and its addresses.
    """
    app = create_app(api_key=api_key, seed=seed, hosts=(host, *hosts), push_anywhere=push_anywhere)
    asyncio.run(_run(app, host, port))


async def _run(app: ASGIApp, host: str, port: int) -> None:
    stop_requested = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop_requested.set)
    async with serve(app, host, port) as running:
        sys.stdout.write(f"sandbox listening on {running.url}\n")
        sys.stdout.flush()
        await stop_requested.wait()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
