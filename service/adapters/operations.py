"""The operations port: what a probe, a scrape and a person at night want to know."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from typing import Any, Final, cast

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from service.core.value import dataclass

_MAX_CONNECTIONS: Final = 32
_SHARE: Final = 8
"""Of the descriptors that the process may have, one in so many at most is for connections to this port."""
_BACKLOG: Final = 16
"""Connections accepted at once, before the limit applies to them."""
_MAX_HEAD: Final = 16 * 1024
"""Bytes of a request's head."""
_OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"
_IDLE: Final = 5.0
"""Seconds after which a connection is closed on which no answer has been completed meanwhile."""


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
        render, content_type = choose_encoder(
            _OPENMETRICS if wants_openmetrics(request.headers.get("accept", "")) else ""
        )
        return Response(render(registry), headers={"content-type": content_type})

    app = Starlette(
        routes=[
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
        ]
    )
    app.router.redirect_slashes = False  # it would repeat whatever `Host` says
    return app


def wants_openmetrics(accept: str) -> bool:
    """Tell whether an `Accept` header names OpenMetrics, in a version that there is. Total: anybody writes it.

    The library takes any version, fails on some, and repeats it in the content type.
    """
    for entry in accept.split(","):
        kind, *parameters = (part.strip() for part in entry.split(";"))
        versions = [
            part.partition("=")[2].strip() for part in parameters if part.partition("=")[0].strip() == "version"
        ]
        if kind == "application/openmetrics-text" and all(version in {"0.0.1", "1.0.0"} for version in versions):
            return True
    return False


class _Connection(H11Protocol):
    """A connection that costs little, whoever opens it and whatever comes on it.

    There are at most so many: a further one takes the place of the oldest that no request is served on, since a probe
    must get through. Without that, idle connections would use up the descriptors that sending needs.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as the library makes it
        super().__init__(*args, **kwargs)
        self._has_answered = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the library's own
        """Take it, in the place of another if need be."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(_IDLE, self._check)
        if len(self.connections) > max_connections():
            others = cast("set[_Connection]", self.connections) - {self}
            idle = [other for other in others if not other.is_serving]
            oldest = min(idle, key=lambda other: other.checked_at, default=self)
            oldest.transport.abort()
            self.connections.discard(oldest)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Note that an answer was given and read."""
        self._has_answered = True
        super().on_response_complete()

    @property
    def is_serving(self) -> bool:
        """Tell whether a request is being served on it."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    @property
    def checked_at(self) -> float:
        """Give the loop's time of the next check: the earlier, the longer it has been idle."""
        return self._timer.when() if self._timer is not None else 0.0

    def _check(self) -> None:
        """Close it if nothing has come of it for a while: an endless head, a reader that does not read, silence."""
        if not self._has_answered:
            self.transport.abort()
            return
        self._has_answered = False
        self._timer = self.loop.call_later(_IDLE, self._check)


def max_connections() -> int:
    """Give the number of connections to the port, by the descriptors that the process may have."""
    return max(1, min(_MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE))


def raise_descriptor_limit() -> None:
    """Allow the process as many descriptors as it may allow itself."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


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
    config = uvicorn.Config(
        app,
        http=_Connection,
        ws="none",
        h11_max_incomplete_event_size=_MAX_HEAD,
        backlog=_BACKLOG,
        log_config=None,
        log_level="error",  # of these there are few: see `Seldom`
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    with listen(host, port) if inherited is None else socket.socket(fileno=inherited) as listener:
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task
