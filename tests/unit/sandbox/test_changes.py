import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack

from service.sandbox.changes import MOST_STREAMS, Changes


async def next_of(events: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(5):
        return await anext(events)


async def test_many_changes_while_nobody_reads_are_one_event() -> None:
    changes = Changes()
    with changes.stream() as events:
        assert events is not None
        assert b"data: open" in await next_of(events)
        for _ in range(100_000):
            changes.announce()

        assert await next_of(events) == b"data: change\n\n"
        waiting = asyncio.ensure_future(next_of(events))
        await asyncio.sleep(0.4)
        assert not waiting.done()
        changes.announce()
        assert await waiting == b"data: change\n\n"


async def test_streams_are_bounded_and_a_closed_one_makes_room() -> None:
    changes = Changes()
    with ExitStack() as streams:
        opened = [streams.enter_context(changes.stream()) for _ in range(MOST_STREAMS)]
        with changes.stream() as another:
            assert None not in opened
            assert another is None
    with changes.stream() as again:
        assert again is not None
