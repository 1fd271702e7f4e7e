"""The page's endpoints: what they return, what a person decides, and what other web pages cannot do."""

import asyncio
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.sandbox.changes import MOST_STREAMS
from tests.integration.sandbox.conftest import Send, sandbox
from tests.integration.sandbox.test_pushes import receiver
from tests.integration.sandbox.test_reports import reports

ROOT = Path(__file__).parents[3]


async def inbox(omni: httpx.AsyncClient, **query: str | int) -> Any:  # noqa: ANN401  # JSON
    answer = await omni.get("/sandbox/inbox", params=query)
    assert answer.status_code == 200
    return answer.json()


async def message(omni: httpx.AsyncClient, message_id: str = "m-1") -> Any:  # noqa: ANN401  # JSON
    return (await omni.get("/sandbox/message", params={"messageId": message_id})).json()


async def decide(omni: httpx.AsyncClient, outcome: str, message_id: str = "m-1") -> httpx.Response:
    return await omni.post("/sandbox/outcome", json={"messageId": message_id, "outcome": outcome})


async def opened_stream(omni: httpx.AsyncClient) -> httpx.Response:
    """Open a stream; the server learns a moment later that another one was closed."""
    for _ in range(500):
        answer = await omni.send(omni.build_request("GET", "/sandbox/changes"), stream=True)
        if answer.status_code == 200:
            return answer
        await answer.aclose()
        await asyncio.sleep(0.02)
    raise AssertionError("no stream could be opened")


def ids(answer: Any) -> list[str]:  # noqa: ANN401  # JSON
    return [each["messageId"] for each in answer["messages"]]


def test_the_wheel_has_the_files_of_the_page(tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    subprocess.run(
        [uv, "build", "--quiet", "--offline", "--wheel", "--out-dir", tmp_path, ROOT], check=True, timeout=60
    )
    (wheel,) = tmp_path.glob("*.whl")
    shipped = zipfile.ZipFile(wheel).namelist()

    assert {f"service/sandbox/page/{name}" for name in ("index.html", "page.css", "page.js")} <= set(shipped)


@pytest.mark.parametrize("path", ["/", "/page/page.css", "/page/page.js"])
async def test_the_page_loads_nothing_of_others_and_runs_nothing_of_a_message(
    omni: httpx.AsyncClient, path: str
) -> None:
    answer = await omni.get(path)
    policy = dict(each.split(" ", 1) for each in answer.headers["content-security-policy"].split("; "))

    assert answer.status_code == 200
    assert policy["default-src"] == "'none'"
    assert {policy["script-src"], policy["style-src"], policy["connect-src"]} == {"'self'"}
    assert (policy["img-src"], policy["frame-ancestors"]) == ("data:", "'none'")
    assert policy["require-trusted-types-for"] == "'script'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not any(word in answer.text for word in ("innerHTML", "style=", "onclick=", "https://cdn", "eval("))


async def test_the_inbox_is_read_in_pages_newest_first(omni: httpx.AsyncClient) -> None:
    destinations = [{"to": {"phoneNumber": f"4179{n:07}"}, "messageId": f"m-{n}"} for n in range(120)]
    await omni.post("/omni/1/advanced", json={"destinations": destinations, "sms": {"text": "x" * 4000}})

    first, later = await inbox(omni), await inbox(omni, offset=100, limit=100)

    assert first["total"] == later["total"] == 120
    assert ids(first) == [f"m-{n}" for n in range(119, 69, -1)]
    assert ids(later) == [f"m-{n}" for n in range(19, -1, -1)]
    assert len(first["messages"][0]["text"]) < 200
    assert 0 < first["changesIn"] <= 1


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("+41 79 302-67 27", ["m-1"]),
        ("30267", ["m-2", "m-1"]),
        ("ADA@example", ["m-2"]),
        ("spring", ["m-2", "m-1"]),
        ("order-4711", ["m-3"]),
        ("#1", ["m-2", "m-1"]),
        ("#9", []),
        ("m-3", ["m-3"]),
    ],
)
async def test_messages_are_found_by_number_id_and_request(
    omni: httpx.AsyncClient, send: Send, search: str, found: list[str]
) -> None:
    destinations = [
        {"to": {"phoneNumber": "41793026727"}, "messageId": "m-1"},
        {"to": {"phoneNumber": "41793026728", "emailAddress": "ada@example.com"}, "messageId": "m-2"},
    ]
    await omni.post("/omni/1/advanced", json={"destinations": destinations, "bulkId": "SPRING-1", "sms": {"text": "t"}})
    await send("41790000001", "m-3", callbackData='{"order": "order-4711"}')

    assert ids(await inbox(omni, search=search)) == found


