"""Waiting for the broker without being at the library's mercy.

When heartbeats stay away, the library ends some of what waits for the broker with `CancelledError`, lets other things
wait for ever, and holds up who cancels them. The first, taken for our own cancellation, would drop what is known of a
call already made; the second would put the intake to sleep; the third would hold up a shutdown. So each question to
the broker is a task of its own, which is left alone when the session is over or the time for it is.

A question is cancelled only once its session is over. The library closes the channel of a question that is cancelled.
All deliveries of that channel would be handed out again, and where the question was to close it, the broker ends the
connection, since the channel is closed twice.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Protocol, TypeVar

T = TypeVar("T")


elapsed: Final = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
"""Read a clock that nobody can set, in seconds. On Linux it also counts the time for which the machine is suspended."""


_STANDSTILL: Final = 0.1
"""Seconds by which a timer is late where the process, or its loop, has stood still."""


class Flow(Protocol):
    """The bytes that arrive on a connection."""

    def pause_reading(self) -> None:
        """Leave what comes to the broker, until it is resumed."""

    def resume_reading(self) -> None:
        """Read on."""


class ConnectionLifetime(asyncio.Event):
    """A session's life; the event is set when it is over. Whoever waits for an answer is let go then."""

    def __init__(self) -> None:
        super().__init__()
        self.cause = ""
        """What ended it: the first that was named."""
        self.confirmed_at = self.heard_at = elapsed()
        """When the latest question was asked that was answered, and when the broker was last heard from (`elapsed`)."""
        self.confirming = asyncio.Lock()
        """Held by whoever asks the broker whether the session lives: one question is enough for all."""
        self._waiting: set[asyncio.Future[None]] = set()
        self._left: set[asyncio.Future[Any]] = set()
        """Questions whose answers nobody waits for any more."""
        self.flow: Flow | None = None
        """Of the deliveries; nothing where it cannot be held up."""
        self.unread_since: float | None = None
        """Since when deliveries are not read (`elapsed`), nor answers that come with them; None where they are."""
        self._read_at = self.confirmed_at
        """Since when they are read."""
        self.ask_beside: Callable[[], Awaitable[object]] | None = None
        """Ask the broker something on the connection that is always read."""

    def set(self, cause: str = "closed") -> None:
        """End it."""
        self.cause = self.cause or cause
        super().set()
        for waiter in self._waiting:
            _release(waiter)
        for task in tuple(self._left):
            task.cancel()

    @property
    def is_unread(self) -> bool:
        """Tell whether deliveries are left unread now."""
        return self.unread_since is not None

    async def known_cause(self, seconds: float) -> str:
        """Give what ended it; empty while it lasts. What a question raises may be known this much sooner."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), seconds)
        return self.cause

    def pause_reading(self) -> None:
        """Read no more deliveries, until it is resumed. A delivery that has begun to come in may still be read."""
        if self.flow is not None:
            if self.unread_since is None:
                self.unread_since = elapsed()
            self.flow.pause_reading()

    def resume_reading(self) -> None:
        """Read deliveries again."""
        if self.flow is not None:
            self.unread_since, self._read_at = None, elapsed()
            self.flow.resume_reading()

    async def ask(self, question: Awaitable[T], seconds: float | None = None) -> T:
        """Give the answer, or what the question raised. Raises `ConnectionError` when there will be none.

        Of `seconds` those count in which the process runs and reads deliveries: an answer may come behind them.
        """
        task = asyncio.ensure_future(question)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task.add_done_callback(lambda _: _release(waiter))
        timer = asyncio.create_task(self._release_after(waiter, seconds)) if seconds is not None else None
        try:
            await self.outlast(waiter)
        finally:
            if timer:
                timer.cancel()
            self._leave(task)
        if not task.done() or task.cancelled():
            raise ConnectionResetError("the broker has gone silent")
        return task.result()

    async def give(self, question: Awaitable[object], seconds: float) -> None:
        """Wait for something, but no longer than so many seconds, and whatever becomes of it."""
        task = asyncio.ensure_future(question)
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            self._leave(task)

    async def _release_after(self, waiter: asyncio.Future[None], seconds: float) -> None:
        asked_at = elapsed()
        left = seconds
        while left > 0:
            due = elapsed() + left
            await asyncio.sleep(left)
            if elapsed() - due > _STANDSTILL:
                asked_at = elapsed()  # what has come meanwhile is about to be read
            left = seconds if self.is_unread else max(asked_at, self._read_at) + seconds - elapsed()
        _release(waiter)

    def _leave(self, task: asyncio.Future[Any]) -> None:
        """Ask no more; what a task raises in the end is of no interest."""
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        if task.done():
            return
        if self.is_set():
            task.cancel()
        else:
            self._left.add(task)
            task.add_done_callback(self._left.discard)

    async def outlast(self, waiter: asyncio.Future[None]) -> None:
        """Wait for a future; when this life is over, it is set."""
        self._waiting.add(waiter)
        if self.is_set():
            _release(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)


async def at_most(seconds: float, question: Awaitable[object]) -> None:
    """Wait for something, but no longer, and whatever becomes of it."""
    task = asyncio.ensure_future(question)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        _abandon(task)


def _abandon(task: asyncio.Future[Any]) -> None:
    """Cancel it and ask no more; what it raises in the end is nobody's business."""
    task.cancel()
    task.add_done_callback(lambda done: done.cancelled() or done.exception())


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
