from typing import Any

import httpx
import pytest
from defusedxml import ElementTree

from tests.integration.sandbox.conftest import sandbox

FLOW = [{"from": "InfoSMS", "channel": "SMS"}, {"channel": "EMAIL"}]
XML = """<scenario><name>n</name><flow><step><from>InfoSMS</from><channel>SMS</channel></step>
<step><channel>EMAIL</channel></step></flow><default>true</default></scenario>"""


async def defaults(omni: httpx.AsyncClient) -> list[str]:
    page = (await omni.get("/omni/1/scenarios", params={"isDefault": "true"})).json()["scenarios"]
    return [scenario["name"] for scenario in page]


async def test_there_is_a_default_scenario_with_every_channel_at_the_start(omni: httpx.AsyncClient) -> None:
    (scenario,) = (await omni.get("/omni/1/scenarios")).json()["scenarios"]

    channels = [step["channel"] for step in scenario["flow"]]
    assert scenario["default"] is True
    assert channels.index("VIBER") < channels.index("SMS") < channels.index("EMAIL")
    assert len(set(channels)) == 12


async def test_a_scenario_is_created_shown_and_changed(omni: httpx.AsyncClient) -> None:
    made = await omni.post("/omni/1/scenarios", json={"name": "n", "flow": FLOW})
    key = made.json()["key"]
    changed = await omni.put(f"/omni/1/scenarios/{key}", json={"flow": FLOW[:1], "default": True})

    assert made.status_code == 201
    assert made.json() == {"key": key, "name": "n", "flow": FLOW, "default": False}
    assert len(key) == 32
    assert changed.json() == {"key": key, "flow": FLOW[:1], "default": True}
    assert (await omni.get(f"/omni/1/scenarios/{key}")).json() == changed.json()
    assert (await omni.get("/sandbox/calls")).json()["calls"][0]["status"] == 201


async def test_scenarios_come_in_xml(omni: httpx.AsyncClient) -> None:
    made = await omni.post("/omni/1/scenarios", content=XML, headers={"content-type": "application/xml"})
    page = await omni.get("/omni/1/scenarios", params={"page": 1, "limit": 1}, headers={"accept": "application/xml"})

    key = ElementTree.fromstring(made.text).findtext("key")
    expected = f"<scenario><key>{key}</key>{XML.removeprefix('<scenario>')}".replace("\n", "")
    assert (made.status_code, made.text) == (201, expected)
    assert page.text == f"<scenariosResponse><scenarios>{expected}</scenarios></scenariosResponse>"


async def test_there_is_always_one_default_scenario(omni: httpx.AsyncClient) -> None:
    keys = [
        (await omni.post("/omni/1/scenarios", json={"name": name, "flow": FLOW, "default": True})).json()["key"]
        for name in ("first", "second")
    ]
    taken_away = await omni.put(f"/omni/1/scenarios/{keys[1]}", json={"flow": FLOW, "default": False})
    assert (taken_away.status_code, await defaults(omni)) == (409, ["second"])

    await omni.put(f"/omni/1/scenarios/{keys[0]}", json={"name": "first", "flow": FLOW, "default": True})
    assert await defaults(omni) == ["first"]


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/unknown", {}, 404),
        ("PUT", "/unknown", {"json": {"flow": FLOW}}, 404),
        ("POST", "", {"json": {}}, 400),
        ("POST", "", {"json": {"flow": []}}, 400),
        ("POST", "", {"json": {"flow": [{"from": "x"}]}}, 400),
        ("POST", "", {"json": {"flow": [{"channel": "PIGEON"}]}}, 400),
        ("PUT", "/unknown", {"json": {"flow": FLOW, "key": "k"}}, 400),
        ("GET", "?limit=-1", {}, 400),
        ("GET", "?isDefault=yes", {}, 400),
    ],
)
async def test_invalid_scenario_calls_are_refused(
    omni: httpx.AsyncClient,
    method: str,
    path: str,
    options: dict[str, Any],
    status: int,
) -> None:
    answer = await omni.request(method, f"/omni/1/scenarios{path}", **options)

    assert answer.status_code == status
    assert answer.json()["requestError"]["serviceException"]["messageId"]


@pytest.mark.parametrize(("strict", "status"), [(False, 200), (True, 400)])
async def test_an_unknown_scenario_is_valid_unless_the_sandbox_is_strict(*, strict: bool, status: int) -> None:
    request = {"destinations": [{"to": {"phoneNumber": "41793026727"}}], "sms": {"text": "t"}, "scenarioKey": "none"}
    async with sandbox(strict_scenarios=strict) as omni:
        assert (await omni.post("/omni/1/advanced", json=request)).status_code == status
