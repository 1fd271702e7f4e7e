"""Publishes events to the queues that `reply_to` names: best effort, and nothing waits for it.

A producer chooses the queue's name, and some names make the broker close the channel or the whole connection. So these
replies never share a connection with anything else, and only a bounded number of them waits. When the broker closes the
connection, each reply that was not confirmed is published alone. The one that closes it again is dropped, and its queue
gets no further reply for a while. All other replies arrive.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

import aiormq

from service.adapters.rabbitmq.access_tokens import AccessTokens
from service.adapters.rabbitmq.fast_path import UnroutableError
from service.adapters.rabbitmq.session import BrokerErrors, Session, open_session
from service.core.delivery import Publication, UnpublishableError
from service.core.result.reply_to import DIRECT_REPLY, ReplyPolicy, ReplyResult

MOST_REPLIES: Final = 2_000
MOST_BYTES: Final = 8 * 2**20
"""Of all replies that wait."""
_BATCH: Final = 100
"""Replies published before their confirms are waited for."""
_CONFIRM_TIMEOUT: Final = 5.0
_IDLE: Final = 30.0
"""Seconds without a reply after which the connection is closed."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_MOST_BARRED: Final = 1_000
_BARRED_SECONDS: Final = 600.0
_TRIES_ALONE: Final = 3
"""A connection may be lost for reasons of its own, so it takes several losses to drop a reply."""
_REFUSALS: Final = frozenset({"channel_refused", "connection_refused", "access_refused"})
_CAUSE_WITHIN: Final = 1.0


class ReplyPublisher:
    """Publishes replies in the background; calls `on_result` once for each."""

    def __init__(
        self,
        urls: tuple[str, ...],
        policy: ReplyPolicy,
        on_result: Callable[[ReplyResult], None],
        *,
        fast: bool = True,
        tokens: AccessTokens | None = None,
    ) -> None:
        """`tokens`: the passwords are access tokens."""
        self._tokens = tokens
        self._urls = urls
        self._policy = policy
        self._on_result = on_result
        self._fast = fast
        self._waiting: deque[Publication] = deque()
        self._to_publish_alone: deque[tuple[Publication, int]] = deque()
        """Replies that were not confirmed when a connection ended, with the times each was published alone."""
        self._count = self._bytes = 0
        self._barred: OrderedDict[str, float] = OrderedDict()
        """Queues whose name made the broker close the connection, and until when they get no reply."""
        self._offered = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def use(self, urls: tuple[str, ...]) -> None:
        """Use other URLs for all further connections."""
        self._urls = urls

    def offer(self, reply: Publication) -> None:
        """Accept a reply to be published soon, or drop it. Never waits."""
        result = self._policy.refusal(reply.routing_key)
        if result is None and self._barred.get(reply.routing_key, 0.0) > asyncio.get_running_loop().time():
            result = "closed"
        if result is None and self._closing:
            result = "lost"
        if result is None and (self._count >= MOST_REPLIES or self._bytes + len(reply.body) > MOST_BYTES):
            result = "overflow"
        if result is not None:
            self._on_result(result)
            return
        self._count += 1
        self._bytes += len(reply.body)
        self._waiting.append(reply)
        self._offered.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def close(self, seconds: float) -> None:
        """Publish waiting replies for at most so many seconds, and drop the rest."""
        self._closing = True
        self._offered.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for reply in (*self._waiting, *(reply for reply, _ in self._to_publish_alone)):
            self._done(reply, "lost")
        self._waiting.clear()
        self._to_publish_alone.clear()

    def _done(self, reply: Publication, result: ReplyResult) -> None:
        self._count -= 1
        self._bytes -= len(reply.body)
        self._on_result(result)

    async def _run(self) -> None:
        while self._waiting or self._to_publish_alone:  # replies may be offered while the connection is being closed
            await self._publish_until_idle()

    async def _publish_until_idle(self) -> None:
        """Open a connection, and publish until nothing has been offered for `_IDLE` seconds."""
        session: Session | None = None
        attempt, pause = 0, _FIRST_PAUSE
        try:
            while await self._has_work():
                if session is None or session.broken.is_set():
                    try:
                        url = self._urls[attempt % len(self._urls)]
                        session = await open_session(url, fast=self._fast, tokens=self._tokens)
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
        if not self._waiting and not self._to_publish_alone:
            self._offered.clear()
            if self._closing:
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._offered.wait(), _IDLE)
        return bool(self._waiting or self._to_publish_alone)

    async def _publish_some(self, session: Session) -> bool:
        """Publish one reply alone, or else a batch; return whether the connection can be used further."""
        alone = bool(self._to_publish_alone)
        if alone:
            batch = [self._to_publish_alone.popleft()]
        else:
            batch = [(self._waiting.popleft(), 0) for _ in range(min(_BATCH, len(self._waiting)))]
        replies = [reply for reply, _ in batch]
        errors: dict[int, Exception] = {}
        try:
            async with asyncio.timeout(_CONFIRM_TIMEOUT):
                errors = {id(reply): error for reply, error in await session.publish_all(replies)}
        except TimeoutError:
            for reply in replies:
                self._done(reply, "lost")
            return False
        except asyncio.CancelledError:
            self._waiting.extendleft(reversed(replies))
            raise
        if any(isinstance(error, BrokerErrors) and not _is_answer(error) for error in errors.values()):
            await session.broken.known_cause(_CAUSE_WITHIN)
        for reply, tries in batch:
            self._conclude(reply, errors.get(id(reply)), tries + alone, session)
        return not session.broken.is_set()

    def _conclude(self, reply: Publication, error: Exception | None, tries: int, session: Session) -> None:
        """Report the result of a reply, or have it published again, alone."""
        match error:
            case None:
                self._done(reply, "confirmed")
            case UnroutableError() if reply.routing_key.startswith(f"{DIRECT_REPLY}."):
                self._done(reply, "confirmed")  # RabbitMQ 3 returns a direct reply although it delivered it
            case UnroutableError():
                self._done(reply, "unroutable")
            case aiormq.exceptions.DeliveryError():
                self._done(reply, "refused")
            case UnpublishableError():
                self._done(reply, "invalid")
            case _ if tries and session.broken.cause in _REFUSALS:
                self._bar(reply.routing_key)
                self._done(reply, "closed")
            case _ if tries >= _TRIES_ALONE:
                self._done(reply, "lost")
            case _:
                self._to_publish_alone.append((reply, tries))

    def _bar(self, queue: str) -> None:
        self._barred[queue] = asyncio.get_running_loop().time() + _BARRED_SECONDS
        self._barred.move_to_end(queue)
        if len(self._barred) > _MOST_BARRED:
            self._barred.popitem(last=False)


def _is_answer(error: Exception) -> bool:
    return isinstance(error, aiormq.exceptions.DeliveryError)
