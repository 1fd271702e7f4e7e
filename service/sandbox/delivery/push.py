"""Reports pushed to the `notifyUrl` of a request.

A push is a POST of `{"results": [one report]}`, in JSON or XML as `notifyContentType` says; any 2xx settles
it. One that fails is tried again after a minute, then after 1 min + 1 min * n * n for n = 1, 2, 3, in the
sandbox's time, and then given up. How the live API words a seen report in XML, and when it gives up, is not
published. Unless told otherwise nothing but loopback is called: reports for other places are not pushed.
"""

import asyncio
import contextlib
import heapq
import ipaddress
import itertools
from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import httpx

from service.sandbox.delivery.clock import Clock
from service.sandbox.delivery.report import Report
from service.sandbox.wire.format import Format
from service.sandbox.wire.response import written

RETRIES = 4

_AT_ONCE = 20  # pushes in flight
_PATIENCE_SECONDS = 5
_KEPT = 1000
_ROOTS = {False: "omniReportsResponse", True: "omniSeenReportsResponse"}


@dataclass(frozen=True)
class Push:
    """One attempt: `status` is what the receiver said, None if it could not be reached."""

    url: str
    report: Report
    attempt: int = 1
    status: int | None = None

    def document(self) -> dict[str, object]:
        """Write it for a control call."""
        return {"url": self.url, "attempt": self.attempt, "status": self.status, "report": self.report.document()}


def pause_after(attempt: int) -> timedelta | None:
    """Tell how long to wait after a failed attempt, counted from 1; None is to give up."""
    n = attempt - 1
    return timedelta(minutes=1 + n * n) if n < RETRIES else None


def is_loopback(url: str) -> bool:
    """Whether a URL leads nowhere but to this machine, without asking any name server."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        return parts.port != 0 and (host == "localhost" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False


class Courier:
    """Pushes reports at their moments, while an event loop runs."""

    def __init__(self, clock: Clock, keep: int, *, anywhere: bool) -> None:
        self._clock, self._keep, self._anywhere = clock, keep, anywhere
        self._numbers = itertools.count()
        self._waiting: list[tuple[datetime, int, Push]] = []
        self._made: deque[Push] = deque(maxlen=_KEPT)
        self._woken = asyncio.Event()
        self._round: asyncio.Task[None] | None = None

    def serves(self, url: str | None) -> bool:
        """Whether it pushes to that place."""
        return url is not None and (self._anywhere or is_loopback(url))

    def put(self, push: Push, at: datetime) -> None:
        """Push at that moment."""
        entry = (at, next(self._numbers), push)
        if len(self._waiting) < self._keep:
            heapq.heappush(self._waiting, entry)
        else:
            heapq.heappushpop(self._waiting, entry)
        self.wake()
        if self._round is None:
            self._round = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Look at the clock again: it was set, or there is something to push."""
        self._woken.set()

    def made(self) -> list[Push]:
        """List the latest attempts, oldest first."""
        return list(self._made)

    def forget(self) -> None:
        """Push nothing of what waits."""
        self._waiting.clear()
        self._made.clear()

    async def close(self) -> None:
        """Stop."""
        if self._round is not None:
            self._round.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._round

    async def _run(self) -> None:
        places = asyncio.Semaphore(_AT_ONCE)
        # On loopback there is nobody else, and reading the system's certificates takes its time.
        async with (
            httpx.AsyncClient(verify=self._anywhere, trust_env=False, timeout=_PATIENCE_SECONDS) as client,
            asyncio.TaskGroup() as group,
        ):
            while True:
                await self._moment()
                await places.acquire()
                if not self._waiting:
                    places.release()  # forgotten meanwhile
                    continue
                _, _, push = heapq.heappop(self._waiting)
                group.create_task(self._push(client, push)).add_done_callback(lambda _: places.release())

    async def _moment(self) -> None:
        """Wait until the first of what waits is due."""
        while True:
            self._woken.clear()
            left = self._clock.wait_for(self._waiting[0][0]) if self._waiting else None
            if left == 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._woken.wait()

    async def _push(self, client: httpx.AsyncClient, push: Push) -> None:
        form = Format(push.report.message.notice.content_type)
        body = written({"results": [push.report.document()]}, form, _ROOTS[push.report.seen], {"results": "result"})
        status = None
        # The latter two: hosts and ports that are none, found out on the way down to the socket.
        with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL, ValueError, OverflowError):
            answer = await client.post(push.url, content=body.encode(), headers={"content-type": form.value})
            status = answer.status_code
        self._made.append(replace(push, status=status))
        pause = pause_after(push.attempt)
        if (status is None or not httpx.codes.is_success(status)) and pause is not None:
            self.put(replace(push, attempt=push.attempt + 1), self._clock.now() + pause)
