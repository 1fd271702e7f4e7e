"""The sandbox behind a gateway that answers some calls itself, as firewalls and load balancers do.

    .venv/bin/python -m tests.soak.gateway --port 8080

A call is answered by the gateway if its body holds one of the marks below; all others reach the sandbox.
"""

import argparse
import asyncio
from typing import Final

from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.sandbox import create_app, serve

ANSWERS: Final[dict[bytes, Response]] = {
    b"gateway-answers-404": HTMLResponse("<html><body>no such page</body></html>", 404),
    b"gateway-answers-403": HTMLResponse("<html><body>blocked by a firewall rule</body></html>", 403),
    b"gateway-answers-451": Response(status_code=451),
}


class Gateway:
    """An ASGI app in front of another."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].startswith("/sandbox/"):
            await self._app(scope, receive, send)
            return
        parts: list[Message] = []
        while not parts or parts[-1].get("more_body"):
            parts.append(await receive())
        body = b"".join(part.get("body", b"") for part in parts)
        answer = next((answer for mark, answer in ANSWERS.items() if mark in body), None)
        if answer is not None:
            await answer(scope, receive, send)
            return
        waiting = iter(parts)

        async def again() -> Message:
            part = next(waiting, None)
            return await receive() if part is None else part

        await self._app(scope, again, send)


async def main(port: int) -> None:
    """Serve until killed."""
    async with serve(Gateway(create_app()), port=port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(main(parser.parse_args().port))
