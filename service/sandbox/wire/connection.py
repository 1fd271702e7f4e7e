"""What happens to a connection apart from an answer: reading with a limit, waiting, hanging, a reset.

A reset is the server's to make: it puts a function under `RESET` into `scope["extensions"]`. Under a
server that does not, the nearest thing is an answer begun and broken off.
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
    told = request.headers.get("content-length", "")
    if _LENGTH.fullmatch(told) and int(told) > MAX_BODY:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


async def caller_leaves(receive: Receive, within: float | None = None) -> bool:
    """Wait until the caller has gone, but no longer than that; tell whether it has."""
    try:
        async with asyncio.timeout(within):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


async def hang(_scope: Scope, receive: Receive, _send: Send) -> None:
    """Never answer; ends when the caller leaves or the server closes the connection."""
    await caller_leaves(receive)


async def reset(scope: Scope, receive: Receive, send: Send) -> None:
    """Reset the connection instead of answering."""
    abort = scope.get("extensions", {}).get(RESET)
    if abort is None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        raise ConnectionResetError("a fault was asked for: connection reset")
    abort()
    await caller_leaves(receive)
