"""How a call ends, over real sockets.

A call counts as not taken only if no byte of it can have left. Every later failure is ambiguous (`Unknown`).
"""

import asyncio
import gzip
import json
import shutil
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import httpx
import pytest

from service.adapters.omni import Credentials, NoAnswer, NotConnectedError, OmniAccess, OmniClient, read_failure
from service.adapters.omni.connection import NotConnectedCause
from service.core.attempt.call import OmniCall, notify_members
from service.core.attempt.outcome import NOT_SENT, Accepted, Denied, Outcome, Rejected, Unavailable, Unknown
from service.core.omni.channel.sms import Sms
from service.core.omni.content import Content
from service.core.request.request import Message
from service.sandbox import create_app, serve
from tests.support.omni_server import (
    Act,
    answer,
    drip,
    full_backlog,
    misbehaving,
    say,
    silence,
    then_close,
    then_reset,
    write_authority,
)
from tests.support.tls import certificate

KEY, NUMBER, TEXT, MESSAGE = "canary-key", "41793026727", "canary-text", "message-1"
TAKEN = json.dumps(
    {"messages": [{"messageId": MESSAGE, "status": {"groupId": 1, "id": 7, "name": "PENDING_ENROUTE"}}]}
).encode()
CONNECT, READ = 0.7, 0.3

Post = Callable[[str], Awaitable[Outcome]]


def call() -> OmniCall:
    to = {"phoneNumber": NUMBER}
    return OmniCall(Content(sms=Sms(text=TEXT)), (Message(MESSAGE, to),), "request-1", 1)


@asynccontextmanager
async def client_of(base_url: str, *, connect: float = CONNECT, read: float = READ) -> AsyncIterator[OmniClient]:
    access = OmniAccess(base_url, Credentials(f"App {KEY}"), connect_timeout=connect, read_timeout=read)
    client = OmniClient(access, lambda: datetime.now(UTC))
    try:
        yield client
    finally:
        await client.close()


async def outcome_at(base_url: str, *, read: float = READ) -> Outcome:
    async with client_of(base_url, read=read) as client:
        return await outcome_of(client)


async def outcome_of(client: OmniClient) -> Outcome:
    """Post with a time limit, and check that the outcome repeats nothing of the request."""
    outcome = await asyncio.wait_for(client.post(call()), 10)
    assert not any(secret in repr(outcome) for secret in (KEY, NUMBER, TEXT))
    return outcome


async def outcome_after(*acts: Act, read: float = READ) -> Outcome:
    async with misbehaving(*acts) as server:
        outcome = await outcome_at(f"http://127.0.0.1:{server.port}", read=read)
        assert len(server.requests) == 1, "a POST was repeated, or never arrived"
        return outcome


async def test_a_call_carries_the_credentials_the_payload_and_no_other_headers() -> None:
    async with misbehaving(answer(TAKEN)) as server:
        outcome = await outcome_at(f"http://127.0.0.1:{server.port}/some/path")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}

    assert isinstance(outcome, Accepted)
    assert lines[0] == "POST /some/path/omni/1/advanced HTTP/1.1"
    assert (headers["authorization"], headers["content-type"]) == (f"App {KEY}", "application/json")
    assert headers["accept"] == "application/json"
    assert json.loads(body) == {
        "destinations": [{"to": {"phoneNumber": NUMBER}, "messageId": MESSAGE}],
        "sms": {"text": TEXT},
    }


async def test_a_host_name_that_does_not_resolve_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # Not asked for real: where there is no resolver, that takes longer than a test may.
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    assert await outcome_at("http://omni.invalid") == Unavailable("no_connection")


async def test_a_closed_port_is_unavailable(unused_tcp_port: int) -> None:
    assert await outcome_at(f"http://127.0.0.1:{unused_tcp_port}") == Unavailable("no_connection")


async def test_a_connect_timeout_is_unavailable() -> None:
    with full_backlog() as port:
        assert await outcome_at(f"http://127.0.0.1:{port}") == Unavailable("connect_timeout")


async def test_a_port_that_does_not_speak_tls_is_unavailable() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as mail, misbehaving(silence) as server:
        port = mail.sockets[0].getsockname()[1]
        assert await outcome_at(f"https://127.0.0.1:{port}") == Unavailable("no_connection")
        assert await outcome_at(f"https://127.0.0.1:{server.port}") == Unavailable("connect_timeout")


