"""The whole chain around a plain function. Each test states what no arrangement of the wrappers may change."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, cast

import pytest
from aiormq.abc import AbstractChannel

from service.adapters.metrics import Metrics
from service.adapters.rabbitmq import Acknowledger
from service.adapters.rabbitmq.lifetime import ConnectionLifetime
from service.core.attempt.breaker import CircuitBreaker
from service.core.attempt.call import OmniCall, ids_of, merge, split
from service.core.attempt.claim import Claim
from service.core.attempt.concurrency import Limit
from service.core.attempt.outcome import (
    NOT_SENT,
    REFUSED_TOGETHER,
    Accepted,
    Denied,
    NotAttempted,
    Outcome,
    Rejected,
    Unavailable,
    Unknown,
)
from service.core.delivery import DeliveryLostError, Ownership
from service.core.omni.channel.sms import Sms
from service.core.topology import URGENT
from service.worker.cancellation import Cancellations
from service.worker.deduplicator import deduplicated
from service.worker.memory import SharedMemory
from service.worker.ownership import SessionCheck
from service.worker.sending import make_send
from service.worker.sending.circuit_breaker import LONGEST_WAIT, Guard
from service.worker.sending.limiter import Limiter
from service.worker.telemetry import Telemetry
from tests.support.builder import NOW, a_call, a_message, a_status
from tests.support.loop import loop_time, settled
from tests.unit.worker.test_memory import Server, working


class World:
    """OMNI, and a chain with one slot."""

    def __init__(
        self,
        answer: Callable[[OmniCall], Outcome] | None = None,
        most: int | None = 100,
        rate: float | None = None,
        orders: Cancellations | None = None,
        memory: SharedMemory | None = None,
    ) -> None:
        self.posted: list[list[str]] = []
        self.go = asyncio.Event()
        self.answer = answer or accept
        self.seconds = 0.0
        """Seconds on top of the loop's clock."""
        self.guard = Guard(lambda *_: None, lambda _: None, self.clock, lambda: 0.0)
        self.limiter = Limiter(Limit(1, 1, fixed=True), rate, lambda _: None, self.clock)
        self.metrics = Metrics()
        self.now, self.elapsed = NOW, 100.0
        self.check = SessionCheck(lambda: self.elapsed)
        telemetry = Telemetry(self.metrics, lambda: self.now, self.clock)
        self.send = make_send(
            self._post,
            self.guard,
            self.limiter,
            telemetry,
            now=lambda: self.now,
            most=most,
            memory=memory,
            orders=orders,
        )
        self.before_writing: list[Callable[[], None]] = []
        """Functions that are called, one per call, while a token is fetched and a connection opened."""

    def clock(self) -> float:
        return loop_time() + self.seconds

    async def _post(self, call: OmniCall) -> Outcome:
        await asyncio.sleep(0)
        if self.before_writing:
            self.before_writing.pop(0)()
        if not call.may_send():
            return NOT_SENT
        self.posted.append(sorted(ids_of(call)))
        await self.go.wait()
        return self.answer(call)

    def call(self, name: str, /, **fields: object) -> "asyncio.Task[Outcome]":
        """Start a call. Those that are started without an await in between are ready in the same turn."""
        return asyncio.ensure_future(self.send(call_about(name, **fields)))

    async def calls(self, *names: str, **fields: object) -> list[Outcome | BaseException]:
        """Make calls that are ready in the same turn."""
        return await asyncio.gather(*(self.call(name, **fields) for name in names), return_exceptions=True)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and have the calls that wait look at the clock."""
        self.seconds += seconds
        self.now += timedelta(seconds=seconds)
        self.guard.set_stalled(stalled=True)
        self.guard.set_stalled(stalled=False)
        await settled()

    def turn(self, state: Literal["closed", "open", "half_open"]) -> Callable[[], None]:
        """Return a function that puts the circuit breaker into a state, from which no timer takes it."""

        def turn() -> None:
            cause = "" if state == "closed" else "http_503"
            until = loop_time() + 1e9 if state == "open" else None
            self.guard._set(CircuitBreaker(state, cause, until=until, openings=state != "closed"))  # noqa: SLF001 - no call

        return turn

    async def close_breaker(self) -> None:
        """Let all calls through."""
        self.turn("closed")()
        await settled()

    def owned(self, broker: "Broker | None" = None, last_read_at: float = 100.0) -> Ownership:
        """Return the ownership of a session's deliveries."""
        broker = broker or Broker()
        broker.life.confirmed_at = broker.life.last_read_at = last_read_at
        return self.check.ownership(Acknowledger(cast("AbstractChannel", broker), 1, broker.life))


