"""Connections: read a body with a limit, wait for a disconnect, hang, reset.

Only the server can reset a connection: it puts a function under `RESET` into `scope["extensions"]`. Under another
server a response is begun and cut off instead.
"""

import asyncio
import re

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

MAX_BODY = 10 * 1024 * 1024
RESET = "sandbox.reset"

_LENGTH = re.compile(r"[0-9]{1,40}")


async def read_body(request: Request) -> bytes | None:
    """Read a body; None if it is too large."""
    declared = request.headers.get("content-length", "")
    if _LENGTH.fullmatch(declared) and int(declared) > MAX_BODY:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


async def caller_leaves(receive: Receive, within: float | None = None) -> bool:
    """Wait for the caller to disconnect, at most `within` seconds; returns whether it did."""
    try:
        async with asyncio.timeout(within):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


async def hang(_scope: Scope, receive: Receive, _send: Send) -> None:
    """Send no response; ends when the caller disconnects or the server closes the connection."""
    await caller_leaves(receive)


async def reset(scope: Scope, receive: Receive, send: Send) -> None:
    """Reset the connection instead of sending a response."""
    abort = scope.get("extensions", {}).get(RESET)
    if abort is None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        raise ConnectionResetError("injected fault: connection reset")
    abort()
    await caller_leaves(receive)
