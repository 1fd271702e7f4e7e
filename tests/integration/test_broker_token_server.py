"""Tokens for RabbitMQ from token servers that fail in every way: a cause, and no secret in any text."""

import base64
import socket
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from service.adapters.omni import TokenServer
from service.core.attempt.oauth import Token, TokenFailure
from tests.support.connect_proxy import connect_proxy
from tests.support.omni_server import Act, answer, misbehaving, say, then_close
from tests.support.tls import certificate, forwarded, server_of

GOOD = b'{"access_token":"a.b.c","expires_in":60}'
SECRET = "hush&=+ canary"


def client_of(url: str, **fields: str | None) -> TokenServer:
    return TokenServer(url, "relay", SECRET, **fields)


def parts_of(request: bytes) -> tuple[str | None, dict[str, list[str]]]:
    """Return the credentials of a request's header, and the fields of its form."""
    head, _, body = request.partition(b"\r\n\r\n")
    found = [line.split()[-1] for line in head.split(b"\r\n") if line.lower().startswith(b"authorization: basic ")]
    return (base64.b64decode(found[0]).decode() if found else None), parse_qs(body.decode())


BASIC, FORM = "relay:hush%26%3D%2B+canary", {"client_id": ["relay"], "client_secret": [SECRET]}
ASKED = {"grant_type": ["client_credentials"], "scope": ["a b"]}


async def test_a_token_is_asked_for_with_client_and_scope() -> None:
    async with misbehaving(answer(GOOD)) as server:
        assert await client_of(f"http://127.0.0.1:{server.port}/token?v=2", scope="a b").fetch() == Token("a.b.c", 60)
    assert [parts_of(request) for request in server.requests] == [(BASIC, ASKED)]
    assert server.requests[0].startswith(b"POST /token?v=2 HTTP/1.1\r\n")


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_server_that_refuses_the_client_in_the_header_gets_it_in_the_form_from_then_on(status: int) -> None:
    async with misbehaving(answer(b'{"error":"invalid_request"}', status), answer(GOOD)) as server:
        client = client_of(f"http://127.0.0.1:{server.port}/token", scope="a b")
        assert [await client.fetch() for _ in range(2)] == [Token("a.b.c", 60)] * 2
    assert [parts_of(request) for request in server.requests] == [
        (BASIC, ASKED),
        (None, {**ASKED, **FORM}),
        (None, {**ASKED, **FORM}),
    ]


async def test_a_server_that_cannot_answer_now_is_asked_once() -> None:
    for status in (408, 425, 429, 500, 503):
        async with misbehaving(answer(b"", status)) as server:
            assert isinstance(await client_of(f"http://127.0.0.1:{server.port}/").fetch(), TokenFailure)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("act", "cause", "detail"),
    [
        (answer(b"<html>log in</html>"), "no_token", "the token server answers HTTP 200 without a token"),
        (answer(b"", 302, "Location: http://127.0.0.1:1/"), "no_token", "the token server answers HTTP 302"),
        (answer(b'{"error":"invalid_client"}', 401), "client_refused", "the token server answers HTTP 401"),
        (answer(b"", 503), "no_token", "the token server answers HTTP 503 without a token"),
        (answer(b'{"access_token":"two\\r\\nlines"}'), "no_token", "the token server answers HTTP 200 without a token"),
        (answer(GOOD + b" " * 2**17), "no_token", "the token server answers HTTP 200 without a token"),
        (then_close(say(b"")), "no_token", "ConnectionResetError"),
        (then_close(say(b"not HTTP at all")), "no_token", "BrokenAnswerError"),
    ],
)
async def test_an_answer_without_a_token_has_a_cause(act: Act, cause: str, detail: str) -> None:
    async with misbehaving(act) as server:
        failure = await client_of(f"http://127.0.0.1:{server.port}").fetch()
    assert isinstance(failure, TokenFailure)
    assert (failure.cause, failure.detail) == (cause, detail)


async def test_a_server_that_cannot_be_reached_has_a_cause(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    failure = await client_of(f"http://127.0.0.1:{port}/").fetch()
    assert isinstance(failure, TokenFailure)
    assert failure.cause == "no_connection"
    assert (await client_of("https://localhost/", ca_file=str(tmp_path / "missing")).fetch()) == TokenFailure(
        "no_token", "FileNotFoundError"
    )


async def test_authority_and_proxy_are_used(tmp_path: Path) -> None:
    files = certificate(tmp_path)
    async with (
        misbehaving(answer(GOOD), answer(GOOD)) as server,
        forwarded(server.port, server_of(files)) as port,
        connect_proxy(password="us:pass") as proxy,
    ):
        url, through = f"https://localhost:{port}/token", f"http://us:pass@127.0.0.1:{proxy.port}"
        assert await client_of(url, ca_file=str(files[0]), proxy=through).fetch() == Token("a.b.c", 60)
        assert len(proxy.heads) == 1
        assert SECRET.encode() not in proxy.bytes_seen
        untrusted = await client_of(url).fetch()
        proxy.password = "us:another"
        refused = await client_of(url, ca_file=str(files[0]), proxy=through).fetch()
    assert isinstance(untrusted, TokenFailure)
    assert untrusted.cause == "untrusted_certificate"
    assert untrusted.detail.endswith("issuer: CN=localhost")
    assert isinstance(refused, TokenFailure)
    assert refused.cause == "proxy_http_407"
    assert "pass" not in refused.detail


def test_no_secret_is_in_what_a_log_might_print() -> None:
    assert "canary" not in repr(TokenServer("https://login.example", "relay", SECRET, proxy="http://u:canary@proxy"))
