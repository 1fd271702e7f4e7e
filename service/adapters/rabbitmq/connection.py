"""A tie to RabbitMQ that comes back.

A session ends as a whole: when the connection, a channel or the consumer goes, all of it is closed and a new
one is opened and everything declared again. So there is one way of recovering, and it is the way of starting.
"""

import asyncio
import contextlib
import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Final, Literal

import aiormq
from aiormq.exceptions import DeliveryError
from yarl import URL

from service.adapters.rabbitmq.fast_path import UnroutableError
from service.adapters.rabbitmq.session import (
    CONNECT_TIMEOUT,
    BrokerErrors,
    Session,
    open_session,
)
from service.adapters.rabbitmq.topology import TopologyError, declare, declare_dead
from service.adapters.tls import untrusted
from service.core import topology
from service.core.delivery import Publication, UnpublishableError
from service.core.headers import mark_republished
from service.core.result.unstored import Unstored, arrive, restored
from service.core.value import dataclass

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 10.0
_FIRST_PROBE: Final = 0.5
_LONGEST_PROBE: Final = 8.0
"""Seconds between two probes of what the broker refuses: so long at most does it take to notice that there is room."""
_LOSSES: Final = 2
"""Sessions that may end over a publication, or over any in a row, before each that was lost is published alone."""
_REFUSALS: Final = frozenset({"channel_refused", "connection_refused"})
"""Causes of a session's end that point to the contents of a publication, not to rights, an exchange or the network."""
_CAUSE_WITHIN: Final = 1.0

_Held = tuple[Publication, asyncio.Future[Exception | None]]
_Failed = list[tuple[Publication, Exception]]


class _RefusedNowError(Exception):
    """The broker refuses what goes the same way, so this has not been published."""


@dataclass(frozen=True, slots=True)
class ConnectionEvents:
    """What a link tells while it works."""

    connected: Callable[[str], None]
    """With host and port."""
    disconnected: Callable[[str], None]
    """With what ended the session."""
    refused: Callable[[str, BaseException], None]
    """An attempt to connect to that host and port failed; another follows."""
    unroutable: Callable[[Publication], None]
    repeated: Callable[[Publication, BaseException | None], None]
    """A publication was not confirmed and is repeated."""
    skipped: Callable[[Publication], None]
    """The broker never takes this publication; nothing more is done about it here."""


