"""Reports pushed to the `notifyUrl` of a request.

* A push is a POST of `{"results": [one report]}`, in JSON or XML as `notifyContentType` says. Any 2xx ends it.
* A failed push is repeated after 1 min, then after 1 min + 1 min * n * n for n = 1, 2, 3 of the sandbox's time; then
  it is dropped. When the live API gives up, and how it writes a seen report in XML, is not published.
* Only URLs on loopback are called, unless `push_anywhere` is set. Reports for other URLs are to be fetched.
"""

import asyncio
import contextlib
import heapq
import ipaddress
import itertools
from collections import deque
from collections.abc import Callable
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
_TIMEOUT_SECONDS = 5
_KEPT = 1000
_ROOTS = {False: "omniReportsResponse", True: "omniSeenReportsResponse"}


@dataclass(frozen=True)
class Push:
    """One attempt: `status` is the receiver's HTTP status, None if it did not respond."""

    url: str
    report: Report
    attempt: int = 1
    status: int | None = None

    def document(self) -> dict[str, object]:
        """Return it as the control path shows it."""
        return {"url": self.url, "attempt": self.attempt, "status": self.status, "report": self.report.document()}


def pause_after(attempt: int) -> timedelta | None:
    """Return the pause after a failed attempt, counted from 1; None ends the attempts."""
    n = attempt - 1
    return timedelta(minutes=1 + n * n) if n < RETRIES else None


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine; no name is resolved."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        return parts.port != 0 and (host == "localhost" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False


class WebhookPush:
    """Pushes reports when they are due, in a task of its own.

    `keep` bounds the reports that wait; with `anywhere` every URL is called. `announce` is called after each attempt.
    """

    def __init__(self, clock: Clock, keep: int, *, anywhere: bool, announce: Callable[[], None]) -> None:
        self._clock, self._keep, self._anywhere, self._announce = clock, keep, anywhere, announce
        self._numbers = itertools.count()
        self._waiting: list[tuple[datetime, int, Push]] = []
        self._made: deque[Push] = deque(maxlen=_KEPT)
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def serves(self, url: str | None) -> bool:
        """Whether it pushes to that URL."""
        return url is not None and (self._anywhere or is_loopback(url))

    def put(self, push: Push, at: datetime) -> None:
        """Push at that time; beyond `keep` the earliest is dropped."""
        entry = (at, next(self._numbers), push)
        if len(self._waiting) < self._keep:
            heapq.heappush(self._waiting, entry)
        else:
            heapq.heappushpop(self._waiting, entry)
        self.wake()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Read the clock again: it was set, or there is a new report."""
        self._woken.set()

    def made(self) -> list[Push]:
        """Return the latest attempts, oldest first."""
        return list(self._made)

    def drop(self, message_id: str, after: datetime) -> None:
        """Drop the reports of a message that are due after a time; repeated attempts of earlier ones stay."""
        self._waiting = [
            each
            for each in self._waiting
            if each[2].report.at <= after or each[2].report.message.message_id != message_id
        ]
        heapq.heapify(self._waiting)
        self.wake()

    def forget(self) -> None:
        """Drop all reports that wait, and the record of attempts."""
        self._waiting.clear()
        self._made.clear()

    async def close(self) -> None:
        """Stop the task."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)
        # Loopback needs no certificates, and loading those of the system is slow.
        async with (
            httpx.AsyncClient(verify=self._anywhere, trust_env=False, timeout=_TIMEOUT_SECONDS) as client,
            asyncio.TaskGroup() as group,
        ):
            while True:
                await self._due()
                await slots.acquire()
                if not self._waiting or self._clock.wait_for(self._waiting[0][0]) != 0:
                    slots.release()  # `forget` or `drop` was called meanwhile
                    continue
                _, _, push = heapq.heappop(self._waiting)
                group.create_task(self._push(client, push)).add_done_callback(lambda _: slots.release())

    async def _due(self) -> None:
        """Return when the first report is due."""
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
        # ValueError and OverflowError: invalid hosts and ports that only the socket layer detects.
        with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL, ValueError, OverflowError):
            answer = await client.post(push.url, content=body.encode(), headers={"content-type": form.value})
            status = answer.status_code
        self._made.append(replace(push, status=status))
        self._announce()
        pause = pause_after(push.attempt)
        if (status is None or not httpx.codes.is_success(status)) and pause is not None:
            self.put(replace(push, attempt=push.attempt + 1), self._clock.now() + pause)