def call_about(name: str, /, **fields: object) -> OmniCall:
    call, text = a_call(a_message(name)), str(fields.pop("text", "Hello"))
    call = replace(call, content=call.content.model_copy(update={"sms": Sms(text=text)}), request_id=name)
    return replace(call, **fields)  # type: ignore[arg-type]  # its own


def accept(call: OmniCall) -> Outcome:
    return Accepted({message.message_id: a_status() for message in call.messages})


@dataclass
class Broker:
    """The broker's end of a channel: it answers questions, unless it is to end the session instead."""

    life: ConnectionLifetime = field(default_factory=ConnectionLifetime)
    lives: bool = True
    asked: int = 0
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def queue_declare(self, _: str, *, passive: bool) -> None:
        assert passive
        self.asked += 1
        self.is_asked.set()
        await asyncio.sleep(0)
        if not self.lives:
            raise ConnectionResetError


async def test_calls_of_one_turn_share_a_call_and_those_that_wait_for_a_slot_share_the_next() -> None:
    world = World()
    first = [world.call(name) for name in "ab"]
    await settled()
    later = [world.call("c")]
    await settled()
    later.append(world.call("d"))
    await settled()
    assert world.posted == [["a", "b"]]
    world.go.set()

    assert {type(outcome) for outcome in await asyncio.gather(*first, *later)} == {Accepted}
    assert world.posted == [["a", "b"], ["c", "d"]]


async def test_another_content_a_name_given_twice_and_a_full_call_go_in_calls_of_their_own() -> None:
    world = World(most=2)
    calls = [world.call("a"), world.call("b", text="Bye"), world.call("a"), world.call("c"), world.call("d")]
    world.go.set()
    await asyncio.gather(*calls)

    assert sorted(world.posted) == [["a"], ["a", "c"], ["b"], ["d"]]


@pytest.mark.parametrize("past", [{"attempt": 2}, {"denials": 1}])
async def test_a_call_that_failed_or_was_denied_before_goes_alone(past: dict[str, int]) -> None:
    world = World()
    calls = [world.call("a"), world.call("again", **past), world.call("b")]
    world.go.set()
    await asyncio.gather(*calls)

    assert sorted(world.posted) == [["a", "b"], ["again"]]


async def test_without_batching_each_goes_alone() -> None:
    world = World(most=None)
    world.go.set()
    await world.calls("a", "b", "c")

    assert world.posted == [["a"], ["b"], ["c"]]


async def test_a_call_rejected_as_a_whole_is_bisected_until_the_wrong_one_stands_alone() -> None:
    world = World(lambda call: Rejected("http_400", "HTTP 400") if "3" in ids_of(call) else accept(call))
    world.go.set()
    outcomes = await world.calls(*"0123456")

    assert [type(outcome).__name__ for outcome in outcomes] == [*["Accepted"] * 3, "Rejected", *["Accepted"] * 3]
    assert ["3"] in world.posted
    assert max(sum(name in names for names in world.posted) for name in "16") <= 4


async def test_a_shared_call_that_a_gateway_finds_too_large_is_bisected_and_no_failure_is_recorded() -> None:
    world = World(lambda call: Unavailable("http_413") if len(call.messages) > 2 else accept(call))
    world.go.set()

    assert {type(outcome) for outcome in await world.calls(*"abcdefgh")} == {Accepted}
    assert [len(names) for names in world.posted] == [8, 4, 2, 2, 4, 2, 2]
    assert world.guard.breaker.bad == 0


async def test_a_request_that_is_too_large_is_alone_when_it_is_returned_to_be_split() -> None:
    world = World(lambda call: Unavailable("http_413") if len(call.messages) > 2 else accept(call))
    world.go.set()
    large = world.call("x", messages=tuple(a_message(name) for name in "xyz"))

    outcomes = await asyncio.gather(large, world.call("a"), world.call("b"))
    assert [type(outcome) for outcome in outcomes] == [Unavailable, Accepted, Accepted]
    assert [len(names) for names in world.posted] == [5, 3, 2]


@pytest.mark.parametrize("outcome", [Unknown("timeout"), Unavailable("http_503")])
async def test_an_outcome_of_a_shared_call_is_that_of_each_member_and_is_recorded_once(outcome: Outcome) -> None:
    """Many messages in one call that failed are one failure, not many in a row."""
    world = World(lambda _: outcome)
    world.go.set()

    assert await world.calls(*"abcdefgh") == [outcome] * 8
    assert (world.guard.breaker.state, world.guard.breaker.failures_in_row) == ("closed", 1)


