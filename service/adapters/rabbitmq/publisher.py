"""Publishes until the broker has confirmed each publication, over as many sessions as that takes.

A broker can fail to confirm a publication in five ways, and each needs another answer:

* it returns it (no queue is bound): an event may be dropped, anything else waits for its queue to be declared again;
* it refuses it (nack, such as a full queue): others with the same exchange and routing key wait, and one is tried
  after growing pauses;
* the connection is lost: it is published again in the next session;
* it closes the connection because of one publication: those that were lost are published again one at a time, in a
  session of their own, until the guilty one is found;
* AMQP cannot carry it: it is reported as unpublishable.

Of those that wait for another try, the ones about urgent requests go first.

One publication can go through all of these, one after the other, hence the length of this file.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Final, Protocol

from aiormq.exceptions import DeliveryError

from service.adapters.rabbitmq.fast_path import UnroutableError
from service.adapters.rabbitmq.session import BrokerErrors, Session
from service.core import topology
from service.core.delivery import Publication, UnpublishableError
from service.core.headers import mark_republished
from service.core.lanes import LaneQueue
from service.core.value import dataclass

FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 10.0
_FIRST_PROBE: Final = 0.5
_LONGEST_PROBE: Final = 8.0
"""Most seconds between two probes of a queue that refuses: it takes at most that long to notice that it has room."""
_LOSSES: Final = 2
"""Sessions that may end over a publication, or over any in a row, before each that was lost is published alone."""
REFUSALS: Final = frozenset({"channel_refused", "connection_refused"})
"""Causes of a session's end that point to the content of a publication, not to rights, an exchange or the network."""
_CAUSE_WITHIN: Final = 1.0

_Waiting = tuple[Publication, asyncio.Future[Exception | None]]
"""A publication that waits for its turn, and the future that its caller waits for: None if it was confirmed."""
_Failed = list[tuple[Publication, Exception]]


class _RefusedNowError(Exception):
    """Not published, because the broker currently refuses others with the same route."""


@dataclass(frozen=True, slots=True)
class ConnectionEvents:
    """Functions called while a connection works: for logs and metrics."""

    connected: Callable[[str], None]
    """With host and port."""
    disconnected: Callable[[str], None]
    """With the cause."""
    refused: Callable[[str, BaseException], None]
    """An attempt to connect to that host and port failed; another one follows."""
    unroutable: Callable[[Publication], None]
    repeated: Callable[[Publication, BaseException | None], None]
    """A publication was not confirmed and is published again."""
    skipped: Callable[[Publication], None]
    """The broker never takes this publication."""


class Sessions(Protocol):
    """The sessions to publish in."""

    @property
    def refusals(self) -> int:
        """Sessions in a row that ended because of one of `REFUSALS`."""

    async def session(self) -> Session:
        """Return the current session, or wait for the next one."""

    async def open_another(self) -> Session:
        """Open a session to the same broker that nothing else uses."""

    async def restore(self, session: Session) -> None:
        """Declare queues and exchanges that have been deleted."""

    async def may_have_lost_dead_letters(self, session: Session, published_at: float) -> bool:
        """Return whether dead letters may have been confirmed without being stored in `omni.dead`.

        `published_at` is when they were published at the earliest, in monotonic seconds.
        """


