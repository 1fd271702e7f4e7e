"""A pool of HTTP/1.1 connections to one origin.

One exchange at a time on each connection, and no limit to their number: the caller has one. A connection is replaced
while it is idle:

* after its lifetime, so that a changed DNS record is used within a minute;
* after 15 idle seconds, or sooner as the server's `Keep-Alive: timeout=` says: a call written while the other end
  closes the connection would be ambiguous.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import httpx

from service.adapters.omni.connection import (
    IDLE,
    MAX_ANSWER,
    Answer,
    HttpConnection,
    NotConnectedError,
    NotSentError,
)
from service.adapters.omni.connector import Connector
from service.core.attempt.outcome import MaySend, always

LIFETIME: Final = 60.0
_SPREAD: Final = 0.25
"""The share of its lifetime by which a connection may end earlier: those opened together do not end together."""


def _ignore(_: NotConnectedError) -> None:
    pass


class Transport(httpx.AsyncBaseTransport):
    """Connections to `origin`. All times are seconds; `answer_timeout` counts from writing on."""

    def __init__(  # noqa: PLR0913 - all but three have defaults and are given by name
        self,
        origin: httpx.URL,
        connector: Connector,
        answer_timeout: float,
        *,
        lifetime: float = LIFETIME,
        on_failure: Callable[[NotConnectedError], None] = _ignore,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._origin = origin
        self._connector = connector
        self._answer_timeout = answer_timeout
        self._lifetime = lifetime
        self._on_failure = on_failure
        self._clock = clock
        self._jitter = jitter
        self._idle: deque[tuple[float, HttpConnection]] = deque()
        """With the time since which each is idle, in that order."""

    def use(self, connector: Connector) -> None:
        """Open all further connections in another way. Exchanges in progress end on the connections that they have."""
        self._connector = connector
        self._close_idle()

    async def exchange(self, request: Iterable[bytes], may_send: MaySend = always, longest: int = MAX_ANSWER) -> Answer:
        """Write one complete request and return its answer, whatever its status. Never writes twice.

        A body of more than `longest` bytes, as received or once decompressed, is not kept. Then a 2xx raises
        `BrokenAnswerError`, and any other answer has no body, since its status is enough.

        Raises `NotConnectedError` or `NotSentError` if nothing was sent; after that `TimeoutError`,
        `BrokenAnswerError`, or `OSError` if the connection was lost.
        """
        connector, now, connection = self._connector, self._clock(), None
        while self._idle and connection is None:  # the one that was used last, if it may still be used
            since, idle = self._idle.pop()
            if now < idle.expires_at and now - since < idle.idle_limit and idle.is_reusable:
                connection = idle
            else:
                idle.abort()
        if connection is None:
            connection = await self._connect(connector)
        try:
            if not may_send():  # the last moment: connecting takes seconds, and writing does not wait
                raise NotSentError
            return await connection.ask(request, self._answer_timeout, longest)
        finally:
            if connector is self._connector and connection.is_reusable:
                now = self._clock()
                self._idle.append((now, connection))
                while now - self._idle[0][0] > IDLE:  # at low traffic the oldest are never taken
                    self._idle.popleft()[1].abort()
            else:
                connection.abort()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Serve httpx's own API. Raises as `exchange` does."""
        if (request.url.scheme, request.url.netloc) != (self._origin.scheme, self._origin.netloc):
            raise httpx.UnsupportedProtocol("this transport has one origin", request=request)
        body = await request.aread()
        lines = (b"%s: %s\r\n" % header for header in request.headers.raw)
        head = b"%s %s HTTP/1.1\r\n%s\r\n" % (request.method.encode(), request.url.raw_path, b"".join(lines))
        answer = await self.exchange((head, body))
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body, request=request)

    async def aclose(self) -> None:
        """Close the connections that are idle."""
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop()[1].abort()

    async def _connect(self, connector: Connector) -> HttpConnection:
        # Counted from here: the name is resolved after this.
        lifetime = self._lifetime * (1 - _SPREAD * self._jitter())
        connection = HttpConnection(self._clock() + lifetime)
        try:
            await connector.open(connection)
        except NotConnectedError as error:
            self._on_failure(error)
            raise
        return connection
