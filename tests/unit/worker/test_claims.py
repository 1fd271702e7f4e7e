"""Requests that are published twice, with workers that die, and sessions that end, in the middle of anything."""

import asyncio
import json
import random
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from service.core.attempt.call import OmniCall
from service.core.attempt.claim import Claim, claim_name
from service.core.attempt.lookup import Forbidden, LookupResult
from service.core.attempt.outcome import Accepted, Outcome, Unavailable
from service.core.attempt.retry import Policy, RetryPolicy
from service.core.delivery import Delivery, DeliveryLostError, Ownership, Publication
from service.core.handler import Effects, Handler
from service.core.history import LookupPurpose
from service.core.result.event import FINAL_EVENTS
from service.core.topology import Lane
from service.worker.deduplicator import DeliveryDeduplicator
from service.worker.memory import SharedMemory, noted
from tests.support.builder import NOW, PHONE, a_body, a_destination, a_status
from tests.support.loop import loop_time
from tests.unit.worker.test_memory import Server, working


class Session(Ownership):
    """A session to the broker."""

    is_over = False

    def is_certain(self) -> bool:
        """Return whether it lives."""
        return not self.is_over

    async def confirm(self) -> bool:
        """Return whether it lives."""
        return not self.is_over


@dataclass
class World:
    """A broker, OMNI without logs, and what reached each."""

    random: random.Random
    ready: list[Delivery] = field(default_factory=list)
    held: dict[int, list[Delivery]] = field(default_factory=lambda: defaultdict(list))
    posts: Counter[str] = field(default_factory=Counter)
    finals: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    failing: float = 0.2
    latency: float = 3.0
    sessions: dict[int, "Session"] = field(default_factory=lambda: defaultdict(Session))
    joined: dict[int, DeliveryDeduplicator] = field(
        default_factory=lambda: defaultdict(lambda: DeliveryDeduplicator(100, loop_time))
    )

    async def pause(self, mean: float) -> None:
        """Wait for a random time."""
        await asyncio.sleep(self.random.expovariate(1 / mean))

    async def post(self, call: OmniCall) -> Outcome:
        """Take a call, or none of it."""
        await self.pause(0.01)
        if self.random.random() < self.failing:
            return Unavailable("http_503")
        self.posts.update(message.message_id for message in call.messages)
        await self.pause(self.latency)
        return Accepted({message.message_id: a_status() for message in call.messages}, "bulk-1")

    async def publish(self, publications: tuple[Publication, ...]) -> None:
        """Store messages, then confirm them."""
        await self.pause(0.002)
        for one in publications:
            if one.routing_key in FINAL_EVENTS:
                data = json.loads(one.body)["data"]
                self.finals[data["messageId"]].add(one.message_id)
            elif ".delay." in one.routing_key:
                again = Delivery(one.body, one.content_type, one.message_id, headers=one.headers, exchange="omni.relay")
                seconds = float(one.routing_key.rpartition(".delay.")[2])
                asyncio.get_running_loop().call_later(seconds, self.ready.append, again)
        await self.pause(0.002)

    async def work(self, number: int, memory: SharedMemory) -> None:
        """Take deliveries, several at a time, until the worker dies."""
        effects = Effects(
            noted(self.post, memory), look_up, self.publish, now, self.random.random, str, record_start=memory.start
        )
        effects = replace(effects, record_end=memory.end, release=memory.release)
        handler = Handler(effects, Policy(RetryPolicy(4, 1, 4), on_unknown="park", call_size=1))

        async def serve(delivery: Delivery) -> None:
            """Serve as `Dispatcher` does."""
            session, joined, result = self.sessions[number], self.joined[number], None
            while known := joined.find(delivery):
                if await known.wait():
                    self.settle(number, delivery)
                    return
            entry = joined.enter(delivery)
            try:
                is_fresh = delivery.redelivered and await memory.take_untouched(delivery)
                job = handler.read(replace(delivery, redelivered=False) if is_fresh else delivery, session)
                memory.note(job, redelivered=delivery.redelivered)
                await self.pause(0.5)
                result = await handler.handle(job)
                self.settle(number, delivery)
            except DeliveryLostError:
                pass
            finally:
                if result is None or result.duplicate == "waiting":
                    joined.end(entry, None)
                else:
                    joined.end(entry, result)

        async with asyncio.TaskGroup() as tasks:
            while True:
                if self.ready and len(self.held[number]) < 6:
                    self.held[number].append(self.ready.pop(0))
                    tasks.create_task(serve(self.held[number][-1]))
                await asyncio.sleep(0.2)

    def settle(self, number: int, delivery: Delivery) -> None:
        """Acknowledge a delivery, if its session still lives."""
        self.held[number] = [one for one in self.held[number] if one is not delivery]

    def redeliver(self, number: int) -> None:
        """End a session: deliver again all that was held."""
        self.sessions.pop(number, Session()).is_over = True
        for one in self.held.pop(number, []):
            count = one.headers.get("x-delivery-count", 0)
            assert isinstance(count, int)
            again = replace(one, redelivered=True, headers={**one.headers, "x-delivery-count": count + 1})
            self.ready.insert(0, again)