async def test_each_has_its_own_deadline_and_its_own_session() -> None:
    world, gone = World(), Broker()
    lost = world.owned(gone)
    first = world.call("first")
    await settled()
    calls = [
        world.call("expired", expires_at=NOW),
        world.call("in-time", expires_at=NOW + timedelta(seconds=1)),
        world.call("lost", ownership=lost),
    ]
    gone.life.set()
    world.go.set()
    expired, in_time, error = await asyncio.gather(*calls, return_exceptions=True)

    assert expired == NotAttempted("expired")
    assert isinstance(in_time, Accepted)
    assert isinstance(error, DeliveryLostError)
    await first
    assert world.posted == [["first"], ["in-time"]]


DENIED = Denied("http_401")


async def test_a_call_that_has_waited_for_a_minute_while_sending_is_paused_is_not_attempted() -> None:
    world = World()
    world.turn("open")()
    early = world.call("early")
    await settled()
    await world.pass_time(LONGEST_WAIT - 1)
    late = [world.call("late"), world.call("too")]
    await settled()
    await world.pass_time(1)

    assert await early == NotAttempted("http_503")
    assert not late[0].done()
    await world.pass_time(LONGEST_WAIT)
    assert await asyncio.gather(*late) == [NotAttempted("http_503")] * 2
    assert world.posted == []


async def test_a_call_that_expires_while_sending_is_paused_ends_at_once_and_the_others_wait_on() -> None:
    world = World()
    world.go.set()
    world.turn("open")()
    expiring = world.call("b", expires_at=NOW + timedelta(seconds=0.05))
    others = [world.call("a"), world.call("c", expires_at=NOW + timedelta(seconds=5))]
    await settled()
    await world.pass_time(0.05)

    assert await expiring == NotAttempted("expired")
    assert not any(call.done() for call in others)
    await world.close_breaker()
    assert {type(outcome) for outcome in await asyncio.gather(*others)} == {Accepted}
    assert world.posted == [["a", "c"]]


async def test_a_call_that_expires_within_seconds_after_its_wait_waits_for_that() -> None:
    """A delay queue would return it too late."""
    world = World()
    world.turn("open")()
    last = world.call("last", expires_at=NOW + timedelta(seconds=LONGEST_WAIT + 4))
    next_ = world.call("next", expires_at=NOW + timedelta(seconds=LONGEST_WAIT + 6))
    await settled()
    await world.pass_time(LONGEST_WAIT)

    assert await next_ == NotAttempted("http_503")
    assert not last.done()
    await world.pass_time(4)
    assert await last == NotAttempted("expired")


async def test_a_pause_that_begins_while_calls_wait_for_a_slot_is_waited_for_by_each_of_them() -> None:
    world = World()
    first = world.call("first")
    await settled()
    calls = [world.call("a"), world.call("b"), world.call("again", attempt=2)]
    await settled()
    world.turn("open")()
    world.go.set()
    await settled()
    assert world.posted == [["first"]]
    assert not any(call.done() for call in calls)

    await world.close_breaker()
    assert all(isinstance(outcome, Accepted) for outcome in await asyncio.gather(first, *calls))
    assert sorted(world.posted) == [["a", "b"], ["again"], ["first"]]


async def test_a_call_denied_while_others_succeed_is_bisected_until_the_denied_one_stands_alone() -> None:
    world = World(lambda call: Denied("http_403") if "3" in ids_of(call) else accept(call))
    world.go.set()
    await world.call("before")
    outcomes = await world.calls(*"0123456")

    assert [type(outcome).__name__ for outcome in outcomes] == [*["Accepted"] * 3, "Denied", *["Accepted"] * 3]
    assert world.guard.is_closed
    assert await world.call("3", denials=1) == Denied("http_403")
    assert world.guard.is_closed


async def test_a_call_denied_while_no_other_succeeds_is_not_bisected() -> None:
    world = World(lambda _: DENIED)
    world.go.set()

    assert await world.calls(*"0123456") == [DENIED] * 7
    assert len(world.posted) == 1
    assert world.guard.breaker.state == "open"


async def test_of_a_bisected_call_no_more_is_sent_once_the_breaker_is_open() -> None:
    world = World(lambda call: accept(call) if "before" in ids_of(call) else DENIED)
    world.go.set()
    await world.call("before")
    await world.pass_time(30)
    calls = [world.call(f"m-{number}") for number in range(100)]
    while world.guard.is_closed:  # it opens once twenty calls were denied
        await settled()
    posted = len(world.posted)
    assert posted == 1 + 20
    world.guard.stop()

    assert set(await asyncio.gather(*calls)) == {DENIED, NotAttempted("stopping")}
    assert len(world.posted) == posted


async def test_a_member_that_is_cancelled_while_it_waits_is_not_posted_and_the_others_are() -> None:
    world = World()
    first = world.call("first")
    await settled()
    gone, stays = world.call("gone"), world.call("stays")
    await settled()
    gone.cancel()
    world.go.set()

    assert isinstance(await stays, Accepted)
    await first
    assert world.posted == [["first"], ["stays"]]


