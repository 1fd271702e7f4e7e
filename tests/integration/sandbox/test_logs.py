from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from defusedxml import ElementTree

from tests.integration.sandbox.conftest import Send, sandbox
from tests.integration.sandbox.test_reports import take


async def ids(omni: httpx.AsyncClient, **query: Any) -> list[str]:  # noqa: ANN401  # a query
    answer = await omni.get("/omni/1/logs", params=query)
    assert answer.status_code == 200, answer.text
    return [line["messageId"] for line in answer.json()["results"]]


async def test_the_logs_show_the_present_step_of_a_message_on_every_call() -> None:
    lines: list[dict[str, Any]] = []
    async with sandbox(speed=0) as omni:
        await take(omni, "4179392200")
        for seconds in (0, 61, 1):
            await omni.post("/sandbox/clock", json={"advance": seconds})
            (line,) = (await omni.get("/omni/1/logs", params={"messageId": "4179392200"})).json()["results"]
            lines.append(line)

    assert [(line["channel"], line["text"], line["status"]["groupName"], "doneAt" in line) for line in lines] == [
        ("VIBER", "first", "PENDING", False),
        ("SMS", "after one minute", "DELIVERED", True),
        ("SMS", "after one minute", "DELIVERED", True),
    ]
    assert set(lines[1]) == {
        *("messageId", "to", "from", "text", "sentAt", "doneAt", "messageCount", "mccMnc", "price", "status"),
        "channel",
    }


async def test_logs_can_be_filtered() -> None:
    async with sandbox(speed=0) as omni:
        await take(omni, "41790000001", "41790000002", bulkId="b")
        await omni.post("/sandbox/clock", json={"advance": 10})
        later = (await omni.get("/sandbox/clock")).json()["now"]
        await take(omni, "4179392000")

        assert await ids(omni) == ["4179392000", "41790000002", "41790000001"]
        assert await ids(omni, limit=1) == ["4179392000"]
        assert await ids(omni, messageId=["41790000001", "none"]) == ["41790000001"]
        assert await ids(omni, messageId="41790000001,41790000002") == ["41790000001", "41790000002"]
        assert await ids(omni, bulkId="b", to="41790000002") == ["41790000002"]
        assert await ids(omni, generalStatus="PENDING", channel="VIBER") == ["4179392000"]
        assert await ids(omni, sentSince=later) == ["4179392000"]
        assert await ids(omni, sentUntil=later) == ["4179392000", "41790000002", "41790000001"]
        assert await ids(omni, **{"from": "Nobody"}) == []
        assert await ids(omni, mcc="228", mnc="02") == []


async def test_logs_reach_back_48_hours() -> None:
    async with sandbox(speed=0) as omni:
        await take(omni, "41790000001")
        await omni.post("/sandbox/clock", json={"advance": 48 * 3600 - 1})
        assert await ids(omni) == ["41790000001"]
        await omni.post("/sandbox/clock", json={"advance": 2})
        assert await ids(omni) == []


async def test_messages_can_show_late() -> None:
    async with sandbox(speed=0, logs_lag=5) as omni:
        await take(omni, "41790000001")
        assert await ids(omni) == []
        await omni.post("/sandbox/clock", json={"advance": 5})
        assert await ids(omni) == ["41790000001"]


async def test_a_scheduled_message_shows_as_pending(omni: httpx.AsyncClient, send: Send) -> None:
    moment = (await omni.get("/sandbox/clock")).json()["now"]
    await send(sendAt=(datetime.fromisoformat(moment) + timedelta(days=1)).isoformat())

    (line,) = (await omni.get("/omni/1/logs")).json()["results"]
    assert (line["status"]["name"], "doneAt" in line) == ("PENDING_ACCEPTED", False)


async def test_logs_have_a_rate_limit() -> None:
    async with sandbox(speed=0, logs_per_minute=2) as omni:
        answers = [await omni.get("/omni/1/logs") for _ in range(3)]
        await omni.post("/sandbox/clock", json={"advance": 60})
        answers.append(await omni.get("/omni/1/logs"))

    assert [answer.status_code for answer in answers] == [200, 200, 429, 200]
    assert answers[2].json()["requestError"]["serviceException"]["messageId"] == "TOO_MANY_REQUESTS"


async def test_logs_may_be_forbidden_and_options_change_while_it_runs() -> None:
    async with sandbox(logs_allowed=False) as omni:
        assert (await omni.get("/omni/1/logs")).status_code == 403
        options = (await omni.post("/sandbox/options", json={"logsAllowed": True})).json()
        assert options == (await omni.get("/sandbox/options")).json()
        assert options["logsAllowed"] is True
        assert (await omni.get("/omni/1/logs")).status_code == 200


@pytest.mark.parametrize("wrong", [{"answers": 10}, {"logsLag": "x"}, {"seen": 1}, {"colour": "red"}])
async def test_wrong_options_and_clocks_change_nothing(omni: httpx.AsyncClient, wrong: dict[str, Any]) -> None:
    before = (await omni.get("/sandbox/options")).json()

    assert (await omni.post("/sandbox/options", json={"logsPerMinute": 7, **wrong})).status_code == 400
    assert (await omni.post("/sandbox/clock", json={"speed": -1})).status_code == 400
    assert (await omni.get("/sandbox/options")).json() == before


async def test_faults_for_the_logs_apply_to_the_logs_alone(omni: httpx.AsyncClient, send: Send) -> None:
    await omni.post("/sandbox/faults", json={"kind": "status", "status": 500, "path": "logs", "times": 1})
    await omni.post("/sandbox/faults", json={"kind": "hang", "path": "logs", "times": 1})
    await omni.post("/sandbox/faults", json={"kind": "garbage", "path": "logs", "times": 1})
    assert (await send()).status_code == 200

    failed = await omni.get("/omni/1/logs")
    with pytest.raises(httpx.ReadTimeout):
        await omni.get("/omni/1/logs", timeout=0.3)
    garbled = await omni.get("/omni/1/logs")

    assert (failed.status_code, garbled.text) == (500, '{"results":[{"messageI')
    assert await ids(omni) == ["m-1"]
    refusal = await omni.post("/sandbox/faults", json={"kind": "refuse", "path": "logs"})
    assert refusal.status_code == 400


async def test_logs_come_in_xml_and_require_a_credential(omni: httpx.AsyncClient, send: Send) -> None:
    await send()

    answer = await omni.get("/omni/1/logs", headers={"accept": "application/xml"})
    assert ElementTree.fromstring(answer.text).findtext("results/result/messageId") == "m-1"
    assert answer.text.startswith("<omniLogsResponse>")
    for path in ("logs", "reports"):
        assert (await omni.get(f"/omni/1/{path}", headers={"authorization": ""})).status_code == 401


async def test_a_message_rejected_alone_shows_with_its_status_and_one_of_a_failed_call_does_not(
    omni: httpx.AsyncClient, send: Send
) -> None:
    """The specification has a filter for rejected messages."""
    await send("4179091006", "refused")
    await send("4179091503", "failed")

    query = {"messageId": ["refused", "failed"]}
    results = (await omni.get("/omni/1/logs", params=query)).json()["results"]

    assert [(one["messageId"], one["status"]["groupName"], one["status"]["id"]) for one in results] == [
        ("refused", "REJECTED", 6)
    ]
    assert (await omni.get("/sandbox/messages")).json()["messages"] == []
