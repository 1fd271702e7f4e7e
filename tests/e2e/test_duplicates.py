"""Requests that are published twice, with a memory that all workers share."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stage import Stage
from tests.support.memory import MemoryServer
from tests.support.receiver import a_report, receiving

NUMBER = "41793026727"
HOSTILE = (
    "a\0b",
    "a\r\nb",
    "\U0001f600",
    "{omni-relay}",
    "{}",
    "*",
    "omni-relay:",
    "$1\r\na",
    "-",
    "~",
    "~ ~\n[]",
    "worker:",
    "\\",
    "--",
)


def requests(count: int, name: str = "m", **fields: object) -> list[dict[str, object]]:
    names = [f"{name}-{number}" for number in range(count)]
    return [{"requestId": n, "messageId": n, "phoneNumber": NUMBER, "text": "hello", **fields} for n in names]


async def close_logs(stage: Stage) -> None:
    answer = await stage.sandbox.post("/sandbox/options", json={"logsAllowed": False})
    assert answer.status_code == 200, answer.text


def repeated(stage: Stage, times: int) -> int:
    """Count the messages whose final event came at least so often, always with one id."""
    assert all(len(ids) == 1 for ids in stage.final_ids().values()), stage.final_ids()
    return sum(len(types) >= times for types in stage.final_events().values())


@pytest.mark.once
async def test_each_person_gets_one_message_however_often_and_wherever_a_request_is_published(
    stage: Stage, memory: MemoryServer
) -> None:
    await close_logs(stage)
    settings: dict[str, Any] = {"UNKNOWN_POLICY": "park", "MEMORY_URL": memory.url, "RABBITMQ_PREFETCH": "20"}
    await stage.worker(**settings)
    second = await stage.worker(**settings)
    bodies = requests(40)
    several = {
        "requestId": "several",
        "destinations": [{"to": {"phoneNumber": NUMBER}, "messageId": f"d-{number}"} for number in range(3)],
        "text": "hello",
    }
    await stage.send(*[body for body in (*bodies, several) for _ in "12"])
    await stage.until(lambda: repeated(stage, 2) == 43)
    reordered = [json.dumps(dict(reversed(body.items())), indent=2).encode() for body in bodies[:5]]
    xml = "".join(f"<{name}>{value}</{name}>" for name, value in bodies[5].items())
    await stage.send(*reordered, several)
    await stage.send(f"<request>{xml}</request>".encode(), content_type="application/xml")
    await stage.until(lambda: repeated(stage, 3) == 9)
    assert (await stage.posts()).total() == 43
    # A worker records an event before it publishes it. So another worker may publish its repetition first.
    first, *others = sorted(stage.about("m-0"), key=lambda event: event.data["status"]["description"] is None)
    assert {event.type for event in others} == {"accepted"}
    for event in others:
        assert event.data == first.data | {"status": first.data["status"] | {"description": None}}
        assert event.body["time"] == first.body["time"]

    await stage.send({**bodies[0], "text": "another", "messageId": "other"})
    await stage.until_final_events(44)
    (event,) = stage.about("other")
    assert (event.type, event.data["reason"]["code"]) == ("rejected", "conflict")
    assert (await stage.posts()).total() == 43
    assert NUMBER not in str(await memory.ask("KEYS", "*"))
    assert second.lines("delivery.settled")


@pytest.mark.long
async def test_a_worker_that_is_killed_between_two_publications_of_a_request_leaves_one_final_event(
    stage: Stage, memory: MemoryServer
) -> None:
    await close_logs(stage)
    settings: dict[str, Any] = {"UNKNOWN_POLICY": "park", "MEMORY_URL": memory.url, "RABBITMQ_PREFETCH": "40"}
    first = await stage.worker(**settings, OMNI_BATCHING="false", OMNI_CONCURRENCY="5")
    await stage.worker(**settings, OMNI_BATCHING="false", OMNI_CONCURRENCY="5")
    await stage.fault(kind="latency", seconds=0.3)
    await stage.send(*[body for body in requests(60) for _ in "12"])
    await stage.until_final_events(10)
    first.send(signal.SIGKILL)
    await stage.until_final_events(60, within=60)
    assert {n: t for n, t in stage.final_events().items() if len(set(t)) > 1} == {}
    assert repeated(stage, 1) == 60
    assert set((await stage.posts()).values()) == {1}
    unknown = [name for name, types in stage.final_events().items() if "unknown" in types]
    assert len(unknown) <= 15  # five in flight, and those whose answers had come and were not recorded yet


@pytest.mark.once
async def test_report_events_and_find_know_the_request_of_a_message(
    stage: Stage, memory: MemoryServer, tmp_path: Path
) -> None:
    await stage.worker(MEMORY_URL=memory.url)
    async with receiving(tmp_path / "receiver", stage.url, MEMORY_URL=memory.url) as receiver:
        (body,) = requests(1, metadata={"tenant": "acme"}, requestId="order-1")
        await stage.send(body)
        await stage.until_final_events(1)
        await receiver.push(a_report("m-0"), a_report("unknown"))
        await stage.until(lambda: len(stage.events) == 3)
        known, unknown = stage.about("m-0")[1], stage.about("unknown")[0]
        assert (known.data["requestId"], known.data["metadata"]) == ("order-1", {"tenant": "acme"})
        assert known.message.correlation_id == "order-1"
        assert (unknown.data["requestId"], unknown.data["metadata"]) == (None, {})
        memory.pause()
        assert await receiver.push(a_report("m-0", 2)) == 200
        await stage.until(lambda: len(stage.events) == 4)
        assert stage.events[-1].data["requestId"] is None
        memory.resume()
        found = await stage.command("find", "m-0", "--json", MEMORY_URL=memory.url)
        known = json.loads(found.output)["memory"]
        assert (known["requestId"], known["metadata"]) == ("order-1", {"tenant": "acme"})
        assert [row["event"] for row in known["trail"]] == ["begun", "accepted", "delivered"]
        found = await stage.command("find", "order-1", MEMORY_URL=memory.url)
        assert "shared memory  request order-1: ended" in found.output
        assert ("accepted after attempt 1", NUMBER in found.output) == ("accepted after attempt 1", False)
        assert found.status == 0


@pytest.mark.once
async def test_an_id_is_only_an_id_whatever_it_looks_like(stage: Stage, memory: MemoryServer) -> None:
    settings: dict[str, Any] = {"MEMORY_URL": memory.url}
    await stage.worker(**settings)
    keys = [key.removeprefix("omni-relay:") for key in await memory.keys()]
    names = [*HOSTILE, *keys, *(f"omni-relay:{key}" for key in keys)]
    bodies = [{"requestId": n, "messageId": f"{n} m", "phoneNumber": NUMBER, "text": "hello"} for n in names]
    await stage.send(*[body for body in bodies for _ in "12"], message_id=None)
    await stage.until(lambda: repeated(stage, 2) == len(names))
    assert set((await stage.posts()).values()) == {1}
    long = {"requestId": "x" * 2**16, "phoneNumber": NUMBER, "text": "hello", "metadata": {"m": "{}\r\n\0\U0001f600"}}
    await stage.send(long, {**long, "requestId": "long", "messageId": "y" * 2**16}, message_id=None)
    await stage.until(lambda: [event.type for event in stage.events].count("rejected") == 2)
    for name in ("{omni-relay}", names[-1]):
        found = await stage.command("find", "--json", name, **settings)
        assert json.loads(found.output)["memory"]["requestId"] == name
    given = await stage.command("cancel", *[f"--request-id={n} c" for n in names if "\0" not in n], **settings)
    assert given.status == 0, given.errors
    assert (await stage.command("cancel", "--request-id", "x" * 2**16, **settings)).status == 2
    assert (await stage.command("find", "x" * 2**16, **settings)).status == 1
