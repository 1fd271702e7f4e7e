"""An HTTP proxy that opens tunnels (CONNECT), and refuses in the ways proxies do."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

OPENED: Final = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n"
NEEDS_PASSWORD: Final = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
    b'Proxy-Authenticate: Basic realm="proxy"\r\nContent-Length: 0\r\n\r\n'
)


@dataclass
class ConnectProxy:
    """A proxy that listens on 127.0.0.1. Its fields may be changed while it runs."""

    port: int = 0
    password: str | None = None
    """`user:password` that it asks for."""
    answer: bytes = OPENED
    """The answer to CONNECT. It opens a tunnel after a 200, stays silent for an empty answer, and else closes."""
    heads: list[bytes] = field(default_factory=list)
    """Every request for a tunnel."""
    bytes_seen: bytearray = field(default_factory=bytearray)
    """All bytes that clients sent through tunnels."""
    hosts: dict[str, str] = field(default_factory=dict)
    """Addresses of names that only the proxy can resolve."""
    _tunnels: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Close every tunnel."""
        for writer in self._tunnels:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Serve one client."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            answer = self._refusal(head) or self.answer
            client.write(answer)
            await client.drain()
            if not answer:
                await reader.read()
            elif answer.startswith(b"HTTP/1.1 200"):
                host, _, port = head.split()[1].decode().rpartition(":")
                upstream, far = await asyncio.open_connection(self.hosts.get(host, host.strip("[]")), int(port))
                self._tunnels |= {client, far}
                await asyncio.gather(self._pump(reader, far, self.bytes_seen), self._pump(upstream, client))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            client.transport.abort()

    def _refusal(self, head: bytes) -> bytes | None:
        if self.password is None:
            return None
        expected = b"Proxy-Authorization: Basic " + base64.b64encode(self.password.encode())
        return None if expected in head.split(b"\r\n") else NEEDS_PASSWORD

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray | None = None
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if seen is not None:
                    seen += data
                writer.write(data)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def connect_proxy(
    answer: bytes = OPENED, *, password: str | None = None, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[ConnectProxy]:
    """Run a proxy for as long as the context lasts."""
    proxy = ConnectProxy(password=password, answer=answer)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await proxy.serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            tasks.discard(task)

    listener = await asyncio.start_server(serve, host, 0, ssl=tls)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        proxy.cut()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
