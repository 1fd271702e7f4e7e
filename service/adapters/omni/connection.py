"""One HTTP/1.1 connection: after each failure it is known whether a byte of the request had left.

Libraries blur that: one reports a connection lost after writing as a connect time-out, another repeats a request on a
new connection by itself. They also cost more: this takes a tenth of the CPU time of httpx over its own pool. Bytes are
parsed by httptools (llhttp, the parser of Node.js).
"""

import asyncio
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from math import inf
from typing import Final, Literal, cast

import httpx
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from service.core.attempt.outcome import Denied, Unavailable

MAX_ANSWER: Final = 16 * 1024 * 1024
_MAX_HEAD: Final = 64 * 1024
IDLE: Final = 15.0
"""Seconds; load balancers and servers commonly keep a silent connection open for 60 or longer."""
_FINAL: Final = 200
"""Statuses below are interim ones (RFC 9110, 15.2)."""
_KEEP_ALIVE: Final = re.compile(r"timeout\s*=\s*\"?([0-9]{1,6})", re.IGNORECASE | re.ASCII)
_MARGIN: Final = 1.0
"""Seconds before the server's own time-out in which no call is written any more: it may be closing by then."""

NotConnectedCause = Literal[
    "no_connection",
    "connect_timeout",
    "untrusted_certificate",
    "proxy_no_connection",
    "proxy_http_407",
    "proxy_refused",
]


class NotConnectedError(httpx.ConnectError):
    """There was no connection, so no byte of a request was sent. `detail` is for logs and holds no secret."""

    def __init__(self, cause: NotConnectedCause, detail: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.detail = detail

    @property
    def outcome(self) -> Unavailable | Denied:
        """Nothing was taken. A proxy's password is ours to fix."""
        return Denied(self.cause) if self.cause == "proxy_http_407" else Unavailable(self.cause)


class NotSentError(Exception):
    """A connection was open, and `may_send` did not allow to write: no byte was sent."""


class BrokenAnswerError(httpx.RemoteProtocolError):
    """The bytes received are no complete HTTP answer."""


@dataclass(slots=True)
class Answer:
    """One HTTP answer. `headers` has lower-case names; of a repeated one, the last value counts."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class HttpConnection(asyncio.Protocol):
    """One connection and the exchange on it. `expires_at` is monotonic seconds: no exchange begins after that."""

    def __init__(self, expires_at: float = inf) -> None:
        self.expires_at = expires_at
        self.idle_limit = IDLE
        """Seconds that it may be idle before it is used again, as the server's last answer allows."""
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
        """Whether it is open and no exchange is in progress."""
        is_open = self._transport is not None and not self._transport.is_closing()
        return is_open and self._can_stay and self._waiting is None

    async def ask(self, request: Iterable[bytes], timeout: float, longest: int = MAX_ANSWER) -> Answer:  # noqa: ASYNC109 - a timer is cheaper
        """Write a request and return the complete answer. A body of more than `longest` bytes is not kept.

        Raises `TimeoutError` after `timeout` seconds, `BrokenAnswerError`, and `OSError` if the connection was lost.
        """
        if self._transport is None or self._transport.is_closing():
            raise NotConnectedError("no_connection")  # lost before it was used
        self._size, self._kept, self._longest = 0, 0, longest
        self._waiting = self._loop.create_future()
        timer = self._loop.call_later(timeout, self._fail, TimeoutError())
        try:
            self._transport.writelines(request)
            return await self._waiting
        finally:
            timer.cancel()

    def abort(self) -> None:
        """Close it now. Bytes that still arrive are ignored."""
        self._can_stay = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the exchange, unless the end of the connection ends the answer (RFC 9112, 6.3)."""
        self._transport = None
        if self._in_body and exc is None and not self._answer.headers.keys() & {"content-length", "transfer-encoding"}:
            self.on_message_complete()
        elif self._in_body:
            self._fail(BrokenAnswerError("cut off"))
        else:
            self._fail(exc if isinstance(exc, OSError) else ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        """Parse. Bytes without a request before them close the connection."""
        self._size += len(data)
        if self._waiting is None or self._size > (MAX_ANSWER if self._in_body else _MAX_HEAD + len(data)):
            self._fail(BrokenAnswerError("too long"))
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._fail(BrokenAnswerError("not HTTP"))

    def on_message_begin(self) -> None:
        """Do not use the connection again after a second answer: it may belong to any request."""
        self._can_stay = self._can_stay and self._waiting is not None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Note that the body begins."""
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body, unless there is too much of it."""
        self._kept += len(body)
        if self._kept <= self._longest:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        """Return the answer to the caller, unless it is an interim one (1xx)."""
        answer, self._answer = self._answer, Answer()
        chunks, self._chunks = self._chunks, []
        self._in_body = False
        answer.status = self._parser.get_status_code()
        if answer.status < _FINAL or self._waiting is None:
            return
        self._can_stay = self._can_stay and self._parser.should_keep_alive()
        if (keep_alive := answer.headers.get("keep-alive")) is not None:
            self.idle_limit = idle_limit(keep_alive)
        body = b"".join(chunks) if self._kept <= self._longest else None
        try:
            if body is None or "content-encoding" in answer.headers:
                body = _decoded(body, answer.headers, self._longest)
            answer.body = body
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


def idle_limit(keep_alive: str) -> float:
    """Return for how many seconds a connection may be idle, from the header `Keep-Alive: timeout=5, max=100`."""
    found = _KEEP_ALIVE.search(keep_alive)
    return IDLE if found is None else min(IDLE, int(found[1]) - _MARGIN)


def _decoded(body: bytes | None, headers: dict[str, str], longest: int) -> bytes:
    """Undo a compression that was not asked for. Raises `BrokenAnswerError` if the body was too long to be kept."""
    if body is None:
        raise BrokenAnswerError("too long")
    if headers.pop("content-encoding").lower() not in {"gzip", "x-gzip", "deflate"}:
        return body
    reader = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # by its head, gzip or zlib
    try:
        whole = reader.decompress(body, longest)
    except zlib.error:
        raise BrokenAnswerError("not compressed as it says") from None
    if reader.unconsumed_tail:
        raise BrokenAnswerError("too long")
    return whole
