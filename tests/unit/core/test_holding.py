"""Requests that wait for their `sendAt` in the broker."""

import math
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from service.core.attempt.call import Origin, plan
from service.core.attempt.lookup import Forbidden
from service.core.attempt.outcome import Outcome, Unavailable
from service.core.attempt.retry import Policy, RetryPolicy, hold_delay
from service.core.delivery import Delivery
from service.core.handler import Effects, Handler
from service.core.topology import URGENT
from tests.support.builder import NOW, PHONE, a_body, a_delivery, a_history, a_request
from tests.unit.core.test_cancelling import FIRST, Cancelling
from tests.unit.core.test_handler import accept

HOLD = Policy(RetryPolicy(), hold_scheduled=True)


@dataclass
class Holding(Cancelling):
    """A worker whose clock moves, and a broker whose delay queues return what they have."""

    policy: Policy = HOLD
    time: datetime = NOW
    may_wait: bool = True
    waits: list[float] = field(default_factory=list)
    hops: list[float] = field(default_factory=list)
    late: float = 0.01
    """Seconds after which a delay queue returns a message too late."""

    def __post_init__(self) -> None:
        self.clock = lambda: self.time

    def effects(self, send: Any) -> Effects:  # noqa: ANN401 - as the parent's
        effects = super().effects(send)
        return replace(effects, wait=self._wait) if self.may_wait else effects

    async def _wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.time += timedelta(seconds=seconds)
        return True

    async def run(self, delivery: Delivery) -> None:
        """Handle a delivery and what returns from the delay queues, until nothing does."""
        queue = [delivery]
        while queue:
            before = len(self.published)
            await self.handle(queue.pop())
            for one in self.published[before:]:
                if one.exchange == "omni.relay":
                    seconds = float(one.routing_key.partition(".delay.")[2])
                    self.hops.append(seconds)
                    self.time += timedelta(seconds=seconds + self.late)
                    queue.append(
                        Delivery(one.body, one.content_type, one.message_id, headers=one.headers, lane=one.lane)
                    )


def scheduled(seconds: float, **fields: object) -> Delivery:
    send_at = (NOW + timedelta(seconds=seconds)).isoformat()
    return a_delivery(a_body(sendAt=send_at, **fields))


@pytest.mark.parametrize(
    ("seconds", "hops"),
    [
        (0.5, []),
        (3, [2.0]),
        (299, [256.0, 32.0, 8.0, 2.0]),
        (86400 * 20, [3600.0] * 479),
    ],
)
async def test_a_request_is_posted_when_it_is_due_without_send_at(seconds: float, hops: list[float]) -> None:
    world = Holding()
    await world.run(scheduled(seconds))

    assert world.hops[: len(hops)] == hops
    (call,) = world.calls
    assert b"sendAt" not in call.to_json()
    assert call.attempt == 1
    assert 0 <= (world.time - NOW).total_seconds() - seconds <= 0.1
    assert world.events == {next(iter(world.events)): ("accepted", None, 1)}
    assert not any(isinstance(one, tuple) and one[0] == "look_up" for one in world.recorded)


async def test_a_request_that_cannot_wait_in_the_worker_is_late_by_the_shortest_delay_at_most() -> None:
    for place in range(20):
        world, seconds = Holding(may_wait=False), 4000 * math.sin(place) ** 2
        await world.run(scheduled(seconds))
        assert 0 <= (world.time - NOW).total_seconds() - seconds <= 1.2


async def test_a_request_that_is_due_already_is_posted_at_once() -> None:
    world = Holding()
    await world.run(scheduled(-5))
    assert (world.hops, len(world.calls)) == ([], 1)


async def test_without_the_setting_omni_gets_it_at_once() -> None:
    world = Holding(policy=Policy(RetryPolicy()))
    await world.run(scheduled(3600))
    assert world.hops == []
    assert b"sendAt" in world.calls[0].to_json()


async def test_it_keeps_its_lane_its_ids_and_the_ids_of_its_events() -> None:
    direct, held = Holding(policy=Policy(RetryPolicy())), Holding()
    for world in (direct, held):
        await world.run(replace(scheduled(100, metadata={"a": "b"}), lane=URGENT))

    assert held.calls[0].lane is URGENT
    assert [one.routing_key for one in held.published[:1]] == ["omni.requests.urgent.delay.64"]
    assert [one.message_id for one in held.published if one.exchange == "omni.results"] == [
        one.message_id for one in direct.published if one.exchange == "omni.results"
    ]
    assert held.calls[0].messages == direct.calls[0].messages


async def test_attempts_and_their_schedule_begin_when_it_is_due() -> None:
    def fail(_: object) -> Outcome:
        return Unavailable("http_503")

    world = Holding(outcome=fail, policy=replace(HOLD, retry=RetryPolicy(max_attempts=3)))
    await world.run(scheduled(10_000))

    assert [call.attempt for call in world.calls] == [1, 2, 3]
    assert (world.time - NOW).total_seconds() >= 10_000 + world.policy.retry.span
    assert {event[0] for event in world.events.values()} == {"failed"}


