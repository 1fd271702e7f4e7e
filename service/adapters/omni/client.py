"""The OMNI API over HTTP: one POST a call, and an outcome whatever happens.

The one thing that must not go wrong here is taking a call for "not taken" when it may have been: then a
phone rings twice. So only what provably happened before the first byte of the request left counts as not
taken, and everything else that is not an answer is `Unknown`.

A call goes to the transport as bytes; all else goes through httpx's API.
"""

import time
from collections.abc import Callable
from dataclasses import field
from datetime import datetime
from typing import Final, Literal

import httpx
from pydantic_core import from_json

from service import __version__
from service.adapters.omni.oauth import Authorization, Credentials, NoTokenError
from service.adapters.omni.transport import BrokenAnswerError, NotConnectedError, NotSentError, Transport, always
from service.core.attempt.answer import MOST_ENTRIES, longest_answer, read_answer, read_logs
from service.core.attempt.call import OmniCall
from service.core.attempt.lookup import LookupResult, Unanswered
from service.core.attempt.outcome import NOT_SENT, Denied, MaySend, Outcome, Rejected, Unavailable, Unknown
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
    """Where OMNI is, how we are known there, what is spoken, and how long we wait, in seconds."""

    base_url: str
    credentials: Credentials
    format: Literal["json", "xml"] = "json"
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    ca_file: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What calls hold and no event, log line or error may: it is taken out of answers, which may repeat a call."""


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
        self,
        access: OmniAccess,
        now: Callable[[], datetime],
        deprecated: Callable[[Deprecation], None] = _ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._deprecated = deprecated
        self._format = access.format
        self._secrets = tuple(secret.encode() for secret in access.secrets)
        origin, kind = httpx.URL(access.base_url), f"application/{access.format}"
        self._transport = Transport(origin, access.connect_timeout, access.read_timeout, access.ca_file)
        headers = {"accept": kind, "accept-encoding": "identity", "user-agent": f"omni-relay/{__version__}"}
        self._client = httpx.AsyncClient(base_url=origin, headers=headers, transport=self._transport)
        self._authorization = Authorization(access.credentials, self._client, now, clock)
        like = self._client.build_request("POST", ADVANCED, headers={"content-type": kind})
        del like.headers["content-length"]
        self._head = b"POST %s HTTP/1.1\r\n" % like.url.raw_path
        self._head += b"".join(b"%s: %s\r\n" % header for header in like.headers.raw)

    async def post(self, call: OmniCall, may_send: MaySend = always) -> Outcome:
        """Make one attempt; `NOT_SENT` where `may_send` did not allow it. Raises nothing but cancellation."""
        try:
            content = self._render(call)
        except XmlError as error:
            return Rejected("not_xml", str(error))
        try:
            authorization = await self._authorization.value()
            outcome = await self._attempt(call, content, authorization, may_send)
            if _is_refused(outcome) and self._authorization.renewable:
                fresh = await self._authorization.value(refused=authorization)
                # a 401 took nothing, so this is no second call
                outcome = await self._attempt(call, content, fresh, may_send)
        except NoTokenError as error:
            return error.outcome
        return outcome

    async def _attempt(self, call: OmniCall, content: bytes, authorization: str, may_send: MaySend) -> Outcome:
        own = b"authorization: %s\r\ncontent-length: %d\r\n\r\n" % (authorization.encode(), len(content))
        try:
            answer = await self._transport.exchange(
                (self._head, own, content), may_send, longest_answer(len(call.messages))
            )
            if "deprecation" in answer.headers or "sunset" in answer.headers:
                self._deprecated(Deprecation(answer.headers.get("deprecation"), answer.headers.get("sunset")))
            body = answer.body
            for secret in self._secrets:
                body = body.replace(secret, _MASK)
            return read_answer(answer.status, answer.headers, body, call.messages, self._now())
        except NotSentError:
            return NOT_SENT
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not an answer
            return read_failure(error)

    async def look(self, message_ids: tuple[str, ...]) -> LookupResult:
        """Ask OMNI's logs about messages, as many as fit in a URL. Raises nothing but cancellation.

        Never `/omni/1/reports`: it hands out each report once, and that once is somebody else's.
        """
        try:
            authorization = await self._authorization.value()
            lookup_result = await self._look(message_ids, authorization)
            if _is_refused(lookup_result) and self._authorization.renewable:
                return await self._look(message_ids, await self._authorization.value(refused=authorization))
        except NoTokenError as error:
            return Unanswered(error.outcome.cause)
        return lookup_result

    async def _look(self, message_ids: tuple[str, ...], authorization: str) -> LookupResult:
        query: dict[str, tuple[str, ...] | int] = {"messageId": message_ids, "limit": MOST_ENTRIES}
        # The same question is asked again and again: an old answer, kept by a gateway, would show nothing new.
        headers = {"authorization": authorization, "cache-control": "no-cache"}
        try:
            response = await self._client.get(LOGS, params=query, headers=headers)
            return read_logs(response.status_code, response.headers, response.content, message_ids, self._now())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not an answer
            return Unanswered(read_failure(error).cause)

    def _render(self, call: OmniCall) -> bytes:
        if self._format == "json":
            return call.to_json()
        return write_xml("request", from_json(call.to_json()))

    async def probe(self) -> int | None:
        """Ask for something harmless; gives the HTTP status, or None where there was no answer."""
        try:
            headers = {"authorization": await self._authorization.value()}
            response = await self._client.get(SCENARIOS, params={"limit": 1}, headers=headers)
        except (NoTokenError, httpx.HTTPError, OSError):
            return None
        return response.status_code

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()


def _is_refused(answer: Outcome | LookupResult) -> bool:
    """Tell whether the credentials were refused, by OMNI or by a gateway before it. Nothing was taken then."""
    match answer:
        case Denied(cause) | Unavailable(cause) | Unanswered(cause):
            return cause == _REFUSED
        case _:
            return False


def read_failure(error: Exception) -> Unavailable | Unknown:
    """Turn an exception of `OmniClient.post` into an outcome; total."""
    match error:
        case NotConnectedError():
            return Unavailable(error.cause)
        case TimeoutError():
            return Unknown("timeout")
        case BrokenAnswerError():
            return Unknown("broken_answer")
        case OSError():
            return Unknown("connection_lost")
        case _:
            return Unknown("exception")
