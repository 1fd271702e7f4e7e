import asyncio
import time
from typing import Any

import httpx
import pytest

from service.sandbox import create_app
from tests.integration.sandbox.conftest import Send

NUMBER = "41793026727"
JSON = {"content-type": "application/json"}


async def set_fault(omni: httpx.AsyncClient, **options: Any) -> None:  # noqa: ANN401  # JSON
    answer = await omni.post("/sandbox/faults", json=options)
    assert answer.status_code == 201, answer.text


async def times_taken(omni: httpx.AsyncClient, message_id: str = "m-1") -> int:
    taken = (await omni.get("/sandbox/messages", params={"messageId": message_id})).json()["messages"]
    return taken[0]["times"] if taken else 0


async def test_a_status_is_injected_as_often_as_set(omni: httpx.AsyncClient, send: Send) -> None:
    await set_fault(omni, kind="status", status=429, retryAfter="2", times=2)

    answers = [await send() for _ in range(3)]

    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "2"
    assert answers[0].json() == {
        "requestError": {"serviceException": {"messageId": "TOO_MANY_REQUESTS", "text": "Too many requests"}}
    }
    assert await times_taken(omni) == 1
    assert (await omni.get("/sandbox/faults")).json() == {"faults": []}


async def test_a_status_can_have_the_new_envelope(omni: httpx.AsyncClient, send: Send) -> None:
    await set_fault(omni, kind="status", envelope="new", retryAfter="Wed, 21 Oct 2037 07:28:00 GMT")

    answer = await send()

    body = answer.json()
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "Wed, 21 Oct 2037 07:28:00 GMT"
    assert set(body) == {"errorCode", "description", "action", "violations", "resources"}
    assert (body["errorCode"], body["violations"], body["resources"]) == ("E503", [], [])


async def test_a_status_is_injected_into_an_invalid_call_too(omni: httpx.AsyncClient) -> None:
    await set_fault(omni, kind="status", status=502)

    assert (await omni.post("/omni/1/advanced", content="?")).status_code == 502


async def test_faults_last_until_they_are_deleted(omni: httpx.AsyncClient, send: Send) -> None:
    await set_fault(omni, kind="status", status=500)
    assert [(await send()).status_code for _ in range(3)] == [500] * 3

    assert (await omni.get("/sandbox/faults")).json()["faults"][0]["times"] is None
    assert (await omni.delete("/sandbox/faults")).status_code == 204
    assert (await send()).status_code == 200


async def test_an_ambiguous_attempt_fails_although_its_messages_are_accepted(
    omni: httpx.AsyncClient, send: Send
) -> None:
    await set_fault(omni, kind="status", status=500, taken=True, times=1)

    assert (await send()).status_code == 500
    assert await times_taken(omni) == 1
    assert (await send()).status_code == 200
    assert await times_taken(omni) == 2


async def test_latency_delays_the_response(omni: httpx.AsyncClient, send: Send) -> None:
    await set_fault(omni, kind="latency", seconds=0.2, times=1)
    started = time.monotonic()

    assert (await send()).status_code == 200
    assert time.monotonic() - started >= 0.2


async def test_a_call_that_times_out_during_a_latency_is_accepted(omni: httpx.AsyncClient, send: Send) -> None:
    await set_fault(omni, kind="latency", seconds=60, times=1)
    omni.timeout = httpx.Timeout(0.5)

    with pytest.raises(httpx.ReadTimeout):
        await send()

    assert await times_taken(omni) == 1


@pytest.mark.parametrize("taken", [False, True])
async def test_a_reset_is_a_tcp_reset(omni: httpx.AsyncClient, send: Send, *, taken: bool) -> None:
    await set_fault(omni, kind="reset", times=1, taken=taken)

    with pytest.raises(httpx.ReadError) as caught:
        await send()

    root: BaseException | None = caught.value
    while root is not None and not isinstance(root, ConnectionResetError):
        root = root.__cause__ or root.__context__
    assert root is not None, "expected RST, not FIN"
    assert await times_taken(omni) == int(taken)
    assert (await send()).status_code == 200


async def test_a_hanging_call_ends_when_its_caller_disconnects(omni: httpx.AsyncClient, send: Send) -> None:
    await set_fault(omni, kind="hang", times=1)
    omni.timeout = httpx.Timeout(0.5)

    with pytest.raises(httpx.ReadTimeout):
        await send()

    await asyncio.sleep(0.1)
    assert (await omni.get("/sandbox/stats")).json()["inFlight"] == 0
    call = (await omni.get("/sandbox/calls")).json()["calls"][0]
    assert (call["status"], call["fault"]) == (None, "hang")


