"""The endpoint for reports, called as an ASGI server calls it."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.adapters.metrics import PUSH_ANSWERS, ReportMetrics
from service.adapters.rabbitmq import NotConfirmedError
from service.core.delivery import Publication
from service.core.result.delivery_report import MAX_PUSH
from service.receiver.endpoint import CONFIRM_WITHIN, MAX_KEPT, MAX_WORKING, Budget, Endpoint
from tests.support.builder import NOW
from tests.support.receiver import TOKEN, a_report

JSON = (b"content-type", b"application/json")


@dataclass
class World:
    """What the endpoint is given."""

    tokens: tuple[str, ...] = (TOKEN,)
    metrics: ReportMetrics = field(default_factory=ReportMetrics)
    published: list[Publication] = field(default_factory=list)
    defects: list[Exception] = field(default_factory=list)
    error: Exception | None = None
    confirms: asyncio.Event | None = None
    closed: bool = False
    """Whether the connection ends after the latest answer."""

    def __post_init__(self) -> None:
        self.endpoint = Endpoint(lambda: self.tokens, self.publish, self.metrics, lambda: NOW, self.defects.append)

    async def publish(self, publications: Sequence[Publication]) -> None:
        if self.confirms is not None:
            await self.confirms.wait()
        if self.error is not None:
            raise self.error
        self.published += publications

    async def post(
        self,
        body: bytes | Iterable[bytes],
        *headers: tuple[bytes, bytes],
        path: str = f"/reports/{TOKEN}",
        method: str = "POST",
        ends: bool = True,
        version: str = "1.1",
    ) -> int | None:
        """Send a request; give the status, or None where nothing is answered. One that does not end is dropped."""
        parts = [body] if isinstance(body, bytes) else list(body)
        messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        messages.append({"type": "http.request"} if ends else {"type": "http.disconnect"})
        incoming = iter(messages)
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            return next(incoming)

        async def send(message: Any) -> None:  # noqa: ANN401 - as ASGI has it
            if "status" in message:
                statuses.append(message["status"])
                self.closed = (b"connection", b"close") in message["headers"]

        scope = {"type": "http", "http_version": version, "method": method, "path": path, "headers": headers or (JSON,)}
        await self.endpoint(scope, receive, send)
        return statuses[0] if statuses else None

    def answers(self) -> dict[str, float]:
        samples = (sample for family in self.metrics.registry.collect() for sample in family.samples)
        return {
            sample.labels["answer"]: sample.value
            for sample in samples
            if sample.name == "omni_relay_report_pushes_total" and sample.value
        }


def reports(count: int = 1) -> bytes:
    return json.dumps({"results": [a_report(f"m-{number}") for number in range(count)]}).encode()


async def test_every_answer_has_its_status_and_is_counted() -> None:
    world = World()
    assert await world.post(reports()) == 200
    assert await world.post(b"nonsense") == 400
    assert await world.post(reports(), path="/reports/other") == 404
    assert await world.post(reports(), path="/elsewhere") == 404
    assert await world.post(reports(), method="PUT") == 404
    assert await world.post(b"x" * (MAX_PUSH + 1)) == 413
    assert await world.post(reports(), (b"content-type", b"text/plain")) == 415
    world.error = NotConfirmedError()
    assert await world.post(reports()) == 503
    world.error = ValueError("a defect")
    assert await world.post(reports()) == 503
    assert world.defects == [world.error]
    assert world.answers() == {**dict.fromkeys(PUSH_ANSWERS, 1), "not_found": 2}


async def test_nothing_is_counted_as_reported_before_it_is_confirmed() -> None:
    world = World(error=NotConfirmedError())
    assert await world.post(reports(3)) == 503
    assert world.metrics.registry.get_sample_value(*delivered()) == 0
    world.error = None
    assert await world.post(reports(3)) == 200
    assert world.metrics.registry.get_sample_value(*delivered()) == 3
    assert world.metrics.registry.get_sample_value("omni_relay_delivery_seconds_sum", {"channel": "SMS"}) == 3 * 62.5


def delivered() -> tuple[str, dict[str, str]]:
    return "omni_relay_reports_total", {"channel": "SMS", "outcome": "delivered"}


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ((b"content-length", str(MAX_PUSH + 1).encode()), 413),
        ((b"content-length", b"9" * 5000), 413),
        ((b"content-encoding", b"gzip"), 415),
        ((b"content-encoding", b"Identity"), 200),
        ((b"content-type", b"text/plain"), 415),
    ],
)
async def test_a_header_that_is_not_allowed_is_refused(header: tuple[bytes, bytes], status: int) -> None:
    assert await World().post(reports(), JSON, header) == status


@pytest.mark.parametrize("path", [f"/reports/{TOKEN}", "/reports/wrong", "/"])
async def test_a_body_whose_length_is_not_clear_is_refused_and_ends_the_connection(path: str) -> None:
    world, chunked = World(), (b"transfer-encoding", b"chunked")
    assert await world.post(reports(), JSON, (b"content-length", b"5"), chunked, path=path) == 400
    assert world.closed
    assert await world.post(reports(), JSON, chunked, path=path, version="1.0") == 400
    assert world.closed
    assert await world.post(reports(), JSON, chunked) == 200
    assert not world.closed


async def test_a_client_that_goes_gets_no_answer_and_nothing_is_published() -> None:
    world = World()
    assert await world.post([reports()[:10]], ends=False) is None
    assert world.published == []


async def test_a_push_that_is_not_confirmed_in_time_is_to_be_made_again() -> None:
    world = World(confirms=asyncio.Event())
    begun = asyncio.get_running_loop().time()
    assert await world.post(reports()) == 503
    assert asyncio.get_running_loop().time() - begun == pytest.approx(CONFIRM_WITHIN, abs=0.1)


async def test_bodies_are_kept_up_to_a_limit_and_the_room_is_given_back() -> None:
    world = World(confirms=asyncio.Event())
    large = b" " * (MAX_PUSH - 1000) + reports()
    async with asyncio.TaskGroup() as group:
        held = [group.create_task(world.post(large)) for _ in range(MAX_KEPT // len(large))]
        await asyncio.sleep(0)
        assert await world.post(large) == 503
        assert world.confirms is not None
        world.confirms.set()
    assert {task.result() for task in held} == {200}
    assert await world.post(large) == 200


async def test_a_push_of_many_is_published_in_slices_and_answered_once() -> None:
    world = World()
    assert await world.post(reports(1200)) == 200
    assert [one.message_id for one in world.published] == list(dict.fromkeys(one.message_id for one in world.published))
    assert len(world.published) == 1200


async def test_a_budget_serves_in_order_and_survives_who_gives_up() -> None:
    budget, order = Budget(10), list[str]()

    async def take(name: str, size: int, seconds: float) -> None:
        async with budget.taking(size):
            order.append(name)
            await asyncio.sleep(seconds)

    async with asyncio.TaskGroup() as group:
        group.create_task(take("first", 8, 1))
        await asyncio.sleep(0)
        waiting = group.create_task(take("gives up", 9, 1))
        group.create_task(take("second", 10, 1))
        group.create_task(take("third", 1, 1))
        await asyncio.sleep(0.5)
        assert order == ["first"]
        waiting.cancel()
    assert order == ["first", "second", "third"]
    async with asyncio.timeout(1), budget.taking(10):
        pass


async def test_who_gives_up_the_moment_his_turn_comes_gives_it_back() -> None:
    budget = Budget(MAX_WORKING)
    async with asyncio.TaskGroup() as group:

        async def take() -> None:
            async with budget.taking(MAX_WORKING):
                await asyncio.sleep(1)

        first = group.create_task(take())
        await asyncio.sleep(0)
        second = group.create_task(take())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        second.cancel()
    async with asyncio.timeout(1), budget.taking(MAX_WORKING):
        pass
