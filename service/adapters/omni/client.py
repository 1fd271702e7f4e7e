"""The OMNI API over HTTP: one POST a call, and an outcome in every case.

A call must never be taken for "not taken" if it may have been: then a person gets the message twice. So only failures
that provably happened before the first byte of the request left count as not taken. Every other failure without a
readable answer is `Unknown`.

A call goes to the transport as bytes. Log lookups, token requests and the probe go through httpx's API.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import field
from datetime import datetime
from typing import Final, Literal

import httpx
from pydantic_core import from_json

from service import __version__
from service.adapters.omni.connection import BrokenAnswerError, NotConnectedError, NotSentError
from service.adapters.omni.connector import Connector
from service.adapters.omni.oauth import Authorization, Credentials, NoTokenError
from service.adapters.omni.transport import LIFETIME, Transport
from service.core.attempt.answer import BYTES, BYTES_BESIDE, MOST_ENTRIES, read_answer, read_logs
from service.core.attempt.call import OmniCall
from service.core.attempt.lookup import LookupResult, Unanswered
from service.core.attempt.outcome import NOT_SENT, Accepted, Denied, Outcome, Rejected, Unavailable, Unknown
from service.core.omni.xml import XmlError
from service.core.omni.xml_writing import write_xml
from service.core.value import dataclass

ADVANCED: Final = "/omni/1/advanced"
LOGS: Final = "/omni/1/logs"
SCENARIOS: Final = "/omni/1/scenarios"
_REFUSED: Final = "http_401"
_MASK: Final = b"***"


@dataclass(frozen=True, slots=True)
class OmniAccess:
    """Where OMNI is, how it is reached, and our credentials. Times are seconds."""

    base_url: str
    credentials: Credentials
    format: Literal["json", "xml"] = "json"
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    connection_lifetime: float = LIFETIME
    proxy: str | None = None
    """A URL, possibly with user and password."""
    ca_file: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Secrets that calls contain. They are masked in answers, which may repeat a call: no event or log has them."""

    def connector(self) -> Connector:
        """Make what opens connections. Reads certificates, for some 30 ms. Raises `OSError` if it cannot."""
        return Connector(httpx.URL(self.base_url), self.connect_timeout, proxy=self.proxy, ca_file=self.ca_file)


