"""Every query of every panel returns data from a real Prometheus that scraped a worker with and without faults."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.stage import Stage
from tests.support.broker import VirtualHost
from tests.support.prometheus import DASHBOARDS, filled, prometheus
from tests.support.receiver import Receiver, a_report, receiving

pytestmark = pytest.mark.once

NUMBER: Final = "41793026727"
SECONDS: Final = 18
"""Of load: rates cover fifteen seconds."""


def expressions(dashboard: str) -> list[tuple[str, str]]:
    """List each panel's title with its queries."""
    panels = DASHBOARDS[dashboard]["panels"]
    return [(panel["title"], filled(target["expr"], "15s")) for panel in panels for target in panel.get("targets", ())]


def request(name: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - of a request
    return {"requestId": name, "messageId": name, "phoneNumber": NUMBER, "sms": {"text": "hello"}, **fields}


async def trouble(stage: Stage, receiver: Receiver) -> None:
    """Cause everything that a panel shows."""
    await stage.fault(kind="status", status=503, probability=0.1)
    await stage.fault(kind="status", status=500, taken=True, probability=0.02)
    await stage.fault(kind="hang", times=1)
    for number in range(SECONDS * 4):
        pair = request(f"m-{number}"), request(f"o-{number}", sms={"text": "☎ Grüße"})
        await stage.send(*pair, timestamp=datetime.now(UTC))
        await stage.send(request(f"u-{number}"), exchange="omni.requests.urgent", timestamp=datetime.now(UTC))
        await receiver.push(*(a_report(f"m-{number}", group) for group in (1, 2, 3)))
        if number % 8 == 0:
            await stage.send(request(f"w-{number}", phoneNumber="nonsense"))
            await stage.send({"phoneNumber": NUMBER, "sms": {"text": "nameless"}})
        await asyncio.sleep(0.25)


@pytest.mark.long
async def test_every_query_of_every_panel_returns_data(stage: Stage, vhost: VirtualHost, tmp_path: Path) -> None:
    worker = await stage.worker(RETRY_MAX_DELAY="1", RETRY_MAX_ATTEMPTS="2", OMNI_READ_TIMEOUT="1")
    assert vhost.node.prometheus_port
    port = vhost.node.prometheus_port
    async with (
        receiving(tmp_path / "receiver", vhost.url) as receiver,
        prometheus(tmp_path / "p", [worker], port, receivers=[receiver.process], vhost=vhost.name) as client,
    ):
        await trouble(stage, receiver)
        empty, most = [], dict[str, float]()
        for dashboard in DASHBOARDS:
            for title, expression in expressions(dashboard):
                answer = await client.get("/api/v1/query", params={"query": expression})
                assert answer.status_code == 200, (title, answer.text)
                result = answer.json()["data"]["result"]
                if not result:
                    empty.append((title, expression))
                most[title] = max([most.get(title, 0.0), *(float(series["value"][1]) for series in result)])
        assert empty == []
    rising = (
        "Requests served",
        "Attempts",
        "Why attempts fail",
        "Published to accepted",
        "SMS parts",
        "Scheduled for retry",
    )
    for title in (*rising, "Invalid requests", "Messages in a call", "Events by type", "CPU", "Memory"):
        assert most[title] > 0, title
    for title in ("Reports by channel", "Share delivered", "Delivery time", "Failover steps", "Pushes by answer"):
        assert most[title] > 0, title


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_a_dashboard_is_well_formed(name: str) -> None:
    dashboard = DASHBOARDS[name]
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert dashboard["uid"] == name
    assert {one["name"] for one in dashboard["templating"]["list"]} == {"datasource", "namespace", "job"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert all(panel["description"].endswith(".") and panel["targets"] for panel in panels)
    assert all(target["datasource"]["uid"] == "${datasource}" for panel in panels for target in panel["targets"])
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)