async def test_when_every_member_is_cancelled_nothing_is_posted_and_a_later_call_is() -> None:
    world = World()
    first = world.call("first")
    await settled()
    gone = [world.call("a"), world.call("b")]
    await settled()
    for call in gone:
        call.cancel()
    at_once = world.call("c")
    at_once.cancel()
    await settled()
    world.go.set()

    assert isinstance(await world.call("d"), Accepted)
    await first
    assert world.posted == [["first"], ["d"]]


async def test_a_member_that_is_cancelled_in_mid_call_does_not_affect_the_others() -> None:
    world = World()
    gone, stays = world.call("gone"), world.call("stays")
    await settled()
    gone.cancel()
    await settled()
    world.go.set()

    assert isinstance(await stays, Accepted)
    assert gone.cancelled()
    assert world.posted == [["gone", "stays"]]


async def test_a_call_whose_only_member_is_cancelled_is_cancelled_too() -> None:
    world = World()
    gone = world.call("gone")
    await settled()
    gone.cancel()
    await settled()

    assert world.metrics.registry.get_sample_value("omni_relay_attempts_in_flight") == 0


async def test_calls_that_wait_when_the_worker_stops_are_not_attempted() -> None:
    world = World()
    world.guard.set_stalled(stalled=True)
    calls = [world.call(f"m-{number}") for number in range(3)]
    await settled()
    world.guard.stop()

    assert await asyncio.gather(*calls) == [NotAttempted("stopping")] * 3
    assert world.posted == []


async def test_calls_that_wait_for_a_slot_when_the_worker_stops_are_not_attempted() -> None:
    world = World()
    first = world.call("first")
    await settled()
    calls = [world.call("a"), world.call("b")]
    await settled()
    world.guard.stop()
    world.go.set()

    assert isinstance(await first, Accepted)
    assert await asyncio.gather(*calls) == [NotAttempted("stopping")] * 2
    assert world.posted == [["first"]]


@pytest.mark.parametrize(("names", "unknown"), [("a", False), ("ab", True)])
async def test_a_defect_leaves_the_members_of_a_shared_call_ambiguous(names: str, *, unknown: bool) -> None:
    """OMNI may have taken the call, and it was the call of each of them."""

    def fail(_: OmniCall) -> Outcome:
        raise ValueError("a defect")

    world = World(fail)
    world.go.set()
    outcomes = await world.calls(*names)

    assert [isinstance(outcome, Unknown) for outcome in outcomes] == [unknown] * len(names)
    assert [isinstance(outcome, ValueError) for outcome in outcomes] == [not unknown] * len(names)
    assert len(world.posted) == 1


async def test_a_defect_leaves_the_members_of_a_merged_call_ambiguous() -> None:
    def fail(_: OmniCall) -> Outcome:
        raise ValueError("a defect")

    world = World(fail)
    world.go.set()

    assert await world.send(merge([call_about("a"), call_about("b")])) == Unknown("exception")


@pytest.mark.parametrize(
    ("outcome", "cause"),
    [
        (Unavailable("http_429"), "http_429"),
        (Unknown("timeout"), "timeout"),
        (Rejected("http_418", ""), "other"),
        (Accepted({}), None),
    ],
)
async def test_failures_are_counted_by_their_cause_and_calls_by_their_size(outcome: Outcome, cause: str | None) -> None:
    world = World(lambda _: outcome)
    world.go.set()
    await world.call("m-1")

    counted = {
        sample.labels["cause"]: sample.value
        for family in world.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "omni_relay_attempt_failures_total" and sample.value
    }
    assert counted == ({cause: 1.0} if cause else {})
    assert world.metrics.registry.get_sample_value("omni_relay_batch_messages_sum") == 1


async def test_calls_that_wait_for_a_slot_are_counted() -> None:
    world = World(most=None)
    calls = [world.call(f"m-{number}") for number in range(3)]
    await settled()
    assert world.metrics.registry.get_sample_value("omni_relay_calls_waiting") == 2
    assert world.metrics.registry.get_sample_value("omni_relay_attempts_in_flight") == 1
    world.go.set()
    await asyncio.gather(*calls)
    assert world.metrics.registry.get_sample_value("omni_relay_calls_waiting") == 0


@pytest.mark.parametrize("outcome", [Accepted({"m": a_status()}), Unknown("timeout"), Unavailable("http_503")])
async def test_two_retry_messages_about_the_same_messages_that_meet_are_one_call(outcome: Outcome) -> None:
    world = World(lambda _: outcome)
    calls = [world.call("m", attempt=3), world.call("m", attempt=3), world.call("other", attempt=3)]
    world.go.set()

    assert await asyncio.gather(*calls) == [outcome] * 3
    assert sorted(world.posted) == [["m"], ["other"]]
    assert world.metrics.registry.get_sample_value("omni_relay_duplicate_deliveries_total") == 1


