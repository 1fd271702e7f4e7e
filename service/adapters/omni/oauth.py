"""OAuth tokens by client credentials: OMNI's `Authorization` header, which may also be fixed, and RabbitMQ's password.

Source: the vendor's page on authentication (client credentials at `/auth/1/oauth2/token`); names of the fields by
RFC 6749, sections 4.4 and 5.1.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import quote_plus

import httpx

from service.adapters.omni.connection import NotConnectedError
from service.adapters.omni.connector import Connector
from service.adapters.omni.transport import Transport
from service.core.attempt.oauth import Token, TokenFailure, describe_failure, read_token, refuses_request
from service.core.attempt.outcome import Denied, Unavailable
from service.core.value import dataclass

TOKENS: Final = "/auth/1/oauth2/token"
_CONNECT_TIMEOUT: Final = 5.0
_ANSWER_TIMEOUT: Final = 10.0
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
        self.fixed = credentials.fixed
        """The value, if no tokens are used."""
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
            self._credentials, self.fixed = credentials, credentials.fixed
            self._value = None

    async def value(self, refused: str | None = None) -> str:
        """Return a value that is valid now, and not the one that OMNI has `refused`. Raises `NoTokenError`."""
        if self.fixed is not None:
            return self.fixed
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
        if self.fixed == refused:
            await self.refresh()
        value = await self.value(refused)
        return value if value != refused else None

    async def _fetch(self, credentials: Credentials) -> Token:
        form = {"client_id": credentials.client_id, "client_secret": credentials.client_secret}
        try:
            _, token = await _request(self._client, TOKENS, form, self._now())
        except NotConnectedError as error:
            raise NoTokenError(error.outcome, error.detail) from None
        except Exception:  # noqa: BLE001 - in any case nothing was sent to OMNI
            raise NoTokenError(Unavailable("no_token")) from None  # the cause may repeat the answer
        if not isinstance(token, Token):
            raise NoTokenError(token)
        return token


ClientAuth = Literal["basic", "form"]


@dataclass(frozen=True, slots=True)
class TokenServer:
    """A server of tokens for RabbitMQ. Each fetch opens a connection: certificates and names may change in between.

    Our credentials go into the `Authorization` header, which every server must support (RFC 6749, 2.3.1). A server that
    refuses them there gets them in the form, as some support nothing else. The way that worked is kept.
    """

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None
    proxy: str | None = field(default=None, repr=False)
    """A URL, possibly with user and password."""
    ca_file: str | None = None
    _worked: list[ClientAuth] = field(default_factory=list, init=False, compare=False, repr=False)

    async def fetch(self) -> Token | TokenFailure:
        """Fetch a token, within 30 seconds. Raises nothing but cancellation."""
        failure: TokenFailure | None = None
        for way in self._worked or _WAYS:
            found, is_refused = await self._ask(way)
            if isinstance(found, Token):
                self._worked[:] = [way]
                return found
            failure = found if failure is None or found.cause == "client_refused" else failure
            if not is_refused:
                break
        return failure or TokenFailure("no_token")

    async def _ask(self, way: ClientAuth) -> tuple[Token | TokenFailure, bool]:
        """Ask once. The second value: whether the server answered that the request is wrong."""
        headers, form = self._credentials(way)
        if self.scope is not None:
            form["scope"] = self.scope
        try:
            url = httpx.URL(self.url)
            connector = await asyncio.to_thread(
                Connector, url, _CONNECT_TIMEOUT, proxy=self.proxy, ca_file=self.ca_file
            )
            async with httpx.AsyncClient(transport=Transport(url, connector, _ANSWER_TIMEOUT)) as client:
                status, token = await _request(client, self.url, form, datetime.now(UTC), headers)
        except NotConnectedError as failure:
            return TokenFailure(failure.cause, failure.detail), False
        except TimeoutError:
            text = f"the token server does not answer within {_ANSWER_TIMEOUT:.0f} s"
            return TokenFailure("timeout", text), False
        except Exception as error:  # noqa: BLE001 - its text may repeat the answer
            return TokenFailure("no_token", type(error).__name__), False
        if isinstance(token, Token):
            return token, False
        return describe_failure(token, status), refuses_request(status)

    def _credentials(self, way: ClientAuth) -> tuple[dict[str, str], dict[str, str]]:
        """Return headers and fields of the form."""
        if way == "form":
            return {}, {"client_id": self.client_id, "client_secret": self.client_secret}
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}"
        return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}, {}


_WAYS: Final[tuple[ClientAuth, ...]] = ("basic", "form")


async def _request(
    client: httpx.AsyncClient,
    url: str,
    form: Mapping[str, str],
    now: datetime,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> tuple[int, Token | Denied | Unavailable]:
    """Ask for a token; return the status, and what the answer means."""
    response = await client.post(url, data={"grant_type": "client_credentials", **form}, headers=headers)
    return response.status_code, read_token(response.status_code, response.headers, response.content, now)
