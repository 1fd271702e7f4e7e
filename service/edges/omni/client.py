"""The OMNI API over HTTP: one POST a call, and an outcome whatever happens.

The one thing that must not go wrong here is taking a call for "not taken" when it may have been: then a
phone rings twice. So only what provably happened before the first byte of the request left counts as not
taken, and everything else that is not an answer is `Unknown`.

The transport maps a connection lost after writing to `httpx.ConnectTimeout` (httpx-aiohttp 0.2.0, its
exception table), so the httpx class alone proves nothing: what aiohttp raised beneath it decides.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from service import __version__
from service.edges.omni.token import Authorization, Credentials, NoTokenError
from service.rules.answer import read_answer, read_logs
from service.rules.xml import XmlError, write_xml
from service.words.call import OmniCall
from service.words.finding import Finding, Unanswered
from service.words.outcome import Denied, Outcome, Rejected, Unavailable, Unknown

ADVANCED: Final = "/omni/1/advanced"
LOGS: Final = "/omni/1/logs"
SCENARIOS: Final = "/omni/1/scenarios"
_EXPIRED: Final = Denied("http_401")
_REFUSED: Final = Unanswered("http_401")
_MOST_ENTRIES: Final = 1000  # the specification's own maximum for one answer
_MAX_ANSWER: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class OmniAccess:
    """Where OMNI is, how we are known there, what is spoken, and how long we wait, in seconds."""

    base_url: str
    credentials: Credentials
    format: Literal["json", "xml"] = "json"
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    concurrency: int = 100


@dataclass(frozen=True, slots=True)
class Deprecation:
    """OMNI's word that what we use will go: the headers `Deprecation` and `Sunset`, as they came."""

    deprecation: str | None
    sunset: str | None


def _ignore(_: Deprecation) -> None:
    pass


class OmniClient:
    """A client of one account; open it once and keep it: its connections are reused."""

    def __init__(
        self, access: OmniAccess, now: Callable[[], datetime], deprecated: Callable[[Deprecation], None] = _ignore
    ) -> None:
        self._now = now
        self._deprecated = deprecated
        self._format = access.format
        self._deadline = access.connect_timeout + access.read_timeout
        limits = httpx.Limits(max_connections=access.concurrency, max_keepalive_connections=access.concurrency)
        self._client = httpx.AsyncClient(
            base_url=access.base_url,
            headers={"accept": f"application/{access.format}", "user-agent": f"omni-relay/{__version__}"},
            timeout=httpx.Timeout(access.read_timeout, connect=access.connect_timeout, pool=None),
            transport=AiohttpTransport(limits=limits),
        )
        self._authorization = Authorization(access.credentials, self._client, now, self._deadline)

    async def post(self, call: OmniCall) -> Outcome:
        """Make one attempt. Raises nothing but cancellation.

        The deadline bounds the whole exchange: a read timeout alone starts again with every byte.
        """
        try:
            content = self._render(call)
        except XmlError as error:
            return Rejected("not_xml", str(error))
        try:
            authorization = await self._authorization.value()
            outcome = await self._attempt(call, content, authorization)
            if outcome == _EXPIRED and self._authorization.renewable:
                fresh = await self._authorization.value(refused=authorization)
                outcome = await self._attempt(call, content, fresh)  # a 401 took nothing, so this is no second call
        except NoTokenError as error:
            return error.outcome
        return outcome

    async def _attempt(self, call: OmniCall, content: bytes, authorization: str) -> Outcome:
        try:
            async with asyncio.timeout(self._deadline):
                return await self._exchange(call, content, authorization)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not an answer
            return read_failure(error)

    async def _exchange(self, call: OmniCall, content: bytes, authorization: str) -> Outcome:
        headers = {"authorization": authorization, "content-type": f"application/{self._format}"}
        async with self._client.stream("POST", ADVANCED, content=content, headers=headers) as response:
            body = await _read(response)
            if "deprecation" in response.headers or "sunset" in response.headers:
                self._deprecated(Deprecation(response.headers.get("deprecation"), response.headers.get("sunset")))
            return read_answer(response.status_code, response.headers, body, call.messages, self._now())

    async def look(self, message_ids: tuple[str, ...]) -> Finding:
        """Ask OMNI's logs about messages, as many as fit in a URL. Raises nothing but cancellation.

        Never `/omni/1/reports`: it hands out each report once, and that once is somebody else's.
        """
        try:
            authorization = await self._authorization.value()
            finding = await self._look(message_ids, authorization)
            if finding == _REFUSED and self._authorization.renewable:
                return await self._look(message_ids, await self._authorization.value(refused=authorization))
        except NoTokenError as error:
            return Unanswered(error.outcome.cause)
        return finding

    async def _look(self, message_ids: tuple[str, ...], authorization: str) -> Finding:
        query: dict[str, tuple[str, ...] | int] = {"messageId": message_ids, "limit": _MOST_ENTRIES}
        headers = {"authorization": authorization}
        try:
            async with asyncio.timeout(self._deadline):
                async with self._client.stream("GET", LOGS, params=query, headers=headers) as response:
                    body = await _read(response)
                return read_logs(response.status_code, response.headers, body, self._now())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not an answer
            return Unanswered(read_failure(error).cause)

    def _render(self, call: OmniCall) -> bytes:
        if self._format == "json":
            return call.payload.to_json()
        return write_xml("request", call.payload.model_dump(mode="json", by_alias=True, exclude_none=True))

    async def probe(self) -> int | None:
        """Ask for something harmless; gives the HTTP status, or None where there was no answer."""
        try:
            headers = {"authorization": await self._authorization.value()}
            response = await self._client.get(SCENARIOS, params={"limit": 1}, headers=headers)
        except (NoTokenError, httpx.HTTPError, aiohttp.ClientError, OSError):
            return None
        return response.status_code

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MAX_ANSWER:
            break  # what is cut off cannot be read, so a 2xx becomes doubtful of itself
    return bytes(body)


def read_failure(error: Exception) -> Denied | Unavailable | Unknown:
    """Turn an exception of `OmniClient.post` into an outcome; total."""
    beneath = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    match beneath:
        case aiohttp.ClientConnectorError():
            return Unavailable("no_connection")  # name not found, refused, unreachable, TLS
        case aiohttp.ConnectionTimeoutError():
            return Unavailable("connect_timeout")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return Denied("base_url")
        case _:
            return Unknown(_doubt(beneath))


def _doubt(error: BaseException) -> str:
    match error:
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientPayloadError() | httpx.DecodingError():
            return "broken_answer"
        case OSError() | aiohttp.ClientConnectionError():
            return "connection_lost"
        case _:
            return "exception"
