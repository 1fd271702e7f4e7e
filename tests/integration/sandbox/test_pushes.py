import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from defusedxml import ElementTree
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox import serve
from tests.integration.sandbox.conftest import sandbox
from tests.integration.sandbox.test_reports import reports, take


@dataclass
class Receiver:
    """A webhook receiver; it responds with `statuses`, then with 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    received: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)

    async def take(self, request: Request) -> Response:
        """Receive a push."""
        body = await request.body()
        xml = request.headers["content-type"] == "application/xml"
        await self.received.put(body.decode() if xml else (await request.json())["results"][0])
        return Response(status_code=self.statuses.pop(0) if self.statuses else 200)

    async def next(self) -> Any:  # noqa: ANN401  # JSON
        """Wait for the next push."""
        async with asyncio.timeout(20):
            return await self.received.get()


@contextlib.asynccontextmanager
async def receiver(*statuses: int) -> AsyncIterator[Receiver]:
    made = Receiver(statuses=list(statuses))
    async with serve(Starlette(routes=[Route("/reports", made.take, methods=["POST"])])) as running:
        made.url = f"{running.url}/reports"
        yield made


async def attempts(omni: httpx.AsyncClient, count: int) -> list[int | None]:
    """Wait until so many pushes were tried, and return their statuses."""
    async with asyncio.timeout(20):
        while True:
            pushes = (await omni.get("/sandbox/pushes")).json()["pushes"]
            if len(pushes) >= count:
                return [push["status"] for push in pushes]
            await asyncio.sleep(0.01)


async def test_reports_are_pushed_when_they_are_due_and_not_returned_as_well() -> None:
    async with receiver() as webhook, sandbox(speed=0) as omni:
        await take(omni, "4179392201", notifyUrl=webhook.url, intermediateReport=True)
        begun = await webhook.next()
        await omni.post("/sandbox/clock", json={"advance": 3600})
        later = [await webhook.next() for _ in range(4)]
        fetched = await reports(omni)

    pushed = [(report["channel"], report["status"]["groupName"]) for report in [begun, *later] if "status" in report]
    seen = next(report for report in later if "seenAt" in report)
    assert begun["channel"] == "VIBER"
    assert sorted(pushed) == [("SMS", "DELIVERED"), ("SMS", "PENDING"), ("VIBER", "EXPIRED"), ("VIBER", "PENDING")]
    assert set(seen) == {"messageId", "from", "to", "sendAt", "seenAt"}
    assert fetched == []


async def test_a_failed_push_is_repeated_after_one_minute_then_after_two() -> None:
    async with receiver(500, 503) as webhook, sandbox(speed=0) as omni:
        await take(omni, "41790000001", notifyUrl=webhook.url)
        outcomes = []
        for count, seconds in enumerate([1, 60, 120], 1):
            await omni.post("/sandbox/clock", json={"advance": seconds})
            outcomes.append((await attempts(omni, count))[-1])
        await omni.post("/sandbox/clock", json={"advance": 10_000})
        await asyncio.sleep(0.05)

        assert outcomes == [500, 503, 200]
        assert len(await attempts(omni, 3)) == 3


async def test_a_push_that_always_fails_is_dropped() -> None:
    async with receiver() as webhook:
        nowhere = webhook.url
    async with sandbox(speed=100_000) as omni:
        await take(omni, "41790000001", notifyUrl=nowhere)
        outcomes = await attempts(omni, 5)
        await asyncio.sleep(0.05)

        assert outcomes == [None] * 5
        assert len(await attempts(omni, 5)) == 5


async def test_pushes_come_in_xml_and_sped_up() -> None:
    async with receiver() as webhook, sandbox(speed=600) as omni:
        await take(omni, "4179392200", notifyUrl=webhook.url, notifyContentType="application/xml")
        root = ElementTree.fromstring(await webhook.next())

    assert root.tag == "omniReportsResponse"
    assert root.findtext("results/result/channel") == "SMS"


async def test_other_machines_are_never_called_and_their_reports_can_be_fetched() -> None:
    async with sandbox(speed=0) as omni:
        await take(omni, "41790000001", notifyUrl="https://example.com/reports")
        await omni.post("/sandbox/clock", json={"advance": 1})

        assert [report["messageId"] for report in await reports(omni)] == ["41790000001"]
        assert (await omni.get("/sandbox/pushes")).json() == {"pushes": []}


async def test_removed_reports_are_not_pushed() -> None:
    async with receiver() as webhook, sandbox(speed=0) as omni:
        await take(omni, "41790000001", notifyUrl=webhook.url)
        await omni.delete("/sandbox/messages")
        await omni.post("/sandbox/clock", json={"advance": 10})
        await take(omni, "41790000002", notifyUrl=webhook.url)
        await omni.post("/sandbox/clock", json={"advance": 10})

        assert (await webhook.next())["messageId"] == "41790000002"
