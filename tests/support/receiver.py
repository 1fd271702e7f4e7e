"""The real receiver of reports as a process, and pushes as OMNI makes them."""

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.worker import Worker, started

TOKEN: Final = "canary-token-0123456789"
RIGHTS: Final = {"configure": "^$", "write": "^omni\\.results$", "read": "^$"}
"""All that the receiver's user may do."""


@dataclass
class Receiver:
    """A receiver that runs, and a client of its public port."""

    process: Worker
    client: httpx.AsyncClient
    port: int

    async def push(self, *reports: object, token: str = TOKEN) -> int:
        """Push reports in JSON; give the status of the answer."""
        return (await self.post(json.dumps({"results": reports}).encode(), token=token)).status_code

    async def post(
        self, body: bytes, headers: Mapping[str, str] | None = None, *, token: str = TOKEN
    ) -> httpx.Response:
        """Post anything."""
        given = {"content-type": "application/json", **(headers or {})}
        return await self.client.post(f"/reports/{token}", content=body, headers=given)

    async def until_connected(self) -> None:
        """Wait until it can publish."""
        await self.process.until_metric("omni_relay_reports_connected", 1)


def a_report(message_id: str, group: int = 3, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - of a report
    """Build a delivery report."""
    return {
        "bulkId": "bulk-1",
        "messageId": message_id,
        "to": "41793026727",
        "sentAt": "2026-11-22T11:59:00.000+0000",
        "doneAt": "2026-11-22T12:00:02.500+0000",
        "messageCount": 1,
        "mccMnc": "22801",
        "price": {"pricePerMessage": 0.01, "currency": "EUR"},
        "status": {"groupId": group, "groupName": "GROUP", "id": 5, "name": "NAME", "description": "What it means"},
        "error": {"groupId": 0, "groupName": "OK", "id": 0, "name": "NO_ERROR", "permanent": False},
        "channel": "SMS",
        "callbackData": "data",
        **changes,
    }


@asynccontextmanager
async def receiving(directory: Path, url: str, *, connected: bool = True, **settings: str) -> AsyncIterator[Receiver]:
    """Run a receiver on a broker; names of settings come without their prefix."""
    given = {
        "RELAY_RABBITMQ_URL": url,
        "RELAY_REPORTS_TOKEN": TOKEN,
        "RELAY_REPORTS_HOST": "127.0.0.1",
        "RELAY_REPORTS_PORT": "0",
        "RELAY_HTTP_HOST": "127.0.0.1",
        "RELAY_HTTP_PORT": "0",
        **{f"RELAY_{name}": value for name, value in settings.items()},
    }
    async with started(directory, given, "reports", program=None) as process:
        line = await process.until_line("reports.started")
        process.listens_on(line["port"])
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{line['reports_port']}",
            timeout=30,
            trust_env=False,
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # loads no certificates: this is plain HTTP
            limits=httpx.Limits(max_connections=200),
        ) as client:
            receiver = Receiver(process, client, line["reports_port"])
            if connected:
                await receiver.until_connected()
            yield receiver
