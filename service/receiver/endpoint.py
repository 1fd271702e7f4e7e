"""`POST /reports/<token>`: one push of reports, answered with 200 once the broker has confirmed all of its events.

200  confirmed
400  not a report, a head that is too large, or a body whose length is not clear; after the latter the connection ends
404  another path, method or token; the body is not read
413  more than 4 MiB, or more results than are read
415  another content type, or a content encoding
503  the broker does not confirm now, or too much is being received; OMNI pushes again

Memory is limited twice: by the bytes of bodies that are kept, and by the bytes of bodies that are read and published at
the same time, since their events take about ten times as much.
"""

import asyncio
import hmac
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from hashlib import sha256
from typing import Final, Literal

from starlette.types import Receive, Scope, Send

from service.adapters.metrics import ReportMetrics
from service.adapters.rabbitmq import NotConfirmedError
from service.core.delivery import Publication
from service.core.result.delivery_report import MAX_PUSH, Push, Refusal, ReportEvent, read_push, render
from service.core.result.origin import UNKNOWN, Origin

PREFIX: Final = "/reports/"
MAX_HEADERS: Final = 16 * 1024
"""Bytes of names and values."""
MAX_KEPT: Final = 24 * 2**20
"""Bytes of all bodies that are kept."""
MAX_WORKING: Final = MAX_PUSH
"""Bytes of the bodies that are read and published at the same time."""
CONFIRM_WITHIN: Final = 10.0
"""Seconds from the end of a body to the answer. A push that is answered too late is pushed again: no harm is done."""
_SLICE: Final = 500
"""Events published at once."""
_RETRY_AFTER: Final = b"30"
_IDENTITY: Final = b"identity"

Answer = Refusal | Literal["confirmed", "unavailable", "wrong_token", "not_found", "broken"]

_STATUS: Final[dict[Answer, int]] = {
    "confirmed": 200,
    "not_a_report": 400,
    "wrong_token": 404,
    "not_found": 404,
    "too_large": 413,
    "unsupported_type": 415,
    "unavailable": 503,
    "broken": 503,
}
_AGAIN: Final = 503


class Budget:
    """A number of bytes, of which each task takes some while it works. First come, first served."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taking(self, size: int) -> AsyncIterator[None]:
        """Wait until so much is free, and have it while inside."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._call()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._free += size
            else:
                self._waiting.remove((size, turn))
            self._call()

    def _call(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            size, turn = self._waiting[0]
            if turn.cancelled():
                return  # its task removes it
            self._waiting.popleft()
            self._free -= size
            turn.set_result(None)


class Endpoint:
    """The ASGI application. Its effects are arguments: what publishes, the clock, and what reports a defect."""

    def __init__(  # noqa: PLR0913 - its effects
        self,
        tokens: Callable[[], Sequence[str]],
        publish: Callable[[Sequence[Publication]], Awaitable[None]],
        metrics: ReportMetrics,
        now: Callable[[], datetime],
        defect: Callable[[Exception], None],
        *,
        find: Callable[[Sequence[str]], Awaitable[Sequence[Origin]]] | None = None,
        record: Callable[[Sequence[ReportEvent]], None] = lambda _: None,
    ) -> None:
        """`find` returns the requests of messages. `record` keeps published events for an operator."""
        self._tokens = tokens
        self._publish = publish
        self._metrics = metrics
        self._now = now
        self._defect = defect
        self._find = find
        self._record = record
        self._kept = 0
        self._working = Budget(MAX_WORKING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if is_ambiguous := _is_ambiguous(scope):
            answer: Answer | None = "not_a_report"
        else:
            content_type = _header(scope, b"content-type").decode("latin-1")
            answer = self._refuse(scope) or await self._receive(content_type, receive)
        if answer is None:
            return
        self._metrics.pushes[answer].inc()
        status = _STATUS[answer]
        headers = [(b"content-length", b"0")]
        if status == _AGAIN:
            headers.append((b"retry-after", _RETRY_AFTER))
        if is_ambiguous:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _refuse(self, scope: Scope) -> Answer | None:
        """Refuse what needs no body; None where it is to be read."""
        path: str = scope["path"]
        if scope["method"] != "POST" or not path.startswith(PREFIX):
            return "not_found"
        if not self._is_token(path.removeprefix(PREFIX)):
            return "wrong_token"
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADERS:
            return "not_a_report"  # the server's own limit is for heads that come in several parts
        length = _header(scope, b"content-length")
        if length.isdigit() and (len(length) > len(str(MAX_PUSH)) or int(length) > MAX_PUSH):
            return "too_large"
        encoding = _header(scope, b"content-encoding").strip().lower()
        return None if encoding in {b"", _IDENTITY} else "unsupported_type"

    def _is_token(self, given: str) -> bool:
        """Compare with every token, in a time that depends on none of them."""
        digest = sha256(given.encode(errors="replace")).digest()
        return sum(hmac.compare_digest(digest, sha256(token.encode()).digest()) for token in self._tokens()) > 0

    async def _receive(self, content_type: str, receive: Receive) -> Answer | None:
        """Receive the body; None where the client has gone."""
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                part: bytes = message.get("body", b"")
                size += len(part)
                self._kept += len(part)
                if size > MAX_PUSH:
                    return "too_large"
                if self._kept > MAX_KEPT:
                    return "unavailable"
                parts.append(part)
                if not message.get("more_body"):
                    break
            body = b"".join(parts)
            parts.clear()
            return await self._handle(content_type, body)
        finally:
            self._kept -= size

    async def _handle(self, content_type: str, body: bytes) -> Answer:
        try:
            async with asyncio.timeout(CONFIRM_WITHIN), self._working.taking(len(body)):
                push = await _read(content_type, body, self._now())
                if isinstance(push, Push):
                    for start in range(0, len(push.events), _SLICE):
                        events = push.events[start : start + _SLICE]
                        origins = await self._origins(events)
                        await self._publish([render(*pair) for pair in zip(events, origins, strict=True)])
                        self._record(events)
        except (TimeoutError, NotConfirmedError):
            return "unavailable"
        except Exception as error:  # noqa: BLE001 - a defect of ours costs no report: OMNI pushes again
            self._defect(error)
            return "broken"
        if not isinstance(push, Push):
            return push
        self._count(push)
        return "confirmed"

    async def _origins(self, events: Sequence[ReportEvent]) -> Sequence[Origin]:
        if self._find is None:
            return [UNKNOWN] * len(events)
        return await self._find([event.result.message_id for event in events])

    def _count(self, push: Push) -> None:
        """Count what is confirmed: a push that is refused now comes again."""
        for (channel, outcome), number in push.counts.items():
            self._metrics.report(channel, outcome, number)
        for event in push.events:
            if (seconds := event.delivery_seconds) is not None:
                self._metrics.delivered(event.result.channel, seconds)


async def _read(content_type: str, body: bytes, now: datetime) -> Push | Refusal:
    reading = read_push(content_type, body, now)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            push: Push | Refusal = end.value
            return push
        await asyncio.sleep(0)  # others have their turn


def _is_ambiguous(scope: Scope) -> bool:
    """Return whether another server could disagree about where the request ends (RFC 9112, 6.1).

    If the connection stayed open, a proxy could give the answer to one client's push to another client.
    """
    is_chunked = bool(_header(scope, b"transfer-encoding"))
    return is_chunked and (bool(_header(scope, b"content-length")) or scope["http_version"] == "1.0")


def _header(scope: Scope, name: bytes) -> bytes:
    """Return a header's value; several are joined as HTTP has it, so that no reader takes one for the other."""
    return b",".join(value for key, value in scope["headers"] if key == name)
