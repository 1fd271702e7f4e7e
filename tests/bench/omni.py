"""A minimal stand-in for OMNI: it accepts everything after a chosen latency.

    python -m tests.bench.omni PORT SECONDS

No framework and no checks: what it costs would be taken for the cost of the worker beside it. It answers whatever is
posted with one status for each `messageId` it finds in the bytes, and any question with an empty list.
"""

import asyncio
import re
import sys
from typing import Final

_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_ID: Final = re.compile(rb'"messageId": ?"([^"\\]*)"')
_STATUS: Final = b'"status":{"groupId":1,"groupName":"PENDING","id":7,"name":"PENDING_ENROUTE"}'
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_END: Final = b"\r\n\r\n"


class Omni(asyncio.Protocol):
    """One connection; answers in the order of the questions."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each question that is whole."""
        self._buffer += data
        while (end := self._buffer.find(_END)) >= 0:
            head = self._buffer[: end + 2]
            length = _LENGTH.search(head)
            size = end + len(_END) + (int(length[1]) if length else 0)
            if len(self._buffer) < size:
                return
            answer = _answer(bytes(self._buffer[end + len(_END) : size])) if head.startswith(b"POST") else _NOTHING
            del self._buffer[:size]
            asyncio.get_running_loop().call_later(self._latency, self._send, answer)

    def _send(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


def _answer(body: bytes) -> bytes:
    messages = b",".join(b'{"messageId":"%s",%s}' % (name, _STATUS) for name in _ID.findall(body))
    content = b'{"bulkId":"bench","messages":[%s]}' % messages
    return _HEAD % len(content) + content


_NOTHING: Final = _HEAD % len(b'{"results":[]}') + b'{"results":[]}'


async def main(port: int, latency: float) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(lambda: Omni(latency), "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
