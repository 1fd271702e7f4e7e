"""A TCP proxy that makes the faults networks make.

* delay: everything takes that much longer, each way;
* cut: live connections are reset, as by a firewall or a dead host that came back;
* hold: bytes stop on their way and arrive after `release`, as TCP does across a partition that heals;
  held answers alone are the request that was received and never answered;
* hold at: bytes stop from certain ones on, so that a client can be killed between two of its steps;
* half_open: the far end is gone and the client does not notice;
* refuse: nobody listens any more; what is connected stays.
"""

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from typing import Self

from service.demo.rabbitmq.ports import free_port

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
_CHUNK = 65536


@dataclass(eq=False, slots=True)
class _Link:
    client: asyncio.StreamWriter
    upstream: asyncio.StreamWriter
    answers: asyncio.Task[None] | None = None
    abandoned: bool = False


class Proxy:
    """Listens on 127.0.0.1:`port` and passes on to 127.0.0.1:`upstream_port`."""

    def __init__(self, upstream_port: int, *, delay: float = 0.0) -> None:
        self.delay = delay
        # A proxy that refuses must get its port back, and ephemeral ones are given to others.
        self.port = free_port()
        self._upstream_port = upstream_port
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests_flow = asyncio.Event()
        self._answers_flow = asyncio.Event()
        self._marks: tuple[bytes, int] = b"", 0
        self._held = asyncio.Event()
        self.release()

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        await asyncio.sleep(0)  # a connection that was just accepted has its task, which has not run yet
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted transport closes its socket in the next turn of the loop

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._links)

    def cut(self) -> None:
        """Reset every live connection, both ways."""
        for link in self._links:
            _reset(link.client)
            _reset(link.upstream)

    def hold(self) -> None:
        """Hold every byte in both directions; connections stay open, and new ones are accepted."""
        self._requests_flow.clear()
        self._answers_flow.clear()

    def hold_answers(self) -> None:
        """Pass requests on and hold the answers."""
        self._answers_flow.clear()

    def hold_at(self, mark: bytes, time: int = 1) -> asyncio.Event:
        """Hold all, as `hold` does, from the n-th read on that contains these bytes of a client.

        Gives what is set when that has happened. A client that waits for each answer sends one step with each read.
        """
        self._marks, self._held = (mark, time), asyncio.Event()
        return self._held

    def release_requests(self) -> None:
        """Send on what clients have sent, and hold the answers."""
        self._requests_flow.set()

    def release(self) -> None:
        """Pass the held bytes on, and hold no more."""
        self._requests_flow.set()
        self._answers_flow.set()

    def half_open(self) -> None:
        """Drop the far end of every live connection without closing the client's side."""
        for link in self._links:
            link.abandoned = True
            _reset(link.upstream)
            if link.answers:
                link.answers.cancel()

    async def refuse(self) -> None:
        """Listen no more."""
        if self._server:
            self._server.close()
            self._server = None

    async def accept(self) -> None:
        """Listen, again if need be."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            await self._connect(reader, client)
        except OSError:
            _reset(client)  # upstream does not accept the connection
        except asyncio.CancelledError:
            _reset(client)
            return  # the proxy itself ends; asyncio would report the cancelled task on standard error
        finally:
            self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        answers, upstream = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        link = _Link(client, upstream)
        self._links.add(link)
        requests_task = asyncio.create_task(self._pump(reader, upstream, self._requests_flow, link))
        link.answers = asyncio.create_task(self._pump(answers, client, self._answers_flow, link))
        try:
            await asyncio.wait({requests_task, link.answers}, return_when=asyncio.FIRST_COMPLETED)
            if link.abandoned:
                await requests_task
        finally:
            self._links.discard(link)
            requests_task.cancel()
            link.answers.cancel()
            client.close()  # before the next await, at which the proxy's own end may cancel this task
            upstream.close()
            await asyncio.gather(requests_task, link.answers, return_exceptions=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: asyncio.Event, link: _Link
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                if flow is self._requests_flow:
                    self._look_for_mark(data)
                if self.delay:
                    await asyncio.sleep(self.delay)
                await flow.wait()
                if not link.abandoned:
                    writer.write(data)
                    await writer.drain()

    def _look_for_mark(self, data: bytes) -> None:
        mark, left = self._marks
        if left and mark in data:
            self._marks = mark, left - 1
            if left == 1:
                self.hold()
                self._held.set()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, not with FIN."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    writer.transport.abort()