@dataclass(frozen=True, slots=True)
class Deprecation:
    """OMNI announces that something in use will end: the headers `Deprecation` and `Sunset`, as received."""

    deprecation: str | None
    sunset: str | None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Why a probe got no HTTP status. `detail` is for a person and holds no secret."""

    cause: str
    detail: str = ""


def _ignore(_: object) -> None:
    pass


class OmniClient:
    """A client of one account. Open it once and keep it: its connections are reused."""

    def __init__(
        self,
        access: OmniAccess,
        now: Callable[[], datetime],
        deprecated: Callable[[Deprecation], None] = _ignore,
        clock: Callable[[], float] = time.monotonic,
        not_connected: Callable[[NotConnectedError], None] = _ignore,
    ) -> None:
        """`not_connected` gets each failure to connect."""
        self._now = now
        self._deprecated = deprecated
        self._format = access.format
        self._secrets = _encoded(access)
        origin, kind = httpx.URL(access.base_url), f"application/{access.format}"
        self._transport = Transport(
            origin,
            access.connector(),
            access.read_timeout,
            lifetime=access.connection_lifetime,
            on_failure=not_connected,
            clock=clock,
        )
        headers = {"accept": kind, "accept-encoding": "identity", "user-agent": f"omni-relay/{__version__}"}
        self._client = httpx.AsyncClient(base_url=origin, headers=headers, transport=self._transport)
        self._authorization = Authorization(access.credentials, self._client, now, clock)
        like = self._client.build_request("POST", ADVANCED, headers={"content-type": kind})
        del like.headers["content-length"]
        self._head = b"POST %s HTTP/1.1\r\n" % like.url.raw_path
        self._head += b"".join(b"%s: %s\r\n" % header for header in like.headers.raw)

    async def use(self, access: OmniAccess) -> None:
        """Use other credentials, another proxy and the authorities that its file has now, for all further calls.

        Calls in progress end unchanged. Raises `OSError` if the file cannot be used; then nothing has changed.
        """
        connector = await asyncio.to_thread(access.connector)
        self._secrets = _encoded(access, *self._secrets)  # calls in progress have the old ones
        self._authorization.use(access.credentials)
        self._transport.use(connector)

    def before_denied(self, refresh: Callable[[], Awaitable[None]]) -> None:
        """Have `refresh` called when OMNI refuses a fixed key; it may call `use`, and then the call is made again."""
        self._authorization.refresh = refresh

    async def post(self, call: OmniCall) -> Outcome:
        """Make one attempt; `NOT_SENT` if `call.may_send` did not allow it. Raises nothing but cancellation."""
        content = call.to_json()
        if self._format == "xml":
            try:
                content = write_xml("request", from_json(content))
            except XmlError as fault:
                return Rejected("not_xml", str(fault))
        try:
            authorization = self._authorization.fixed or await self._authorization.value()
            outcome = await self._attempt(call, content, authorization)
            if isinstance(outcome, Accepted) or not _is_refused(outcome):
                return outcome
            if fresh := await self._authorization.fresh(authorization):
                # a 401 took nothing, so this is no second call
                outcome = await self._attempt(call, content, fresh)
        except NoTokenError as error:
            return error.outcome
        return outcome

    async def _attempt(self, call: OmniCall, content: bytes, authorization: str) -> Outcome:
        own = b"authorization: %s\r\ncontent-length: %d\r\n\r\n" % (authorization.encode(), len(content))
        try:
            longest = BYTES_BESIDE + BYTES * len(call.messages)
            answer = await self._transport.exchange((self._head, own, content), call.may_send, longest)
            if "deprecation" in answer.headers or "sunset" in answer.headers:
                self._deprecated(Deprecation(answer.headers.get("deprecation"), answer.headers.get("sunset")))
            body = answer.body
            for secret in self._secrets:
                body = body.replace(secret, _MASK)
            return read_answer(answer.status, answer.headers, body, call.messages, self._now())
        except NotSentError:
            return NOT_SENT
        except Exception as error:  # noqa: BLE001 - none of them is an answer
            return read_failure(error)

    async def look(self, message_ids: tuple[str, ...]) -> LookupResult:
        """Ask OMNI's logs about messages, as many as fit in a URL. Raises nothing but cancellation.

        Never `/omni/1/reports`: it returns each report once, and another program of the account may need it.
        """
        try:
            authorization = await self._authorization.value()
            lookup_result = await self._look(message_ids, authorization)
            if _is_refused(lookup_result) and (fresh := await self._authorization.fresh(authorization)):
                return await self._look(message_ids, fresh)
        except NoTokenError as error:
            return Unanswered(error.outcome.cause)
        return lookup_result

    async def _look(self, message_ids: tuple[str, ...], authorization: str) -> LookupResult:
        query: dict[str, tuple[str, ...] | int] = {"messageId": message_ids, "limit": MOST_ENTRIES}
        # The same query is repeated until the message shows up: a gateway's cached answer would never show it.
        headers = {"authorization": authorization, "cache-control": "no-cache"}
        try:
            response = await self._client.get(LOGS, params=query, headers=headers)
            return read_logs(response.status_code, response.headers, response.content, message_ids, self._now())
        except Exception as error:  # noqa: BLE001 - none of them is an answer
            return Unanswered(read_failure(error).cause)

    async def probe(self) -> int | NoAnswer:
        """List one scenario, which changes nothing; return the HTTP status, or why there is none."""
        try:
            headers = {"authorization": await self._authorization.value()}
            response = await self._client.get(SCENARIOS, params={"limit": 1}, headers=headers)
        except NoTokenError as missing:
            return NoAnswer(missing.outcome.cause, missing.detail)
        except NotConnectedError as failure:
            return NoAnswer(failure.cause, failure.detail)
        except (httpx.HTTPError, OSError) as error:
            return NoAnswer(read_failure(error).cause)
        return response.status_code

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()


def _encoded(access: OmniAccess, *more: bytes) -> tuple[bytes, ...]:
    """List secrets, longest first: one may be a part of another."""
    return tuple(sorted({*(secret.encode() for secret in access.secrets), *more}, key=len, reverse=True))


def _is_refused(answer: Outcome | LookupResult) -> bool:
    """Whether OMNI, or a gateway before it, refused the credentials. Nothing was taken then."""
    match answer:
        case Denied(cause) | Unavailable(cause) | Unanswered(cause):
            return cause == _REFUSED
        case _:
            return False


def read_failure(error: Exception) -> Unavailable | Unknown | Denied:
    """Turn an exception of `OmniClient.post` into an outcome; total."""
    match error:
        case NotConnectedError():
            return error.outcome
        case TimeoutError():
            return Unknown("timeout")
        case BrokenAnswerError():
            return Unknown("broken_answer")
        case OSError():
            return Unknown("connection_lost")
        case _:
            return Unknown("exception")