async def test_a_certificate_that_is_not_trusted_is_denied_and_names_its_issuer() -> None:
    """A person has to fix it, so it uses up no attempt."""
    failures: list[NotConnectedError] = []
    async with misbehaving(answer(TAKEN), tls=True) as server:
        access = OmniAccess(f"https://localhost:{server.port}", Credentials(f"App {KEY}"))
        client = OmniClient(access, lambda: datetime.now(UTC), not_connected=failures.append)
        assert await outcome_of(client) == Unavailable("untrusted_certificate")
        await client.close()
        assert server.requests == []
    assert [error.detail for error in failures] == [
        f"localhost:{server.port}: self-signed certificate; issuer: CN=localhost"
    ]


async def test_an_authority_of_a_file_is_trusted_beside_the_systems(tmp_path: Path) -> None:
    async with misbehaving(answer(TAKEN), tls=True) as server:
        access = OmniAccess(
            f"https://localhost:{server.port}", Credentials(f"App {KEY}"), ca_file=write_authority(tmp_path)
        )
        client = OmniClient(access, lambda: datetime.now(UTC))
        assert isinstance(await outcome_of(client), Accepted)
        await client.close()


async def test_a_file_of_authorities_that_is_replaced_is_used_for_the_next_connection(tmp_path: Path) -> None:
    other, _ = certificate(tmp_path, "other")
    used = tmp_path / "used.pem"
    used.write_bytes(other.read_bytes())
    async with misbehaving(answer(TAKEN), tls=True) as server:
        access = OmniAccess(f"https://localhost:{server.port}", Credentials(f"App {KEY}"), ca_file=str(used))
        client = OmniClient(access, lambda: datetime.now(UTC))
        assert await outcome_of(client) == Unavailable("untrusted_certificate")
        shutil.copy(write_authority(tmp_path), used)
        await client.use(access)
        assert isinstance(await outcome_of(client), Accepted)
        used.write_text("none")
        with pytest.raises(OSError, match=r"\[X509"):
            await client.use(access)
        assert isinstance(await outcome_of(client), Accepted)
        assert server.connections == 1  # the refused handshake does not count
        await client.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LONG = HEAD + b"Content-Length: 1000\r\n\r\n" + TAKEN
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GZIPPED = ("Content-Type: application/json", "Content-Encoding: gzip")


@pytest.mark.parametrize(
    ("act", "cause"),
    [
        pytest.param(silence, "timeout", id="silence"),
        pytest.param(say(LONG), "timeout", id="silence in the body"),
        pytest.param(then_reset(silence), "connection_lost", id="reset"),
        pytest.param(then_reset(say(LONG)), "broken_answer", id="reset in the body"),
        pytest.param(then_close(silence), "connection_lost", id="closed without an answer"),
        pytest.param(then_close(say(HEAD)), "connection_lost", id="closed in the headers"),
        pytest.param(then_close(say(LONG)), "broken_answer", id="closed before the end of the body"),
        pytest.param(then_close(say(CHUNKED + b"5\r\n{")), "broken_answer", id="closed in a chunk"),
        pytest.param(say(CHUNKED + b"zz\r\n{}\r\n"), "broken_answer", id="chunk without a size"),
        pytest.param(say(b"\x00\xff garbage\r\n\r\n"), "broken_answer", id="garbage"),
        pytest.param(say(b"HTTP/1.1 2000 OK\r\n\r\n"), "broken_answer", id="status of four digits"),
        pytest.param(say(HEAD + b"X: " + b"x" * 10_000_000), "broken_answer", id="endless header"),
        pytest.param(
            say(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), "broken_answer", id="101"
        ),
        pytest.param(say(b"HTTP/1.1 100 Continue\r\n\r\n"), "timeout", id="100 and no more"),
        pytest.param(drip(HEAD + b"\r\n" + TAKEN, 0.1), "timeout", id="a byte at a time"),
        pytest.param(drip(LONG.partition(TAKEN)[0], 0.001), "timeout", id="headers alone"),
        pytest.param(answer(b"not gzip", 200, *GZIPPED), "broken_answer", id="bad gzip"),
        pytest.param(answer(gzip.compress(TAKEN)[:30], 200, *GZIPPED), "unreadable_answer", id="half a gzip"),
        pytest.param(answer(TAKEN[:-2]), "unreadable_answer", id="half a JSON"),
        pytest.param(answer(b""), "unreadable_answer", id="no body"),
        pytest.param(answer(b"<html>It works</html>"), "unreadable_answer", id="a web page"),
        pytest.param(answer(TAKEN, 500), "http_500", id="500"),
        pytest.param(answer(TAKEN, 502), "http_502", id="502"),
        pytest.param(answer(TAKEN, 504), "http_504", id="504"),
    ],
)
async def test_a_failure_after_the_request_has_left_is_ambiguous_and_not_repeated(act: Act, cause: str) -> None:
    assert await outcome_after(act) == Unknown(cause)


