"""The lifetime of a session, and safe waiting for the broker's answers.

When heartbeats stop, the AMQP library does three things to code that waits for the broker:

* it raises `CancelledError` in some of it: taken for our own cancellation, the result of a call already made is lost;
* it lets some of it wait for ever: the consumer would stop for good;
* it blocks the task that cancels a wait: a shutdown would take too long.

So each request to the broker runs in a task of its own, and `ask` stops waiting for that task when the session is over
or the time is up.

Such a task must not be cancelled before its session is over. The library closes the channel of a cancelled request, and
the broker delivers everything unsettled on that channel again. If the request was to close the channel, it is closed
twice, and the broker ends the connection.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Protocol, TypeVar

T = TypeVar("T")


elapsed: Final = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
"""Monotonic seconds. On Linux they include the time for which the machine was suspended."""


_STANDSTILL: Final = 0.1
"""Seconds by which a timer may be late. If it is later, the process or its event loop was stopped."""


class Flow(Protocol):
    """Something whose reading can be paused."""

    def pause_reading(self) -> None:
        """Leave arriving bytes to the kernel and the broker."""

    def resume_reading(self) -> None:
        """End the pause."""


class ConnectionLifetime(asyncio.Event):
    """The event is set when the session is over. Each wait in `ask` and `outlast` ends then."""

    def __init__(self) -> None:
        super().__init__()
        self.cause = ""
        """Why it ended: the first cause counts, as others are often its consequences."""
        self.confirmed_at = self.last_read_at = elapsed()
        """When the latest request that got an answer was made; when bytes last arrived (both `elapsed`)."""
        self.confirming = asyncio.Lock()
        """Held while the broker is asked whether the session lives: one request serves all that wait."""
        self._waiting: set[asyncio.Future[None]] = set()
        self._left: set[asyncio.Future[Any]] = set()
        """Requests still running that no caller waits for. They are cancelled when the session is over."""
        self.flow: Flow | None = None
        """The connection of the deliveries; None if its reading cannot be paused."""
        self.unread_since: float | None = None
        """Since when reading is paused (`elapsed`); None while deliveries are read. Answers wait behind deliveries."""
        self._read_at = self.confirmed_at
        """When reading began or was last resumed (`elapsed`)."""
        self.ask_beside: Callable[[], Awaitable[object]] | None = None
        """Make a request on the session's other connection, whose reading is never paused."""

    def set(self, cause: str = "closed") -> None:
        """End it. Only the first `cause` is kept."""
        self.cause = self.cause or cause
        super().set()
        for waiter in self._waiting:
            _release(waiter)
        for task in tuple(self._left):
            task.cancel()

    @property
    def is_unread(self) -> bool:
        """Whether reading is paused."""
        return self.unread_since is not None

    @property
    def is_unanswered(self) -> bool:
        """Whether a request is still running that no caller waits for any more."""
        return bool(self._left)

    async def known_cause(self, seconds: float) -> str:
        """Return the cause, or an empty text if it lasts on for so many seconds.

        A request may raise a moment before the cause is known.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), seconds)
        return self.cause

    def pause_reading(self) -> None:
        """Stop reading deliveries. One that has arrived in part may still be completed."""
        if self.flow is not None:
            if self.unread_since is None:
                self.unread_since = elapsed()
            self.flow.pause_reading()

    def resume_reading(self) -> None:
        """Read deliveries again."""
        if self.flow is not None:
            self.unread_since, self._read_at = None, elapsed()
            self.flow.resume_reading()

    async def ask(self, request: Awaitable[T], seconds: float | None = None) -> T:
        """Return the broker's answer, or raise what the request raised.

        Raises `ConnectionError` when the session is over or `seconds` have passed. Time in which reading is paused, or
        the process is stopped, does not count: the answer may have arrived without having been read.
        """
        task = asyncio.ensure_future(request)
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

    async def give(self, request: Awaitable[object], seconds: float) -> None:
        """Wait for a request for at most so many seconds. Its result and its exceptions are ignored."""
        task = asyncio.ensure_future(request)
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
                asked_at = elapsed()  # bytes that arrived meanwhile are about to be read
            left = seconds if self.is_unread else max(asked_at, self._read_at) + seconds - elapsed()
        _release(waiter)

    def _leave(self, task: asyncio.Future[Any]) -> None:
        """Stop waiting for a task. It is cancelled only if the session is over: see the module's docstring."""
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # else asyncio logs the exception
        if task.done():
            return
        if self.is_set():
            task.cancel()
        else:
            self._left.add(task)
            task.add_done_callback(self._left.discard)

    async def outlast(self, waiter: asyncio.Future[None]) -> None:
        """Wait for a future. It is set by `set` too, so the caller checks whether the session is over."""
        self._waiting.add(waiter)
        if self.is_set():
            _release(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)


async def at_most(seconds: float, request: Awaitable[object]) -> None:
    """Wait for at most so many seconds, then cancel. For closing only: see the module's docstring."""
    task = asyncio.ensure_future(request)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        # Not awaited: the library may hold a cancelled wait up for long. Its exception is read, or asyncio logs it.
        task.cancel()
        task.add_done_callback(lambda done: done.cancelled() or done.exception())


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
