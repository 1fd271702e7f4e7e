"""OMNI through an HTTP proxy: no failure before the tunnel exists is ambiguous, and no password is shown."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.adapters.omni import Credentials, NoAnswer, NotConnectedError, OmniAccess, OmniClient
from service.core.attempt.call import OmniCall
from service.core.attempt.lookup import Unanswered
from service.core.attempt.outcome import Accepted, Denied, Unavailable
from service.core.omni.channel.sms import Sms
from service.core.omni.content import Content
from service.core.request.request import Message
from tests.support.connect_proxy import NEEDS_PASSWORD, OPENED, connect_proxy
from tests.support.omni_server import answer, full_backlog, misbehaving, untrusted, write_authority

KEY, PASSWORD = "canary-key", "canary:p/ss"
IN_URL = "user:canary%3Ap%2Fss"
CALL = OmniCall(Content(sms=Sms(text="canary-text")), (Message("m-1", {"phoneNumber": "41793026727"}),), "r-1", 1)
TAKEN = json.dumps({"messages": [{"messageId": "m-1", "status": {"groupId": 1, "id": 7}}]}).encode()
TOKEN = b'{"access_token":"t","expires_in":3600}'
OAUTH = Credentials(client_id="us", client_secret=KEY)


@asynccontextmanager
async def client_of(access: OmniAccess) -> AsyncIterator[tuple[OmniClient, list[NotConnectedError]]]:
    failures: list[NotConnectedError] = []
    client = OmniClient(access, lambda: datetime.now(UTC), not_connected=failures.append)
    try:
        yield client, failures
    finally:
        await client.close()


async def test_calls_lookups_and_token_requests_go_through_a_tunnel_with_credentials(tmp_path: Path) -> None:
    async with (
        misbehaving(answer(TOKEN), answer(TAKEN), tls=True) as omni,
        connect_proxy(password=f"user:{PASSWORD}") as proxy,
    ):
        access = OmniAccess(
            f"https://localhost:{omni.port}",
            OAUTH,
            proxy=f"http://{IN_URL}@127.0.0.1:{proxy.port}",
            ca_file=write_authority(tmp_path),
        )
        async with client_of(access) as (client, failures):
            assert isinstance(await client.post(CALL), Accepted)
            assert await client.look(("m-1",)) == Unanswered("unreadable_answer")
            assert await client.probe() == 200
    assert [request.split()[:2] for request in omni.requests][:2] == [
        [b"POST", b"/auth/1/oauth2/token"],
        [b"POST", b"/omni/1/advanced"],
    ]
    assert len(proxy.heads) == 1
    assert proxy.heads[0].startswith(
        b"CONNECT localhost:%d HTTP/1.1\r\nHost: localhost:%d\r\n" % (omni.port, omni.port)
    )
    assert failures == []
    assert KEY.encode() not in bytes(proxy.bytes_seen) + proxy.heads[0]


async def test_a_proxy_may_speak_tls_itself(tmp_path: Path) -> None:
    async with misbehaving(answer(TAKEN), tls=True) as omni, connect_proxy(tls=untrusted()) as proxy:
        access = OmniAccess(
            f"https://localhost:{omni.port}",
            Credentials(f"App {KEY}"),
            proxy=f"https://localhost:{proxy.port}",
            ca_file=write_authority(tmp_path),
        )
        async with client_of(access) as (client, _):
            assert [type(await client.post(CALL)) for _ in range(2)] == [Accepted] * 2
    assert len(proxy.heads) == 1


async def test_the_proxy_resolves_the_name_and_a_plain_url_uses_a_tunnel_too() -> None:
    async with misbehaving(answer(TAKEN)) as omni, connect_proxy() as proxy:
        proxy.hosts["omni.invalid"] = "127.0.0.1"
        access = OmniAccess(
            f"http://omni.invalid:{omni.port}", Credentials(f"App {KEY}"), proxy=f"http://127.0.0.1:{proxy.port}"
        )
        async with client_of(access) as (client, _):
            assert isinstance(await client.post(CALL), Accepted)


@pytest.mark.parametrize(
    ("in_url", "pair"),
    [
        ("us%C3%A9r:p%25%40%3A%2F%3F%23", "usér:p%@:/?#".encode()),
        ("us:p%E9", b"us:p\xe9"),
        ("us:p%0D%0AX-Y:z", b"us:p\r\nX-Y:z"),
        ("us:a+b!$&'()*,;=~", b"us:a+b!$&'()*,;=~"),
        ("us", b"us:"),
        (":p", b":p"),
    ],
)
async def test_each_byte_of_a_proxys_user_and_password_is_sent_as_it_is_and_no_line_of_its_own(
    in_url: str, pair: bytes
) -> None:
    async with misbehaving(answer(TAKEN)) as omni, connect_proxy() as proxy:
        access = OmniAccess(
            f"http://127.0.0.1:{omni.port}", Credentials("App k"), proxy=f"http://{in_url}@127.0.0.1:{proxy.port}"
        )
        async with client_of(access) as (client, _):
            assert isinstance(await client.post(CALL), Accepted)
    lines = proxy.heads[0].strip().split(b"\r\n")
    assert lines[2:] == [b"Proxy-Authorization: Basic " + base64.b64encode(pair)]


REFUSALS = {
    "502": (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad", "proxy_refused"),
    "503": (b"HTTP/1.1 503 Busy\r\n\r\n", "proxy_refused"),
    "504": (b"HTTP/1.0 504 Slow\r\n\r\n", "proxy_refused"),
    "403": (b"HTTP/1.1 403 Forbidden\r\n\r\n", "proxy_refused"),
    "a redirect": (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", "proxy_refused"),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", "proxy_refused"),
    "four digits": (b"HTTP/1.1 2000 OK\r\n\r\n", "proxy_refused"),
    "bytes before ours": (OPENED + b"hello", "proxy_refused"),
    "half a head": (b"HTTP/1.1 500 Oops\r\nX: ", "proxy_no_connection"),
    "an endless head": (b"HTTP/1.1 500 Oops\r\nX: " + b"x" * 100_000, "proxy_no_connection"),
    "silence": (b"", "connect_timeout"),
}


@pytest.mark.parametrize(("said", "cause"), REFUSALS.values(), ids=REFUSALS)
async def test_a_proxy_error_before_the_tunnel_exists_is_not_taken_and_never_ambiguous(said: bytes, cause: str) -> None:
    async with misbehaving(answer(TAKEN)) as omni, connect_proxy(said) as proxy:
        access = OmniAccess(
            f"http://127.0.0.1:{omni.port}",
            Credentials(f"App {KEY}"),
            connect_timeout=0.5,
            proxy=f"http://{IN_URL}@127.0.0.1:{proxy.port}",
        )
        async with client_of(access) as (client, failures):
            assert await client.post(CALL) == Unavailable(cause)
            assert await client.look(("m-1",)) == Unanswered(cause)
            probed = await client.probe()
            assert isinstance(probed, NoAnswer)
            assert probed.cause == cause
    assert omni.requests == []
    assert {error.cause for error in failures} == {cause}
    assert not any("canary" in error.detail or "p/ss" in error.detail for error in failures)


async def test_a_proxy_that_refuses_the_password_is_denied_for_calls_lookups_and_tokens() -> None:
    """A person has to fix it, so it uses up no attempt."""
    async with misbehaving(answer(TAKEN)) as omni, connect_proxy(password=PASSWORD) as proxy:
        access = OmniAccess(
            f"http://127.0.0.1:{omni.port}", Credentials(f"App {KEY}"), proxy=f"http://{IN_URL}x@127.0.0.1:{proxy.port}"
        )
        for credentials in (Credentials(f"App {KEY}"), OAUTH):
            async with client_of(OmniAccess(access.base_url, credentials, proxy=access.proxy)) as (client, failures):
                assert await client.post(CALL) == Denied("proxy_http_407")
                assert await client.look(("m-1",)) == Unanswered("proxy_http_407")
                assert await client.probe() == NoAnswer(
                    "proxy_http_407", f"127.0.0.1:{proxy.port}: answers HTTP 407 to CONNECT"
                )
                assert "canary" not in repr([error.detail for error in failures])
    assert omni.connections == 0
    assert NEEDS_PASSWORD.startswith(b"HTTP/1.1 407")


async def test_a_proxy_that_cannot_be_reached_has_a_cause_of_its_own(unused_tcp_port: int) -> None:
    access = OmniAccess("https://localhost", Credentials("App k"), proxy=f"http://127.0.0.1:{unused_tcp_port}")
    async with client_of(access) as (client, _):
        assert await client.post(CALL) == Unavailable("proxy_no_connection")
    with full_backlog() as port:
        access = OmniAccess("http://h", Credentials("App k"), connect_timeout=0.3, proxy=f"http://127.0.0.1:{port}")
        async with client_of(access) as (client, _):
            assert await client.post(CALL) == Unavailable("connect_timeout")


async def test_a_certificate_that_is_not_trusted_is_named_of_the_proxy_and_of_omni_behind_it() -> None:
    async with (
        misbehaving(answer(TAKEN), tls=True) as omni,
        connect_proxy(tls=untrusted(), password="u:p") as tls_proxy,
        connect_proxy() as proxy,
    ):
        for server, url in (
            (tls_proxy, f"https://u:p@localhost:{tls_proxy.port}"),
            (omni, f"http://127.0.0.1:{proxy.port}"),
        ):
            access = OmniAccess(f"https://localhost:{omni.port}", Credentials("App k"), proxy=url)
            async with client_of(access) as (client, failures):
                assert await client.post(CALL) == Unavailable("untrusted_certificate")
            assert failures[0].detail.startswith(
                f"localhost:{server.port}: self-signed certificate; issuer: CN=localhost"
            )
        assert (tls_proxy.heads, omni.requests) == ([], [])


async def test_a_tunnel_that_is_cut_after_the_call_was_written_is_ambiguous() -> None:
    async def cut(_: asyncio.StreamWriter) -> None:
        proxy.cut()

    async with misbehaving(cut) as omni, connect_proxy() as proxy:
        access = OmniAccess(
            f"http://127.0.0.1:{omni.port}", Credentials("App k"), proxy=f"http://127.0.0.1:{proxy.port}"
        )
        async with client_of(access) as (client, _):
            outcome = await client.post(CALL)
    assert type(outcome).__name__ == "Unknown"
