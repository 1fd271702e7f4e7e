"""Answers that are not OMNI's, or belong to another call, decide nothing about a message."""

import pytest

from tests.e2e.stage import KEY, Stage
from tests.e2e.test_trying_again import NUMBER, request
from tests.support.gateway import gateway_to

pytestmark = pytest.mark.once

WRONG_PAGE = {"kind": "html", "status": 404}


async def test_a_stale_answer_of_a_gateway_accepts_no_message(stage: Stage) -> None:
    async with gateway_to(stage.sandbox) as gateway:
        await stage.worker(OMNI_BASE_URL=gateway.url, OMNI_BATCHING="false", UNKNOWN_LOG_CHECKS="1")
        await stage.send(request("first", NUMBER))
        await stage.until_final_events(1)
        gateway.repeats = 2
        await stage.send(request("second", NUMBER), request("third", "41793026731"))
        await stage.until_final_events(3)

        assert gateway.repeated == 2
    assert stage.final_events() == {"first": ["accepted"], "second": ["accepted"], "third": ["accepted"]}
    assert stage.event_types()["second"][0] == "deferred"
    assert await stage.posts() == {"first": 1, "second": 1, "third": 1}


async def test_no_message_is_rejected_while_the_base_url_is_wrong(stage: Stage) -> None:
    worker = await stage.worker()
    await stage.fault(**WRONG_PAGE)
    await stage.send(*(request(f"m-{number}", NUMBER) for number in range(200)))
    await worker.until_metric('omni_relay_paused{reason="failing"}', 1)
    assert worker.lines("sending.paused")[0]["cause"] == "http_404"

    await stage.mend()
    await stage.until_final_events(200)
    assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
    assert {event.data["reason"]["code"] for event in stage.events if event.type == "deferred"} <= {
        "unavailable",
        "ambiguous",  # a broker may deliver again what was in transit when consuming stopped
    }
    assert await stage.waiting("omni.dead") == 0


async def test_a_message_id_used_before_for_another_phone_is_posted_and_not_reported_accepted(stage: Stage) -> None:
    earlier = {"destinations": [{"messageId": "m", "to": {"phoneNumber": "41793026999"}}], "sms": {"text": "earlier"}}
    await stage.sandbox.post("/omni/1/advanced", json=earlier, headers={"authorization": f"App {KEY}"})
    await stage.worker(UNKNOWN_LOG_CHECKS="1")
    await stage.fault(kind="reset", times=1)
    await stage.send(request("m", NUMBER))
    await stage.until_final_events(1)

    assert stage.event_types() == {"m": ["deferred", "accepted"]}
    taken = [call["body"]["destinations"] for call in await stage.calls() if call["status"] == 200]
    assert [one["to"]["phoneNumber"] for people in taken for one in people] == ["41793026999", NUMBER]


async def test_a_producer_that_reuses_its_message_ids_is_served(stage: Stage) -> None:
    await stage.worker()
    for phone, text in ((NUMBER, "hello"), ("41793026731", "hello"), (NUMBER, "goodbye")):
        await stage.send({"requestId": "1", "phoneNumber": phone, "sms": {"text": text}}, message_id="1")
    await stage.until_final_events(3)

    assert list(stage.final_events().values()) == [["accepted"]] * 3
    assert len({event.body["id"] for event in stage.events}) == 3
    assert set((await stage.posts()).values()) == {1}


@pytest.mark.parametrize("kind", ["status", "html"])
async def test_a_request_that_is_too_large_is_posted_in_halves(stage: Stage, kind: str) -> None:
    """OMNI answers 413, or a gateway with a lower limit."""
    worker = await stage.worker()
    await stage.fault(kind=kind, status=413, times=6)
    people = [{"messageId": f"m-{n:02}", "to": {"phoneNumber": f"4179300{n:04}"}} for n in range(64)]
    await stage.send({"requestId": "r", "bulkId": "b", "destinations": people, "sms": {"text": "hello"}})
    await stage.until_final_events(64)

    assert {tuple(types) for types in stage.event_types().values()} == {("accepted",)}
    assert await stage.posts(answered=200) == {f"m-{n:02}": 1 for n in range(64)}
    calls = await stage.calls()
    sizes = [len(call["body"]["destinations"]) for call in calls]
    assert sizes == [64, 32, 16, 8, 4, 2, 1, 1, 2, 4, 8, 16, 32]
    taken = [call["body"]["bulkId"] for call in calls if call["status"] == 200]
    assert len(set(taken)) == len(taken)
    assert worker.lines("sending.paused") == []


async def test_a_message_that_is_too_large_alone_is_rejected(stage: Stage) -> None:
    await stage.worker()
    await stage.fault(kind="status", status=413)
    people = [{"messageId": f"m-{n}", "to": {"phoneNumber": f"4179300{n:04}"}} for n in range(4)]
    await stage.send({"requestId": "r", "destinations": people, "sms": {"text": "hello"}})
    await stage.until_final_events(4)

    assert {tuple(types) for types in stage.event_types().values()} == {("rejected",)}
