"""OMNI's side of an account whose credentials can be changed while it serves."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.sandbox import serve

_REFUSAL = {"requestError": {"serviceException": {"messageId": "UNAUTHORIZED", "text": "Invalid login details"}}}


@dataclass
class Account:
    """Takes every call that has one of the headers that it accepts, and remembers each message."""

    accepts: set[str]
    taken: Counter[str] = field(default_factory=Counter)
    """How often each message was taken."""
    refused: int = 0
    """Calls with another header."""
    clients: dict[str, str] = field(default_factory=dict)
    """Secrets of OAuth clients; each gets the token `token-of-SECRET`."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve; gives the base URL."""
        routes = [
            Route("/omni/1/advanced", self._advanced, methods=["POST"]),
            Route("/omni/1/scenarios", self._scenarios),
            Route("/omni/1/logs", self._logs),
            Route("/auth/1/oauth2/token", self._token, methods=["POST"]),
        ]
        async with serve(Starlette(routes=routes)) as running:
            yield running.url

    def _refusal(self, request: Request) -> Response | None:
        if request.headers.get("authorization") in self.accepts:
            return None
        self.refused += 1
        return JSONResponse(_REFUSAL, 401)

    async def _advanced(self, request: Request) -> Response:
        body = await request.json()
        if refusal := self._refusal(request):
            return refusal
        ids = [one["messageId"] for one in body["destinations"]]
        self.taken.update(ids)
        status = {"groupId": 1, "groupName": "PENDING", "id": 7, "name": "PENDING_ENROUTE"}
        return JSONResponse({"messages": [{"messageId": one, "status": status} for one in ids]})

    async def _scenarios(self, request: Request) -> Response:
        return self._refusal(request) or JSONResponse({"scenarios": []})

    async def _logs(self, request: Request) -> Response:
        return self._refusal(request) or JSONResponse({"results": []})

    async def _token(self, request: Request) -> Response:
        form = dict(pair.split("=") for pair in (await request.body()).decode().split("&"))
        if self.clients.get(form["client_id"]) != form["client_secret"]:
            return JSONResponse({"error": "invalid_client"}, 401)
        return JSONResponse({"access_token": f"token-of-{form['client_secret']}", "expires_in": 3600})