async def test_an_answer_that_is_too_long_is_abandoned() -> None:
    zeros = bytes(17 * 1024 * 1024)
    assert await outcome_after(answer(zeros), read=20) == Unknown("broken_answer")
    assert await outcome_after(answer(gzip.compress(zeros), 200, *GZIPPED), read=20) == Unknown("broken_answer")


async def test_an_answer_may_be_as_long_as_the_call_has_messages_and_not_longer() -> None:
    """Many calls are under way at once, and the answers of all of them are kept until they are whole."""
    padded = TAKEN.ljust(300 * 1024)
    assert await outcome_after(answer(padded), read=20) == Unknown("broken_answer")
    assert await outcome_after(answer(gzip.compress(padded), 200, *GZIPPED), read=20) == Unknown("broken_answer")
    assert isinstance(await outcome_after(answer(TAKEN.ljust(200 * 1024)), read=20), Accepted)


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(answer(b"x" * 2**20, 404), id="long"),
        pytest.param(answer(gzip.compress(bytes(2**20)), 404, *GZIPPED), id="long once it is decompressed"),
        pytest.param(answer(b"not gzip", 404, *GZIPPED), id="not decompressed"),
    ],
)
async def test_an_unreadable_page_of_a_gateway_counts_as_a_gateways_answer(act: Act) -> None:
    assert await outcome_after(act, read=20) == Unavailable("http_404")


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(answer(gzip.compress(TAKEN), 200, *GZIPPED), id="gzip"),
        pytest.param(answer(zlib.compress(TAKEN), 200, "Content-Encoding: Deflate"), id="deflate"),
        pytest.param(answer(TAKEN, 200, "Content-Encoding: identity"), id="identity"),
        pytest.param(answer(TAKEN.decode().encode("utf-8-sig")), id="a byte order mark"),
        pytest.param(answer(TAKEN.decode().encode("utf-16")), id="UTF-16"),
        pytest.param(
            answer(TAKEN.decode().encode("utf-16-be"), 200, "Content-Type: application/json; charset=utf-16"),
            id="UTF-16 without a mark",
        ),
        pytest.param(say(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(TAKEN), TAKEN)), id="one chunk"),
        pytest.param(
            say(
                b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                + HEAD
                + b"Content-Length: %d\r\n\r\n" % len(TAKEN)
                + TAKEN
            ),
            id="early hints",
        ),
        pytest.param(then_close(say(HEAD + b"\r\n" + TAKEN)), id="until the connection ends"),
        pytest.param(drip(HEAD + b"Content-Length: %d\r\n\r\n" % len(TAKEN) + TAKEN, 0), id="a byte at a time"),
    ],
)
async def test_an_answer_is_read_in_every_encoding_and_framing(act: Act) -> None:
    assert isinstance(await outcome_after(act, read=5), Accepted)


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", id="a second answer"),
        pytest.param(b"HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\n", id="half a second answer"),
        pytest.param(b"garbage", id="garbage"),
    ],
)
async def test_an_unrequested_answer_is_not_used_for_the_next_call(extra: bytes) -> None:
    whole = HEAD + b"Content-Length: %d\r\n\r\n" % len(TAKEN) + TAKEN
    async with misbehaving(say(whole + extra), answer(TAKEN)) as server:
        async with client_of(f"http://127.0.0.1:{server.port}") as client:
            outcomes = [await outcome_of(client) for _ in range(2)]
        assert server.connections == 2
    assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted]


async def test_bytes_on_an_idle_connection_close_it() -> None:
    async def late(writer: asyncio.StreamWriter) -> None:
        await answer(TAKEN)(writer)
        await asyncio.sleep(0.05)
        await answer(b"", 408)(writer)

    async with misbehaving(late, answer(TAKEN)) as server:
        async with client_of(f"http://127.0.0.1:{server.port}") as client:
            assert isinstance(await outcome_of(client), Accepted)
            await asyncio.sleep(0.15)
            assert isinstance(await outcome_of(client), Accepted)
        assert server.connections == 2


async def test_a_connection_that_the_server_announces_to_close_is_not_used_again() -> None:
    async with misbehaving(answer(TAKEN, 200, "Connection: close"), answer(TAKEN)) as server:
        async with client_of(f"http://127.0.0.1:{server.port}") as client:
            assert [type(await outcome_of(client)) for _ in range(3)] == [Accepted] * 3
        assert server.connections == 2


