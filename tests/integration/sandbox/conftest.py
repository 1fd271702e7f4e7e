import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
import pytest

from service.sandbox import create_app, serve

Send = Callable[..., Coroutine[None, None, httpx.Response]]


@contextlib.asynccontextmanager
async def sandbox(**options: Any) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401  # those of create_app
    """Return a client of a sandbox with these options, over TCP, with a credential."""
    async with (
        serve(create_app(**options)) as running,
        httpx.AsyncClient(
            base_url=running.url,
            headers={"authorization": "App key"},
            timeout=5,
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # loads no certificates: this is plain HTTP
        ) as client,
    ):
        yield client


@pytest.fixture
async def omni() -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of a sandbox of its own."""
    async with sandbox(seed=1, refused={"revoked", "mallory:guess"}) as client:
        yield client


@pytest.fixture
def send(omni: httpx.AsyncClient) -> Send:
    """Post a valid request to one number, with other fields if given."""

    async def send(
        phone_number: str = "41793026727",
        message_id: str = "m-1",
        **fields: Any,  # noqa: ANN401  # JSON
    ) -> httpx.Response:
        destination = {"to": {"phoneNumber": phone_number}, "messageId": message_id}
        request = {"destinations": [destination], "sms": {"text": "hello"}, **fields}
        return await omni.post("/omni/1/advanced", json=request)

    return send