async def look_up(_: tuple[str, ...], __: LookupPurpose, ___: Lane) -> LookupResult:
    return Forbidden("http_403")


def now() -> datetime:
    return NOW + timedelta(seconds=loop_time())


def request(number: int) -> bytes:
    people = [a_destination(PHONE, f"m-{number}-{place}") for place in range(number % 3 + 1)]
    return json.dumps(a_body(requestId=f"r-{number}", destinations=people)).encode()


@pytest.mark.parametrize("seed", [0, 1, 10, 20, 39, 54])  # the last ones met a fault each
async def test_nobody_gets_a_message_twice_and_each_has_one_final_event(seed: int) -> None:
    world, server = World(random.Random(seed)), Server()  # noqa: S311 - no secret
    world.failing = world.random.choice((0.0, 0.3))
    world.latency = world.random.choice((0.01, 4.0))
    bodies = [request(number) for number in range(12)]
    for _ in range(2):
        world.ready += [Delivery(body, message_id="same") for body in world.random.sample(bodies, len(bodies))]
    for number in range(4):
        async with AsyncExitStack() as life:
            workers = [await life.enter_async_context(working(server)) for _ in range(2)]
            tasks = [asyncio.create_task(world.work(2 * number + one, memory)) for one, memory in enumerate(workers)]
            for _ in range(world.random.randrange(4)):
                await asyncio.sleep(world.random.uniform(0.2, 4))
                world.redeliver(2 * number + world.random.randrange(2))
            await asyncio.sleep(world.random.uniform(0.5, 8) if number < 3 else 90)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for one in range(2):
            world.redeliver(2 * number + one)
        if number == 1:
            world.ready += [Delivery(body, message_id="later") for body in bodies]
    ids = {f"m-{number}-{place}" for number in range(12) for place in range(number % 3 + 1)}
    assert set(world.posts.values()) <= {1}, world.posts
    assert set(world.finals) == ids
    assert {name: types for name, types in world.finals.items() if len(types) > 1} == {}


async def test_a_number_that_is_not_served_any_more_is_gone() -> None:
    server = Server()
    async with working(server) as memory:
        claim = Claim("x", claim_name("r"), "m", f"{memory._worker}.7", may_take_over=True)  # noqa: SLF001
        server.values[claim.name] = f"m {memory._worker}.3\n".encode()  # noqa: SLF001
        assert await memory.start([claim])
        assert (claim.is_refused, claim.was_held) == (False, True)


async def test_a_claim_that_was_taken_over_is_kept_if_the_connection_ends_before_its_start_is_recorded() -> None:
    """Its holder had given it up untouched. It has lines from before, so it does not read as one that was just made."""
    server = Server()
    async with working(server) as memory:
        claim = Claim("x", claim_name("r"), "m", f"{memory._worker}.7", may_take_over=True)  # noqa: SLF001
        server.values[claim.name] = b'm -\n["deferred"]\n'
        starting = asyncio.create_task(memory.start([claim]))
        await asyncio.sleep(0.0025)
        assert server.values[claim.name].startswith(claim.first_line.encode())
        server.connections[0].break_off()
        assert await starting
        assert (claim.is_refused, claim.was_held, claim.is_held) == (False, False, True)
        assert server.values["x"] == b"started"
