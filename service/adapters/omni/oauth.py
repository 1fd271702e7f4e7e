"""What stands in the `Authorization` header: something fixed, or an OAuth token that is fetched and kept fresh.

Source: the vendor's page on authentication (client credentials at `/auth/1/oauth2/token`); names of the fields by
RFC 6749, sections 4.4 and 5.1.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

import httpx

from service.core.attempt.oauth import Token, read_token
from service.core.attempt.outcome import Denied, Unavailable
from service.core.value import dataclass

TOKENS: Final = "/auth/1/oauth2/token"
_EARLY: Final = 0.8
"""The share of a token's life after which it is renewed: a call on its way must not see it end."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How we are known: `fixed` is a whole header value; else a client's id and secret."""

    fixed: str | None = None
    client_id: str = ""
    client_secret: str = ""


class NoTokenError(Exception):
    """There is no token to be had; `outcome` says whether that may change by itself. Nothing was sent to OMNI."""

    def __init__(self, outcome: Denied | Unavailable) -> None:
        super().__init__(outcome.cause)
        self.outcome = outcome


class Authorization:
    """Gives the header's value, and fetches a token when there is need for one."""

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

    @property
    def renewable(self) -> bool:
        """Tell whether a refused value may be replaced by a fresh one."""
        return self._credentials.fixed is None

    async def value(self, refused: str | None = None) -> str:
        """Give a value that is valid now, and not the one OMNI has `refused`. Raises `NoTokenError`."""
        if self._credentials.fixed is not None:
            return self._credentials.fixed
        async with self._lock:
            if self._value is None or self._clock() >= self._renew_at or self._value == refused:
                token = await self._fetch()
                self._value, self._renew_at = f"Bearer {token.value}", self._clock() + token.lifetime * _EARLY
            return self._value

    async def _fetch(self) -> Token:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._credentials.client_id,
            "client_secret": self._credentials.client_secret,
        }
        try:
            response = await self._client.post(TOKENS, data=form)
            token = read_token(response.status_code, response.headers, response.content, self._now())
        except Exception:  # noqa: BLE001 - whatever it is, nothing was sent to OMNI
            raise NoTokenError(Unavailable("no_token")) from None  # the cause may repeat what was said
        if not isinstance(token, Token):
            raise NoTokenError(token)
        return token