async def test_a_request_that_would_expire_first_has_expired() -> None:
    world = Holding()
    await world.run(scheduled(100, expiresAt=(NOW + timedelta(seconds=100)).isoformat()))
    assert {event[:2] for event in world.events.values()} == {("expired", "expired")}
    assert (world.hops, world.calls) == ([], [])

    world = Holding()
    await world.run(scheduled(100, expiresAt=(NOW + timedelta(seconds=101)).isoformat()))
    assert {event[0] for event in world.events.values()} == {"accepted"}

    world = Holding()
    await world.run(scheduled(100, expiresAt=(NOW - timedelta(seconds=1)).isoformat()))
    assert {event[0] for event in world.events.values()} == {"expired"}


async def test_messages_are_cancelled_whenever_the_request_comes_back() -> None:
    destinations = [{"messageId": name, "to": {"phoneNumber": PHONE}} for name in ("m-1", "m-2")]
    delivery = scheduled(7000, destinations=destinations)
    world = Holding(orders=FIRST)
    await world.run(delivery)
    assert world.events == {"m-1": ("cancelled", "cancelled", 0), "m-2": ("accepted", None, 1)}
    assert world.published[0].routing_key == "message.cancelled"

    world = Holding(orders=FIRST)
    await world.run(scheduled(7000, destinations=destinations[:1]))
    assert world.events == {"m-1": ("cancelled", "cancelled", 0)}
    assert world.hops == []


async def test_a_redelivery_is_held_too_and_looked_up_when_it_is_due() -> None:
    """Another copy of it may be in a delay queue, and is posted when it is due."""
    world = Holding(orders=FIRST, lookup_result=Forbidden("http_403"))
    destinations = [{"messageId": "m-1", "to": {"phoneNumber": PHONE}}]
    await world.run(replace(scheduled(5000, destinations=destinations), redelivered=True))

    assert world.hops[0] == 3600.0
    assert (world.time - NOW).total_seconds() >= 5000
    assert world.calls == []
    assert world.events == {"m-1": ("unknown", "ambiguous", 1)}


async def test_a_request_that_failed_before_its_clock_was_set_back_is_looked_up_before_it_is_cancelled() -> None:
    """A copy of it may have been posted."""
    world = Holding(orders=FIRST)
    failed = {"omni-attempt": 1, "omni-retries": 1, "omni-first-seen": 1}
    await world.handle(
        replace(scheduled(5, destinations=[{"messageId": "m-1", "to": {"phoneNumber": PHONE}}]), headers=failed)
    )
    assert [one.routing_key for one in world.published] == ["omni.requests.delay.4"]


async def test_a_clock_that_is_set_counts_when_the_request_comes_back() -> None:
    world = Holding()
    delivery = scheduled(10_000)
    await world.handle(delivery)
    world.time += timedelta(days=1)
    (hop,) = world.published
    await world.handle(Delivery(hop.body, hop.content_type, headers=hop.headers))
    assert len(world.calls) == 1

    world = Holding()
    await world.handle(delivery)
    world.time -= timedelta(days=1)
    (hop,) = world.published
    await world.handle(Delivery(hop.body, hop.content_type, headers=hop.headers))
    assert [one.routing_key for one in world.published] == ["omni.requests.delay.3600"] * 2
    assert world.calls == []


async def test_a_held_request_shares_no_call_before_it_is_read_by_itself() -> None:
    world = Holding()
    handler = Handler(world.effects(world.send), HOLD)
    assert handler.shareable_call(handler.read(scheduled(5))) is None
    assert handler.shareable_call(handler.read(a_delivery())) is not None


async def test_waiting_and_acceptance_are_measured_from_the_due_time() -> None:
    world = Holding(outcome=accept)
    published = NOW - timedelta(seconds=5)
    settlement = await world.handle(replace(scheduled(0.5), timestamp=published))
    assert settlement.age == 0
    assert world.calls[0].published == NOW + timedelta(seconds=0.5)
    settlement = await Holding(time=NOW + timedelta(seconds=3)).handle(replace(scheduled(0.5), timestamp=published))
    assert settlement.age == 2.5


def test_the_shortest_delay_is_taken_if_all_are_too_long() -> None:
    policy = RetryPolicy(base_delay=30)
    assert hold_delay(policy, 5) == 30
    assert hold_delay(policy, 59) == 30
    assert hold_delay(policy, 4000) == 3600
    assert hold_delay(RetryPolicy(max_delay=86400), 90_000) == 3600


def test_the_parts_of_a_large_request_have_no_send_at_either() -> None:
    content = a_request().content.model_copy(update={"send_at": NOW})
    request = replace(a_request(*(replace(m, message_id=str(i)) for i in range(3) for m in a_request().messages)))
    calls = plan(replace(request, content=content), a_history(), Origin(), replace(HOLD, call_size=2))
    assert len(calls) == 2
    assert all(b"sendAt" not in call.to_json() for call in calls)
