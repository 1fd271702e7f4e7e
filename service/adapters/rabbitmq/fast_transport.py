"""Opens the library's connections with the fast path in between."""

import asyncio
from typing import Any, Final

import aiormq
from aiormq.connection import TransportFactory
from yarl import URL

from service.adapters.rabbitmq.fast_path import FastPath

_LIMIT: Final = 2**16
"""Bytes in the buffer of the library's stream above which it pauses reading; asyncio's own default."""


class FastPathFactory(TransportFactory):
    """Connects; `fast_path` is set once the connection is open."""

    def __init__(self) -> None:
        self.fast_path: FastPath | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:  # noqa: ANN401 - as it is declared
        """Open the connection as the library itself would. Raises `AMQPConnectionError`."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_LIMIT, loop=loop)
        tls = kwargs.pop("ssl_context_provider")
        context = await tls.get_context() if url.scheme == "amqps" else None
        try:
            transport, self.fast_path = await loop.create_connection(
                lambda: FastPath(reader), url.host or "", url.port or 0, ssl=context, **kwargs
            )
        except OSError as error:
            raise aiormq.exceptions.AMQPConnectionError(*error.args) from error
        return reader, _Writer(self.fast_path, transport, reader)


class _Writer(asyncio.StreamWriter):
    """The library's writer. It writes what waits in the fast path first.

    Otherwise the library could overtake: a `channel.close` before acks that were given earlier loses these acks, and
    their messages are delivered again.
    """

    def __init__(self, fast_path: FastPath, transport: asyncio.WriteTransport, reader: asyncio.StreamReader) -> None:
        super().__init__(transport, fast_path, reader, asyncio.get_running_loop())
        self._fast_path = fast_path

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._fast_path.flush()
        super().write(data)
