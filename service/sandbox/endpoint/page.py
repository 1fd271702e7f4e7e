"""The page at `/`, and the changes that it follows.

GET  /                 the page; its style and script are below `/page/`
GET  /sandbox/changes  server-sent events: one whenever something changed
"""

from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.sandbox.state import State
from service.sandbox.wire.format import Format
from service.sandbox.wire.response import failure

# Nothing but the page's own style and script runs or is loaded, and no string becomes markup (Trusted Types). The icon
# is in the page itself.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_FILES = {
    "/": ("index.html", "text/html"),
    "/page/page.css": ("page.css", "text/css"),
    "/page/page.js": ("page.js", "text/javascript"),
}


def page_routes(state: State) -> list[Route]:
    """Return the paths of the page."""
    return [
        *(Route(path, _file(name, media_type), methods=["GET"]) for path, (name, media_type) in _FILES.items()),
        Route("/sandbox/changes", ChangeStream(state), methods=["GET"]),
    ]


class ChangeStream:
    """The endpoint of server-sent events."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one stream until its reader is gone."""
        with self._state.changes.stream() as events:
            if events is None:
                answer: Response = failure(503, Format.JSON, headers={"retry-after": "10"})
            else:
                answer = StreamingResponse(
                    events, media_type="text/event-stream", headers={"cache-control": "no-store"}
                )
            try:
                await answer(scope, receive, send)
            except ClientDisconnect:
                return


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    body = files("service.sandbox").joinpath("page", name).read_bytes()

    async def answer(_request: Request) -> Response:
        return Response(body, headers=_HEADERS, media_type=media_type)

    return answer
