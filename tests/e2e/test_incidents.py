"""Eight incidents: something that an engineer on call reads names the cause within a minute, and its page has the cure.

`pytest -s` shows what named the cause, and after how many seconds. deploy/runbooks/incidents.md has these figures.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.stage import KEY, Stage, staged
from tests.e2e.test_rotation import mounted
from tests.e2e.test_trying_again import NUMBER
from tests.support.broker import VirtualHost, manage
from tests.support.documents import ROOT, blocks, commands_of, text_of
from tests.support.proxy import Proxy
from tests.support.worker import Worker

pytestmark = [pytest.mark.long, pytest.mark.timeout(150)]

MINUTE: Final = 60.0
RUNBOOKS: Final = ROOT / "deploy/runbooks"


def request(number: int) -> dict[str, Any]:
    return {"requestId": f"r-{number}", "messageId": f"m-{number}", "phoneNumber": NUMBER, "text": f"Code {number}."}


@dataclass
class Incident:
    """An incident that has begun, and what named its cause after how many seconds."""

    name: str
    began: float = field(default_factory=time.monotonic)

    async def until(self, what: str, look: Callable[[], Awaitable[bool]]) -> None:
        """Look until the cause is named; it must be within a minute of the beginning."""
        while not await look():
            assert time.monotonic() - self.began < MINUTE, what
            await asyncio.sleep(0.1)
        print(f"{self.name}: {what}: {time.monotonic() - self.began:.1f} s")  # noqa: T201 - for the page


def log_line(worker: Worker, event: str, **facts: object) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return any(facts.items() <= line.items() for line in worker.lines(event))

    return look


def output(stage: Stage, words: str, *command: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        ended = await stage.command(*command)
        assert "Traceback" not in ended.errors
        return words in ended.output

    return look


def status(stage: Stage, worker: Worker, words: str, seconds: float = 5.0) -> Callable[[], Awaitable[bool]]:
    url = f"http://127.0.0.1:{worker.port}"
    return output(stage, words, "status", "--worker", url, "--seconds", str(seconds))


@asynccontextmanager
async def load(stage: Stage, each: float, first: int = 0) -> AsyncIterator[None]:
    """Publish a request every so many seconds."""

    async def publish() -> None:
        number = first
        while True:
            await stage.send(request(number))
            number += 1
            await asyncio.sleep(each)

    publishing = asyncio.create_task(publish())
    try:
        yield
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)


def page_says(page: str, *words: str) -> None:
    text = text_of(RUNBOOKS / f"{page}.md")
    assert [word for word in words if word not in text] == []


@pytest.mark.once
async def test_omni_answers_503(stage: Stage) -> None:
    worker = await stage.worker()
    await stage.fault(kind="status", status=503)
    incident = Incident("OMNI 503")
    async with load(stage, 0.2):
        await incident.until("log sending.paused", log_line(worker, "sending.paused", cause="http_503"))
        await incident.until("status", status(stage, worker, "failing: OMNI takes no calls"))
    page_says("OmniRelayPaused", "http_503", "resumes by itself")
    await stage.mend()
    cured = Incident("OMNI 503, mended")
    await cured.until("log sending.resumed", log_line(worker, "sending.resumed"))


@pytest.mark.once
async def test_omni_is_slow(stage: Stage) -> None:
    worker = await stage.worker()
    await stage.fault(kind="latency", seconds=8)
    incident = Incident("OMNI slow")
    async with load(stage, 1):
        await incident.until("status", status(stage, worker, "OMNI is slow: a call takes 8.0 s"))
        page_says("OmniRelaySlow", "omni-relay status", "RELAY_OMNI_READ_TIMEOUT")
        await stage.mend()
        cured = Incident("OMNI slow, mended")
        await cured.until("status", status(stage, worker, "nothing that needs a person"))


@pytest.mark.once
async def test_the_key_is_wrong(stage: Stage, tmp_path: Path) -> None:
    secrets = mounted(tmp_path / "secrets", OMNI_API_KEY="revoked")
    del stage.settings["RELAY_OMNI_API_KEY"]
    worker = await stage.worker(SECRETS_DIR=str(secrets))
    stage.settings["RELAY_SECRETS_DIR"] = str(secrets)
    incident = Incident("wrong key")
    await stage.send(request(1))
    await incident.until("log sending.paused", log_line(worker, "sending.paused", cause="http_401"))
    await incident.until("status", status(stage, worker, "denied: OMNI refuses the credentials"))
    await incident.until("check", output(stage, "refuses the credentials (401)", "check"))
    page_says("OmniRelayDenied", "http_401", "secrets.reloaded", "omni-relay check")
    mounted(secrets, OMNI_API_KEY=KEY)
    cured = Incident("wrong key, replaced")
    await cured.until("log sending.resumed", log_line(worker, "sending.resumed"))
    await stage.until_final_events(1)
    assert stage.final_events() == {"m-1": ["accepted"]}


async def runbook_commands(vhost: VirtualHost, page: str) -> list[list[str]]:
    """Run the commands of a page for this virtual host; returns the lines that each prints, after its `grep`."""
    found: list[list[str]] = []
    for block, _ in blocks(RUNBOOKS / f"{page}.md"):
        for line in block.splitlines():
            (_, *arguments), *greps = commands_of(line)
            printed = await vhost.node.ctl(*(vhost.name if one == "/" else one for one in arguments))
            lines = printed.splitlines()
            for _, pattern in greps:
                lines = [one for one in lines if re.search(pattern, one)]
            found.append(lines)
    return found


@pytest.mark.once
async def test_results_are_blocked(stage: Stage, vhost: VirtualHost) -> None:
    """One queue refuses by its arguments, another by a policy."""
    worker = await stage.worker()
    own: dict[str, Any] = {"x-max-length-bytes": 10, "x-overflow": "reject-publish"}
    policy = {"max-length": 1, "overflow": "reject-publish"}
    async with stage.channel() as channel:
        between = await channel.declare_exchange("orders", "fanout", durable=True)
        await between.bind("omni.results", "#")
        await (await channel.declare_queue("orders.results", durable=True, arguments=own)).bind("orders")
        await (await channel.declare_queue("stock.results", durable=True)).bind("orders")
    manage(vhost.node, "PUT", f"policies/{vhost.name}/small", pattern="^stock", definition=policy)
    incident = Incident("results blocked")
    async with load(stage, 0.5):
        retried = log_line(worker, "publish.retried", exchange="omni.results", error="DeliveryError")
        await incident.until("log publish.retried", retried)
        await incident.until("status", status(stage, worker, "look for a full queue bound to omni.results"))
        bound, queues, policies = await runbook_commands(vhost, "OmniRelayResultsStalled")
        assert any(one.split() == ["omni.results", "exchange", "orders"] for one in bound), bound
        (by_arguments,) = [one for one in queues if one.startswith("orders.results")]
        (by_policy,) = [one for one in queues if one.startswith("stock.results")]
        assert "reject-publish" in by_arguments
        assert "small" not in by_arguments
        assert "reject-publish" not in by_policy
        assert "small" in by_policy
        assert ["small" in one and "reject-publish" in one for one in policies] == [True]
        async with stage.channel() as channel:
            await (await channel.get_queue("orders.results")).unbind("orders")
            await (await channel.get_queue("stock.results")).unbind("orders")
        cured = Incident("results blocked, unbound")
        await cured.until("log sending.resumed", log_line(worker, "sending.resumed"))


async def test_the_broker_is_stopped(vhost: VirtualHost, tmp_path: Path) -> None:
    """As its clients see it: its connections end, and nobody listens at its address."""
    async with Proxy(vhost.node.port) as broker, staged(vhost.url, tmp_path) as stage:
        stage.settings["RELAY_RABBITMQ_URL"] = f"amqp://guest:guest@127.0.0.1:{broker.port}/{vhost.name}"
        worker = await stage.worker()
        incident = Incident("broker stopped")
        await broker.refuse()
        broker.cut()
        await incident.until("log broker.disconnected", log_line(worker, "broker.disconnected"))
        await incident.until("log broker.refused", log_line(worker, "broker.refused", reason="ECONNREFUSED"))
        await incident.until("status", status(stage, worker, "not connected to RabbitMQ", 1))
        await incident.until("check", output(stage, "fail", "check"))
        page_says("OmniRelayDisconnected", "ECONNREFUSED", "start the broker")
        await broker.accept()
        cured = Incident("broker stopped, started")
        await stage.send(request(1))
        await stage.until_final_events(1)
        await cured.until("event", log_line(worker, "delivery.settled", request_id="r-1"))


@pytest.mark.once
async def test_a_producer_floods_with_wrong_requests(stage: Stage) -> None:
    worker = await stage.worker()
    watching = await stage.watching("watch", "--json", "--type", "rejected")
    await asyncio.sleep(2)
    wrong = [{**request(number), "unheardOf": 1} for number in range(600)]
    incident = Incident("flood of wrong requests")
    async with load(stage, 0.2, 10_000):
        flood = asyncio.create_task(stage.send(*wrong, app_id="shop-7"))
        line = log_line(worker, "message.unaccepted", code="invalid", app_id="shop-7")
        await incident.until("log message.unaccepted", line)
        await incident.until("status", status(stage, worker, "requests are wrong: the log event message.unaccepted", 1))
        await flood

    async def is_shown() -> bool:
        events = [
            json.loads(one) for one in watching.output.read_text().splitlines(keepends=True) if one.endswith("\n")
        ]
        faults = [event["data"]["reason"]["faults"] for event in events if event["data"]["appId"] == "shop-7"]
        return any(fault["path"] == "unheardOf" for several in faults for fault in several)

    await incident.until("watch", is_shown)
    page_says("OmniRelayInvalidRequests", "message.unaccepted", "app_id", "omni-relay watch --json")


@pytest.mark.once
async def test_requests_become_dead_letters(stage: Stage) -> None:
    worker = await stage.worker(RETRY_MAX_ATTEMPTS="1")
    await stage.fault(kind="status", status=503, times=3)
    incident = Incident("dead letters")
    for number in range(3):
        await stage.send(request(number), app_id="shop-7")
    line = log_line(worker, "message.unaccepted", type="message.failed", code="unavailable", app_id="shop-7")
    await incident.until("log message.unaccepted", line)
    await incident.until("status", status(stage, worker, "3 dead letters", 1))
    await incident.until("dead list", output(stage, "http_503", "dead", "list"))
    await incident.until("find", output(stage, "request r-1: failed (http_503)", "find", "r-1"))
    page_says("OmniRelayDeadLetters", "dead replay --reason failed --dry-run")
    cured = Incident("dead letters, replayed")
    assert "3" in (await stage.command("dead", "replay", "--reason", "failed", "--dry-run")).output
    assert (await stage.command("dead", "replay", "--reason", "failed")).status == 0
    await cured.until("status", status(stage, worker, "nothing that needs a person", 1))
    assert {tuple(types) for types in stage.final_events().values()} == {("failed", "accepted")}


def naming(worker: Worker, name: str) -> list[dict[str, Any]]:
    """Find the lines, summaries included, that name a request."""
    settled = worker.lines("delivery.settled")
    return [line for line in settled if name in (line.get("request_id"), *line.get("request_ids", ()))]


@pytest.mark.once
async def test_one_of_a_burst_is_found(stage: Stage) -> None:
    worker = await stage.worker(LOG_LINES_PER_SECOND="10")  # so that nearly all are left out
    for place in (0, 399):
        first = len(stage.final_events())
        burst = [request(first + number) for number in range(400)]
        burst[place] |= {"requestId": f"order-{place}", "messageId": f"order-message-{place}"}
        refused = {**request(first + 400), "requestId": f"wrong-{place}", "unheardOf": 1}
        incident = Incident(f"one of a burst, place {place}")
        await stage.send(*burst[: place // 2], refused, *burst[place // 2 :])

        async def is_named(name: str = f"order-{place}") -> bool:
            return [line["events"] for line in naming(worker, name)] == [{"message.accepted": 1}]

        await incident.until("log delivery.settled", is_named)
        await stage.until_final_events(first + 401)
        event, (line,) = stage.about(f"order-{place}")[0], naming(worker, f"order-{place}")
        later = datetime.fromisoformat(line["timestamp"]) - datetime.fromisoformat(event.body["time"])
        print(f"{incident.name}: its line follows its event after {later.total_seconds():.1f} s")  # noqa: T201 - as above
        assert later.total_seconds() < MINUTE
        refusal = log_line(worker, "message.unaccepted", request_id=f"wrong-{place}", code="invalid")
        await incident.until("log message.unaccepted", refusal)
        found = output(stage, f"message order-message-{place}: ", "find", f"order-message-{place}")
        await incident.until("find", found)


async def test_a_delay_queue_that_refuses_is_named_by_the_log(stage: Stage, vhost: VirtualHost) -> None:
    worker = await stage.worker(RETRY_BASE_DELAY="4", RETRY_MAX_DELAY="4")
    small = {"max-length": 1}  # a quorum queue refuses a little later than at its limit
    manage(vhost.node, "PUT", f"policies/{vhost.name}/small", pattern=r"^omni\.requests\.delay", definition=small)
    await stage.fault(kind="status", status=503, times=4)
    incident = Incident("delay queue refuses")
    for number in range(4):
        await stage.send(request(number))
        await asyncio.sleep(0.3)
    line = log_line(worker, "publish.retried", queue="omni.requests.delay.4", error="DeliveryError")
    await incident.until("log publish.retried", line)
