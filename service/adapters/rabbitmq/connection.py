"""A connection to RabbitMQ that is opened again whenever it is lost.

A session ends as a whole. Then everything is closed, a new session is opened, and the topology is declared again. So
recovering is the same code as starting. This file has more than 250 lines since opening, declaring and the dead letters
that may be lost between the two have to be read together.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterable
from typing import Final, Literal

import aiormq
from yarl import URL

from service.adapters.rabbitmq.access_tokens import AccessTokens, TokenError, TokenRefusedError
from service.adapters.rabbitmq.publisher import FIRST_WAIT, REFUSALS, ConnectionEvents, Publisher, growing_waits
from service.adapters.rabbitmq.session import CONNECT_TIMEOUT, BrokerErrors, Session, open_session
from service.adapters.rabbitmq.topology import TopologyError, declare, declare_dead
from service.adapters.tls import ClientCertificateError, untrusted
from service.core import topology
from service.core.result.unstored import Unstored, arrive, restored

_DECLARE_TIMEOUT: Final = 3 * CONNECT_TIMEOUT


class ReconnectingConnection:
    """The worker's connection, over as many sessions as that takes. Create it in a running event loop."""

    def __init__(  # noqa: PLR0913 - all but three are given by name
        self,
        urls: tuple[str, ...],
        delays: Iterable[float],
        events: ConnectionEvents,
        *,
        declare: bool,
        fast: bool = True,
        tokens: AccessTokens | None = None,
    ) -> None:
        """`tokens`: the passwords are access tokens."""
        self._urls = urls
        self._changed = asyncio.Event()
        self._delays = tuple(delays)
        self._events = events
        self._declare = declare
        self._fast = fast
        self._tokens = tokens
        self._session: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        self.refusals = 0
        """Sessions in a row that ended because of the content of a publication."""
        self._publisher = Publisher(self, events)
        self.publish = self._publisher.publish
        self._url = ""
        self._restoring = asyncio.Lock()
        self._checking = asyncio.Lock()
        self._checked_at = 0.0
        self._unstored = Unstored()

    async def run(self) -> None:
        """Keep a session open until cancelled. Raises `TopologyError` if the broker's topology differs."""
        try:
            await self._run()
        finally:
            self._publisher.cancel()

    async def _run(self) -> None:
        waits, failures = growing_waits(), 0
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
            waits, failures = growing_waits(), 0
            self._url = url
            self._events.connected(_address(url))
            self._session.set_result(session)
            try:
                await session.broken.wait()
            finally:
                # Before the close, which takes time: from here on callers wait for the next session.
                self._session = asyncio.get_running_loop().create_future()
                self.refusals = self.refusals + 1 if session.broken.cause in REFUSALS else 0
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
        """Whether there is a session."""
        return self._session.done()

    @property
    def oldest_publication(self) -> float:
        """Seconds for which the oldest call of `publish` has waited; 0 if none waits."""
        return self._publisher.oldest_publication

    async def session(self) -> Session:
        """Return the current session, or wait for the next one. It was not over when this returned."""
        while True:
            session = self._session.result() if self._session.done() else await asyncio.shield(self._session)
            if not session.broken.is_set():
                return session
            # Without a pause, this loop would keep the event loop busy, and `run` could not open the next one.
            await asyncio.sleep(FIRST_WAIT)

    async def may_have_lost_dead_letters(self, session: Session, published_at: float) -> bool:
        """Return whether `omni.dead` is missing, or was when these were published; call it after they were confirmed.

        The exchange gives a dead letter to each bound queue. If only `omni.dead` was deleted, the broker confirms
        although no person will find the letter. If the broker does not answer, nothing is known, so the answer is yes.
        The queue may be there again: another publication has restored it since `published_at` (monotonic seconds).
        """
        if await self._is_missing(session):
            return True
        async with self._restoring:  # while it is declared again it is there, but may not be bound yet
            return self._unstored.restored_at >= published_at

    async def _is_missing(self, session: Session) -> bool:
        """Return whether `omni.dead` is missing, as far as is known. Callers at the same time share one question."""
        asked_at = time.monotonic()
        async with self._checking:
            if self._checked_at > asked_at:
                return False  # another caller has checked since, and the queue was there
            began = time.monotonic()
            try:
                missing = await session.missing((topology.DEAD,))
            except BrokerErrors:
                return True
            if not missing:
                self._checked_at = began
            return missing

    async def ensure_dead_letter_queues(self) -> None:
        """Declare the queues for dead letters and their notifications again if one was deleted."""
        session = await self.session()
        try:
            missing = await session.missing((topology.DEAD, topology.DIED))
        except BrokerErrors:
            return  # the session is over, and the next one declares everything
        if missing:
            await self.restore(session)

    def may_be_unstored(self, arrived_at: float) -> bool:
        """Return whether a dead letter may not be in `omni.dead`, by the arrival of its notification.

        Call it once for each notification; `arrived_at` is in monotonic seconds.
        """
        unstored, self._unstored = arrive(self._unstored, arrived_at)
        return unstored

    async def _declare_all(self, session: Session) -> None:
        if self._declare and await session.missing((topology.DEAD,)):
            # Notifications that are ready now may be about dead letters that were not stored.
            await declare_dead(session.connection)
            at = time.monotonic()
            unread = 0 if await session.missing((topology.DIED,)) else await session.ready(topology.DIED)
            self._unstored = restored(at, unread)
        await declare(session.connection, self._delays, passive=not self._declare)

    async def restore(self, session: Session) -> None:
        """Declare again what was deleted. If that fails, the session ends, and opening the next one shows the error."""
        async with self._restoring:
            if session.broken.is_set():
                return
            try:
                await session.broken.ask(self._declare_all(session), _DECLARE_TIMEOUT)
            except (TopologyError, *BrokerErrors):
                session.broken.set("queue_missing")

    async def open_another(self) -> Session:
        """Open a session to the same broker that nothing else uses. Raises one of `BrokerErrors`."""
        return await open_session(self._url, tokens=self._tokens)

    async def _open(self, url: str) -> Session:
        session = await open_session(url, fast=self._fast, consumes=True, tokens=self._tokens)
        try:
            await session.broken.ask(self._declare_all(session), _DECLARE_TIMEOUT)
        except BaseException:
            await session.close()
            raise
        return session


