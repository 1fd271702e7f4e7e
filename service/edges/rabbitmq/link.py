"""A tie to RabbitMQ that comes back.

A session ends as a whole: when the connection, a channel or the consumer goes, all of it is closed and a new
one is opened and everything declared again. So there is one way of recovering, and it is the way of starting.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from yarl import URL

from service.edges.rabbitmq.lane import UnroutableError
from service.edges.rabbitmq.session import (
    CONNECT_TIMEOUT,
    BrokerErrors,
    Session,
    open_session,
)
from service.edges.rabbitmq.topology import declare
from service.rules.history import REPEATED
from service.words.delivery import Publication
from service.words.value import dataclass

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 10.0


@dataclass(frozen=True, slots=True)
class LinkEvents:
    """What a link tells while it works."""

    connected: Callable[[str], None]
    """With host and port."""
    disconnected: Callable[[str], None]
    """With what ended the session."""
    refused: Callable[[str, BaseException], None]
    """An attempt to connect to that host and port failed; another follows."""
    unroutable: Callable[[Publication], None]
    repeated: Callable[[BaseException | None], None]
    """A publication was not confirmed and is repeated."""


class Link:
    """The relay's tie to RabbitMQ, over as many sessions as it takes. Make it where a loop is running."""

    def __init__(
        self,
        urls: tuple[str, ...],
        rooms: Iterable[float],
        events: LinkEvents,
        *,
        declare: bool,
        fast: bool = True,
    ) -> None:
        self._urls = urls
        self._rooms = tuple(rooms)
        self._events = events
        self._declare = declare
        self._fast = fast
        self._session = _promise()
        self._unconfirmed: dict[int, float] = {}
        self._numbers = itertools.count()

    async def run(self) -> None:
        """Keep a session open until cancelled. Raises `TopologyError` when the broker has other ideas."""
        waits = _waits()
        for url in _endless(self._urls):
            try:
                session = await self._open(url)
            except BrokerErrors as error:
                self._events.refused(_address(url), error)
                await asyncio.sleep(next(waits))
                continue
            waits = _waits()
            self._events.connected(_address(url))
            self._session.set_result(session)
            try:
                await session.broken.wait()
            finally:
                self._session = _promise()
                await session.close()
                self._events.disconnected(session.broken.cause)

    @property
    def is_connected(self) -> bool:
        """Tell whether there is a session now."""
        return self._session.done()

    @property
    def oldest_publication(self) -> float:
        """Tell how many seconds the one that has waited longest has been without a confirm."""
        return time.monotonic() - next(iter(self._unconfirmed.values())) if self._unconfirmed else 0.0

    async def session(self) -> Session:
        """Give the session there is, or wait for the next: never one that is over.

        Whoever asked again at once for one that is over would leave no room for the next to be opened.
        """
        while True:
            session = self._session.result() if self._session.done() else await asyncio.shield(self._session)
            if not session.broken.is_set():
                return session
            await asyncio.sleep(_FIRST_WAIT)

    async def publish(self, publications: Iterable[Publication]) -> None:
        """Return when the broker has confirmed every one, over as many sessions as it takes."""
        waiting = tuple(publications)
        if not waiting:
            return
        number = next(self._numbers)
        self._unconfirmed[number] = time.monotonic()
        try:
            waits = None
            while waiting:
                session = await self.session()
                failed = await session.publish_all(waiting)
                again = (self._repeat(session, publication, error) for publication, error in failed)
                waiting = tuple(publication for publication in again if publication is not None)
                if waiting:
                    waits = waits or _waits()
                    await asyncio.sleep(next(waits))
        finally:
            del self._unconfirmed[number]

    async def _open(self, url: str) -> Session:
        session = await open_session(url, fast=self._fast, consumes=True)
        try:
            declaring = declare(session.connection, self._rooms, passive=not self._declare)
            await session.broken.ask(declaring, CONNECT_TIMEOUT * 3)
        except BaseException:
            await session.close()
            raise
        return session

    def _repeat(self, session: Session, publication: Publication, error: Exception) -> Publication | None:
        """Give what is to be published again. A letter that is may be there twice, and says so."""
        unroutable = isinstance(error, UnroutableError)
        if unroutable and not publication.must_arrive:
            self._events.unroutable(publication)
            return None
        if unroutable:
            session.broken.set("queue_missing")  # a queue of ours is gone: a new session declares it again
        self._events.repeated(None if unroutable else error)
        if not publication.must_arrive:
            return publication
        return replace(publication, headers={**publication.headers, REPEATED: True})


async def connect(urls: Iterable[str]) -> Session:
    """Open one session, for a command that runs once: the first broker that answers.

    Raises one of `BrokerErrors`, the last one's, when none does. Nothing is declared.
    """
    last: BaseException = OSError("no broker is named")
    for url in urls:
        try:
            return await open_session(url)
        except BrokerErrors as error:
            last = error
    raise last


def _promise() -> asyncio.Future[Session]:
    return asyncio.get_running_loop().create_future()


def _waits() -> Iterator[float]:
    """Wait longer each time, and never in step with others."""
    wait = _FIRST_WAIT
    while True:
        yield random.uniform(wait / 2, wait)  # noqa: S311 - jitter
        wait = min(wait * 2, _LONGEST_WAIT)


def _endless(urls: tuple[str, ...]) -> Iterator[str]:
    while True:
        yield from urls


def _address(url: str) -> str:
    """Tell host and port alone: a URL holds a password."""
    address = URL(url)
    return f"{address.host}:{address.port or 5672}"