class ReconnectingConnection:
    """The relay's tie to RabbitMQ, over as many sessions as it takes. Make it where a loop is running."""

    def __init__(
        self,
        urls: tuple[str, ...],
        delays: Iterable[float],
        events: ConnectionEvents,
        *,
        declare: bool,
        fast: bool = True,
    ) -> None:
        self._urls = urls
        self._changed = asyncio.Event()
        self._rooms = tuple(delays)
        self._events = events
        self._declare = declare
        self._fast = fast
        self._session = _promise()
        self._unconfirmed: dict[int, float] = {}
        self._numbers = itertools.count()
        self._refused: dict[tuple[str, str], deque[_Held]] = {}
        """Publications that wait because the broker refuses others with this exchange and routing key."""
        self._suspected: deque[_Held] = deque()
        """Publications that are to be published alone."""
        self._refusals = 0
        """Sessions that ended one after the other because of what was published."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._url = ""
        self._restoring = asyncio.Lock()
        self._looking = asyncio.Lock()
        self._looked_at = 0.0
        self._unstored = Unstored()

    async def run(self) -> None:
        """Keep a session open until cancelled. Raises `TopologyError` when the broker has other ideas."""
        try:
            await self._run()
        finally:
            for task in self._tasks:
                task.cancel()

    async def _run(self) -> None:
        waits, failures = _waits(), 0
        for number in itertools.count():
            url = self._urls[number % len(self._urls)]
            try:
                session = await self._open(url)
            except BrokerErrors as error:
                self._events.refused(_address(url), error)
                failures += 1
                if failures % len(self._urls) == 0:  # the next address is tried at once
                    await self._pause(next(waits))
                continue
            waits, failures = _waits(), 0
            self._url = url
            self._events.connected(_address(url))
            self._session.set_result(session)
            try:
                await session.broken.wait()
            finally:
                self._session = _promise()
                self._refusals = self._refusals + 1 if session.broken.cause in _REFUSALS else 0
                await session.close()
                self._events.disconnected(session.broken.cause)

    def use(self, urls: tuple[str, ...]) -> None:
        """Use other URLs for all further connections. One that could not be opened is tried again at once."""
        self._urls = urls
        self._url = next((url for url in urls if _address(url) == _address(self._url)), urls[0]) if self._url else ""
        self._changed.set()

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until the URLs or their files change."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

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
        """Return when the broker has confirmed every one, over as many sessions as it takes.

        Raises `UnpublishableError` for those it never takes, when all others are confirmed.
        """
        waiting = tuple(publications)
        if not waiting:
            return
        number = next(self._numbers)
        self._unconfirmed[number] = time.monotonic()
        try:
            failed = [one for one in await self._try_all(waiting) if not self._is_let_go(*one)]
            if failed:
                ends = await asyncio.gather(*(self._insist(publication, error) for publication, error in failed))
                refused = [publication for publication in ends if publication is not None]
                if refused:
                    raise UnpublishableError(refused)
        finally:
            del self._unconfirmed[number]

    async def _try_all(self, publications: Sequence[Publication]) -> _Failed:
        """Publish once, but not what goes where the broker refuses now; gives what is not confirmed, and why."""
        session = await self.session()
        held: _Failed = []
        if self._refused:
            held = [(one, _RefusedNowError()) for one in publications if _way(one) in self._refused]
            publications = [one for one in publications if _way(one) not in self._refused]
        return held + (await self._try(session, publications) if publications else [])

    async def _try(self, session: Session, publications: Sequence[Publication]) -> _Failed:
        """Publish once; gives what is not confirmed, or confirmed and not stored for a person, and why."""
        failed = await session.publish_all(publications)
        dead = [one for one in publications if one.exchange == topology.DEAD]
        if dead and await self._is_lost_to_a_person(session):
            failed = [one for one in failed if one[0].exchange != topology.DEAD]
            failed += [(one, UnroutableError()) for one in dead]
        return failed

    def _is_let_go(self, publication: Publication, error: Exception) -> bool:
        """Tell whether nothing more is to be done about it: no queue wants it, and none has to."""
        if isinstance(error, UnroutableError) and not publication.must_arrive:
            self._events.unroutable(publication)
            return True
        return False

    async def _insist(self, publication: Publication, error: Exception) -> Publication | None:
        """Publish it again until it is confirmed; gives it back where the broker never takes it."""
        waits, losses = _waits(), 0
        while True:
            match error:
                case UnpublishableError():
                    self._events.skipped(publication)
                    return publication
                case UnroutableError():  # a queue of ours is gone
                    self._events.repeated(publication, None)
                    await self._restore(await self.session())
                    failed = await self._try_all([mark_republished(publication)])
                case DeliveryError() | _RefusedNowError():
                    if isinstance(error, DeliveryError):
                        self._events.repeated(publication, error)
                        publication = mark_republished(publication)
                    failed = await self._wait_for(publication, self._waiting_way(_way(publication)))
                case _:
                    self._events.repeated(publication, error)
                    losses += 1
                    publication = mark_republished(publication)
                    await asyncio.sleep(next(waits))
                    if max(losses, self._refusals) < _LOSSES:
                        failed = await self._try_all([publication])
                    else:
                        failed = await self._wait_for(publication, self._waiting_alone())
            failed = [one for one in failed if not self._is_let_go(*one)]
            if not failed:
                return None
            ((_, error),) = failed
            if isinstance(error, UnroutableError):
                await asyncio.sleep(next(waits))

    async def _wait_for(self, publication: Publication, line: deque[_Held]) -> _Failed:
        """Wait in a line; gives the publication and why it is not confirmed, where it is not."""
        future: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        line.append((publication, future))
        error = await future
        return [] if error is None else [(publication, error)]

    def _waiting_way(self, way: tuple[str, str]) -> deque[_Held]:
        if way not in self._refused:
            self._refused[way] = deque()
            self._start(self._probe(way, self._refused[way]))
        return self._refused[way]

    async def _probe(self, way: tuple[str, str], line: deque[_Held]) -> None:
        """Publish one after growing pauses; when the broker takes it, twice as many each time.

        An exchange hands what one of its queues refuses to all others. So the others get few events more than once.
        """
        pauses, pause, size = _waits(_FIRST_PROBE, _LONGEST_PROBE), 0.0, 1
        try:
            pause = next(pauses)
            while line:
                await asyncio.sleep(pause)
                batch = _take(line, size)
                tried = await self._try(await self.session(), [publication for publication, _ in batch])
                failed = {id(publication): error for publication, error in tried}
                pause, size = 0.0, size * 2
                for publication, future in batch:
                    error = failed.get(id(publication))
                    if isinstance(error, DeliveryError):
                        self._events.repeated(publication, error)
                        line.append((publication, future))
                        pause, size = pause or next(pauses), 1
                    elif not future.done():
                        future.set_result(error)
                if not pause:
                    pauses = _waits(_FIRST_PROBE, _LONGEST_PROBE)
        finally:
            del self._refused[way]

    def _waiting_alone(self) -> deque[_Held]:
        if not self._suspected:
            self._start(self._publish_alone())
        return self._suspected

    async def _publish_alone(self) -> None:
        """Publish suspects one at a time, with nothing beside them: the broker may close the connection."""
        session: Session | None = None
        try:
            await asyncio.sleep(0)  # the first one joins the line after this was started
            while self._suspected:
                publication, future = self._suspected[0]
                await self.session()  # what it needs is declared by then
                try:
                    if session is None or session.broken.is_set():
                        session = await open_session(self._url)
                    failed = await self._try(session, [publication])
                    error = failed[0][1] if failed else None
                    if error is not None and not isinstance(error, (UnroutableError, DeliveryError)):
                        cause = await session.broken.known_cause(_CAUSE_WITHIN)
                        error = UnpublishableError([publication]) if cause in _REFUSALS else error
                except BrokerErrors as caught:
                    error = caught
                self._suspected.popleft()
                if not future.done():
                    future.set_result(error)
        finally:
            if session is not None:
                await session.close()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _is_lost_to_a_person(self, session: Session) -> bool:
        """Tell whether `omni.dead` is missing, as seen after a letter was confirmed.

        The exchange hands a letter to the queues that are there, so if this one alone is gone nothing comes back.
        Where the broker does not answer, its session has ended; then the letter is not known to be stored.
        """
        asked_at = time.monotonic()
        async with self._looking:
            if self._looked_at > asked_at:
                return False  # somebody has looked since
            began = time.monotonic()
            try:
                missing = await session.missing((topology.DEAD,))
            except BrokerErrors:
                return True
            if not missing:
                self._looked_at = began
            return missing

    async def look_after_dead_letters(self) -> None:
        """Make sure that there are queues for dead letters and their copies; declare them again where they are gone."""
        session = await self.session()
        try:
            missing = await session.missing((topology.DEAD, topology.DIED))
        except BrokerErrors:
            return  # the session has ended, and the next one declares everything
        if missing:
            await self._restore(session)

    def may_be_unstored(self, arrived_at: float) -> bool:
        """Tell whether a letter whose copy arrived then may have died while `omni.dead` was gone. Ask once for each."""
        unstored, self._unstored = arrive(self._unstored, arrived_at)
        return unstored

    async def _declare_all(self, session: Session) -> None:
        if self._declare and await session.missing((topology.DEAD,)):
            await declare_dead(session.connection)
            at = time.monotonic()
            unread = 0 if await session.missing((topology.DIED,)) else await session.ready(topology.DIED)
            self._unstored = restored(at, unread)
        await declare(session.connection, self._rooms, passive=not self._declare)

    async def _restore(self, session: Session) -> None:
        """Declare again what is gone. Where that fails, the session ends, and the next one says what is wrong."""
        async with self._restoring:
            if session.broken.is_set():
                return
            try:
                await session.broken.ask(self._declare_all(session), CONNECT_TIMEOUT * 3)
            except (TopologyError, *BrokerErrors):
                session.broken.set("queue_missing")

    async def _open(self, url: str) -> Session:
        session = await open_session(url, fast=self._fast, consumes=True)
        try:
            await session.broken.ask(self._declare_all(session), CONNECT_TIMEOUT * 3)
        except BaseException:
            await session.close()
            raise
        return session


ConnectCause = Literal[
    "untrusted_certificate", "login_refused", "mechanism_refused", "virtual_host_refused", "no_connection"
]


def connect_cause(error: BaseException) -> ConnectCause:
    """Name why a connection could not be opened; all other causes are `no_connection`."""
    match error:
        case _ if untrusted(error):
            return "untrusted_certificate"
        case aiormq.exceptions.ProbableAuthenticationError():
            return "login_refused"
        case aiormq.exceptions.AuthenticationError():
            return "mechanism_refused"
        case aiormq.exceptions.InvalidFrameError() if "Connection.OpenOk" in str(error):
            return "virtual_host_refused"  # the library drops the broker's reason: it closed instead of opening
        case _:
            return "no_connection"


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


def _waits(first: float = _FIRST_WAIT, longest: float = _LONGEST_WAIT) -> Iterator[float]:
    """Wait longer each time, and never in step with others."""
    wait = first
    while True:
        yield random.uniform(wait / 2, wait)  # noqa: S311 - jitter
        wait = min(wait * 2, longest)


def _way(publication: Publication) -> tuple[str, str]:
    """Name what decides which queues get it."""
    return publication.exchange, publication.routing_key


def _take(line: deque[_Held], count: int) -> list[_Held]:
    """Take so many from the head of a line, without those that nobody waits for any more."""
    taken: list[_Held] = []
    while line and len(taken) < count:
        if not (one := line.popleft())[1].done():
            taken.append(one)
    return taken


def _address(url: str) -> str:
    """Tell host and port alone: a URL holds a password."""
    address = URL(url)
    return f"{address.host}:{address.port or 5672}"