async def test_concurrent_calls_have_a_connection_each_and_reuse_them() -> None:
    async with misbehaving(answer(TAKEN)) as server:
        async with client_of(f"http://127.0.0.1:{server.port}", connect=5, read=5) as client:
            for _ in range(3):
                outcomes = await asyncio.gather(*(outcome_of(client) for _ in range(90)))
                assert all(isinstance(outcome, Accepted) for outcome in outcomes)
        assert len(server.requests) == 270
        assert server.connections == 90


async def test_a_kept_connection_that_the_server_closes_meanwhile_is_never_taken_for_a_refusal_to_take() -> None:
    """Nothing shows whether our bytes or the server's end came first, so the call is ambiguous and not repeated."""
    async with misbehaving(answer(TAKEN), then_close(silence)) as server:
        async with client_of(f"http://127.0.0.1:{server.port}") as client:
            assert isinstance(await outcome_of(client), Accepted)
            assert await outcome_of(client) == Unknown("connection_lost")
        assert (len(server.requests), server.connections) == (2, 1)


async def test_a_server_close_that_races_with_a_call_ends_in_accepted_or_unknown() -> None:
    for close in (then_close, then_reset):
        async with misbehaving(close(answer(TAKEN))) as server:
            async with client_of(f"http://127.0.0.1:{server.port}") as client:
                outcomes = [await outcome_of(client) for _ in range(20)]
            ambiguous = outcomes.count(Unknown("connection_lost"))
            assert sum(isinstance(outcome, Accepted) for outcome in outcomes) + ambiguous == 20
            assert 20 - ambiguous <= len(server.requests) <= 20


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_a_redirect_is_denied_and_not_followed(status: int) -> None:
    """It would carry the key to wherever it points."""
    async with misbehaving(answer(TAKEN)) as elsewhere:
        location = f"Location: http://127.0.0.1:{elsewhere.port}/omni/1/advanced"
        assert await outcome_after(answer(b"", status, location)) == Denied(f"http_{status}")
        assert elsewhere.connections == 0


async def test_credentials_the_sandbox_does_not_accept_are_denied() -> None:
    async with serve(create_app(api_key="another")) as sandbox, client_of(sandbox.url, read=5) as client:
        assert await client.probe() == 401
        assert await outcome_of(client) == Denied("http_401")


async def test_the_sandbox_accepts_a_call_and_names_its_message() -> None:
    async with serve(create_app(api_key=KEY)) as sandbox, client_of(sandbox.url, read=5) as client:
        assert await client.probe() == 200
        outcome = await outcome_of(client)
    assert isinstance(outcome, Accepted)
    assert outcome.statuses[MESSAGE].name == "PENDING_ENROUTE"


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (429, ("Retry-After: 0",), Unavailable),
        (503, (), Unavailable),
        (400, (), Rejected),
        (413, (), Rejected),
        (403, (), Denied),
        (410, (), Unavailable),
    ],
)
async def test_a_status_has_the_outcome_of_the_table_over_a_socket(
    status: int, headers: tuple[str, ...], expected: type[Outcome]
) -> None:
    outcome = await outcome_after(answer(b'{"errorCode": "E400"}', status, *headers))
    assert isinstance(outcome, expected)
    if headers:
        assert isinstance(outcome, Unavailable)
        assert outcome.retry_after == 0


async def test_a_late_answer_to_the_previous_call_is_not_used_for_this_one() -> None:
    """A gateway gave it again: the server that it stands before has never seen this call."""
    previous = TAKEN.replace(MESSAGE.encode(), b"message-0")
    other_phone = json.loads(TAKEN)
    other_phone["messages"][0]["to"] = {"phoneNumber": "41793026999"}

    for body in (previous, json.dumps(other_phone).encode(), TAKEN.replace(b'"messageId": "message-1", ', b"")):
        assert await outcome_after(answer(body)) == Unknown("answer_to_others")


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 407, 410, 413, 415, 421, 422, 451])
async def test_a_gateways_page_is_no_answer_of_omni(status: int) -> None:
    assert await outcome_after(answer(b"<html>nginx</html>", status)) == Unavailable(f"http_{status}")


async def test_a_probe_without_an_answer_gives_the_cause(unused_tcp_port: int) -> None:
    async with client_of(f"http://127.0.0.1:{unused_tcp_port}") as client:
        failed = await client.probe()
    assert isinstance(failed, NoAnswer)
    assert failed.cause == "no_connection"
    assert failed.detail.startswith(f"127.0.0.1:{unused_tcp_port}: Connect call failed")
    async with misbehaving(silence) as server, client_of(f"http://127.0.0.1:{server.port}") as client:
        assert await asyncio.wait_for(client.probe(), 20) == NoAnswer("timeout")


