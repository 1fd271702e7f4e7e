import asyncio
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from defusedxml import ElementTree

from tests.integration.sandbox.conftest import sandbox

VIBER_THEN_SMS_THEN_EMAIL: dict[str, Any] = {
    "viber": {"text": "first", "validityPeriod": 1},
    "sms": {"text": "after one minute", "validityPeriod": 90, "validityPeriodTimeUnit": "SECONDS"},
    "email": {"text": "at last", "subject": "s", "validityPeriod": 2, "validityPeriodTimeUnit": "HOURS"},
}


async def take(omni: httpx.AsyncClient, *numbers: str, **fields: Any) -> None:  # noqa: ANN401  # JSON
    """Send to numbers, each message with its number as id."""
    destinations = [
        {"to": {"phoneNumber": number, "emailAddress": "e@example.com"}, "messageId": number} for number in numbers
    ]
    request = {"destinations": destinations, **VIBER_THEN_SMS_THEN_EMAIL, **fields}
    answer = await omni.post("/omni/1/advanced", json=request)
    assert answer.status_code == 200, answer.text


async def reports(omni: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # a query
    return (await omni.get("/omni/1/reports", params=query)).json()["results"]  # type: ignore[no-any-return]  # JSON


def seconds_between(report: dict[str, Any]) -> float:
    return (datetime.fromisoformat(report["doneAt"]) - datetime.fromisoformat(report["sentAt"])).total_seconds()


@pytest.mark.parametrize(("step", "channel", "after"), [(1, "VIBER", 0), (2, "SMS", 60), (3, "EMAIL", 150)])
async def test_failover_sped_up_ends_with_a_report_of_the_channel_that_reached_the_person(
    step: int, channel: str, after: int
) -> None:
    async with sandbox(speed=1000) as omni, asyncio.timeout(20):
        await take(omni, f"417992{step}00", callbackData="c")
        received_at = (await omni.get("/sandbox/messages")).json()["messages"][0]["receivedAt"]
        returned: list[dict[str, Any]] = []
        while not returned:
            await asyncio.sleep(0.02)
            returned = await reports(omni)

    (report,) = returned
    assert (report["channel"], report["status"]["name"]) == (channel, "DELIVERED_TO_HANDSET")
    assert (report["error"]["name"], report["callbackData"]) == ("NO_ERROR", "c")
    assert report["to"] == ("e@example.com" if channel == "EMAIL" else f"417992{step}00")
    waited = datetime.fromisoformat(report["sentAt"]) - datetime.fromisoformat(received_at)
    assert waited == timedelta(seconds=after)


async def test_a_message_that_no_channel_delivers_is_reported_when_the_last_period_ends() -> None:
    async with sandbox(speed=0) as omni:
        await take(omni, "4179392000")
        await omni.post("/sandbox/clock", json={"advance": 60 + 90 + 7199})
        early = await reports(omni)
        await omni.post("/sandbox/clock", json={"advance": 1})
        (report,) = await reports(omni)

    assert early == []
    assert (report["channel"], report["status"]["groupName"]) == ("EMAIL", "EXPIRED")
    assert (report["error"]["id"], seconds_between(report)) == (4098, 7200)


async def test_each_report_is_returned_once_to_the_first_matching_query() -> None:
    async with sandbox(speed=0) as omni:
        await take(omni, "41790000001", "41790000002", bulkId="b-1")
        await take(omni, "41790000003", "41790000004", bulkId="b-2")
        await take(omni, "4179392200", "41790000005")
        await omni.post("/sandbox/clock", json={"advance": 3600})

        asked: list[dict[str, Any]] = [
            {"messageId": "41790000003"},
            {"bulkId": "b-2", "limit": 5},
            {"channel": "SMS"},
            {"limit": 1},
            {},
            {},
        ]
        returned = [[report["messageId"] for report in await reports(omni, **query)] for query in asked]

    assert returned[:4] == [["41790000003"], ["41790000004"], ["4179392200"], ["41790000001"]]
    assert returned[4:] == [["41790000002", "41790000005"], []]


async def test_intermediate_reports_come_on_demand_and_none_come_if_none_are_wanted() -> None:
    async with sandbox(speed=0) as omni:
        await take(omni, "4179392200", intermediateReport=True)
        await take(omni, "41790000001", notify=False)
        await omni.post("/sandbox/clock", json={"advance": 3600})

        returned = [(report["channel"], report["status"]["name"]) for report in await reports(omni)]

    assert returned == [
        ("VIBER", "PENDING_WAITING_DELIVERY"),
        ("VIBER", "EXPIRED_EXPIRED"),
        ("SMS", "PENDING_WAITING_DELIVERY"),
        ("SMS", "DELIVERED_TO_HANDSET"),
    ]


async def test_a_scenario_decides_the_order_and_the_sender_of_a_message() -> None:
    async with sandbox(speed=0) as omni:
        flow = [{"from": "Boss", "channel": "EMAIL"}, {"from": "InfoSMS", "channel": "SMS"}]
        key = (await omni.post("/omni/1/scenarios", json={"flow": flow})).json()["key"]
        await omni.post("/sandbox/options", json={"answers": 2})
        await take(omni, "41790000001", scenarioKey=key)
        first = (await omni.get("/omni/1/logs")).json()["results"][0]
        await omni.post("/sandbox/clock", json={"advance": 7201})
        (report,) = await reports(omni)

    assert (first["from"], first["channel"], first["to"]) == ("Boss", "EMAIL", "e@example.com")
    assert (report["channel"], report["status"]["groupName"]) == ("SMS", "DELIVERED")


async def test_reports_come_in_xml() -> None:
    async with sandbox(speed=0) as omni:
        await take(omni, "41790000001")
        await omni.post("/sandbox/clock", json={"advance": 1})
        answer = await omni.get("/omni/1/reports", headers={"accept": "application/xml"})

    root = ElementTree.fromstring(answer.text)
    assert root.tag == "omniReportsResponse"
    assert root.findtext("results/result/status/groupName") == "DELIVERED"
    assert root.findtext("results/result/error/permanent") == "false"


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "channel=PIGEON", "bulkid=b", "limit=1&limit=2"])
async def test_an_invalid_query_is_refused(omni: httpx.AsyncClient, query: str) -> None:
    assert (await omni.get(f"/omni/1/reports?{query}")).status_code == 400
    assert (await omni.get(f"/omni/1/logs?{query}")).status_code == 400
