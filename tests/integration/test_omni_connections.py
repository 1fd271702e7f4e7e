"""How long connections to OMNI live: no call is written to one that may be closing, and a moved name is followed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from service.adapters.omni.connection import NotConnectedError, idle_limit
from service.adapters.omni.connector import Connector
from service.adapters.omni.transport import LIFETIME, Transport
from tests.support.connect_proxy import connect_proxy
from tests.support.omni_server import answer, misbehaving, write_authority

REQUEST = (b"GET / HTTP/1.1\r\nHost: omni\r\n\r\n",)


class Clock:
    """A clock that goes forward when it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def transport_of(
    url: str, clock: Clock, *, jitter: float = 0.0, proxy: str | None = None
) -> AsyncIterator[Transport]:
    origin = httpx.URL(url)
    connector = Connector(origin, 5, proxy=proxy)
    transport = Transport(origin, connector, 5, clock=clock, jitter=lambda: jitter)
    try:
        yield transport
    finally:
        await transport.aclose()


@pytest.mark.parametrize(("jitter", "lifetime"), [(0.0, LIFETIME), (0.5, LIFETIME * 7 / 8), (1.0, LIFETIME * 3 / 4)])
async def test_a_connection_in_steady_use_is_replaced_after_its_lifetime_less_jitter(
    jitter: float, lifetime: float
) -> None:
    clock = Clock()
    async with (
        misbehaving(answer(b"")) as server,
        transport_of(f"http://127.0.0.1:{server.port}", clock, jitter=jitter) as transport,
    ):
        opened_at = clock.now
        while clock.now < opened_at + lifetime:
            await transport.exchange(REQUEST)
            assert server.connections == 1
            clock.now += lifetime / 8
        await transport.exchange(REQUEST)
        assert server.connections == 2


async def test_a_call_that_began_in_time_ends_on_its_connection_which_is_then_closed() -> None:
    clock, release = Clock(), asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await answer(b"late")(writer)

    async with (
        misbehaving(late, answer(b"")) as server,
        transport_of(f"http://127.0.0.1:{server.port}", clock) as transport,
    ):
        running = asyncio.create_task(transport.exchange(REQUEST))
        while not server.requests:  # noqa: ASYNC110  # another task
            await asyncio.sleep(0)
        clock.now += LIFETIME
        release.set()
        assert (await running).body == b"late"
        await transport.exchange(REQUEST)
        assert server.connections == 2


@pytest.mark.parametrize(
    ("header", "limit"),
    [
        ("timeout=5", 4),
        ("timeout=5, max=100", 4),
        ("max=100, Timeout = 7", 6),
        ('timeout="3"', 2),
        ("timeout=1", 0),
        ("timeout=0", -1),
        ("timeout=60", 15),
        ("timeout=999999999999", 15),
        ("max=100", 15),
        ("timeout=soon", 15),
        ("", 15),
    ],
)
def test_a_servers_keep_alive_shortens_the_idle_time_by_a_second_more(header: str, limit: float) -> None:
    assert idle_limit(header) == limit


@pytest.mark.parametrize(
    ("header", "idle", "connections"),
    [
        ("timeout=5", 3.9, 1),
        ("timeout=5", 4.0, 2),
        ("timeout=1", 0.0, 2),
        ("timeout=60", 14.9, 1),
        ("timeout=60", 15.0, 2),
    ],
)
async def test_no_call_is_written_to_a_connection_that_the_server_may_be_closing(
    header: str, idle: float, connections: int
) -> None:
    clock = Clock()
    async with (
        misbehaving(answer(b"", 200, f"Keep-Alive: {header}")) as server,
        transport_of(f"http://127.0.0.1:{server.port}", clock) as transport,
    ):
        await transport.exchange(REQUEST)
        clock.now += idle
        await transport.exchange(REQUEST)
        assert server.connections == connections


async def test_connections_that_are_no_longer_needed_are_closed_while_others_are_in_use() -> None:
    clock = Clock()
    async with misbehaving(answer(b"")) as server, transport_of(f"http://127.0.0.1:{server.port}", clock) as transport:
        await asyncio.gather(*(transport.exchange(REQUEST) for _ in range(10)))
        assert server.connections == 10
        for _ in range(4):
            clock.now += 5
            await transport.exchange(REQUEST)
        assert len(transport._idle) == 1  # noqa: SLF001 - the server cannot know which are kept
        assert server.connections == 10


async def test_calls_follow_a_name_that_moves_to_another_server_within_the_lifetime() -> None:
    clock = Clock()
    async with (
        misbehaving(answer(b"old")) as old,
        connect_proxy() as proxy,
        transport_of(f"http://omni.invalid:{old.port}", clock, proxy=f"http://127.0.0.1:{proxy.port}") as transport,
    ):
        proxy.hosts["omni.invalid"] = "127.0.0.1"
        assert (await transport.exchange(REQUEST)).body == b"old"
        new = await asyncio.start_server(_serve_new, "127.0.0.2", old.port)
        proxy.hosts["omni.invalid"] = "127.0.0.2"
        for _ in range(5):
            clock.now += 10
            assert (await transport.exchange(REQUEST)).body == b"old"
        clock.now += 10
        assert (await transport.exchange(REQUEST)).body == b"new"
        new.close()


async def _serve_new(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await answer(b"new")(writer)
    writer.close()


async def test_after_a_failed_connect_the_address_is_looked_up_and_tried_again(unused_tcp_port: int) -> None:
    clock = Clock()
    async with transport_of(f"http://localhost:{unused_tcp_port}", clock) as transport:
        with pytest.raises(NotConnectedError):
            await transport.exchange(REQUEST)
        async with await asyncio.start_server(_serve_new, "127.0.0.1", unused_tcp_port):
            assert (await transport.exchange(REQUEST)).body == b"new"


async def test_a_server_with_an_ipv6_address_is_reached_directly_and_through_a_proxy(unused_tcp_port: int) -> None:
    clock, url = Clock(), f"http://[::1]:{unused_tcp_port}"
    async with await asyncio.start_server(_serve_new, "::1", unused_tcp_port), connect_proxy() as proxy:
        for way in (None, f"http://127.0.0.1:{proxy.port}"):
            async with transport_of(url, clock, proxy=way) as transport:
                assert (await transport.exchange(REQUEST)).body == b"new"


async def test_another_way_is_used_at_once_and_a_call_in_progress_ends_on_the_old_one(tmp_path: Path) -> None:
    clock, release = Clock(), asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await answer(b"late")(writer)

    async with misbehaving(late, answer(b"x")) as server, connect_proxy() as proxy:
        url = f"http://127.0.0.1:{server.port}"
        async with transport_of(url, clock) as transport:
            running = asyncio.create_task(transport.exchange(REQUEST))
            while not server.requests:  # noqa: ASYNC110  # another task
                await asyncio.sleep(0)
            transport.use(
                Connector(httpx.URL(url), 5, proxy=f"http://127.0.0.1:{proxy.port}", ca_file=write_authority(tmp_path))
            )
            assert (await transport.exchange(REQUEST)).body == b"x"
            assert len(proxy.heads) == 1
            release.set()
            assert (await running).body == b"late"
            await transport.exchange(REQUEST)
            assert (len(proxy.heads), server.connections) == (1, 2)
