"""The operations port: what a probe, a scrape and a person at night want to know."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.words.value import dataclass


@dataclass(frozen=True, slots=True)
class Condition:
    """How the relay is. `reason` says why it is not ready, or why it is paused; OMNI never makes it unready."""

    ready: bool
    reason: str | None = None
    paused: bool = False


def make_app(registry: CollectorRegistry, condition: Callable[[], Condition], is_live: Callable[[], bool]) -> Starlette:
    """Put the three pages together. Not live is only what a restart would mend."""

    async def livez(_request: Request) -> JSONResponse:
        live = is_live()
        return JSONResponse({"live": live}, status_code=200 if live else 503)

    async def readyz(_request: Request) -> JSONResponse:
        now = condition()
        return JSONResponse(asdict(now), status_code=200 if now.ready else 503)

    def metrics(request: Request) -> Response:  # in a thread: what is counted elsewhere may take its time to come
        render, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(render(registry), headers={"content-type": content_type})

    return Starlette(
        routes=[
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
        ]
    )


class _Server(uvicorn.Server):
    """Leaves signals to the program: whoever is asked to stop drains first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """Listen on a port. Raises `OSError` when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Made with its protocol's number: without it asyncio leaves TCP_NODELAY off, and each answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


@contextlib.asynccontextmanager
async def serving(app: Starlette, host: str, port: int, inherited: int | None = None) -> AsyncIterator[int]:
    """Serve while inside; gives the port. Raises `OSError` when it is taken.

    `inherited` is the descriptor of a socket that listens already.
    """
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    with listen(host, port) if inherited is None else socket.socket(fileno=inherited) as listener:
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task
