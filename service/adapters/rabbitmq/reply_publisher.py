"""Publishes copies of events for `reply_to`: best effort, on a connection of their own, and nothing waits for them.

A producer chooses the address, and some addresses make the broker close the channel or the whole connection. So the
copies never share a connection with anything else, and a bounded number of them waits. When the broker closes the
connection, each copy that was not confirmed is published alone: the one that closes it again is dropped, and its
address gets no further copy for a while. The other copies arrive.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

import aiormq

from service.adapters.rabbitmq.fast_path import UnroutableError
from service.adapters.rabbitmq.session import BrokerErrors, Session, open_session
from service.core.delivery import Publication, UnpublishableError
from service.core.result.reply_to import DIRECT_REPLY, ReplyPolicy, ReplyResult

MOST_COPIES: Final = 2_000
MOST_BYTES: Final = 8 * 2**20
_BATCH: Final = 100
"""Copies published before their confirms are waited for."""
_CONFIRM_TIMEOUT: Final = 5.0
_IDLE: Final = 30.0
"""Seconds without a copy after which the connection is closed."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_MOST_BARRED: Final = 1_000
_BARRED_SECONDS: Final = 600.0
_TRIES_ALONE: Final = 3
_REFUSALS: Final = frozenset({"channel_refused", "connection_refused", "access_refused"})
_CAUSE_WITHIN: Final = 1.0


class ReplyPublisher:
    """Takes copies without ever waiting, and tells what became of each."""

    def __init__(
        self, urls: tuple[str, ...], policy: ReplyPolicy, on_result: Callable[[ReplyResult], None], *, fast: bool = True
    ) -> None:
        self._urls = urls
        self._policy = policy
        self._on_result = on_result
        self._fast = fast
        self._waiting: deque[Publication] = deque()
        self._suspected: deque[tuple[Publication, int]] = deque()
        """Copies that were not confirmed when a connection ended, and how often each was published alone."""
        self._count = self._bytes = 0
        self._barred: OrderedDict[str, float] = OrderedDict()
        """Addresses that made the broker close the connection, and until when they get no copy."""
        self._offered = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def use(self, urls: tuple[str, ...]) -> None:
        """Use other URLs for all further connections."""
        self._urls = urls

    def offer(self, copy: Publication) -> None:
        """Take a copy to be published soon, or drop it."""
        result = self._policy.refusal(copy.routing_key)
        if result is None and self._barred.get(copy.routing_key, 0.0) > asyncio.get_running_loop().time():
            result = "closed"
        if result is None and self._closing:
            result = "lost"
        if result is None and (self._count >= MOST_COPIES or self._bytes + len(copy.body) > MOST_BYTES):
            result = "overflow"
        if result is not None:
            self._on_result(result)
            return
        self._count += 1
        self._bytes += len(copy.body)
        self._waiting.append(copy)
        self._offered.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def close(self, seconds: float) -> None:
        """Publish what waits, for so many seconds at most, and drop the rest."""
        self._closing = True
        self._offered.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for copy in (*self._waiting, *(copy for copy, _ in self._suspected)):
            self._done(copy, "lost")
        self._waiting.clear()
        self._suspected.clear()

    def _done(self, copy: Publication, result: ReplyResult) -> None:
        self._count -= 1
        self._bytes -= len(copy.body)
        self._on_result(result)

    async def _run(self) -> None:
        while self._waiting or self._suspected:  # what is offered while the connection is being closed
            await self._publish_until_idle()

    async def _publish_until_idle(self) -> None:
        """Open a connection, and publish until there has been nothing to publish for a while."""
        session: Session | None = None
        attempt, pause = 0, _FIRST_PAUSE
        try:
            while await self._has_work():
                if session is None or session.broken.is_set():
                    try:
                        session = await open_session(self._urls[attempt % len(self._urls)], fast=self._fast)
                    except BrokerErrors:
                        attempt += 1
                        await asyncio.sleep(pause)
                        pause = min(pause * 2, _LONGEST_PAUSE)
                        continue
                if await self._publish_some(session):
                    pause = _FIRST_PAUSE
                else:
                    await session.close()
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 1.0)
        finally:
            if session is not None:
                await session.close()

    async def _has_work(self) -> bool:
        if not self._waiting and not self._suspected:
            self._offered.clear()
            if self._closing:
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._offered.wait(), _IDLE)
        return bool(self._waiting or self._suspected)

    async def _publish_some(self, session: Session) -> bool:
        """Publish one suspect, or else what waits; tells whether the connection is still of use."""
        alone = bool(self._suspected)
        if alone:
            batch = [self._suspected.popleft()]
        else:
            batch = [(self._waiting.popleft(), 0) for _ in range(min(_BATCH, len(self._waiting)))]
        copies = [copy for copy, _ in batch]
        errors: dict[int, Exception] = {}
        try:
            async with asyncio.timeout(_CONFIRM_TIMEOUT):
                errors = {id(copy): error for copy, error in await session.publish_all(copies)}
        except TimeoutError:
            for copy in copies:
                self._done(copy, "lost")
            return False
        except asyncio.CancelledError:
            self._waiting.extendleft(reversed(copies))
            raise
        if any(isinstance(error, BrokerErrors) and not _is_answer(error) for error in errors.values()):
            await session.broken.known_cause(_CAUSE_WITHIN)
        for copy, tries in batch:
            self._judge(copy, errors.get(id(copy)), tries + alone, session)
        return not session.broken.is_set()

    def _judge(self, copy: Publication, error: Exception | None, tries: int, session: Session) -> None:
        """Tell what became of a copy, or have it published again, alone."""
        match error:
            case None:
                self._done(copy, "confirmed")
            case UnroutableError() if copy.routing_key.startswith(f"{DIRECT_REPLY}."):
                self._done(copy, "confirmed")  # RabbitMQ 3 returns also what it has handed to the requester
            case UnroutableError():
                self._done(copy, "unroutable")
            case aiormq.exceptions.DeliveryError():
                self._done(copy, "refused")
            case UnpublishableError():
                self._done(copy, "invalid")
            case _ if tries and session.broken.cause in _REFUSALS:
                self._bar(copy.routing_key)
                self._done(copy, "closed")
            case _ if tries >= _TRIES_ALONE:
                self._done(copy, "lost")
            case _:
                self._suspected.append((copy, tries))

    def _bar(self, queue: str) -> None:
        self._barred[queue] = asyncio.get_running_loop().time() + _BARRED_SECONDS
        self._barred.move_to_end(queue)
        if len(self._barred) > _MOST_BARRED:
            self._barred.popitem(last=False)


def _is_answer(error: Exception) -> bool:
    return isinstance(error, aiormq.exceptions.DeliveryError)
