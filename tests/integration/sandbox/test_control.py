import asyncio
from datetime import UTC, datetime

import httpx
import pytest

from tests.integration.sandbox.conftest import Send


async def test_accepted_messages_are_shown(omni: httpx.AsyncClient, send: Send) -> None:
    await send(message_id="m-1", sendAt="2016-04-26T10:52:15.000+01:00", email={"text": "t"})
    await send(message_id="m-2")

    taken = (await omni.get("/sandbox/messages", params={"messageId": "m-1"})).json()["messages"]

    assert len(taken) == 1
    moment = datetime.fromisoformat(taken[0].pop("receivedAt"))
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 60
    assert taken[0] == {
        "messageId": "m-1",
        "bulkId": None,
        "to": {"phoneNumber": "41793026727"},
        "channels": ["sms", "email"],
        "sendAt": "2016-04-26T10:52:15.000+01:00",
        "call": 1,
        "times": 1,
    }


async def test_a_message_sent_twice_shows(omni: httpx.AsyncClient, send: Send) -> None:
    for _ in range(3):
        await send(message_id="twice")
    await send(message_id="once")

    taken = (await omni.get("/sandbox/messages")).json()["messages"]
    assert {message["messageId"]: message["times"] for message in taken} == {"twice": 3, "once": 1}
    assert (await omni.get("/sandbox/stats")).json() == {
        "calls": 4,
        "messagesTaken": 2,
        "messagesTakenMoreThanOnce": 1,
        "inFlight": 0,
        "maxInFlight": 1,
        "faults": 0,
    }


async def test_every_post_is_stored_without_secrets(omni: httpx.AsyncClient, send: Send) -> None:
    await send()
    await omni.post("/omni/1/advanced", content="{", headers={"content-type": "application/json"})
    await omni.post("/omni/1/nothing")
    await send("4179302690503")

    answer = await omni.get("/sandbox/calls")
    calls = answer.json()["calls"]

    assert "App key" not in answer.text
    assert [(call["call"], call["path"], call["status"], call["fault"]) for call in calls] == [
        (1, "/omni/1/advanced", 200, None),
        (2, "/omni/1/advanced", 400, None),
        (3, "/omni/1/nothing", 404, None),
        (4, "/omni/1/advanced", 503, "status"),
    ]
    assert calls[0]["body"]["sms"] == {"text": "hello"}
    assert calls[1]["body"] is None
    assert {call["authorization"] for call in calls} == {"App"}
    assert {call["contentType"] for call in calls} == {"application/json", ""}


async def test_since_excludes_earlier_entries(omni: httpx.AsyncClient, send: Send) -> None:
    await send(message_id="early")
    await asyncio.sleep(0.01)
    since = datetime.now(UTC).isoformat()
    await send(message_id="late")

    messages = (await omni.get("/sandbox/messages", params={"since": since})).json()["messages"]
    unescaped = (await omni.get(f"/sandbox/calls?since={since}")).json()["calls"]

    assert [message["messageId"] for message in messages] == ["late"]
    assert [call["call"] for call in unescaped] == [2]


@pytest.mark.parametrize("since", ["yesterday", "2026-01-01T00:00:00"])
async def test_a_since_without_a_time_and_zone_is_refused(omni: httpx.AsyncClient, since: str) -> None:
    assert (await omni.get("/sandbox/messages", params={"since": since})).status_code == 400
    assert (await omni.get("/sandbox/calls", params={"since": since})).status_code == 400


async def test_messages_calls_and_counters_can_be_removed(omni: httpx.AsyncClient, send: Send) -> None:
    await send()
    await send("4179302690503")
    assert (await omni.delete("/sandbox/messages")).status_code == 204

    assert (await omni.get("/sandbox/messages")).json() == {"messages": []}
    assert (await omni.get("/sandbox/calls")).json() == {"calls": []}
    assert set((await omni.get("/sandbox/stats")).json().values()) == {0}
    assert (await send("4179302690503")).status_code == 503  # as if it were the first time


async def test_calls_in_flight_are_counted(omni: httpx.AsyncClient, send: Send) -> None:
    await omni.post("/sandbox/faults", json={"kind": "latency", "seconds": 0.6})
    calls = [asyncio.create_task(send(message_id=f"m-{index}")) for index in range(5)]
    await asyncio.sleep(0.3)
    during = (await omni.get("/sandbox/stats")).json()
    await asyncio.gather(*calls)
    after = (await omni.get("/sandbox/stats")).json()

    assert (during["inFlight"], during["maxInFlight"]) == (5, 5)
    assert (after["inFlight"], after["maxInFlight"]) == (0, 5)


async def test_control_requires_no_credential(omni: httpx.AsyncClient) -> None:
    del omni.headers["authorization"]

    for path in ("messages", "calls", "stats", "faults"):
        assert (await omni.get(f"/sandbox/{path}")).status_code == 200
