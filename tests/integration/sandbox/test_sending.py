import asyncio
import uuid
from base64 import b64encode
from typing import Any

import httpx
import pytest
from defusedxml import ElementTree

from service.sandbox import create_app, serve
from tests.integration.sandbox.conftest import Send

ENROUTE = {
    "groupId": 1,
    "groupName": "PENDING",
    "id": 7,
    "name": "PENDING_ENROUTE",
    "description": "Message sent to next instance",
}
TWO = {
    "bulkId": "bulk-1",
    "destinations": [
        {"messageId": "m-1", "to": {"phoneNumber": "41793026727", "emailAddress": "email@example.com"}},
        {"to": {"phoneNumber": "41793026731"}},
    ],
    "sms": {"text": "grüezi", "language": {"languageCode": "TR"}, "transliteration": "TURKISH"},
    "viber": {"text": "v", "validityPeriod": 14, "validityPeriodTimeUnit": "DAYS"},
}
XML = """<request><bulkId>bulk-1</bulkId><destinations>
  <destination><to><phoneNumber>41793026727</phoneNumber></to><messageId>m-1</messageId></destination>
  <destination><to><phoneNumber>41793026731</phoneNumber></to></destination>
</destinations><sms><text>a &lt; b</text><validityPeriod>90</validityPeriod>
<validityPeriodTimeUnit>SECONDS</validityPeriodTimeUnit></sms><notify>false</notify></request>"""
XML_OF_THE_SPECIFICATION = """<?xml version="1.0" encoding="UTF-8"?><OmniAdvancedRequest><destinations>
  <destinations><to><phoneNumber>41793026727</phoneNumber></to></destinations></destinations>
  <sms><text>hello</text></sms></OmniAdvancedRequest>"""


async def test_an_advanced_request_is_answered_with_a_status_for_every_destination(
    omni: httpx.AsyncClient,
) -> None:
    answer = await omni.post("/omni/1/advanced", json=TWO)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["bulkId"] == "bulk-1"
    first, second = body["messages"]
    assert first == {"to": TWO["destinations"][0]["to"], "status": ENROUTE, "messageId": "m-1"}  # type: ignore[index]  # JSON
    assert second["to"] == {"phoneNumber": "41793026731"}
    assert uuid.UUID(second["messageId"]).version == 4


async def test_a_single_destination_has_no_bulk_id(omni: httpx.AsyncClient) -> None:
    request = {**TWO, "destinations": [{"to": {"phoneNumber": "41793026727"}}]}

    assert "bulkId" not in (await omni.post("/omni/1/advanced", json=request)).json()


async def test_a_bulk_without_an_id_gets_one(omni: httpx.AsyncClient) -> None:
    request = {key: value for key, value in TWO.items() if key != "bulkId"}

    bulk_id = (await omni.post("/omni/1/advanced", json=request)).json()["bulkId"]

    assert uuid.UUID(bulk_id).version == 4


async def test_the_simple_path_sends_one_text_through_all_channels(omni: httpx.AsyncClient) -> None:
    request = {"destinations": TWO["destinations"], "text": "hi", "mailSubject": "subject"}
    answer = await omni.post("/omni/1/text", json=request)
    taken = (await omni.get("/sandbox/messages")).json()["messages"]

    assert answer.status_code == 200
    assert [message["channels"] for message in taken] == [["sms", "viber", "voice", "facebook", "email"]] * 2


async def test_xml_is_answered_in_xml(omni: httpx.AsyncClient) -> None:
    answer = await omni.post("/omni/1/advanced", content=XML, headers={"content-type": "application/xml"})

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/xml"
    root = ElementTree.fromstring(answer.text)
    assert root.tag == "omniResponse"
    assert root.findtext("bulkId") == "bulk-1"
    assert [each.findtext("to/phoneNumber") for each in root.iterfind("messages/message")] == [
        "41793026727",
        "41793026731",
    ]
    assert {each.findtext("status/name") for each in root.iterfind("messages/message")} == {"PENDING_ENROUTE"}


