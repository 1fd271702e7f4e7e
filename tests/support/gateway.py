"""A gateway in front of the OMNI sandbox: it passes calls on, and may answer in OMNI's place."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox import serve


@dataclass
class Gateway:
    """How it behaves."""

    behind: httpx.AsyncClient
    url: str = ""
    repeats: int = 0
    """Calls that are still to be answered with the previous answer. They are not passed on."""
    repeated: int = 0
    """Calls that were."""
    entries: int = 1
    """Entries of each message in the logs, such as one for every step of its scenario."""
    refused: str = ""
    """A text of a message id. It answers each log lookup with such an id by a page of its own, as a filter does."""
    _last: Response = field(default_factory=lambda: Response(status_code=502))

    async def pass_on(self, request: Request) -> Response:
        """Serve one call."""
        body = await request.body()
        if request.method == "POST" and self.repeats:
            self.repeats, self.repeated = self.repeats - 1, self.repeated + 1
            return self._last
        if self.refused and any(self.refused in one for one in request.query_params.getlist("messageId")):
            return Response("<html>Request blocked</html>", status_code=403, media_type="text/html")
        kept = {name: value for name, value in request.headers.items() if name in {"authorization", "content-type"}}
        url = f"{request.url.path}?{request.url.query}"
        answer = await self.behind.request(request.method, url, content=body, headers=kept)
        content = answer.content
        if request.method == "GET" and self.entries > 1 and answer.is_success:
            content = self._several(content, int(request.query_params["limit"]))
        response = Response(content, answer.status_code, media_type=answer.headers.get("content-type"))
        if request.method == "POST":
            self._last = response
        return response

    def _several(self, page: bytes, limit: int) -> bytes:
        results = [entry for entry in json.loads(page)["results"] for _ in range(self.entries)]
        return json.dumps({"results": results[:limit]}).encode()


@asynccontextmanager
async def gateway_to(behind: httpx.AsyncClient) -> AsyncIterator[Gateway]:
    """Serve one for as long as the context lasts."""
    gateway = Gateway(behind)
    route = Route("/{path:path}", gateway.pass_on, methods=["GET", "POST"])
    async with serve(Starlette(routes=[route])) as running:
        gateway.url = running.url
        yield gateway