async def test_a_duplicate_of_an_accepted_later_attempt_is_not_posted_and_a_next_attempt_is() -> None:
    answers: list[Outcome] = [Unavailable("http_503"), Accepted({"m": a_status()})]
    world = World(lambda _: answers.pop(0))
    world.go.set()

    outcomes = [await world.call("m", attempt=attempt) for attempt in (2, 3, 3)]
    assert [type(outcome) for outcome in outcomes] == [Unavailable, Accepted, Accepted]
    assert world.posted == [["m"], ["m"]]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Accepted({"m": a_status(5, 21)}), id="refused, to be tried again"),
        pytest.param(Accepted({"m": a_status(5, 12)}), id="denied, to be tried without being counted"),
        pytest.param(Accepted({}), id="not in the answer"),
    ],
)
async def test_an_attempt_without_a_final_outcome_is_made_again(answer: Outcome) -> None:
    """Its own next attempt is no duplicate, and where the last was not counted it even has the same number."""
    answers: list[Outcome] = [answer, Accepted({"m": a_status()})]
    world = World(lambda _: answers.pop(0))
    world.go.set()

    outcomes = [await world.call("m", attempt=2) for _ in range(3)]
    assert outcomes == [answer, *[Accepted({"m": a_status()})] * 2]
    assert world.posted == [["m"], ["m"]]


async def test_another_request_about_a_message_of_the_same_name_is_another_call() -> None:
    """A producer may have corrected a refused request, and sent it again."""
    answers: list[Outcome] = [Rejected("http_400", "wrong"), Accepted({"m": a_status()})]
    world = World(lambda _: answers.pop(0))
    world.go.set()

    outcomes = [await world.call("m", attempt=2), await world.call("m", attempt=2, request_id="corrected")]
    assert [type(outcome) for outcome in outcomes] == [Rejected, Accepted]


async def test_a_later_attempt_that_is_cancelled_leaves_the_call_to_its_duplicate() -> None:
    world = World()
    first, second = world.call("m", attempt=2), world.call("m", attempt=2)
    await settled()
    first.cancel()
    await settled()
    world.go.set()

    assert isinstance(await second, Accepted)
    assert world.posted == [["m"], ["m"]]  # whether the first was taken is for OMNI's logs to show


async def test_while_the_breaker_is_half_open_one_call_is_the_probe_and_the_others_follow_together() -> None:
    """A probe whose outcome is unknown must make one request ambiguous, not many."""
    world = World()
    world.turn("half_open")()
    world.go.set()
    outcomes = await world.calls("a", "b", "c")

    assert world.posted == [["a"], ["b", "c"]]
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 3


@pytest.mark.parametrize("state", ["open", "half_open"])
async def test_a_merged_call_neither_waits_for_the_breaker_nor_becomes_the_probe(
    state: Literal["open", "half_open"],
) -> None:
    world = World()
    world.turn(state)()

    assert await world.send(merge([call_about("a"), call_about("b")])) is NOT_SENT
    assert world.posted == []


async def test_a_merged_call_that_a_pause_forbids_before_writing_is_not_sent() -> None:
    world = World()
    world.before_writing.append(world.turn("open"))

    assert await world.send(merge([call_about("a"), call_about("b")])) is NOT_SENT
    assert world.posted == []


@pytest.mark.parametrize("outcome", [Rejected("http_400", "HTTP 400"), Unavailable("http_413"), Denied("http_403")])
async def test_a_merged_call_that_one_member_may_have_spoiled_is_refused_together(outcome: Outcome) -> None:
    world = World(lambda call: accept(call) if len(call.messages) == 1 else outcome)
    world.go.set()
    await world.calls("works")

    assert await world.send(merge([call_about("a"), call_about("b")])) is REFUSED_TOGETHER


async def test_a_merged_call_that_is_denied_like_all_others_is_denied() -> None:
    world = World(lambda _: Denied("http_401"))
    world.go.set()

    assert await world.send(merge([call_about("a"), call_about("b")])) == Denied("http_401")


async def test_members_of_merged_calls_that_are_sent_in_halves_are_measured_once() -> None:
    world = World(lambda call: accept(call) if len(call.messages) < 4 else Rejected("http_400", "HTTP 400"))
    first = world.call("first", text="Bye")
    await settled()
    merged = [
        asyncio.ensure_future(world.send(merge([call_about(name, published=NOW) for name in names])))
        for names in ("ab", "cd")
    ]
    await settled()
    world.go.set()
    await asyncio.gather(first, *merged)

    assert world.posted[1:] == [["a", "b", "c", "d"], ["a", "b"], ["c", "d"]]
    assert world.metrics.registry.get_sample_value("omni_relay_sms_parts_total", {"encoding": "gsm7"}) == 5