async def test_messages_are_found_by_state() -> None:
    async with sandbox(speed=0) as omni:
        for number, message_id, more in (
            ("41790000001", "delivered", {}),
            ("4179392201", "over", {"viber": {"text": "v", "validityPeriod": 1}}),
            ("4179392000", "failed", {"sms": {"text": "s", "validityPeriod": 1}}),
            ("41790091014", "refused", {}),
        ):
            body = {"destinations": [{"to": {"phoneNumber": number}, "messageId": message_id}], "sms": {"text": "s"}}
            await omni.post("/omni/1/advanced", json=body | more)

        assert ids(await inbox(omni, state="accepted")) == ["failed", "over", "delivered"]
        await omni.post("/sandbox/clock", json={"advance": 62})
        found = {
            state: ids(await inbox(omni, state=state)) for state in ("delivered", "failed", "refused", "failedOver")
        }
        await omni.post("/sandbox/clock", json={"advance": 20})
        seen = ids(await inbox(omni, state="seen"))

    assert found == {
        "delivered": ["over", "delivered"],
        "failed": ["failed"],
        "refused": ["refused"],
        "failedOver": ["over"],
    }
    assert seen == ["over"]


async def test_a_state_filter_says_when_the_next_message_enters_it(omni: httpx.AsyncClient, send: Send) -> None:
    await send()
    assert 0 < (await inbox(omni, state="delivered"))["changesIn"] <= 1


@pytest.mark.parametrize("query", ["limit=101", "limit=0", "offset=-1", "state=gone", "page=1", f"search={'x' * 201}"])
async def test_an_invalid_query_is_refused(omni: httpx.AsyncClient, query: str) -> None:
    assert (await omni.get(f"/sandbox/inbox?{query}")).status_code == 400


async def test_a_call_is_shown_as_it_was_posted_and_answered(omni: httpx.AsyncClient, send: Send) -> None:
    await send(sms={"text": "a" * 161})
    shown = (await omni.get("/sandbox/call?call=1")).json()

    assert json.loads(shown["request"]["text"])["sms"] == {"text": "a" * 161}
    assert json.loads(shown["answer"]["text"])["messages"][0]["messageId"] == "m-1"
    assert shown["contents"] == {"sms": {"text": "a" * 161}}
    assert [part["units"] for part in shown["sms"]["parts"]] == [153, 8]


async def test_a_large_call_is_cut_off(omni: httpx.AsyncClient) -> None:
    destinations = [{"to": {"phoneNumber": f"4179{n:07}"}} for n in range(3000)]
    await omni.post("/omni/1/text", json={"destinations": destinations, "text": "<b>", "mailSubject": "s"})
    shown = (await omni.get("/sandbox/call?call=1")).json()

    assert len(shown["request"]["text"]) == 50_000
    assert (shown["request"]["isCut"], shown["answer"]["isCut"]) == (True, True)
    assert shown["contents"]["email"] == {"text": "<b>", "subject": "s"}


async def test_calls_in_xml_and_unreadable_ones_are_shown(omni: httpx.AsyncClient) -> None:
    to = "<destinations><destination><to><phoneNumber>1</phoneNumber></to></destination></destinations>"
    xml = f"<request>{to}<sms><text>é</text></sms></request>"
    await omni.post("/omni/1/advanced", content=xml.encode(), headers={"content-type": "application/xml"})
    await omni.post("/omni/1/advanced", content=b"\xff{", headers={"content-type": "application/json"})
    first, second = [(await omni.get(f"/sandbox/call?call={n}")).json() for n in (1, 2)]

    assert first["request"]["text"] == xml
    assert first["contents"] == {"sms": {"text": "é"}}
    assert first["answer"]["text"].startswith("<omniResponse>")
    assert second["request"]["text"] == "\ufffd{"
    assert (second["contents"], second["status"]) == ({}, 400)
    assert (await omni.get("/sandbox/call?call=3")).status_code == 404


