"""The operations port: probes and metrics over HTTP."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from typing import Any, Final, cast

import h11
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from service.core.value import dataclass

_MAX_CONNECTIONS: Final = 32
_SHARE: Final = 8
"""At most one in so many of the process's file descriptors is for connections to this port."""
_MAX_HEAD: Final = 16 * 1024
"""Bytes of a request's header section."""
_OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the connections to a port."""

    connections: int
    """At once."""
    backlog: int = 16
    """Connections accepted at once, before the limit applies to them."""
    idle: float = 5.0
    """Seconds after which a connection is closed on which no answer has been completed meanwhile."""
    grace: int = 1
    """Seconds for requests in flight when the port is closed."""


@dataclass(frozen=True, slots=True)
class Condition:
    """`reason` says why the relay is not ready, or why it is paused. OMNI's failures never make it unready."""

    ready: bool
    reason: str | None = None
    paused: bool = False


def make_app(registry: CollectorRegistry, condition: Callable[[], Condition], is_live: Callable[[], bool]) -> Starlette:
    """Make the application with its three pages. `is_live` returns False only if a restart would help."""

    async def livez(_request: Request) -> JSONResponse:
        live = is_live()
        return JSONResponse({"live": live}, status_code=200 if live else 503)

    async def readyz(_request: Request) -> JSONResponse:
        now = condition()
        return JSONResponse(asdict(now), status_code=200 if now.ready else 503)

    def metrics(
        request: Request,
    ) -> Response:  # in a thread: several workers' numbers are collected, which may take time
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
    app.router.redirect_slashes = False  # a redirect would repeat the `Host` that the client sent
    return app


def wants_openmetrics(accept: str) -> bool:
    """Return whether an `Accept` header names OpenMetrics in a version that exists. Never raises.

    The library accepts any version, fails with some, and repeats it in the content type.
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
    """A connection with bounded cost, for a port that anyone in the network may reach.

    There are at most so many: a further one takes the place of the oldest that is idle, or else of the oldest whose
    request has not arrived in full. Without that, idle connections would keep a probe out, and use up the descriptors
    that sending needs.
    """

    limits: Limits

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as the library makes it
        super().__init__(*args, **kwargs)
        self._has_answered = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the library's own
        """Accept it; close another one if there are too many."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.limits.idle, self._check)
        if len(self.connections) > self.limits.connections:
            others = cast("set[_Connection]", self.connections) - {self}
            waiting = [other for other in others if not other.is_answering]
            oldest = min(waiting, key=lambda other: (other.is_serving, other.checked_at), default=self)
            oldest.transport.abort()
            self.connections.discard(oldest)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop its timer."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP. The application may be answering the same request: then it has nobody to answer.

        The library would send two answers, or one inside the other, and log each of these as an error of ours.
        """
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Note that an answer was completed."""
        self._has_answered = True
        super().on_response_complete()

    @property
    def is_serving(self) -> bool:
        """Whether a request is being served."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    @property
    def is_answering(self) -> bool:
        """Return whether a request has arrived in full on it and is being served."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    @property
    def checked_at(self) -> float:
        """The event loop's time of the next check. The earlier, the longer the connection has been idle."""
        return self._timer.when() if self._timer is not None else 0.0

    def _check(self) -> None:
        """Close it if no answer was completed: an endless header section or body, a slow or silent client."""
        if not self._has_answered and not self.is_answering:
            self.transport.abort()
            return
        self._has_answered = False
        self._timer = self.loop.call_later(self.limits.idle, self._check)


def max_connections() -> int:
    """Return the most connections to the port, by the process's limit of file descriptors."""
    return max(1, min(_MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE))


def raise_descriptor_limit() -> None:
    """Raise the process's soft limit of file descriptors to its hard limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _Server(uvicorn.Server):
    """Leaves signals to the worker, which drains before it stops."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """Listen on a port. Raises `OSError` if it is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol's number: without it, asyncio does not set TCP_NODELAY, and each answer is delayed by 40 ms.
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
async def serving(
    app: ASGIApp, host: str, port: int, inherited: int | None = None, limits: Limits | None = None
) -> AsyncIterator[int]:
    """Serve while inside; yields the port. Raises `OSError` if it is in use.

    `inherited` is the file descriptor of a socket that already listens. The default limits are those of operations.
    """
    limits = limits or Limits(max_connections())
    config = uvicorn.Config(
        app,
        http=type("_Limited", (_Connection,), {"limits": limits}),
        ws="none",
        h11_max_incomplete_event_size=_MAX_HEAD,
        backlog=limits.backlog,
        log_config=None,
        log_level="error",  # their number is limited: see `Seldom`
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=limits.grace,
    )
    with listen(host, port) if inherited is None else socket.socket(fileno=inherited) as listener:
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task