ConnectCause = Literal[
    "no_token",
    "token_refused",
    "untrusted_certificate",
    "client_certificate_refused",
    "login_refused",
    "access_refused",
    "mechanism_refused",
    "virtual_host_refused",
    "no_connection",
]


def connect_cause(error: BaseException) -> ConnectCause:  # noqa: PLR0911 - a list
    """Name why a connection could not be opened; all other causes are `no_connection`."""
    match error:
        case TokenError():
            return "no_token"
        case TokenRefusedError():
            return "token_refused"
        case ClientCertificateError():
            return "client_certificate_refused"
        case _ if untrusted(error):
            return "untrusted_certificate"
        case aiormq.exceptions.ProbableAuthenticationError():
            return "login_refused"
        case aiormq.exceptions.ChannelAccessRefused():
            return "access_refused"
        case aiormq.exceptions.AuthenticationError():
            return "mechanism_refused"
        case aiormq.exceptions.InvalidFrameError() if "Connection.OpenOk" in str(error):
            return "virtual_host_refused"  # the library drops the broker's reason: it closed instead of opening
        case _:
            return "no_connection"


async def connect(urls: Iterable[str], *, fast: bool = False, tokens: AccessTokens | None = None) -> Session:
    """Open one session for a command, to the first broker that answers. Nothing is declared.

    `fast`: with the fast path, through which publications go by `publish_all` alone. `tokens`: the passwords are
    access tokens.

    Raises one of `BrokerErrors`, that of the last broker, if none answers.
    """
    last: BaseException = OSError("no broker is named")
    for url in urls:
        try:
            return await open_session(url, fast=fast, tokens=tokens)
        except BrokerErrors as error:
            last = error
    raise last


def _address(url: str) -> str:
    """Return host and port alone: a URL holds a password."""
    address = URL(url)
    return f"{address.host}:{address.port or 5672}"
