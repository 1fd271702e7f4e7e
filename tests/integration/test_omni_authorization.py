"""Credentials, OAuth tokens and deprecation headers: `OmniClient` against a small account of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.adapters.omni import Credentials, Deprecation, OmniAccess, OmniClient
from service.core.attempt.call import OmniCall
from service.core.attempt.lookup import Unanswered
from service.core.attempt.outcome import NOT_SENT, Accepted, Denied, Rejected, Unavailable
from service.core.omni.channel.sms import Sms
from service.core.omni.content import Content
from service.core.request.request import Message
from service.sandbox import serve
from tests.support.omni_server import Act, answer, misbehaving, say, then_close

TO = {"phoneNumber": "41793026727"}
MESSAGE = Message("m-1", TO)


TAKEN = b'{"messages":[{"messageId":"m-1","status":{"groupId":1,"id":7}}]}'


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
            return JSONResponse({"error": "invalid_client"}, self.token_status if self.token_status != 200 else 401)
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
    clock = [0.0]
    async with account.serving() as url:
        client = OmniClient(OmniAccess(url, OAUTH), lambda: datetime.now(UTC), clock=lambda: clock[0])
        await client.post(call())
        clock[0] += 79
        await client.post(call())
        clock[0] += 2
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


RAW = {
    "no life": b'{"access_token":"t"}',
    "long life": b'{"access_token":"t","expires_in":9223372036854775807}',
    "longer life": b'{"access_token":"t","expires_in":1%s}' % (b"0" * 400),
    "endless life": b'{"access_token":"t","expires_in":Infinity}',
    "no number": b'{"access_token":"t","expires_in":NaN}',
    "no life left": b'{"access_token":"t","expires_in":0}',
    "less than that": b'{"access_token":"t","expires_in":-1e308}',
    "a text": b'{"access_token":"t","expires_in":"3600"}',
    "another text": b'{"access_token":"t","expires_in":"soon"}',
    "a list": b'{"access_token":"t","expires_in":[1]}',
}


@pytest.mark.parametrize("body", RAW.values(), ids=RAW)
async def test_a_token_is_used_whatever_its_stated_lifetime(body: bytes) -> None:
    async with misbehaving(answer(body), answer(TAKEN)) as server:
        client = OmniClient(OmniAccess(f"http://127.0.0.1:{server.port}", OAUTH), lambda: datetime.now(UTC))
        outcomes = [type(await client.post(call())) for _ in range(3)]
        lookup_result = await client.look(("m-1",))
        await client.close()
    assert outcomes == [Accepted] * 3
    assert lookup_result == Unanswered("unreadable_answer")
    assert [request.split()[0] for request in server.requests] == [b"POST"] * 4 + [b"GET"]


HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
NO_TOKEN: dict[str, Act] = {
    "nothing": answer(b""),
    "a page": answer(b"<html>login</html>"),
    "a refusal in a page": answer(b"<html>blocked</html>", 403),
    "an error with a good status": answer(b'{"error":"invalid_client"}'),
    "an error of the server": answer(b'{"access_token":"t"}', 500),
    "too many requests": answer(b"{}", 429, "Retry-After: 7"),
    "an empty token": answer(b'{"access_token":""}'),
    "a token that is no text": answer(b'{"access_token":{}}'),
    "a token that would add a header": answer(b'{"access_token":"t\\r\\nx: y"}'),
    "a token that fits into no header": answer(b'{"access_token":"%s"}' % (b"t" * 20_000)),
    "half an answer": then_close(say(HTTP + b'{"access_token":"t"')),
    "half a document": answer(b'{"access_token":"t"'),
    "a list": answer(b"[]"),
    "deep": answer(b"[" * 100_000),
    "no HTTP": say(b"220 mail ready\r\n\r\n"),
    "much": answer(b'{"access_token":"t","x":"%s"}' % (b"x" * 15 * 2**20)),
    "too much": answer(b"x" * 17 * 2**20),
    "not gzip": answer(b"x", 200, "Content-Encoding: gzip"),
}


@pytest.mark.parametrize("act", NO_TOKEN.values(), ids=NO_TOKEN)
async def test_calls_and_log_lookups_have_an_outcome_for_any_answer_of_the_token_server(act: Act) -> None:
    async with misbehaving(act) as server:
        access = OmniAccess(f"http://127.0.0.1:{server.port}", OAUTH, read_timeout=5)
        client = OmniClient(access, lambda: datetime.now(UTC))
        outcome, lookup_result = await client.post(call()), await client.look(("m-1",))
        await client.close()
    assert isinstance(outcome, Unavailable)
    assert (outcome.cause, lookup_result) == ("no_token", Unanswered("no_token"))
    assert all(b"/oauth2/token" in request for request in server.requests)


async def test_a_token_servers_redirect_is_denied_and_not_followed() -> None:
    async with misbehaving(answer(b"", 302, "Location: http://127.0.0.1:1/")) as server:
        client = OmniClient(OmniAccess(f"http://127.0.0.1:{server.port}", OAUTH), lambda: datetime.now(UTC))
        assert await client.post(call()) == Denied("token_http_302")
        await client.close()
    assert len(server.requests) == 1


async def test_deprecation_headers_are_reported() -> None:
    account = Account(headers={"Deprecation": "@1767225600", "Sunset": "Thu, 01 Oct 2026 00:00:00 GMT"})
    reported: list[Deprecation] = []
    async with account.serving() as url:
        client = OmniClient(OmniAccess(url, Credentials(fixed="App k")), lambda: datetime.now(UTC), reported.append)
        assert isinstance(await client.post(call()), Accepted)
        await client.close()
    assert reported == [Deprecation("@1767225600", "Thu, 01 Oct 2026 00:00:00 GMT")]


async def test_xml_is_sent_in_the_form_of_the_vendors_pages() -> None:
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


async def test_a_call_that_xml_cannot_represent_is_rejected_before_anything_is_sent() -> None:
    account = Account()
    async with account.serving() as url:
        access = OmniAccess(url, Credentials(fixed="App k"), format="xml")
        client = OmniClient(access, lambda: datetime.now(UTC))
        assert await client.post(call("bell \a")) == Rejected("not_xml", "holds a character that XML has none for")
        await client.close()
    assert account.bodies == []


async def test_permission_to_send_is_asked_after_the_token_arrived_and_immediately_before_writing() -> None:
    account = Account()
    tokens_when_asked: list[int] = []

    def refuse() -> bool:
        tokens_when_asked.append(account.tokens)
        return False

    async with account.serving() as url:
        client = OmniClient(OmniAccess(url, OAUTH), lambda: datetime.now(UTC))
        assert await client.post(replace(call(), may_send=refuse)) == NOT_SENT
        assert isinstance(await client.post(call()), Accepted)
        await client.close()
    assert tokens_when_asked == [1]
    assert len(account.bodies) == 1


async def test_permission_to_send_is_asked_again_before_a_call_is_repeated_with_a_fresh_token() -> None:
    account = Account(accepts="Bearer token-2")
    answers = [True, False]
    async with account.serving() as url:
        client = OmniClient(OmniAccess(url, OAUTH), lambda: datetime.now(UTC))
        assert await client.post(replace(call(), may_send=lambda: answers.pop(0))) == NOT_SENT
        await client.close()
    assert account.seen == ["Bearer token-1"]