class Publisher:
    """Publishes over the sessions of one connection."""

    def __init__(self, sessions: Sessions, events: ConnectionEvents) -> None:
        self._sessions = sessions
        self._events = events
        self._unconfirmed: dict[int, float] = {}
        """When each call of `publish` that still waits was made."""
        self._numbers = itertools.count()
        self._refused: dict[tuple[str, str], LaneQueue[_Waiting]] = {}
        """Publications that wait because the broker refuses others with this route."""
        self._to_publish_alone: LaneQueue[_Waiting] = LaneQueue()
        """Publications to be published alone, because one of them may make the broker close the connection."""
        self._publishes_alone = False
        self._tasks: set[asyncio.Task[None]] = set()

    def cancel(self) -> None:
        """Stop probing. Calls of `publish` that wait do not end by this."""
        for task in self._tasks:
            task.cancel()

    @property
    def oldest_publication(self) -> float:
        """Seconds for which the oldest call of `publish` has waited; 0 if none waits."""
        return time.monotonic() - next(iter(self._unconfirmed.values())) if self._unconfirmed else 0.0

    async def publish(self, publications: Iterable[Publication]) -> None:
        """Return when the broker has confirmed every one, over as many sessions as that takes.

        Raises `UnpublishableError` with those that it never takes, after all others are confirmed.
        """
        waiting = tuple(publications)
        if not waiting:
            return
        number = next(self._numbers)
        self._unconfirmed[number] = time.monotonic()
        try:
            failed = [one for one in await self._try_all(waiting) if not self._is_dropped(*one)]
            if failed:
                ends = await asyncio.gather(*(self._insist(publication, error) for publication, error in failed))
                refused = [publication for publication in ends if publication is not None]
                if refused:
                    raise UnpublishableError(refused)
        finally:
            del self._unconfirmed[number]

    async def _try_all(self, publications: Sequence[Publication]) -> _Failed:
        """Publish once, except where the broker refuses now; return those not confirmed, with the reason."""
        session = await self._sessions.session()
        refused: _Failed = []
        if self._refused:
            refused = [(one, _RefusedNowError()) for one in publications if _route(one) in self._refused]
            publications = [one for one in publications if _route(one) not in self._refused]
        return refused + (await self._try(session, publications) if publications else [])

    async def _try(self, session: Session, publications: Sequence[Publication]) -> _Failed:
        """Publish once; return those not confirmed, and dead letters confirmed but not stored in `omni.dead`."""
        published_at = time.monotonic()
        failed = await session.publish_all(publications)
        dead = [one for one in publications if one.exchange == topology.DEAD]
        if dead and await self._sessions.may_have_lost_dead_letters(session, published_at):
            failed = [one for one in failed if one[0].exchange != topology.DEAD]
            failed += [(one, UnroutableError()) for one in dead]
        return failed

    def _is_dropped(self, publication: Publication, error: Exception) -> bool:
        """Return whether nothing more is to be done: no queue is bound for it, and it does not have to arrive."""
        if isinstance(error, UnroutableError) and not publication.must_arrive:
            self._events.unroutable(publication)
            return True
        return False

    async def _insist(self, publication: Publication, error: Exception) -> Publication | None:
        """Publish again until it is confirmed. Return None, or the publication if the broker never takes it."""
        waits, losses = growing_waits(), 0
        while True:
            match error:
                case UnpublishableError():
                    self._events.skipped(publication)
                    return publication
                case UnroutableError():  # one of the relay's own queues was deleted
                    self._events.repeated(publication, None)
                    await self._sessions.restore(await self._sessions.session())
                    failed = await self._try_all([mark_republished(publication)])
                case DeliveryError() | _RefusedNowError():
                    if isinstance(error, DeliveryError):
                        self._events.repeated(publication, error)
                        publication = mark_republished(publication)
                    failed = await self._wait_in(self._refused_line(_route(publication)), publication)
                case _:
                    # The session ended before the confirm, so it may have been stored.
                    self._events.repeated(publication, error)
                    losses += 1
                    publication = mark_republished(publication)
                    await asyncio.sleep(next(waits))
                    if max(losses, self._sessions.refusals) < _LOSSES:
                        failed = await self._try_all([publication])
                    else:
                        failed = await self._wait_in(self._alone_line(), publication)
            failed = [one for one in failed if not self._is_dropped(*one)]
            if not failed:
                return None
            ((_, error),) = failed
            if isinstance(error, UnroutableError):
                await asyncio.sleep(next(waits))

    async def _wait_in(self, line: LaneQueue[_Waiting], publication: Publication) -> _Failed:
        future: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        line.append(publication.lane, (publication, future))
        error = await future
        return [] if error is None else [(publication, error)]

    def _refused_line(self, route: tuple[str, str]) -> LaneQueue[_Waiting]:
        if route not in self._refused:
            self._refused[route] = LaneQueue()
            self._start(self._probe(route, self._refused[route]))
        return self._refused[route]

    async def _probe(self, route: tuple[str, str], line: LaneQueue[_Waiting]) -> None:
        """Publish one after growing pauses; once the broker takes it, twice as many each time.

        If one of several bound queues refuses, the exchange has given the message to all others. Publishing few at a
        time keeps the number of repeated events small there.
        """
        pauses, pause, size = growing_waits(_FIRST_PROBE, _LONGEST_PROBE), 0.0, 1
        try:
            pause = next(pauses)
            while line:
                await asyncio.sleep(pause)
                batch = _take(line, size)
                tried = await self._try(await self._sessions.session(), [publication for publication, _ in batch])
                failed = {id(publication): error for publication, error in tried}
                pause, size = 0.0, size * 2
                for publication, future in batch:
                    error = failed.get(id(publication))
                    if isinstance(error, DeliveryError):
                        self._events.repeated(publication, error)
                        line.append(publication.lane, (publication, future))
                        pause, size = pause or next(pauses), 1
                    elif not future.done():
                        future.set_result(error)
                if not pause:
                    pauses = growing_waits(_FIRST_PROBE, _LONGEST_PROBE)
        finally:
            del self._refused[route]

    def _alone_line(self) -> LaneQueue[_Waiting]:
        if not self._publishes_alone:
            self._publishes_alone = True
            self._start(self._publish_alone())
        return self._to_publish_alone

    async def _publish_alone(self) -> None:
        """Publish one at a time in a session of their own: the broker may close it, and nothing else is lost then."""
        session: Session | None = None
        try:
            await asyncio.sleep(0)  # the first one joins the line after this task was started
            while self._to_publish_alone:
                publication, future = self._to_publish_alone.take()
                await self._sessions.session()  # by then its queues are declared
                try:
                    if session is None or session.broken.is_set():
                        session = await self._sessions.open_another()
                    failed = await self._try(session, [publication])
                    error = failed[0][1] if failed else None
                    if error is not None and not isinstance(error, (UnroutableError, DeliveryError)):
                        cause = await session.broken.known_cause(_CAUSE_WITHIN)
                        error = UnpublishableError([publication]) if cause in REFUSALS else error
                except BrokerErrors as caught:
                    error = caught
                if not future.done():
                    future.set_result(error)
        finally:
            self._publishes_alone = False
            if session is not None:
                await session.close()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def growing_waits(first: float = FIRST_WAIT, longest: float = _LONGEST_WAIT) -> Iterator[float]:
    """Yield seconds to wait, doubled each time, with jitter."""
    wait = first
    while True:
        yield random.uniform(wait / 2, wait)  # noqa: S311 - jitter
        wait = min(wait * 2, longest)


def _route(publication: Publication) -> tuple[str, str]:
    return publication.exchange, publication.routing_key


def _take(line: LaneQueue[_Waiting], count: int) -> list[_Waiting]:
    """Take at most so many whose turn it is, without those whose caller has been cancelled."""
    taken: list[_Waiting] = []
    while line and len(taken) < count:
        if not (one := line.take())[1].done():
            taken.append(one)
    return taken
