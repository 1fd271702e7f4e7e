import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from tests.support.proxy import Proxy

SILENCE = 0.2


@dataclass
class Echo:
    """A server that echoes and records everything."""

    port: int
    sync: list[bytes] = field(default_factory=list)


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    connections: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        try:
            while data := await reader.read(1000):
                server.sync.append(data)
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    server = Echo(listener.sockets[0].getsockname()[1])
    yield server
    listener.close()
    for connection in connections:
        connection.close()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    async with Proxy(echo.port) as proxy:
        yield proxy


@dataclass
class Client:
    """One end of a connection through the proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def receive(self) -> bytes:
        """Return what comes next; nothing is the end."""
        return await asyncio.wait_for(self.reader.read(1000), 5)

    async def ask(self, question: bytes) -> bytes:
        """Send, and return what comes next."""
        self.writer.write(question)
        return await self.receive()

    async def assert_silence(self) -> None:
        """Fail if anything comes, the end included."""
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self.reader.read(1), SILENCE)


Connect = Callable[[], Awaitable[Client]]


@pytest.fixture
async def connect(proxy: Proxy) -> AsyncIterator[Connect]:
    clients: list[Client] = []

    async def connect() -> Client:
        clients.append(Client(*await asyncio.open_connection("127.0.0.1", proxy.port)))
        return clients[-1]

    yield connect
    for client in clients:
        client.writer.close()


async def test_bytes_arrive_and_the_end_of_one_side_ends_the_other(proxy: Proxy, connect: Connect) -> None:
    client = await connect()
    assert await client.ask(b"hello") == b"hello"
    client.writer.write_eof()
    assert await client.receive() == b""
    assert proxy.connections == 0


async def test_a_delay_counts_each_way(proxy: Proxy, connect: Connect) -> None:
    client = await connect()
    proxy.delay = 0.1
    started = time.monotonic()
    assert await client.ask(b"slow") == b"slow"
    assert time.monotonic() - started >= 0.2


async def test_a_cut_resets_live_connections_and_accepts_new_ones(proxy: Proxy, connect: Connect) -> None:
    client = await connect()
    await client.ask(b"hello")
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await client.receive()
    assert await (await connect()).ask(b"again") == b"again"


async def test_held_bytes_arrive_after_release(proxy: Proxy, echo: Echo, connect: Connect) -> None:
    client = await connect()
    proxy.hold()
    client.writer.write(b"delayed")
    await client.assert_silence()
    assert echo.sync == []
    proxy.release()
    assert await client.receive() == b"delayed"


async def test_with_answers_held_a_request_is_received_and_never_answered(
    proxy: Proxy, echo: Echo, connect: Connect
) -> None:
    client = await connect()
    proxy.hold_answers()
    client.writer.write(b"pay")
    await client.assert_silence()
    assert echo.sync == [b"pay"]
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await client.receive()


async def test_a_client_of_a_half_open_connection_receives_neither_bytes_nor_an_end(
    proxy: Proxy, echo: Echo, connect: Connect
) -> None:
    client = await connect()
    await client.ask(b"hello")
    proxy.half_open()
    client.writer.write(b"anybody?")
    await client.assert_silence()
    assert echo.sync == [b"hello"]
    assert await (await connect()).ask(b"new") == b"new"


async def test_a_proxy_that_refuses_keeps_open_connections_and_can_accept_again(proxy: Proxy, connect: Connect) -> None:
    client = await connect()
    await client.ask(b"hello")
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connect()
    assert await client.ask(b"still") == b"still"
    await proxy.accept()
    assert await (await connect()).ask(b"back") == b"back"
