"""One producer's large bodies, also more than a worker has memory for, do not affect other producers."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika
import pytest

from service.core.request.body import MAX_DESTINATIONS
from tests.e2e.stage import RESULTS, Stage
from tests.e2e.test_trying_again import TRY_AGAIN_ONCE
from tests.support.hostile import JSON, XML, to
from tests.support.worker import TIMEOUT, Worker

NUMBER = "41793026727"
MIB = 2**20


def memory(worker: Worker, name: str = "VmHWM") -> float:
    """Return the most memory that a worker has used, in MiB."""
    # The process is the worker itself, since the program that started it executed it.
    lines = Path(f"/proc/{worker.process.pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


@asynccontextmanager
async def deaf(stage: Stage) -> AsyncIterator[None]:
    """Have the broker drop events: the test cannot read so many in time."""
    async with stage.channel() as channel:
        queue = await channel.declare_queue("dropped", arguments={"x-max-length": 1})
        await queue.bind("omni.results", "#")
        await (await channel.get_queue(RESULTS)).unbind("omni.results", "#")
        yield


async def ordinary_requests(stage: Stage, seconds: float) -> list[float]:
    """Publish a request every tenth of a second; return the seconds that each took until it was accepted."""
    sent: dict[str, float] = {}
    waits: dict[str, float] = {}
    types: list[str] = []
    async with stage.channel() as channel:
        replies = await channel.declare_queue(exclusive=True)

        async def receive(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            event = json.loads(message.body)
            types.append(event["type"])
            waits[event["subject"]] = time.monotonic() - sent[event["subject"]]

        await replies.consume(receive, no_ack=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            name = f"ordinary-{len(sent)}"
            sent[name] = time.monotonic()
            request = {"requestId": name, "messageId": name, "phoneNumber": NUMBER, "text": "x"}
            await stage.send(request, reply_to=replies.name)
            await asyncio.sleep(0.1)
        await stage.until(lambda: len(waits) == len(sent))
    assert set(types) == {"omni.message.accepted"}
    return list(waits.values())


XML_TYPE, JSON_TYPE = "application/xml", "application/json"
Kind = tuple[Callable[[], bytes], str]
HOSTILE: dict[str, list[Kind]] = {
    "open tags": [(XML["open tags"], XML_TYPE)] * 5,
    "wrong destinations": [(JSON["wrong destinations with long names"], JSON_TYPE)] * 5,
    "one of each": [
        (XML["open tags in UTF-16"], XML_TYPE),
        (XML["attributes of many elements"], XML_TYPE),
        (XML["wide characters"], XML_TYPE),
        (JSON["lists"], JSON_TYPE),
        (JSON["a text of wide characters"], JSON_TYPE),
    ],
}


@pytest.mark.once
@pytest.mark.parametrize("hostile", HOSTILE)
async def test_five_hostile_bodies_at_once_do_not_delay_an_ordinary_request(stage: Stage, hostile: str) -> None:
    worker = await stage.worker(REPLY_TO="*")
    bodies = [(make(), content_type) for make, content_type in HOSTILE[hostile]]

    async with deaf(stage):
        beside = asyncio.create_task(ordinary_requests(stage, 2))
        for body, content_type in bodies:
            await stage.send(body, content_type=content_type)
        waits = await beside
        await worker.until(lambda: len(worker.lines("delivery.settled")) > len(waits))

    assert max(waits) < 3  # well under a second on an idle machine

    assert memory(worker) < 150
    assert worker.lines("broker.disconnected") == []


@pytest.mark.once
async def test_forty_requests_to_ten_thousand_are_served_within_the_memory_of_a_pod(stage: Stage) -> None:
    worker = await stage.worker(REPLY_TO="*")
    body = to(f'{{"to":{{"phoneNumber":"{NUMBER}"}},"messageId":"m-#"}}')
    async with deaf(stage):
        await stage.send(*(body.replace(b'"r"', b'"r-%d"' % number) for number in range(40)))
        waits = await ordinary_requests(stage, 3)

    assert max(waits) < 3
    assert memory(worker) < 180
    assert worker.lines("broker.disconnected") == []


def echoing(name: str, **more: object) -> dict[str, object]:
    """Make a request with the most destinations and the most metadata."""
    ending = TRY_AGAIN_ONCE[-5:] if "fails" in name else "10000"
    destinations = [{"to": {"phoneNumber": f"4179{place:05}{ending}"}} for place in range(MAX_DESTINATIONS)]
    body = {"requestId": name, "sms": {"text": name}, "destinations": destinations}
    return {**body, "metadata": {"m": "x" * 837}, **more}


ENDS: dict[str, tuple[str, dict[str, object]]] = {
    "accepted": ("message.accepted", {}),
    "lapsed in the queue": ("message.expired", {}),
    "a fault that all share": ("message.rejected", {f"{number}{'x' * 60}": 1 for number in range(32)}),
    "failed, in several calls": ("message.failed", {}),
}


@pytest.mark.once
@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("end", ENDS)
async def test_the_events_of_a_request_take_no_more_memory_than_it_has_destinations(stage: Stage, end: str) -> None:
    """Rendered all at once, the ten megabytes of events took half a gigabyte."""
    word, more = ENDS[end]
    lapses = end.startswith("lapsed")
    if lapses:
        await (await stage.worker()).stop()
        await stage.send(echoing("r-0"), expiration=0.1)
        await stage.until_waiting("omni.dead", 1)
    async with deaf(stage):
        worker = await stage.worker(RETRY_MAX_ATTEMPTS="1")
        prefix = "fails" if end.startswith("failed") else "r"
        if not lapses:
            await stage.send(echoing(f"{prefix}-0", **more))
        name = f'omni_relay_events_total{{type="{word}"}}'
        await worker.until_metric(name, MAX_DESTINATIONS, within=90)

    assert memory(worker) < 150
    assert worker.lines("broker.disconnected") == []


@pytest.mark.parametrize("fast", ["true", pytest.param("false", marks=pytest.mark.once)])
async def test_deliveries_beyond_the_memory_limit_wait_in_the_broker_and_then_in_a_delay_queue(
    stage: Stage, fast: str
) -> None:
    """OMNI is slow. Calls in flight wait for it; deliveries that have not begun must not keep reading paused."""
    worker = await stage.worker(
        RABBITMQ_MAX_BYTES_IN_FLIGHT=str(8 * MIB),
        RABBITMQ_FAST_PATH=fast,
        OMNI_MAX_MESSAGES_PER_CALL="10000",
        OMNI_CONCURRENCY="4",
    )
    await stage.fault(kind="latency", seconds=5)
    names = [f"large-{number}" for number in range(10)]
    await stage.send(*(large(name) for name in names))
    await stage.send({"requestId": "small", "messageId": "small", "phoneNumber": NUMBER, "text": "x"})

    most = 0.0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, (await worker.metrics())["omni_relay_bytes_in_flight"])
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    await worker.until_line("delivery.set_aside")
    await stage.mend()
    await stage.until_final_events(11, 60)
    watching.cancel()

    assert most < 8 * MIB + 4 * MIB
    assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
    assert set((await stage.posts()).values()) == {1}
    assert worker.lines("broker.disconnected") == []
    assert memory(worker) < 180


@pytest.mark.parametrize("fast", ["true", pytest.param("false", marks=pytest.mark.once)])
async def test_a_worker_that_stops_while_reading_is_paused_makes_no_attempt_ambiguous(stage: Stage, fast: str) -> None:
    """The broker's answer to a cancel comes behind all deliveries that it has sent.

    What was set aside returns after the worker has stopped: the broker redelivers a message that comes into an empty
    queue in the very moment of the cancellation.
    """
    stage.settings |= {"RELAY_RETRY_BASE_DELAY": "5", "RELAY_RETRY_MAX_DELAY": "5"}
    worker = await stage.worker(
        RABBITMQ_MAX_BYTES_IN_FLIGHT=str(8 * MIB), RABBITMQ_FAST_PATH=fast, OMNI_CONCURRENCY="4"
    )
    await stage.fault(kind="latency", seconds=6)
    small = [{"requestId": f"s-{n}", "messageId": f"s-{n}", "phoneNumber": NUMBER, "text": f"{n}"} for n in range(4)]
    await stage.send(*small)
    await stage.until_in_flight(4)
    await stage.send(*(large(f"large-{number}") for number in range(5)))
    await stage.until_waiting("omni.requests", 0)  # all are on their way, or have arrived
    await asyncio.sleep(1)  # the broker sends as much as the connection's buffers hold
    assert await worker.stop() == 0
    await stage.mend()
    second = await stage.worker(LOG_LINES_PER_SECOND="10000")
    await stage.until_final_events(9, 60)

    settled = worker.lines("delivery.settled") + second.lines("delivery.settled")
    assert {line["settlement"] for line in settled} == {"acked"}
    assert not [line for line in settled if line["redelivered"]], worker.text
    assert set(map(tuple, stage.event_types().values())) == {("accepted",)}
    assert set((await stage.posts()).values()) == {1}


def large(name: str) -> bytes:
    """Make the longest possible request with one destination."""
    body = {"requestId": name, "destinations": [{"messageId": name, "to": {"phoneNumber": NUMBER}}], "text": "x"}
    return json.dumps(body).encode().ljust(3 * MIB)


@pytest.mark.once
async def test_a_body_longer_than_any_request_is_not_kept_as_it_arrives(stage: Stage) -> None:
    worker = await stage.worker()
    await stage.send(*[b" " * (12 * MIB)] * 3, message_id="long")
    await stage.until(lambda: len(stage.events) == 3)

    assert {event.data["reason"]["faults"][0]["message"] for event in stage.events} == {"must have at most 4 MiB"}
    assert memory(worker) < 90


@pytest.mark.once
async def test_a_dead_letter_longer_than_any_request_is_not_kept_either(stage: Stage) -> None:
    """RabbitMQ 3 accepts 128 MiB, and a worker killed for its memory leaves all its calls ambiguous."""
    await (await stage.worker()).stop()
    for number in range(4):
        await stage.send(b" " * (15 * MIB), expiration=0.2, message_id=f"long-{number}")
    async with asyncio.timeout(TIMEOUT):
        while await stage.waiting("omni.dead") < 4:  # noqa: ASYNC110  # a server
            await asyncio.sleep(0.05)
    worker = await stage.worker()
    await stage.until(lambda: len(stage.events) == 4)

    assert stage.final_events() == {f"long-{number}": ["rejected"] for number in range(4)}
    assert {event.data["reason"]["faults"][0]["message"] for event in stage.events} == {"must have at most 4 MiB"}
    assert memory(worker) < 80
    assert await stage.waiting("omni.dead") == 4
