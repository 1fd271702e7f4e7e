"""How OMNI gets to know us, and how it tells what will go: `OmniClient` against a small account of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.edges.omni import Credentials, Deprecation, OmniAccess, OmniClient
from service.sandbox import serve
from service.words.call import OmniCall
from service.words.omni.channel.sms import Sms
from service.words.omni.content import Content
from service.words.omni.destination import To
from service.words.outcome import Accepted, Denied, Rejected, Unavailable
from service.words.request import Message

TO = To(phone_number="41793026727")
MESSAGE = Message("m-1", TO)


def call(text: str = "hello") -> OmniCall:
    return OmniCall(Content(sms=Sms(text=text)), (MESSAGE,), "r-1", 1)


REFUSAL = {"requestError": {"serviceException": {"messageId": "UNAUTHORIZED", "text": "Invalid login details"}}}


@dataclass
class Account:
    """OMNI's side of an account: which tokens it gave out, and which header it wants to see."""

    tokens: int = 0
    expires_in: float = 3600
    token_status: int = 200
    accepts: str | None = None
    has_envelope: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    async def token(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        assert form["grant_type"] == ["client_credentials"]
        if self.token_status != 200 or form["client_secret"] != ["hush"]:
            return Response(status_code=self.token_status if self.token_status != 200 else 401)
        self.tokens += 1
        return JSONResponse({"access_token": f"token-{self.tokens}", "expires_in": self.expires_in})

    async def advanced(self, request: Request) -> Response:
        self.bodies.append(await request.body())
        self.seen.append(request.headers["authorization"])
        if self.accepts is not None and request.headers["authorization"] != self.accepts:
            return JSONResponse(REFUSAL, 401) if self.has_envelope else Response(status_code=401)
        status = {"groupId": 1, "groupName": "PENDING", "id": 7, "name": "PENDING_ENROUTE"}
        if request.headers["accept"] == "application/xml":
            inner = "".join(f"<{name}>{value}</{name}>" for name, value in status.items())
            message = f"<message><messageId>m-1</messageId><status>{inner}</status></message>"
            answer = f"<omniResponse><messages>{message}</messages></omniResponse>"
            return Response(answer, media_type="application/xml")
        return JSONResponse({"messages": [{"messageId": "m-1", "status": status}]}, headers=self.headers)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        routes = [
            Route("/auth/1/oauth2/token", self.token, methods=["POST"]),
            Route("/omni/1/advanced", self.advanced, methods=["POST"]),
        ]
        async with serve(Starlette(routes=routes)) as running:
            yield running.url


OAUTH = Credentials(client_id="relay", client_secret="hush")


async def test_a_token_is_fetched_once_and_kept() -> None:
    account = Account()
    async with account.serving() as url:
        client = OmniClient(OmniAccess(url, OAUTH), lambda: datetime.now(UTC))
        assert isinstance(await client.post(call()), Accepted)
        assert isinstance(await client.post(call()), Accepted)
        await client.close()
    assert account.tokens == 1
    assert account.seen == ["Bearer token-1"] * 2


async def test_a_token_is_renewed_before_it_ends() -> None:
    account = Account(expires_in=100)
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    async with account.serving() as url:
        client = OmniClient(OmniAccess(url, OAUTH), lambda: clock[0])
        await client.post(call())
        clock[0] += timedelta(seconds=79)
        await client.post(call())
        clock[0] += timedelta(seconds=2)
        await client.post(call())
        await client.close()
    assert account.seen == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]


async def test_a_refused_token_is_replaced_once() -> None:
    account = Account(accepts="Bearer token-2")
    async with account.serving() as url:
        client = OmniClient(OmniAccess(url, OAUTH), lambda: datetime.now(UTC))
        assert isinstance(await client.post(call()), Accepted)
        account.accepts = "nothing any more"
        assert await client.post(call()) == Denied("http_401")
        await client.close()
    assert account.seen == ["Bearer token-1", "Bearer token-2", "Bearer token-2", "Bearer token-3"]


async def test_a_refused_token_is_replaced_also_where_a_gateway_refuses_it() -> None:
    account = Account(accepts="Bearer token-2", has_envelope=False)
    async with account.serving() as url:
        client = OmniClient(OmniAccess(url, OAUTH), lambda: datetime.now(UTC))
        assert isinstance(await client.post(call()), Accepted)
        account.accepts = "nothing any more"
        assert await client.post(call()) == Unavailable("http_401")
        await client.close()
    assert account.tokens == 3


async def test_a_fixed_key_that_is_refused_is_not_tried_twice() -> None:
    account = Account(accepts="App right")
    async with account.serving() as url:
        client = OmniClient(OmniAccess(url, Credentials(fixed="App wrong")), lambda: datetime.now(UTC))
        assert await client.post(call()) == Denied("http_401")
        await client.close()
    assert account.seen == ["App wrong"]


@pytest.mark.parametrize(("status", "outcome"), [(401, Denied("token_http_401")), (503, Unavailable("no_token"))])
async def test_without_a_token_nothing_is_sent(status: int, outcome: Denied | Unavailable) -> None:
    account = Account(token_status=status)
    async with account.serving() as url:
        client = OmniClient(OmniAccess(url, OAUTH), lambda: datetime.now(UTC))
        assert await client.post(call()) == outcome
        await client.close()
    assert account.seen == []


async def test_deprecation_headers_are_told() -> None:
    account = Account(headers={"Deprecation": "@1767225600", "Sunset": "Thu, 01 Oct 2026 00:00:00 GMT"})
    told: list[Deprecation] = []
    async with account.serving() as url:
        client = OmniClient(OmniAccess(url, Credentials(fixed="App k")), lambda: datetime.now(UTC), told.append)
        assert isinstance(await client.post(call()), Accepted)
        await client.close()
    assert told == [Deprecation("@1767225600", "Thu, 01 Oct 2026 00:00:00 GMT")]


async def test_on_the_wire_xml_is_in_the_form_of_the_vendors_pages() -> None:
    account = Account()
    async with account.serving() as url:
        access = OmniAccess(url, Credentials(fixed="App k"), format="xml")
        client = OmniClient(access, lambda: datetime.now(UTC))
        outcome = await client.post(call("a < b & c\r\n"))
        await client.close()
    assert isinstance(outcome, Accepted)
    assert outcome.statuses["m-1"].name == "PENDING_ENROUTE"
    assert account.bodies == [
        (
            b"<request><sms><text>a &lt; b &amp; c&#13;\n</text></sms><destinations><destination>"
            b"<to><phoneNumber>41793026727</phoneNumber></to><messageId>m-1</messageId>"
            b"</destination></destinations></request>"
        )
    ]


async def test_what_xml_cannot_say_is_refused_before_anything_is_sent() -> None:
    account = Account()
    async with account.serving() as url:
        access = OmniAccess(url, Credentials(fixed="App k"), format="xml")
        client = OmniClient(access, lambda: datetime.now(UTC))
        assert await client.post(call("bell \a")) == Rejected("not_xml", "holds a character that XML has none for")
        await client.close()
    assert account.bodies == []