async def test_a_decision_pushes_the_report_of_its_outcome() -> None:
    async with receiver() as webhook, sandbox() as omni:
        await omni.post("/sandbox/options", json={"answers": 0})
        body = {
            "destinations": [{"to": {"phoneNumber": "41793026727"}, "messageId": "m-1"}],
            "sms": {"text": "s"},
            "viber": {"text": "v"},
            "notifyUrl": webhook.url,
            "intermediateReport": True,
        }
        await omni.post("/omni/1/advanced", json=body)
        assert (await message(omni))["outcomes"] == ["delivered", "failed"]
        pushed = [await webhook.next()]
        assert (await decide(omni, "failed")).json()["failedOver"] is True
        pushed += [await webhook.next() for _ in range(2)]
        assert (await decide(omni, "delivered")).json()["state"] == "delivered"
        pushed.append(await webhook.next())
        assert (await decide(omni, "seen")).json()["state"] == "seen"
        pushed.append(await webhook.next())
        shown = await message(omni)
        assert (await decide(omni, "delivered")).status_code == 409
        assert await reports(omni) == []

    named = sorted((each["channel"], each["status"]["name"]) for each in pushed if "status" in each)
    assert named == [
        ("SMS", "DELIVERED_TO_HANDSET"),
        ("SMS", "PENDING_WAITING_DELIVERY"),
        ("VIBER", "EXPIRED_EXPIRED"),
        ("VIBER", "PENDING_WAITING_DELIVERY"),
    ]
    assert "seenAt" in pushed[-1]
    assert [each["channel"] for each in shown["steps"]] == ["VIBER", "SMS"]
    assert shown["outcomes"] == []


async def test_a_decision_replaces_the_report_that_was_to_come() -> None:
    async with sandbox(speed=0) as omni:
        for message_id in ("m-1", "m-2"):
            destination = {"to": {"phoneNumber": "41793026727"}, "messageId": message_id}
            await omni.post("/omni/1/advanced", json={"destinations": [destination], "sms": {"text": "s"}})
        await decide(omni, "failed")
        await omni.post("/sandbox/clock", json={"advance": 100})
        found = {each["messageId"]: each["status"]["groupName"] for each in await reports(omni)}
        again = await reports(omni)

    assert found == {"m-1": "EXPIRED", "m-2": "DELIVERED"}
    assert again == []


async def test_a_decision_about_an_unknown_or_refused_message_is_refused(omni: httpx.AsyncClient, send: Send) -> None:
    await send("41790091014", "refused")

    assert (await decide(omni, "seen", "none")).status_code == 404
    assert (await decide(omni, "delivered", "refused")).status_code == 404
    assert (await decide(omni, "lost", "refused")).status_code == 400
    shown = await message(omni, "refused")
    assert (shown["state"], shown["outcomes"]) == ("refused", [])


async def test_one_kind_of_fault_is_removed(omni: httpx.AsyncClient) -> None:
    for kind in ("hang", "reset", "hang"):
        await omni.post("/sandbox/faults", json={"kind": kind})
    assert (await omni.delete("/sandbox/faults?kind=hang")).status_code == 204
    assert (await omni.delete("/sandbox/faults?kind=none")).status_code == 400

    assert [fault["kind"] for fault in (await inbox(omni))["faults"]] == ["reset"]


async def test_changes_wake_a_stream_and_streams_are_bounded(omni: httpx.AsyncClient, send: Send) -> None:
    async with asyncio.timeout(20):
        async with omni.stream("GET", "/sandbox/changes") as stream:
            events = stream.aiter_lines()
            assert stream.headers["content-type"].startswith("text/event-stream")
            while await anext(events) != "data: open":
                pass
            await send()
            while await anext(events) != "data: change":
                pass
        opened = [await opened_stream(omni) for _ in range(MOST_STREAMS)]
        refused = await omni.get("/sandbox/changes")
        for each in opened:
            await each.aclose()
        await (await opened_stream(omni)).aclose()

    assert refused.status_code == 503


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_page_of_another_site_opens_no_stream_and_decides_nothing(
    omni: httpx.AsyncClient, send: Send, site: str
) -> None:
    await send()
    headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}

    assert (await omni.get("/sandbox/changes", headers=headers)).status_code == 403
    assert (await omni.get("/", headers=headers)).status_code == 403
    link = headers | {"sec-fetch-mode": "navigate"}
    assert (await omni.get("/sandbox/inbox", headers=link)).status_code == 403
    assert (await omni.get("/", headers=link)).status_code == 200
    assert (
        await omni.post("/sandbox/outcome", content=b"{}", headers={"content-type": "text/plain"})
    ).status_code == 415
    assert (await omni.get("/", headers={"host": "evil.example"})).status_code == 421
