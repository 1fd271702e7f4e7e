"""OAuth 2 access tokens as passwords: fetched, and given to the broker again on open connections before they end.

The broker accepts a new token by `connection.update-secret`, so a connection outlives its tokens. If no token can be
fetched, open connections stay for as long as the broker keeps them, and the token server is asked again after growing
pauses. Times are monotonic, so a step of the wall clock neither hastens nor delays a renewal.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Final, Protocol

import aiormq
from aio_pika.abc import AbstractConnection

from service.adapters.rabbitmq.lifetime import ConnectionLifetime, elapsed
from service.core.attempt.oauth import SHORTEST_RENEWAL, Token, TokenFailure, life, renewal_wait, retry_wait
from service.core.value import dataclass

_LONGEST_SLEEP: Final = 15.0
"""Seconds: timers stand still while the machine is suspended, and `elapsed` does not."""


_ROUNDING: Final = 1.0
"""Seconds: a token has the time of its end in whole ones (RFC 7519, 4.1.4)."""


class TokenError(ConnectionError):
    """There is no token, so no connection can be opened. The text has cause and detail, and no secret."""

    def __init__(self, failure: TokenFailure) -> None:
        super().__init__(f"{failure.cause}: {failure.detail}" if failure.detail else failure.cause)
        self.failure = failure


class TokenRefusedError(aiormq.exceptions.ProbableAuthenticationError):
    """The broker refuses the token."""


class TokenSource(Protocol):
    """A server of tokens, with our credentials there. Equal ones give equal tokens."""

    async def fetch(self) -> Token | TokenFailure:
        """Fetch a token, within seconds. Raises nothing but cancellation."""


@dataclass(frozen=True, slots=True)
class TokenEvents:
    """Functions called after each request for a token: for logs and metrics."""

    failed: Callable[[TokenFailure, bool], None] = lambda *_: None
    """With whether the cause is another than that of the request before."""
    fetched: Callable[[float, bool], None] = lambda *_: None
    """With the token's life in seconds, and whether the request before had failed."""


class AccessTokens:
    """The latest token, for all connections of this process."""

    def __init__(
        self,
        source: TokenSource,
        events: TokenEvents,
        *,
        clock: Callable[[], float] = elapsed,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._events = events
        self._clock = clock
        self._jitter = jitter
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._value: str | None = None
        self._renew_at = self._ends_at = 0.0
        self._failure: TokenFailure | None = None
        """Set from the first failure to the next success."""
        self._failures = 0
        """Failures in a row."""
        self._fetches = 0
        self._retry_at = 0.0

    def use(self, source: TokenSource) -> None:
        """Use another server or other credentials: open connections get a token of theirs at once."""
        if source != self._source:
            self._source, self._renew_at = source, 0.0
        self._retry_at = 0.0
        self._changed.set()

    @property
    def has_ended(self) -> bool:
        """Whether the latest token is no longer valid: a broker ends connections then."""
        return self._value is not None and self._clock() >= self._ends_at - _ROUNDING

    def drop(self) -> None:
        """Fetch another token before the next connection is opened: the broker has refused this one or its rights."""
        self._value = None

    def drop_if(self, *, refused: bool) -> None:
        """Drop it if a connection ended with a refusal."""
        if refused:
            self.drop()

    async def value(self) -> str:
        """Return a token that has not ended, without waiting for a renewal. Raises `TokenError`."""
        if self._value is None or self.has_ended:
            await self._fetch_after(self._fetches)
        if self._value is None or (self._failure is not None and self.has_ended):
            raise TokenError(self._failure or TokenFailure("no_token"))
        return self._value

    async def _fetch_after(self, fetches: int) -> None:
        """Fetch a token, unless another caller has done so since that number of fetches, or it is too soon."""
        async with self._lock:
            if self._fetches != fetches or self._clock() < self._retry_at:
                return
            began, source, found = self._clock(), self._source, await self._source.fetch()
            while source is not self._source:  # it was replaced meanwhile
                began, source, found = self._clock(), self._source, await self._source.fetch()
            now = self._clock()
            self._fetches += 1
            if isinstance(found, TokenFailure):
                is_new = self._failure is None or found.cause != self._failure.cause
                self._failure, self._failures = found, self._failures + 1
                self._retry_at = now + retry_wait(self._failures, self._jitter(), found.retry_after)
                self._events.failed(found, is_new)
                return
            seconds, recovered = life(found), self._failure is not None
            self._value, self._failure, self._failures = found.value, None, 0
            # The token may be as old as the request for it.
            self._ends_at = began + seconds
            self._renew_at = max(began + renewal_wait(seconds, self._jitter()), now + SHORTEST_RENEWAL)
            self._events.fetched(seconds, recovered)

    async def after(self, value: str) -> str:
        """Return the token that follows this one, when it is time; over as many failures as that takes."""
        while True:
            if self._value not in {None, value}:
                return self._value or ""
            due = self._retry_at if self._value is None else max(self._renew_at, self._retry_at)
            if (wait := due - self._clock()) > 0:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), min(wait, _LONGEST_SLEEP))
            else:
                await self._fetch_after(self._fetches)


async def renew_on(
    connection: AbstractConnection, tokens: AccessTokens, value: str, lifetime: ConnectionLifetime
) -> None:
    """Give the broker each new token on this connection, until the session is over.

    The answer has no deadline: a broker that is short of memory reads nothing from connections that publish.
    """
    with contextlib.suppress(aiormq.exceptions.AMQPError, RuntimeError, OSError):
        while True:
            value = await lifetime.ask(tokens.after(value))
            await lifetime.ask(_update(connection, tokens, value, lifetime))


async def _update(
    connection: AbstractConnection, tokens: AccessTokens, value: str, lifetime: ConnectionLifetime
) -> None:
    try:
        await connection.update_secret(value, reason="the token was renewed")
    except aiormq.exceptions.ConnectionNotAllowed:
        tokens.drop()
        lifetime.set("token_refused")
        raise
