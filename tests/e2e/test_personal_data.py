"""Phone numbers, addresses, texts and keys are written only where they must be."""

import json
from collections.abc import Callable

import pytest

from tests.e2e.stage import KEY, Stage
from tests.support.omni_server import answer, misbehaving

pytestmark = pytest.mark.once

TEXT, ADDRESS = "canary text", "canary@example.com"
NUMBERS = ("4915550001111", "4915550091503", "4915550091400", "4915550091200", "4915550091014", "4915550090104")
SECRETS = (KEY, TEXT, ADDRESS, "49155500")


def without_values(metrics: str) -> str:
    """Keep the names and labels of metrics: the digits of a value may equal those of a phone number by chance."""
    return "\n".join(line if line.startswith("#") else line.rpartition(" ")[0] for line in metrics.splitlines())


def bodies() -> list[dict[str, object]]:
    valid: list[dict[str, object]] = [
        {
            "requestId": f"r-{index}",
            "destinations": [{"to": {"phoneNumber": number, "emailAddress": ADDRESS}}],
            "text": TEXT,
        }
        for index, number in enumerate(NUMBERS)
    ]
    wrong: list[dict[str, object]] = [
        {**valid[0], "requestId": "unknown-field", TEXT: NUMBERS[0]},
        {**valid[0], "requestId": "no-number", "destinations": [{"to": {"phoneNumber": f"{NUMBERS[0]}x{TEXT}"}}]},
        {"requestId": "nobody", "text": TEXT, "metadata": {"address": 1}},
    ]
    return [*valid, *wrong]


async def test_no_secret_is_in_the_log_the_metrics_or_the_headers_of_dead_letters(stage: Stage) -> None:
    worker = await stage.worker(RETRY_MAX_ATTEMPTS="2", LOG_LEVEL="debug", UNKNOWN_POLICY="park")
    await stage.send(*bodies(), f"{TEXT} {NUMBERS[0]}".encode())
    await stage.until_final_events(10)

    words = {word for words in stage.final_events().values() for word in words}
    assert words == {"accepted", "failed", "rejected", "unknown"}
    metrics = without_values((await worker.get("/metrics"))[1])
    dead_letters = [await stage.take("omni.dead") for _ in range(await stage.waiting("omni.dead"))]
    assert dead_letters
    assert await worker.stop() == 0
    places = {
        "log": worker.text,
        "metrics": metrics,
        "headers": json.dumps([str(dead_letter.headers) for dead_letter in dead_letters]),
    }
    assert [(where, secret) for where, text in places.items() for secret in SECRETS if secret in text] == []


async def test_a_producers_data_is_kept_only_where_the_documents_say(stage: Stage) -> None:
    worker = await stage.worker(RETRY_MAX_ATTEMPTS="1", LOG_LEVEL="debug")
    await stage.fault(kind="status", status=503, times=1)
    trace = {"traceparent": "00-12345678901234567890123456789012-1234567890123456-01", "tracestate": "canary=state"}
    headers = {"customer": "canary-header", **trace}
    body = {"requestId": "canary-id", "phoneNumber": NUMBERS[0], "text": TEXT}
    await stage.send(body, headers=headers, correlation_id="canary-correlation")
    await stage.until_final_events(1)
    dead_letter = await stage.take("omni.dead")
    metrics = without_values((await worker.get("/metrics"))[1])
    assert await worker.stop() == 0

    assert {name: dead_letter.headers[name] for name in headers} == headers
    assert dead_letter.correlation_id == "canary-correlation"
    assert "canary-id" in worker.text
    assert [word for word in ("canary-header", "canary=state", "canary-correlation") if word in worker.text] == []
    assert "canary" not in metrics


async def test_an_unroutable_event_is_not_written_to_the_log(stage: Stage) -> None:
    """The broker returns it completely, and twice if `reply_to` names a deleted queue."""
    worker = await stage.worker()
    async with stage.channel() as channel:
        await channel.queue_delete("results")
    await stage.send(*bodies()[:1] * 20, reply_to="no.such.queue")
    await worker.until(lambda: len(worker.lines("delivery.settled")) == 20)
    assert await worker.stop() == 0
    assert [secret for secret in SECRETS if secret in worker.text] == []


def legacy(text: str) -> dict[str, object]:
    """Make OMNI's older error envelope; validation errors name a path and repeat the request."""
    exception = {"messageId": "BAD_REQUEST", "text": text, "validationErrors": {f"to {text}": [text]}}
    return {"requestError": {"serviceException": exception}}


def newer(text: str) -> dict[str, object]:
    """Make OMNI's newer error envelope."""
    return {"errorCode": "E400", "description": text, "violations": [{"property": f"to {text}", "violation": text}]}


def a_status(text: str) -> dict[str, object]:
    """Make an answer that rejects a message, with a status text that repeats the request."""
    status = {"groupId": 5, "groupName": "REJECTED", "id": 999, "name": text, "description": text, "action": text}
    return {"messages": [{"messageId": "m", "to": {"phoneNumber": NUMBERS[0]}, "status": status}]}


@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (400, legacy),
        (400, newer),
        (401, legacy),
        (503, legacy),
        (200, a_status),
    ],
)
async def test_request_data_repeated_by_omni_goes_to_its_producer_only(
    stage: Stage, status: int, payload: Callable[[str], object]
) -> None:
    """A rejection may quote numbers and texts. It is in the producer's event, not in logs, metrics or headers."""
    repeated = f"{TEXT} to {NUMBERS[0]} or {ADDRESS}"
    body = json.dumps(payload(repeated)).encode()
    async with misbehaving(answer(body, status, "Content-Type: application/json")) as omni:
        url = f"http://127.0.0.1:{omni.port}"
        worker = await stage.worker(OMNI_BASE_URL=url, RETRY_MAX_ATTEMPTS="1", LOG_LEVEL="debug")
        destination = {"to": {"phoneNumber": NUMBERS[0]}, "messageId": "m"}
        await stage.send({**bodies()[0], "destinations": [destination]})
        await stage.until(lambda: bool(stage.events))
        await worker.until(lambda: len(worker.lines("delivery.settled")) >= 1)
        metrics = without_values((await worker.get("/metrics"))[1])
        dead_letters = [await stage.take("omni.dead") for _ in range(await stage.waiting("omni.dead"))]
        assert await worker.stop() == 0

    places = {
        "log": worker.text,
        "metrics": metrics,
        "headers": json.dumps([str(dead_letter.headers) for dead_letter in dead_letters]),
    }
    assert [(where, secret) for where, text in places.items() for secret in SECRETS if secret in text] == []
    event = stage.events[0]
    if event.type == "rejected":
        assert repeated in event.data["reason"]["detail"]
        assert event.data["reason"]["code"] == "refused"
