"""A page of another site, open in a browser on this machine, neither reads nor changes the sandbox."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.integration.sandbox.conftest import Send, sandbox

CHANGES = [
    ("/sandbox/faults", b'{"kind": "hang"}'),
    ("/sandbox/options", b'{"refuseDuplicates": true}'),
    ("/sandbox/clock", b'{"advance": 1000}'),
]
READS = ["/sandbox/calls", "/sandbox/messages", "/sandbox/stats", "/omni/1/logs", "/no/such/path"]


async def state(omni: httpx.AsyncClient) -> list[object]:
    answers = [(await omni.get(f"/sandbox/{name}")).json() for name in ("faults", "options")]
    clock = datetime.fromisoformat((await omni.get("/sandbox/clock")).json()["now"])
    return [*answers, clock - datetime.now(UTC) > timedelta(seconds=500)]


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "text/plain;application/json", "application/x-www-form-urlencoded", "multipart/form-data", "", None],
)
async def test_a_post_without_a_preflight_changes_nothing(omni: httpx.AsyncClient, content_type: str | None) -> None:
    before = await state(omni)
    headers = {} if content_type is None else {"content-type": content_type}
    for path, body in CHANGES:
        answer = await omni.post(path, content=body, headers=headers)
        assert answer.status_code == 415
        assert "application/json" in answer.text
    assert await state(omni) == before
    for path, body in CHANGES:
        assert (
            await omni.post(path, content=body, headers={"content-type": "application/JSON; charset=utf-8"})
        ).is_success


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:8080",
            "evil",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "203.0.113.5",
        ),
        *("127.0.0.1@evil.example", "evil.example#127.0.0.1", "", "[::ffff:203.0.113.5]"),
    ],
)
async def test_a_foreign_host_name_reads_and_changes_nothing(omni: httpx.AsyncClient, send: Send, host: str) -> None:
    await send(message_id="secret-message")
    before = await state(omni)
    answers = [await omni.get(path, headers={"host": host}) for path in READS]
    answers += [
        await omni.post(path, content=body, headers={"host": host, "content-type": "application/json"})
        for path, body in CHANGES
    ]
    answers.append(await omni.delete("/sandbox/messages", headers={"host": host}))
    assert {answer.status_code for answer in answers} <= {400, 421}  # 400: the HTTP parser's own
    assert not any("secret-message" in answer.text for answer in answers)
    assert await state(omni) == before
    assert len((await omni.get("/sandbox/calls")).json()["calls"]) == 1


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1.evil.example", "null", "file://"])
async def test_a_page_of_another_site_changes_nothing(omni: httpx.AsyncClient, send: Send, origin: str) -> None:
    await send()
    for path in ("/omni/1/advanced", "/omni/1/nothing", "/sandbox/faults"):
        answer = await omni.post(path, json={"kind": "hang"}, headers={"origin": origin})
        assert answer.status_code == 403
    assert len((await omni.get("/sandbox/calls")).json()["calls"]) == 1
    assert (await omni.get("/sandbox/faults")).json() == {"faults": []}


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9", "localhost.:80", "127.0.0.1:9999", "127.5.5.5", "[::1]:80"]
)
async def test_names_and_addresses_of_this_machine_are_served(omni: httpx.AsyncClient, host: str) -> None:
    assert (await omni.get("/sandbox/calls", headers={"host": host})).status_code == 200
    own = {"host": host, "origin": f"http://{host}"}
    assert (await omni.post("/sandbox/faults", json={"kind": "hang"}, headers=own)).status_code == 201


async def test_an_allowed_name_is_served() -> None:
    async with sandbox(hosts=("Sandbox", "omni.test")) as omni:
        for host, status in (("sandbox:8080", 200), ("OMNI.test", 200), ("sandbox.evil.example", 421)):
            assert (await omni.get("/sandbox/calls", headers={"host": host})).status_code == status