async def test_xml_as_the_specification_names_its_items_is_understood(omni: httpx.AsyncClient) -> None:
    answer = await omni.post(
        "/omni/1/advanced",
        content=XML_OF_THE_SPECIFICATION,
        headers={"content-type": "application/xml; charset=utf-8", "accept": "application/json"},
    )

    assert answer.json()["messages"][0]["to"] == {"phoneNumber": "41793026727"}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", "{"),
        ("application/json", "[]"),
        ("application/json", '{"sms": NaN}'),
        ("application/json", '{"push": 1e999}'),
        ("application/json", '{"bulkId": "\\ud800"}'),
        ("application/json", "[" * 200_000),
        ("application/json", '{"push": ' + "[" * 100 + "]" * 100 + "}"),
        ("application/json", "\xff"),
        ("application/xml", "<request>"),
        ("application/xml", "<other/>"),
        ("application/xml", "<request/>"),
        ("application/xml", '<!DOCTYPE a [<!ENTITY b "c">]><request>&b;</request>'),
        ("application/xml", '<?xml version="1.0" encoding="nobody-knows"?><request/>'),
        ("application/xml", "<request>" + "<a>" * 5000 + "</a>" * 5000 + "</request>"),
    ],
)
async def test_an_unreadable_body_is_a_bad_request(omni: httpx.AsyncClient, content_type: str, body: str) -> None:
    answer = await omni.post("/omni/1/advanced", content=body.encode("latin-1"), headers={"content-type": content_type})

    assert answer.status_code == 400
    assert answer.headers["content-type"] == content_type
    assert "BAD_REQUEST" in answer.text


async def test_every_error_in_a_request_is_reported_at_its_path(omni: httpx.AsyncClient) -> None:
    request = {
        "destinations": [{"to": {"phoneNumber": "+41 79"}}, {"to": {}}],
        "sms": {"text": "", "validityPeriod": 29, "validityPeriodTimeUnit": "SECONDS"},
        "options": {},
    }
    answer = await omni.post("/omni/1/advanced", json=request)

    exception = answer.json()["requestError"]["serviceException"]
    assert answer.status_code == 400
    assert (exception["messageId"], exception["text"]) == ("BAD_REQUEST", "Bad request")
    assert set(exception["validationErrors"]) == {
        "destinations[0].to.phoneNumber",
        "destinations[1].to",
        "sms.text",
        "sms.validityPeriod",
        "options",
    }


async def test_errors_in_xml_are_reported_in_xml(omni: httpx.AsyncClient) -> None:
    answer = await omni.post("/omni/1/text", content="<request/>", headers={"content-type": "application/xml"})

    exception = ElementTree.fromstring(answer.text).find("requestError/serviceException")
    assert exception is not None
    assert exception.findtext("messageId") == "BAD_REQUEST"
    assert {error.findtext("path") for error in exception.iterfind("validationErrors/error")} == {
        "destinations",
        "text",
    }


def basic(pair: str) -> str:
    return f"Basic {b64encode(pair.encode()).decode()}"


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("App key", 200),
        ("Bearer token", 200),
        (basic("Aladdin:open sesame"), 200),
        ("App revoked", 401),
        (basic("mallory:guess"), 401),
        (basic("nocolon"), 401),
        ("Basic ***", 401),
        ("App", 401),
        ("APP key", 401),
        ("", 401),
    ],
)
async def test_a_credential_is_required(omni: httpx.AsyncClient, authorization: str, status: int) -> None:
    answer = await omni.post("/omni/1/advanced", json=TWO, headers={"authorization": authorization})
    page = await omni.get("/omni/1/scenarios", headers={"authorization": authorization})

    assert (answer.status_code, page.status_code) == (status, status)
    if status == 401:
        assert answer.json()["requestError"]["serviceException"]["messageId"] == "UNAUTHORIZED"