async def test_merged_calls_that_wait_for_a_slot_share_the_next() -> None:
    world = World()
    first = world.call("first")
    await settled()
    merged = [asyncio.ensure_future(world.send(merge([call_about(name) for name in names]))) for names in ("ab", "cd")]
    await settled()
    world.go.set()
    await asyncio.gather(first, *merged)

    assert world.posted == [["first"], ["a", "b", "c", "d"]]


async def test_beside_a_duplicate_each_of_the_others_is_posted_also_one_without_an_id() -> None:
    """A request without an id makes no claim."""
    async with working(Server(values={"duplicate": b"m ~\n"})) as memory:
        world = World(memory=memory)
        world.go.set()
        claims = [Claim("a", "duplicate", "m", "w.1"), Claim("b", "other", "m", "w.2"), None]
        names = ("duplicate", "other", "without-id")
        calls = [world.call(name, record=claim) for name, claim in zip(names, claims, strict=True)]
        outcomes = await asyncio.gather(*calls)
    assert [type(outcome) for outcome in outcomes] == [NotAttempted, Accepted, Accepted]
    assert world.posted == [["other", "without-id"]]


async def test_of_calls_of_one_turn_each_has_its_own_deadline_and_its_own_rejection() -> None:
    world = World(lambda call: Rejected("http_400", "HTTP 400") if "b" in ids_of(call) else accept(call))
    world.go.set()
    calls = [world.call("a", expires_at=NOW), world.call("b"), world.call("c", expires_at=NOW + timedelta(seconds=1))]
    outcomes = await asyncio.gather(*calls)

    assert [type(outcome).__name__ for outcome in outcomes] == ["NotAttempted", "Rejected", "Accepted"]
    assert world.posted == [["b", "c"], ["b"], ["c"]]


async def test_a_bisected_call_is_measured_once() -> None:
    world = World(lambda call: Rejected("http_400", "HTTP 400") if len(call.messages) > 1 else accept(call))
    world.go.set()
    await world.calls(*"abcd", published=NOW)

    assert len(world.posted) == 7
    assert world.metrics.registry.get_sample_value("omni_relay_queue_seconds_count", {"lane": "normal"}) == 4
    assert world.metrics.registry.get_sample_value("omni_relay_sms_parts_total", {"encoding": "gsm7"}) == 4


async def test_the_halves_of_a_call_that_was_too_large_are_not_measured_again() -> None:
    world = World(lambda call: Unavailable("http_413") if len(call.messages) > 1 else accept(call))
    world.go.set()
    call = merge([call_about(name, published=NOW) for name in "ab"])
    for part in (replace(call, members=()), *split(call, Unavailable("http_413"))):
        await world.send(part)

    assert len(world.posted) == 3
    assert world.metrics.registry.get_sample_value("omni_relay_sms_parts_total", {"encoding": "gsm7"}) == 2


async def test_a_deadline_that_passes_while_a_token_is_fetched_is_kept() -> None:
    world = World()
    world.before_writing.append(lambda: setattr(world, "now", NOW + timedelta(seconds=5)))

    assert await world.call("m", expires_at=NOW + timedelta(seconds=5)) == NotAttempted("expired")
    assert world.posted == []
    assert world.metrics.registry.get_sample_value("omni_relay_attempts_in_flight") == 0


async def test_members_whose_deadline_passes_before_writing_are_left_out() -> None:
    world = World()
    world.go.set()
    world.before_writing.append(lambda: setattr(world, "now", NOW + timedelta(seconds=5)))
    calls = [world.call("a"), world.call("b", expires_at=NOW + timedelta(seconds=3)), world.call("c")]
    outcomes = await asyncio.gather(*calls)

    assert [type(outcome).__name__ for outcome in outcomes] == ["Accepted", "NotAttempted", "Accepted"]
    assert world.posted == [["a", "c"]]


async def test_a_deadline_that_passes_between_the_halves_of_a_rejected_call_is_kept() -> None:
    def reject(call: OmniCall) -> Outcome:
        world.now += timedelta(seconds=3)
        return Rejected("http_400", "HTTP 400") if len(call.messages) > 1 else accept(call)

    world = World(reject)
    world.go.set()
    outcomes = await world.calls(*"abcd", expires_at=NOW + timedelta(seconds=8))

    assert world.posted == [["a", "b", "c", "d"], ["a", "b"], ["a"]]
    assert outcomes == [Accepted({"a": a_status()}), *[NotAttempted("expired")] * 3]


