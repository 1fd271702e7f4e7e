import asyncio
from collections.abc import Sequence

import pytest

from service.core.delivery import Publication, UnpublishableError
from service.core.result.report import SLICE
from service.worker.publishing import TurnPublisher
from tests.support.loop import settled


class World:
    """A broker that confirms when it is let to."""

    def __init__(self) -> None:
        self.published: list[list[str]] = []
        self.go = asyncio.Event()
        self.error: Exception | None = None
        self.publisher = TurnPublisher(self._publish)

    async def _publish(self, publications: Sequence[Publication]) -> None:
        self.published.append([one.message_id for one in publications])
        await self.go.wait()
        if self.error is not None:
            raise self.error

    def publish(self, *publications: Publication) -> "asyncio.Task[None]":
        return asyncio.create_task(self.publisher.publish(publications))


def an_event(name: str, size: int = 2) -> Publication:
    return Publication("omni.results", "message.accepted", bytes(size), "application/json", name)


async def test_the_first_of_a_turn_is_published_at_once_and_the_others_together() -> None:
    world = World()
    tasks = [world.publish(an_event(name)) for name in "abc"]
    await settled()
    tasks.append(world.publish(an_event("d")))
    await settled()
    assert world.published == [["a"], ["b", "c"], ["d"]]
    assert not any(task.done() for task in tasks)
    world.go.set()
    await asyncio.gather(*tasks)


async def test_nothing_to_publish_is_published_at_once() -> None:
    world = World()
    world.publish(an_event("a"))
    await asyncio.gather(world.publish(), world.publish())

    assert world.published == [["a"]]
    world.go.set()
    await settled()


async def test_no_more_are_published_together_than_a_slice() -> None:
    world = World()
    world.go.set()
    await asyncio.gather(*(world.publish(an_event(name, SLICE // 2)) for name in "abcdef"))

    assert world.published == [["a"], ["b", "c"], ["d", "e"], ["f"]]


async def test_only_publications_that_the_broker_never_takes_are_refused() -> None:
    world = World()
    events = [an_event(name) for name in "abcd"]
    tasks = [world.publish(one) for one in events[:3]]
    await settled()
    world.error = UnpublishableError([events[1]])
    world.go.set()
    first, refused, taken = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(first, UnpublishableError)
    assert isinstance(refused, UnpublishableError)
    assert refused.publications == (events[1],)
    assert taken is None


async def test_another_error_is_that_of_each() -> None:
    world = World()
    world.error = RuntimeError("the channel is closed")
    world.go.set()
    results = await asyncio.gather(*(world.publish(an_event(name)) for name in "abc"), return_exceptions=True)

    assert [type(one) for one in results] == [RuntimeError] * 3


async def test_a_publication_that_is_cancelled_does_not_count_as_confirmed() -> None:
    world = World()
    world.publish(an_event("first"))
    waiting = world.publish(an_event("a"))
    await settled()
    for task in world.publisher.tasks:
        task.cancel()
    await settled()

    assert waiting.cancelled()


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_one_that_is_cancelled_does_not_affect_the_others(cancelled: int) -> None:
    world = World()
    world.publish(an_event("first"))
    tasks = [world.publish(an_event(name)) for name in "ab"]
    await settled()
    tasks[cancelled].cancel()
    world.go.set()

    await tasks[1 - cancelled]
    assert world.published == [["first"], ["a", "b"]]
