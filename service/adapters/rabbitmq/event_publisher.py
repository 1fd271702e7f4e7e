"""Publishes events for a process that consumes and declares nothing, and needs one right: to write to `omni.results`.

Unlike a worker's connection it never publishes anything again: the caller does that, as OMNI pushes a report
again that was not answered with 200.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Final

from yarl import URL

from service.adapters.rabbitmq.access_tokens import AccessTokens
from service.adapters.rabbitmq.fast_path import UnroutableError
from service.adapters.rabbitmq.session import BrokerErrors, Session, open_session
from service.core.delivery import Publication
from service.core.value import dataclass

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 10.0
MAX_UNCONFIRMED: Final = 8 * 2**20
"""Bytes of events that the broker has not confirmed: a broker that is blocked may confirm none for hours."""


class NotConfirmedError(Exception):
    """The broker has not confirmed every publication; some of them may be published."""


@dataclass(frozen=True, slots=True)
class PublisherEvents:
    """Callbacks for the events of a publisher."""

    connected: Callable[[str], None]
    """With host and port."""
    disconnected: Callable[[str], None]
    """With what ended the session."""
    refused: Callable[[str, BaseException], None]
    """An attempt to connect to that host and port failed; another follows."""
    unroutable: Callable[[int], None]
    """So many events came back, since no queue is bound."""


class EventPublisher:
    """A connection that is opened again whenever it ends."""

    def __init__(
        self, urls: Sequence[str], events: PublisherEvents, *, fast: bool = True, tokens: AccessTokens | None = None
    ) -> None:
        """`tokens`: the passwords are access tokens."""
        self._urls = tuple(urls)
        self._changed = asyncio.Event()
        self._events = events
        self._fast = fast
        self._tokens = tokens
        self._session: Session | None = None
        self._opened = asyncio.Event()
        self._unconfirmed = 0
        """Bytes of events, also of callers who have given up."""
        self._confirmed = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        """Return whether there is a session now."""
        return self._session is not None and not self._session.broken.is_set()

    async def run(self) -> None:
        """Keep a session open until cancelled."""
        wait = _FIRST_WAIT
        for number in itertools.count():
            url = self._urls[number % len(self._urls)]
            address = f"{URL(url).host}:{URL(url).port or 5672}"
            try:
                session = await open_session(url, fast=self._fast, tokens=self._tokens)
            except BrokerErrors as error:
                self._events.refused(address, error)
            else:
                opened_at = asyncio.get_running_loop().time()
                await self._hold(session, address)
                if asyncio.get_running_loop().time() - opened_at > _LONGEST_WAIT:
                    wait = _FIRST_WAIT  # one that is refused at once, for want of a right, is not opened ever faster
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), random.uniform(wait / 2, wait))  # noqa: S311 - jitter
            wait = _FIRST_WAIT if self._changed.is_set() else min(wait * 2, _LONGEST_WAIT)

    def use(self, urls: Sequence[str]) -> None:
        """Use other URLs for all further connections, and try again at once if there is none."""
        self._urls = tuple(urls)
        self._changed.set()

    async def _hold(self, session: Session, address: str) -> None:
        self._session = session
        self._opened.set()
        self._events.connected(address)
        try:
            await session.broken.wait()
        finally:
            self._session = None
            self._opened.clear()
            await session.close()
            self._events.disconnected(session.broken.cause)

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Return when the broker has confirmed every one. Raises `NotConfirmedError`.

        It waits for a connection, for room and for confirms, for as long as its caller lets it. Events of a caller who
        gives up stay written to the connection, and take room until they are confirmed or the connection ends.
        """
        size = sum(len(publication.body) for publication in publications)
        session = await self._find_room(size)
        publishing = asyncio.create_task(session.publish_all(publications))
        self._unconfirmed += size
        publishing.add_done_callback(lambda _: self._give_back(size))
        failed = await asyncio.shield(publishing)
        unroutable = sum(isinstance(error, UnroutableError) for _, error in failed)
        if unroutable:
            self._events.unroutable(unroutable)
        if unroutable < len(failed):
            raise NotConfirmedError

    async def _find_room(self, size: int) -> Session:
        """Wait for a session in which so many bytes may be published."""
        while True:
            if self._session is None or self._session.broken.is_set():
                await self._opened.wait()
                if not self.is_connected:
                    await asyncio.sleep(_FIRST_WAIT)  # it has ended and is being closed
            elif self._unconfirmed and self._unconfirmed + size > MAX_UNCONFIRMED:
                self._confirmed.clear()
                await self._confirmed.wait()
            else:
                return self._session

    def _give_back(self, size: int) -> None:
        self._unconfirmed -= size
        self._confirmed.set()
