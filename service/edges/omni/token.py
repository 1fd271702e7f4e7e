"""What stands in the `Authorization` header: something fixed, or an OAuth token that is fetched and kept fresh.

Source: the vendor's page on authentication (client credentials at `/auth/1/oauth2/token`); names of the fields by
RFC 6749, sections 4.4 and 5.1.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import httpx
from pydantic import BaseModel, Field, ValidationError

from service.words.outcome import Denied, Unavailable
from service.words.value import dataclass

TOKENS: Final = "/auth/1/oauth2/token"
_EARLY: Final = 0.8
"""The share of a token's life after which it is renewed: a call on its way must not see it end."""
_CLIENT_ERROR, _SERVER_ERROR = 400, 500


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


class _Token(BaseModel):
    access_token: str = Field(pattern=r"^[\x21-\x7e]+$")  # it goes into a header, and nothing may go with it
    expires_in: float = Field(default=3600, gt=0)


class Authorization:
    """Gives the header's value, and fetches a token when there is need for one."""

    def __init__(self, credentials: Credentials, client: httpx.AsyncClient, now: Callable[[], datetime]) -> None:
        self._credentials = credentials
        self._client = client
        self._now = now
        self._lock = asyncio.Lock()
        self._value: str | None = None
        self._renew_at: datetime | None = None

    @property
    def renewable(self) -> bool:
        """Tell whether a refused value may be replaced by a fresh one."""
        return self._credentials.fixed is None

    async def value(self, refused: str | None = None) -> str:
        """Give a value that is valid now, and not the one OMNI has `refused`. Raises `NoTokenError`."""
        if self._credentials.fixed is not None:
            return self._credentials.fixed
        async with self._lock:
            stale = self._renew_at is not None and self._now() >= self._renew_at
            if self._value is None or stale or self._value == refused:
                self._value, self._renew_at = await self._fetch()
            return self._value

    async def _fetch(self) -> tuple[str, datetime]:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._credentials.client_id,
            "client_secret": self._credentials.client_secret,
        }
        try:
            response = await self._client.post(TOKENS, data=form)
        except Exception:  # noqa: BLE001 - whatever it is, nothing was sent to OMNI
            raise NoTokenError(Unavailable("no_token")) from None
        if _CLIENT_ERROR <= response.status_code < _SERVER_ERROR:
            raise NoTokenError(Denied(f"token_http_{response.status_code}"))
        try:
            token = _Token.model_validate_json(response.content)
        except ValidationError:
            raise NoTokenError(Unavailable("no_token")) from None  # the cause repeats the body
        return f"Bearer {token.access_token}", self._now() + timedelta(seconds=token.expires_in * _EARLY)