@pytest.mark.parametrize(("lives", "outcome"), [(True, "Accepted"), (False, "DeliveryLostError")])
async def test_after_a_suspension_nothing_is_written_before_the_broker_has_answered(
    outcome: str, *, lives: bool
) -> None:
    """The bytes that it sent meanwhile may say that another worker has the deliveries."""
    world, broker = World(), Broker(lives=lives)
    world.go.set()

    def suspend() -> None:
        world.elapsed += 60
        broker.life.last_read_at = world.elapsed  # old bytes, read only now

    world.before_writing.append(suspend)
    outcomes = await world.calls(*"abc", ownership=world.owned(broker))

    assert [type(one).__name__ for one in outcomes] == [outcome] * 3
    assert world.posted == ([["a", "b", "c"]] if lives else [])
    assert broker.asked == 1
    assert broker.life.is_set() is not lives


async def test_a_suspension_while_the_broker_is_asked_makes_the_answer_worthless() -> None:
    world, broker = World(), Broker()
    world.go.set()
    ownership = world.owned(broker)
    world.elapsed += 60
    asking = world.call("m", ownership=ownership)
    await broker.is_asked.wait()
    world.elapsed += 60
    await asking

    assert broker.asked == 2
    assert world.posted == [["m"]]


async def test_a_silent_session_is_asked_once_and_one_that_sent_bytes_is_not() -> None:
    world, silent, heard = World(most=None), Broker(), Broker()
    world.go.set()
    owned = world.owned(silent)
    for _ in range(10):  # time passes, and the process runs
        world.elapsed += 0.3
        owned.is_certain()
    calls = [world.call("a", ownership=owned), world.call("b", ownership=owned)]
    calls.append(world.call("c", ownership=world.owned(heard, world.elapsed)))
    await asyncio.gather(*calls)

    assert (silent.asked, heard.asked) == (1, 0)
    assert len(world.posted) == 3


async def test_a_session_that_becomes_silent_while_a_call_waits_for_the_rate_does_not_make_it_wait_again() -> None:
    """It would become silent again, and the call would never be sent."""
    world, broker = World(rate=0.5), Broker()
    world.go.set()
    owned = world.owned(broker)
    for name in "ab":
        world.call(name, ownership=owned)
        await settled()
    began = loop_time()
    task = asyncio.create_task(_make_time_pass(world))
    outcome = await world.call("c", text="Bye", ownership=owned)
    task.cancel()

    assert isinstance(outcome, Accepted)
    assert loop_time() - began < 7
    assert broker.asked > 0


async def _make_time_pass(world: World) -> None:
    while True:
        await asyncio.sleep(0.1)
        world.elapsed += 0.1
        world.check.read_clock()


async def test_for_a_lost_delivery_neither_an_expiry_nor_a_wait_is_reported() -> None:
    """The worker that has it now may have had it accepted in time."""
    world, gone = World(), Broker()
    owned = world.owned(gone)
    gone.life.set()
    expired = world.call("m", expires_at=NOW, ownership=owned)
    await settled()
    world.guard.set_stalled(stalled=True)
    held = world.call("n", ownership=owned)
    await settled()
    world.guard.stop()

    for call in (expired, held):
        with pytest.raises(DeliveryLostError):
            await call
    assert world.posted == []


async def test_a_session_that_ends_before_writing_does_not_affect_members_of_other_sessions() -> None:
    world, gone = World(), Broker()
    lost, stays = world.call("lost", ownership=world.owned(gone)), world.call("stays")
    world.before_writing.append(gone.life.set)
    world.go.set()

    assert isinstance(await stays, Accepted)
    with pytest.raises(DeliveryLostError):
        await lost
    assert world.posted == [["stays"]]


async def test_a_session_that_ends_while_calls_wait_for_a_slot_takes_only_its_own_with_it() -> None:
    world, gone = World(), Broker()
    first = world.call("first")
    await settled()
    lost, stays = world.call("lost", ownership=world.owned(gone)), world.call("stays")
    await settled()
    gone.life.set()
    world.go.set()

    assert isinstance(await stays, Accepted)
    with pytest.raises(DeliveryLostError):
        await lost
    await first
    assert world.posted == [["first"], ["stays"]]


async def test_halves_of_a_rejected_call_wait_while_sending_is_paused_and_hold_no_slot() -> None:
    def reject(call: OmniCall) -> Outcome:
        if len(call.messages) > 1 and len(world.posted) == 1:
            world.turn("open")()
            return Rejected("http_400", "HTTP 400")
        return accept(call)

    world = World(reject)
    world.go.set()
    calls = [world.call(name) for name in "ab"]
    await settled()
    assert world.posted == [["a", "b"]]
    async with asyncio.timeout(1):
        await world.limiter.acquire(a_call())
    world.limiter.release()
    await world.close_breaker()

    assert [type(outcome) for outcome in await asyncio.gather(*calls)] == [Accepted] * 2


