from typing import Any
from urllib.parse import urlencode

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.sandbox import create_app

CONTENT_TYPES = st.sampled_from(["application/json", "application/xml", "application/json; charset=x", "", ";", "é"])
ACCEPTS = st.sampled_from(["*/*", "application/json", "application/xml;q=0.5, text/*", "q=;,;q=nan", ""])
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
KEYS = st.sampled_from(
    [
        "destinations",
        "to",
        "phoneNumber",
        "emailAddress",
        "messageId",
        "sms",
        "viber",
        "text",
        "validityPeriod",
        "validityPeriodTimeUnit",
        "sendAt",
        "language",
        "languageCode",
        "callbackData",
        "bulkId",
        "notify",
        "whatsApp",
        "mediaTemplateData",
        "contacts",
        "push",
        "line",
        "contents",
        "type",
        "kakaoAlim",
        "buttons",
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
PARAMETERS = st.sampled_from(["limit", "messageId", "bulkId", "sentSince", "sentUntil", "channel", "from", "x"])
VALUES_ASKED = st.sampled_from(["1", "SMS", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "٣"]) | st.text(
    max_size=9
)
LAW = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


async def post(path: str, **options: Any) -> httpx.Response:  # noqa: ANN401  # httpx's own options
    transport = httpx.ASGITransport(app=create_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:
        return await client.post(path, **options)


def is_answer_or_envelope(answer: httpx.Response) -> bool:
    if answer.headers["content-type"] == "application/xml":
        return answer.text.startswith(("<omniResponse>", "<ApiException><requestError><serviceException>"))
    body = answer.json()
    return "messages" in body or bool(body["requestError"]["serviceException"]["messageId"])


@given(body=st.binary(max_size=200), content_type=CONTENT_TYPES, accept=ACCEPTS)
@LAW
async def test_no_bytes_make_the_sandbox_fail(body: bytes, content_type: str, accept: str) -> None:
    headers = {"authorization": "App key", "content-type": content_type.encode(), "accept": accept}

    answer = await post("/omni/1/advanced", content=body, headers=headers)

    assert answer.status_code < 500
    assert is_answer_or_envelope(answer)


@given(
    document=st.dictionaries(KEYS, VALUES, max_size=5),
    path=st.sampled_from(["advanced", "text"]),
    accept=ACCEPTS,
)
@LAW
async def test_no_document_makes_the_sandbox_fail(document: dict[str, Any], path: str, accept: str) -> None:
    headers = {"authorization": "App key", "accept": accept}

    answer = await post(f"/omni/1/{path}", json=document, headers=headers)

    assert answer.status_code < 500
    assert is_answer_or_envelope(answer)


@given(document=st.dictionaries(st.sampled_from(["kind", "seconds", "status", "times", "retryAfter"]), VALUES))
@LAW
async def test_no_fault_document_makes_the_sandbox_fail(document: dict[str, Any]) -> None:
    assert (await post("/sandbox/faults", json=document)).status_code in {201, 400}


@given(query=st.lists(st.tuples(PARAMETERS, VALUES_ASKED), max_size=4), path=st.sampled_from(["logs", "reports"]))
@LAW
async def test_no_query_makes_the_sandbox_fail(query: list[tuple[str, str]], path: str) -> None:
    transport = httpx.ASGITransport(app=create_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:
        answer = await client.get(f"/omni/1/{path}?{urlencode(query)}", headers={"authorization": "App key"})

    assert answer.status_code in {200, 400}


@given(authorization=st.binary(max_size=30))
@LAW
async def test_no_credential_makes_the_sandbox_fail(authorization: bytes) -> None:
    answer = await post("/omni/1/advanced", headers={"authorization": authorization})

    assert answer.status_code in {401, 415}
