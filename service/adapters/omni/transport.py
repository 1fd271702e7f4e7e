"""HTTP/1.1 over connections of our own, so that it is known of every failure whether a byte had left before it.

Libraries blur that: one calls a connection lost after writing a time-out of connecting, another repeats a request on a
new connection by itself. And they cost: what is here takes a tenth of the CPU time of httpx over its own pool. Bytes
are parsed by httptools (llhttp, the parser of Node.js), and what is no call goes through httpx's API on top of this.

One exchange at a time on each connection, and no limit to how many there are: whoever calls has one. A connection that
has been idle for long is closed before the other end may: a call written as it closes would be in doubt.
"""

import asyncio
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Literal, cast

import httpx
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from service.core.attempt.outcome import MaySend

_MAX_ANSWER: Final = 16 * 1024 * 1024
_MAX_HEAD: Final = 64 * 1024
_IDLE: Final = 15.0
"""Seconds; the shortest that load balancers and servers commonly keep a silent connection open is 60."""


def always() -> bool:
    """Allow every call."""
    return True


class NotConnectedError(httpx.ConnectError):
    """There was no connection, and so not a byte was sent."""

    def __init__(self, cause: Literal["no_connection", "connect_timeout"]) -> None:
        super().__init__(cause)
        self.cause = cause


class NotSentError(Exception):
    """A connection was open, and `may_send` did not allow to write: not a byte was sent."""


class BrokenAnswerError(httpx.RemoteProtocolError):
    """What came is no whole HTTP answer."""


@dataclass(slots=True)
class Answer:
    """What came back. `headers` has lower-case names; of one that is repeated, the last value counts."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Transport(httpx.AsyncBaseTransport):
    """Connections to one origin; `connect_timeout` and `answer_timeout` are seconds, the latter from writing on.

    `ca_file` has certificates of authorities that are trusted besides the usual ones.
    """

    def __init__(
        self, origin: httpx.URL, connect_timeout: float, answer_timeout: float, ca_file: str | None = None
    ) -> None:
        self._origin = origin
        self._connect_timeout = connect_timeout
        self._answer_timeout = answer_timeout
        self._tls = httpx.create_ssl_context() if origin.scheme == "https" else None
        if self._tls is not None and ca_file is not None:
            self._tls.load_verify_locations(cafile=ca_file)
        self._idle: list[tuple[float, _Connection]] = []

    async def exchange(
        self, request: Iterable[bytes], may_send: MaySend = always, longest: int = _MAX_ANSWER
    ) -> Answer:
        """Write one whole request and give its answer, whatever it says. Never writes twice.

        A body of more than `longest` bytes, as they come or once they are decompressed, is not kept. The answer is a
        broken one then, unless its status says all there is to know: then it has no body.

        Raises `NotConnectedError` or `NotSentError` when nothing was sent; after that `TimeoutError`,
        `BrokenAnswerError`, or `OSError` when the connection was lost.
        """
        connection = self._take_idle() or await self._connect()
        try:
            if not may_send():  # the last moment: to connect takes seconds, and writing does not wait
                raise NotSentError
            return await connection.ask(request, self._answer_timeout, longest)
        finally:
            if connection.is_reusable:
                self._idle.append((time.monotonic(), connection))
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
        while self._idle:
            self._idle.pop()[1].abort()

    def _take_idle(self) -> "_Connection | None":
        """Take the connection that was used last; those beneath one that has been idle for long are no younger."""
        while self._idle:
            since, connection = self._idle.pop()
            if time.monotonic() - since > _IDLE:
                connection.abort()
            elif connection.is_reusable:
                return connection
        return None

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        host, port = self._origin.raw_host.decode(), self._origin.port or (443 if self._tls else 80)
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await loop.create_connection(
                    _Connection, host, port, ssl=self._tls, happy_eyeballs_delay=0.25
                )
        except TimeoutError:
            raise NotConnectedError("connect_timeout") from None
        except (OSError, ValueError):  # a name that cannot be one, or a certificate nobody trusts, is a ValueError
            raise NotConnectedError("no_connection") from None
        return connection


class _Connection(asyncio.Protocol):
    """One connection, and the exchange that is on it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._answer = Answer()
        self._chunks: list[bytes] = []
        self._size = 0
        self._longest = self._kept = 0
        self._in_body = False
        self._can_stay = True

    @property
    def is_reusable(self) -> bool:
        """Tell whether it is open, and nothing is under way on it."""
        is_open = self._transport is not None and not self._transport.is_closing()
        return is_open and self._can_stay and self._waiting is None

    async def ask(self, request: Iterable[bytes], patience: float, longest: int = _MAX_ANSWER) -> Answer:
        """Write a request and wait for the answer, whole, for so many seconds; its body has `longest` bytes at most."""
        if self._transport is None or self._transport.is_closing():
            raise NotConnectedError("no_connection")  # lost before it was used
        self._size, self._kept, self._longest = 0, 0, longest
        self._waiting = self._loop.create_future()
        timer = self._loop.call_later(patience, self._fail, TimeoutError())
        try:
            self._transport.writelines(request)
            return await self._waiting
        finally:
            timer.cancel()

    def abort(self) -> None:
        """Close it now; whatever comes on it counts no more."""
        self._can_stay = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to write."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what was under way, but for an answer whose end is the connection's (RFC 9112, 6.3)."""
        self._transport = None
        if self._in_body and exc is None and not self._answer.headers.keys() & {"content-length", "transfer-encoding"}:
            self.on_message_complete()
        elif self._in_body:
            self._fail(BrokenAnswerError("cut off"))
        else:
            self._fail(exc if isinstance(exc, OSError) else ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        """Parse; what nobody has asked for ends the connection."""
        self._size += len(data)
        if self._waiting is None or self._size > (_MAX_ANSWER if self._in_body else _MAX_HEAD + len(data)):
            self._fail(BrokenAnswerError("too long"))
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._fail(BrokenAnswerError("not HTTP"))

    def on_message_begin(self) -> None:
        """Take a second answer for what it is: the end of trust in this connection."""
        self._can_stay = self._can_stay and self._waiting is not None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Begin the body."""
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body, unless there is too much of it."""
        self._kept += len(body)
        if self._kept <= self._longest:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        """Hand the answer over, unless it only says that one will come."""
        answer, self._answer = self._answer, Answer()
        chunks, self._chunks = self._chunks, []
        self._in_body = False
        answer.status = self._parser.get_status_code()
        if answer.status < HTTPStatus.OK or self._waiting is None:
            return
        self._can_stay = self._can_stay and self._parser.should_keep_alive()
        try:
            whole = b"".join(chunks) if self._kept <= self._longest else None
            answer.body = _decoded(whole, answer.headers, self._longest)
        except BrokenAnswerError as error:
            if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
                self._fail(error)
                return
        if not self._waiting.done():
            self._waiting.set_result(answer)
        self._waiting = None

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
        self.abort()


def _decoded(body: bytes | None, headers: dict[str, str], longest: int) -> bytes:
    """Undo a compression that was not asked for. Raises `BrokenAnswerError` where the body is too long to be kept."""
    if body is None:
        raise BrokenAnswerError("too long")
    if headers.pop("content-encoding", "identity").lower() not in {"gzip", "x-gzip", "deflate"}:
        return body
    reader = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # by its head, gzip or zlib
    try:
        whole = reader.decompress(body, longest)
    except zlib.error:
        raise BrokenAnswerError("not compressed as it says") from None
    if reader.unconsumed_tail:
        raise BrokenAnswerError("too long")
    return whole