async def test_garbage_empty_and_html_responses_are_unreadable(omni: httpx.AsyncClient, send: Send) -> None:
    for kind in ("garbage", "empty", "html"):
        await set_fault(omni, kind=kind, times=1)
    garbage, empty, html = await send(), await send(), await send()

    assert (garbage.status_code, garbage.headers["content-type"]) == (200, "application/json")
    with pytest.raises(ValueError, match="Unterminated"):
        garbage.json()
    assert (empty.status_code, empty.content) == (200, b"")
    assert (html.status_code, html.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert html.text.startswith("<!doctype html>")


async def test_refuse_is_a_200_and_nothing_is_accepted(omni: httpx.AsyncClient, send: Send) -> None:
    await set_fault(omni, kind="refuse", statusId=14, times=1)
    await omni.post("/omni/1/advanced", content="?")  # an invalid call does not use it up

    answer = await send()

    assert answer.status_code == 200
    assert answer.json()["messages"][0]["status"] == {
        "groupId": 5,
        "groupName": "REJECTED",
        "id": 14,
        "name": "REJECTED_DESTINATION_BLOCKLISTED",
        "description": "The recipient is on a block list",
        "action": "Take it off the list",
    }
    assert await times_taken(omni) == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kind": "fire"},
        {"kind": []},
        {"kind": "latency"},
        {"kind": "latency", "seconds": -1},
        {"kind": "latency", "seconds": True},
        {"kind": "status", "status": 200},
        {"kind": "status", "status": 503.5},
        {"kind": "status", "status": 302},
        {"kind": "status", "retryAfter": "1\r\nx: y"},
        {"kind": "status", "envelope": {}},
        {"kind": "hang", "times": 0},
        {"kind": "hang", "probability": 2},
        {"kind": "hang", "taken": "yes"},
        {"kind": "hang", "colour": "red"},
    ],
)
async def test_an_invalid_fault_is_refused(omni: httpx.AsyncClient, options: dict[str, Any]) -> None:
    answer = await omni.post("/sandbox/faults", json=options)

    assert answer.status_code == 400
    assert answer.json()["requestError"]["serviceException"]["validationErrors"]
    assert (await omni.get("/sandbox/faults")).json() == {"faults": []}


@pytest.mark.parametrize(("body", "status"), [(b"?", 400), (b"[]", 400), (b" " * (10 * 1024 * 1024 + 1), 413)])
async def test_an_unreadable_fault_is_refused(omni: httpx.AsyncClient, body: bytes, status: int) -> None:
    assert (await omni.post("/sandbox/faults", content=body, headers=JSON)).status_code == status


async def test_a_fault_as_listed_can_be_set_again(omni: httpx.AsyncClient) -> None:
    await set_fault(omni, kind="status", status=504, seconds=0, probability=0.5)
    listed = (await omni.get("/sandbox/faults")).json()["faults"][0]

    await set_fault(omni, **listed)

    assert (await omni.get("/sandbox/faults")).json()["faults"] == [listed, listed]


@pytest.mark.parametrize("code", [400, 401, 404, 408, 429, 500, 503, 599])
async def test_a_call_to_a_90_number_fails_the_first_time(omni: httpx.AsyncClient, send: Send, code: int) -> None:
    answers = [
        await send(f"4179390{code}", "a"),
        await send(f"4179390{code}", "a"),
        await send(f"4179390{code}", "b"),
    ]

    assert [answer.status_code for answer in answers] == [code, 200, code]
    assert answers[0].headers.get("retry-after") == ("1" if code in {429, 503} else None)
    assert answers[0].json()["requestError"]["serviceException"]["text"]
    assert (await times_taken(omni, "a"), await times_taken(omni, "b")) == (1, 0)


async def test_a_call_to_a_91_number_fails_always(send: Send) -> None:
    assert [(await send("4179391503")).status_code for _ in range(3)] == [503] * 3


async def test_without_a_message_id_a_fault_is_requested_once_for_each_number(omni: httpx.AsyncClient) -> None:
    request = {"destinations": [{"to": {"phoneNumber": "4179390500"}}], "sms": {"text": "t"}}

    assert [(await omni.post("/omni/1/advanced", json=request)).status_code for _ in range(2)] == [500, 200]


async def test_a_number_requests_a_reset_a_hang_and_garbage(omni: httpx.AsyncClient, send: Send) -> None:
    with pytest.raises(httpx.ReadError):
        await send("4179390104", "a")
    assert (await send("4179390200", "b")).text == '{"messages":[{"to":{"phoneNu'
    omni.timeout = httpx.Timeout(0.5)
    with pytest.raises(httpx.ReadTimeout):
        await send("4179390000", "c")


async def test_a_number_is_rejected_alone(omni: httpx.AsyncClient) -> None:
    numbers = ["4179390006", NUMBER, "4179390050", "4179391100", "4179391026"]
    request = {
        "destinations": [{"to": {"phoneNumber": number}, "messageId": number} for number in numbers],
        "sms": {"text": "t"},
    }

    first = (await omni.post("/omni/1/advanced", json=request)).json()["messages"]
    taken = [message["messageId"] for message in (await omni.get("/sandbox/messages")).json()["messages"]]
    second = (await omni.post("/omni/1/advanced", json=request)).json()["messages"]

    assert [message["status"]["id"] for message in first] == [6, 7, 50, 100, 26]
    assert (first[2]["status"]["groupName"], first[2]["status"]["name"]) == ("REJECTED", "REJECTED")
    assert taken == [NUMBER, "4179391026"]
    assert [message["status"]["id"] for message in second] == [7, 7, 7, 100, 26]


async def test_under_another_server_a_reset_is_a_response_cut_off() -> None:
    transport = httpx.ASGITransport(app=create_app())
    request = {"destinations": [{"to": {"phoneNumber": "4179391104"}}], "sms": {"text": "t"}}
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:
        with pytest.raises(ConnectionResetError):
            await client.post("/omni/1/advanced", json=request, headers={"authorization": "App key"})
