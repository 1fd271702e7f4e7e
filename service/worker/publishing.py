"""Publications on their way to the broker: in one go if they come in the same turn of the loop, and counted.

The first of a turn is published at once. The others of that turn follow together, since many requests end in the same
turn when they shared a call, and a confirm for each would cost more than the rest of their handling.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from service.core.delivery import Publication, UnpublishableError
from service.core.result.report import SLICE

Publish = Callable[[Sequence[Publication]], Awaitable[None]]
_Waiting = tuple[Sequence[Publication], "asyncio.Future[None]"]


class TurnPublisher:
    """Publishes together what comes in one turn of the loop."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._is_turn = False
        self._waiting: list[_Waiting] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Return when the broker has confirmed all. Raises `UnpublishableError` for those it never takes."""
        if not publications:
            return
        if not self._is_turn:
            self._is_turn = True
            asyncio.get_running_loop().call_soon(self._end_turn)
            await self._publish(publications)
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((publications, done))
        await done

    def _end_turn(self) -> None:
        self._is_turn = False
        waiting, self._waiting = self._waiting, []
        for group in _groups(waiting):
            task = asyncio.create_task(self._publish_group(group))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _publish_group(self, group: list[_Waiting]) -> None:
        """Publish for several callers. Only a confirm counts as one: each other end is raised where it belongs."""
        refused: Sequence[Publication] = ()
        try:
            await self._publish([one for publications, _ in group for one in publications])
        except UnpublishableError as error:
            refused = error.publications
        except Exception as error:  # noqa: BLE001 - raised where the publications came from
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
        except BaseException:
            for _, done in group:
                done.cancel()
            raise
        for publications, done in group:
            own = [one for one in publications if any(one is other for other in refused)]
            if own and not done.done():
                done.set_exception(UnpublishableError(own))
            elif not done.done():
                done.set_result(None)


def _groups(waiting: Iterable[_Waiting]) -> list[list[_Waiting]]:
    """Divide into groups of about a slice: the broker confirms one slice of a large request before the next."""
    groups: list[list[_Waiting]] = []
    size = 0
    for publications, done in waiting:
        own = sum([len(publication.body) for publication in publications])
        if not groups or size + own > SLICE:
            groups.append([])
            size = 0
        groups[-1].append((publications, done))
        size += own
    return groups