async def test_a_token_answer_that_arrives_byte_by_byte_does_not_block_calls_for_ever() -> None:
    async with misbehaving(drip(HEAD + b"\r\n" + b"{" * 1000, 0.1)) as server:
        access = OmniAccess(
            f"http://127.0.0.1:{server.port}",
            Credentials(client_id="us", client_secret=KEY),
            connect_timeout=CONNECT,
            read_timeout=READ,
        )
        client = OmniClient(access, lambda: datetime.now(UTC))
        try:
            async with asyncio.timeout(30):
                assert isinstance(await client.post(call()), Unavailable)
        finally:
            await client.close()


async def test_a_cancelled_call_ends_at_once_and_closes_its_connection() -> None:
    async with misbehaving(silence) as server, client_of(f"http://127.0.0.1:{server.port}", read=30) as client:
        posting = asyncio.create_task(client.post(call()))
        async with asyncio.timeout(20):
            while not server.requests:  # noqa: ASYNC110  # the server has no event for it
                await asyncio.sleep(0.01)
        posting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(posting, 15)


def every_class_of(*tops: type[Exception]) -> Iterator[type[Exception]]:
    for top in tops:
        yield top
        yield from every_class_of(*top.__subclasses__())


def bare(kind: type[Exception]) -> Exception:
    """Make one without its arguments, of which each class wants others; none of them counts."""
    return kind.__new__(kind)


@pytest.mark.parametrize("cause", get_args(NotConnectedCause))
def test_only_failures_before_the_first_byte_count_as_not_taken(cause: NotConnectedCause) -> None:
    is_ours = cause == "proxy_http_407"
    assert read_failure(NotConnectedError(cause)) == (Denied if is_ours else Unavailable)(cause)


@pytest.mark.parametrize(
    "kind", sorted({*every_class_of(httpx.HTTPError, httpx.StreamError)} - {NotConnectedError}, key=str)
)
def test_an_exception_of_httpx_alone_is_unknown(kind: type[Exception]) -> None:
    assert isinstance(read_failure(bare(kind)), Unknown)


@pytest.mark.parametrize(
    "error",
    [
        OSError(9, "canary-text"),
        ConnectionResetError("canary-text"),
        TimeoutError("canary-text"),
        ssl.SSLError("canary-text"),
        zlib.error("canary-text"),
        httpx.DecodingError("canary-text"),
        httpx.InvalidURL("canary-text"),
        ValueError("canary-text"),
        RuntimeError("canary-text"),
        RecursionError(),
        MemoryError(),
        Exception("canary-text"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_other_exception_is_ambiguous_and_its_text_is_left_out(error: Exception) -> None:
    outcome = read_failure(error)
    assert isinstance(outcome, Unknown)
    assert outcome.cause.isidentifier()
    assert "canary" not in outcome.cause


async def test_permission_to_send_is_asked_once_the_connection_is_open_which_the_next_call_reuses() -> None:
    async with misbehaving(answer(TAKEN)) as server, client_of(f"http://127.0.0.1:{server.port}") as client:
        assert await client.post(replace(call(), may_send=lambda: server.connections == 0)) == NOT_SENT
        assert server.requests == []
        assert isinstance(await client.post(replace(call(), may_send=lambda: server.connections == 1)), Accepted)
        assert server.connections == 1


@pytest.mark.parametrize("form", ["json", "xml"])
async def test_a_secret_that_omni_repeats_is_in_no_outcome(form: Literal["json", "xml"]) -> None:
    """OMNI names what it does not like, and a call holds the address for reports, with its token."""
    secret = "canary-token-0123456789"
    url = f"https://relay.example.com/reports/{secret}"
    text = f"notifyUrl {url} is not reachable"
    body = {
        "json": json.dumps({"requestError": {"serviceException": {"messageId": "BAD_REQUEST", "text": text}}}),
        "xml": "<requestError><serviceException><messageId>BAD_REQUEST</messageId>"
        f"<text>{text}</text></serviceException></requestError>",
    }[form]
    async with misbehaving(answer(body.encode(), 400, f"Content-Type: application/{form}")) as server:
        address = f"http://127.0.0.1:{server.port}"
        access = OmniAccess(address, Credentials(f"App {KEY}"), form, secrets=("another-token-0123", secret))
        client = OmniClient(access, lambda: datetime.now(UTC))
        outcome = await client.post(replace(call(), notify=notify_members(url, call().content)))
        await client.close()
    assert secret in server.requests[0].decode()
    assert isinstance(outcome, Rejected)
    assert "https://relay.example.com/reports/***" in outcome.detail
    assert secret not in repr(outcome) + repr(access)
