"""Wakes the open pages when something changes.

A stream keeps one flag, however often something changes and however slowly it is read: the page then asks for what it
shows. A stream is woken at most every `_PAUSE` seconds.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

MOST_STREAMS = 16

_PAUSE = 0.25
_HEARTBEAT = 15.0  # a page that is gone is found out when it is written to


class Changes:
    """The streams of one sandbox."""

    def __init__(self) -> None:
        self._streams: set[asyncio.Event] = set()

    def announce(self) -> None:
        """Wake all streams."""
        for changed in self._streams:
            changed.set()

    @contextlib.contextmanager
    def stream(self) -> Iterator[AsyncIterator[bytes] | None]:
        """Open a stream while the context lasts; None if too many are open."""
        if len(self._streams) >= MOST_STREAMS:
            yield None
            return
        changed = asyncio.Event()
        self._streams.add(changed)
        try:
            yield _events(changed)
        finally:
            self._streams.discard(changed)


async def _events(changed: asyncio.Event) -> AsyncIterator[bytes]:
    yield b"retry: 2000\n\ndata: open\n\n"
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HEARTBEAT):
                await changed.wait()
        event = b"data: change\n\n" if changed.is_set() else b":\n\n"
        changed.clear()
        yield event
        await asyncio.sleep(_PAUSE)
