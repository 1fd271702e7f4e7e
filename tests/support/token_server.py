"""A token server that signs tokens for RabbitMQ (JSON Web Tokens, RS256) with a key of its own."""

import asyncio
import base64
import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from service.sandbox import serve

CONFIGURATION = """\
auth_backends.1 = rabbit_auth_backend_oauth2
auth_backends.2 = internal
auth_oauth2.resource_server_id = rabbitmq
auth_oauth2.default_key = relay
auth_oauth2.signing_keys.relay = $DIRECTORY/signing.pem
"""
"""For rabbitmq.conf, with the plugin `rabbitmq_auth_backend_oauth2`."""


def make_key(directory: Path) -> Path:
    """Make a private key; its public half is `signing.pem` beside it."""
    key = directory / "signing.key"
    make = ("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(key))
    show = ("pkey", "-in", str(key), "-pubout", "-out", str(directory / "signing.pem"))
    for arguments in (make, show):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)  # noqa: S607
    return key


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class TokenServer:
    """Its fields may be changed while it serves."""

    key: Path
    clients: dict[str, set[str]] = field(default_factory=lambda: {"relay": {"hush-canary"}})
    """The secrets that are valid for each client."""
    lifetime: float = 4.0
    """Seconds for which the broker accepts a token."""
    says: object = ...
    """Its `expires_in`; by default the truth."""
    rights: str = "configure write read"
    takes: str = "basic form"
    """Where it takes a client's credentials from: the header, the form."""
    is_away: bool = False
    hangs: bool = False
    page: str = ""
    """An HTML page with which it answers, with status 200."""
    issued: list[str] = field(default_factory=list)
    asked: int = 0

    def token(self, client: str) -> str:
        """Sign a token."""
        now = time.time()
        scope = [f"rabbitmq.{right}:*/*/*" for right in self.rights.split()]
        claims = {"aud": "rabbitmq", "sub": client, "scope": scope, "iat": int(now), "exp": int(now + self.lifetime)}
        claims |= {"jti": f"{len(self.issued)}"}
        signed = ".".join(
            _encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT", "kid": "relay"}, claims)
        )
        sign = ["openssl", "dgst", "-sha256", "-sign", str(self.key)]
        signature = subprocess.run(sign, input=signed.encode(), check=True, capture_output=True, timeout=30).stdout
        return f"{signed}.{_encoded(signature)}"

    async def _answer(self, request: Request) -> Response:
        self.asked += 1
        form = dict(pair.split("=") for pair in (await request.body()).decode().split("&"))
        if self.hangs:
            await asyncio.sleep(3600)
        if self.is_away:
            return Response(status_code=503)
        if self.page:
            return HTMLResponse(self.page)
        client, secret = self._credentials(request.headers.get("authorization", ""), form)
        if secret not in self.clients.get(client, set()):
            return JSONResponse({"error": "invalid_client"}, 401)
        token = await asyncio.to_thread(self.token, client)
        self.issued.append(token)
        answer: dict[str, Any] = {"access_token": token, "token_type": "bearer"}
        if self.says is not None:
            answer["expires_in"] = self.lifetime if self.says is ... else self.says
        return JSONResponse(answer)

    def _credentials(self, authorization: str, form: dict[str, str]) -> tuple[str, str]:
        if authorization and "basic" in self.takes:
            client, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
            return unquote_plus(client), unquote_plus(secret)
        if "form" in self.takes:
            return form.get("client_id", ""), form.get("client_secret", "")
        return "", ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve; gives the URL."""
        async with serve(Starlette(routes=[Route("/token", self._answer, methods=["POST"])])) as running:
            yield f"{running.url}/token"
