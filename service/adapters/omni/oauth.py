"""The value of the `Authorization` header: fixed, or an OAuth token that is fetched and renewed in time.

Source: the vendor's page on authentication (client credentials at `/auth/1/oauth2/token`); names of the fields by
RFC 6749, sections 4.4 and 5.1.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import httpx

from service.adapters.omni.connection import NotConnectedError
from service.core.attempt.oauth import Token, read_token
from service.core.attempt.outcome import Denied, Unavailable
from service.core.value import dataclass

TOKENS: Final = "/auth/1/oauth2/token"
_EARLY: Final = 0.8
"""The share of a token's life after which it is renewed: it must not end while a call is on its way."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """`fixed` is a complete header value. Without it, `client_id` and `client_secret` are used to fetch tokens."""

    fixed: str | None = None
    client_id: str = ""
    client_secret: str = ""


class NoTokenError(Exception):
    """No token could be fetched, so nothing was sent to OMNI. `detail` is for a person and holds no secret."""

    def __init__(self, outcome: Denied | Unavailable, detail: str = "") -> None:
        super().__init__(outcome.cause)
        self.outcome = outcome
        self.detail = detail


async def _nothing() -> None:
    pass


class Authorization:
    """Provides the header's value. Fetches a token if there is none, or the last one is about to end."""

    def __init__(
        self,
        credentials: Credentials,
        client: httpx.AsyncClient,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self._credentials = credentials
        self._client = client
        self._now = now
        self._clock = clock
        self._lock = asyncio.Lock()
        self._value: str | None = None
        self._renew_at = 0.0
        self.refresh: Callable[[], Awaitable[None]] = _nothing
        """Called when a fixed value was refused: `use` may have been called when it returns."""

    def use(self, credentials: Credentials) -> None:
        """Use other credentials from now on. A token of the old ones is used no more."""
        if credentials != self._credentials:
            self._credentials = credentials
            self._value = None

    async def value(self, refused: str | None = None) -> str:
        """Return a value that is valid now, and not the one that OMNI has `refused`. Raises `NoTokenError`."""
        if self._credentials.fixed is not None:
            return self._credentials.fixed
        async with self._lock:
            if self._value is None or self._clock() >= self._renew_at or self._value == refused:
                credentials = self._credentials
                token = await self._fetch(credentials)
                value = f"Bearer {token.value}"
                if credentials is not self._credentials:
                    return value  # valid, though the client has changed meanwhile: not kept
                self._value, self._renew_at = value, self._clock() + token.lifetime * _EARLY
            return self._value

    async def fresh(self, refused: str) -> str | None:
        """Return another value than the one that OMNI has refused, if there is one. Raises `NoTokenError`."""
        if self._credentials.fixed == refused:
            await self.refresh()
        value = await self.value(refused)
        return value if value != refused else None

    async def _fetch(self, credentials: Credentials) -> Token:
        form = {
            "grant_type": "client_credentials",
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret,
        }
        try:
            response = await self._client.post(TOKENS, data=form)
            token = read_token(response.status_code, response.headers, response.content, self._now())
        except NotConnectedError as error:
            raise NoTokenError(error.outcome, error.detail) from None
        except Exception:  # noqa: BLE001 - in any case nothing was sent to OMNI
            raise NoTokenError(Unavailable("no_token")) from None  # the cause may repeat the answer
        if not isinstance(token, Token):
            raise NoTokenError(token)
        return token