async def test_with_an_api_key_no_other_credential_is_admitted() -> None:
    async with (
        serve(create_app(api_key="mine")) as running,
        httpx.AsyncClient(base_url=running.url) as client,
    ):
        given = ["App mine", "App other", "Bearer mine", basic("mine:mine")]
        answers = [await client.get("/omni/1/scenarios", headers={"authorization": credential}) for credential in given]

    assert [answer.status_code for answer in answers] == [200, 401, 401, 401]


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("POST", "/omni/1/other", {}, 404),
        ("POST", "/omni/1/advanced/", {}, 404),
        ("GET", "/omni/1/advanced", {}, 405),
        ("POST", "/omni/1/scenarios", {}, 415),
        ("DELETE", "/omni/1/scenarios/00000000000000000000000000000001", {}, 405),
        ("POST", "/omni/1/advanced", {"content": "{}"}, 415),
        ("POST", "/omni/1/advanced", {"content": "a=b", "headers": {"content-type": "text/plain"}}, 415),
        ("POST", "/omni/1/advanced", {"content": b"x" * (10 * 1024 * 1024 + 1)}, 413),
    ],
)
async def test_errors_of_the_protocol_have_the_envelope(
    omni: httpx.AsyncClient,
    method: str,
    path: str,
    options: dict[str, Any],
    status: int,
) -> None:
    answer = await omni.request(method, path, **options)

    assert answer.status_code == status
    assert answer.json()["requestError"]["serviceException"]["messageId"]


async def test_a_chunked_body_that_is_too_large_is_refused(omni: httpx.AsyncClient) -> None:
    async def chunks() -> Any:  # noqa: ANN401  # an async generator
        for _ in range(11):
            yield b"x" * 1024 * 1024

    assert (await omni.post("/omni/1/advanced", content=chunks())).status_code == 413


async def test_a_body_declared_too_large_is_refused_before_it_arrives(omni: httpx.AsyncClient) -> None:
    reader, writer = await asyncio.open_connection(omni.base_url.host, omni.base_url.port)
    writer.write(b"POST /omni/1/text HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: App key\r\n")
    writer.write(b"Content-Length: 99999999999999999999\r\n\r\n")

    assert await reader.readline() == b"HTTP/1.1 413 Request Entity Too Large\r\n"
    writer.close()
    await writer.wait_closed()


async def test_a_caller_that_disconnects_within_its_body_is_not_an_error(omni: httpx.AsyncClient) -> None:
    _, writer = await asyncio.open_connection(omni.base_url.host, omni.base_url.port)
    writer.write(b"POST /omni/1/text HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    await asyncio.sleep(0.1)
    assert (await omni.get("/sandbox/stats")).json()["inFlight"] == 1

    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.1)

    assert (await omni.get("/sandbox/stats")).json()["inFlight"] == 0
    call = (await omni.get("/sandbox/calls")).json()["calls"][0]
    assert (call["status"], call["fault"], call["body"]) == (None, None, None)


async def test_a_duplicate_message_id_is_rejected_on_demand(omni: httpx.AsyncClient, send: Send) -> None:
    twice = [{"to": {"phoneNumber": "41793026727"}, "messageId": "m-2"}] * 2
    await send(message_id="m-1")
    assert (await send(message_id="m-1")).json()["messages"][0]["status"] == ENROUTE

    await omni.post("/sandbox/options", json={"refuseDuplicates": True})
    again = (await send(message_id="m-1")).json()["messages"]
    within = (await send(destinations=twice)).json()["messages"]

    assert [one["status"]["name"] for one in again] == ["REJECTED_DUPLICATE_MESSAGE_ID"]
    assert [one["status"]["id"] for one in within] == [7, 23]
    taken = (await omni.get("/sandbox/messages")).json()["messages"]
    assert {message["messageId"]: message["times"] for message in taken} == {"m-1": 2, "m-2": 1}
