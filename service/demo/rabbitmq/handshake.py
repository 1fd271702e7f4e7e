"""The first frame that a RabbitMQ node sends: it shows that the node is ready, and its version.

No client library is needed for one frame.
"""

import asyncio
import re
import struct

_PROTOCOL_HEADER = b"AMQP\0\0\x09\x01"
_METHOD_FRAME = 1
_CONNECTION_START = struct.pack(">HH", 10, 10)


async def handshake(port: int, name: str) -> str:
    """Return the version of the node with this name, or an empty text if it does not answer on this port."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(_PROTOCOL_HEADER)
                kind, size = struct.unpack(">BxxI", await reader.readexactly(7))
                payload = await reader.readexactly(size)
            finally:
                writer.close()
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        return ""
    version = re.search(rb"\x07versionS\0\0\0.([0-9.]+)", payload, re.DOTALL)
    if kind != _METHOD_FRAME or not payload.startswith(_CONNECTION_START) or not version:
        return ""
    # A default cluster is called after its node: another broker on this port would not know the name.
    return version[1].decode() if name.partition("@")[0].encode() in payload else ""