async def test_halves_of_a_rejected_call_are_not_posted_once_the_worker_stops() -> None:
    def reject(_: OmniCall) -> Outcome:
        world.guard.stop()
        return Rejected("http_400", "HTTP 400")

    world = World(reject)
    world.go.set()

    assert await world.calls(*"abc") == [NotAttempted("stopping")] * 3
    assert world.posted == [["a", "b", "c"]]


@pytest.mark.parametrize("attempt", [1, 2])  # a retry goes alone, and hence straight to the slots
async def test_after_a_pause_urgent_calls_are_posted_first(attempt: int) -> None:
    world = World()
    world.guard.set_stalled(stalled=True)
    normal = [world.call(name, text=name, attempt=attempt) for name in ("a", "b")]
    await settled()
    urgent = world.call("urgent", lane=URGENT)
    await settled()
    world.guard.set_stalled(stalled=False)
    world.go.set()
    await asyncio.gather(urgent, *normal)

    assert world.posted == [["urgent"], ["a"], ["b"]]


async def test_a_pause_that_begins_while_a_token_is_fetched_is_kept() -> None:
    world = World()
    world.go.set()
    world.before_writing.append(world.turn("open"))
    call = world.call("m")
    await settled()
    assert (world.posted, call.done()) == ([], False)
    await world.close_breaker()

    assert isinstance(await call, Accepted)
    assert world.posted == [["m"]]


async def test_when_the_breaker_is_half_open_between_two_halves_one_call_goes_first_and_alone() -> None:
    world = World(lambda call: Rejected("http_400", "") if len(call.messages) == 4 else accept(call))
    world.go.set()
    world.before_writing = [lambda: None, world.turn("half_open")]
    outcomes = await world.calls(*"abcd")

    assert [type(outcome) for outcome in outcomes] == [Accepted] * 4
    assert world.posted[0] == ["a", "b", "c", "d"]
    assert len(world.posted[1]) == 1
    assert sorted(name for names in world.posted[1:] for name in names) == ["a", "b", "c", "d"]


async def test_each_member_of_a_rejected_call_ends_as_soon_as_its_own_outcome_is_known() -> None:
    def reject(call: OmniCall) -> Outcome:
        if len(call.messages) > 1:
            return Rejected("http_400", "HTTP 400")
        if ids_of(call) == {"b"}:
            world.turn("open")()
        return accept(call)

    world = World(reject)
    world.go.set()
    calls = [world.call(name) for name in "abcd"]
    await settled()

    assert [call.done() for call in calls] == [True, True, False, False]
    await world.close_breaker()
    assert all(isinstance(outcome, Accepted) for outcome in await asyncio.gather(*calls))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"text": "Bye"}, id="another text"),
        pytest.param({"messages": (a_message("m", "41790000000"),)}, id="another number"),
        pytest.param(
            {"content": a_call(a_message("m")).content.model_copy(update={"scenario_key": "s"})}, id="scenario"
        ),
        pytest.param({"published": NOW}, id="published at another time"),
        pytest.param({"redrives": 1}, id="replayed"),
    ],
)
async def test_a_call_of_the_same_ids_and_another_content_is_another_call(change: dict[str, Any]) -> None:
    world = World()
    world.go.set()
    await world.call("m", attempt=2)
    await world.call("m", attempt=2, **change)

    assert world.posted == [["m"], ["m"]]
    assert world.metrics.registry.get_sample_value("omni_relay_duplicate_deliveries_total") == 0


async def test_duplicates_of_a_replayed_dead_letter_are_one_call() -> None:
    world = World()
    world.go.set()
    calls = [world.call("m", redrives=1), world.call("m", redrives=1)]
    assert [type(outcome) for outcome in await asyncio.gather(*calls)] == [Accepted] * 2
    await world.call("m", redrives=1)

    assert world.posted == [["m"]]


async def test_a_slow_later_attempt_keeps_its_outcome_however_many_others_end_meanwhile() -> None:
    world, slow_may_end = World(), asyncio.Event()
    send = deduplicated(lambda call: _post_slowly(call, slow_may_end), loop_time, lambda: None)
    slow = asyncio.ensure_future(send(call_about("slow", attempt=2)))
    await settled()
    for number in range(1100):
        await send(call_about(f"m-{number}", attempt=2))
    duplicate = asyncio.ensure_future(send(call_about("slow", attempt=2)))
    await settled()
    slow_may_end.set()

    assert await slow is await duplicate
    assert world.posted == []


async def _post_slowly(call: OmniCall, may_end: asyncio.Event) -> Outcome:
    if call.request_id == "slow":
        await may_end.wait()
    return accept(call)
