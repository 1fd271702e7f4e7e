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
from service.core.attempt.breaker import Signal
from service.core.attempt.call import OmniCall, ids_of, merge, split
from service.core.attempt.concurrency import Limit
from service.core.attempt.outcome import (
    NOT_SENT,
    Accepted,
    Denied,
    MaySend,
    NotAttempted,
    Outcome,
    Rejected,
    Unavailable,
    Unknown,
)
from service.core.omni.channel.sms import Sms
from service.worker.custody import SESSION, HandedBackError, SessionCheck
from service.worker.sending.caller import Caller, Tools
from service.worker.sending.circuit_breaker import LONGEST_WAIT, Turnstile
from service.worker.sending.limiter import Throttle
from tests.support.builder import NOW, a_call, a_message, a_status
from tests.support.loop import loop_time


class World:
    """OMNI, and a caller with one slot."""

    def __init__(self, answer: Callable[[OmniCall], Outcome] | None = None, most: int | None = 100) -> None:
        self.posted: list[list[str]] = []
        self.go = asyncio.Event()
        self._answer = answer or accept
        self.seconds = 0.0
        """Seconds on top of those that have really passed, at the turnstile."""
        self.turnstile = Turnstile(lambda *_: None, lambda _: None, lambda: loop_time() + self.seconds)
        throttle = Throttle(Limit(1, 1, fixed=True), None, lambda _: None)
        self.metrics = Metrics()
        self.now, self.elapsed = NOW, 100.0
        check = SessionCheck(lambda: self.elapsed)
        tools = Tools(self._post, self.turnstile, throttle, check, self.metrics, lambda: self.now, most)
        self.caller = Caller(tools)
        self.before_writing: list[Callable[[], None]] = []
        """What happens while a token is fetched and a connection opened, one after the other."""

    async def _post(self, call: OmniCall, may_send: MaySend) -> Outcome:
        await asyncio.sleep(0)
        if self.before_writing:
            self.before_writing.pop(0)()
        if not may_send():
            return NOT_SENT
        self.posted.append([message.message_id for message in call.messages])
        await self.go.wait()
        return self._answer(call)

    def call(self, name: str, text: str = "Hello", **fields: object) -> "asyncio.Task[Outcome]":
        async def attempt() -> Outcome:
            (outcome,) = await self.caller.attempt([call_about(name, text, **fields)])
            if isinstance(outcome, HandedBackError):
                raise outcome
            return outcome

        return asyncio.create_task(attempt())

    def look_again(self) -> None:
        """Have those who wait look at the clock."""
        self.turnstile.stall(stalled=True)
        self.turnstile.stall(stalled=False)


def call_about(name: str, text: str = "Hello", **fields: object) -> OmniCall:
    call = a_call(a_message(name))
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


def a_receipt(broker: Broker | None = None, heard_at: float = 100.0) -> Acknowledger:
    broker = broker or Broker()
    broker.life.confirmed_at = broker.life.heard_at = heard_at
    return Acknowledger(cast("AbstractChannel", broker), 1, broker.life)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_that_finds_a_slot_goes_alone_and_at_once_and_those_who_wait_go_together() -> None:
    world = World()
    calls = [world.call(f"m-{number}") for number in range(5)]
    await settle()
    assert world.posted == [["m-0"]]
    world.go.set()
    outcomes = await asyncio.gather(*calls)

    assert world.posted == [["m-0"], ["m-1", "m-2", "m-3", "m-4"]]
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)


async def test_another_content_a_name_given_twice_and_a_full_call_go_in_calls_of_their_own() -> None:
    world = World(most=2)
    calls = [world.call("first"), world.call("a"), world.call("b", text="Bye"), world.call("a"), world.call("c")]
    calls.append(world.call("d"))
    await settle()
    world.go.set()
    await asyncio.gather(*calls)

    assert sorted(world.posted) == [["a"], ["a", "c"], ["b"], ["d"], ["first"]]


async def test_one_that_failed_before_goes_alone() -> None:
    world = World()
    calls = [world.call("first"), world.call("a"), world.call("again", attempt=2), world.call("b")]
    await settle()
    world.go.set()
    await asyncio.gather(*calls)

    assert sorted(world.posted) == [["a", "b"], ["again"], ["first"]]


async def test_switched_off_each_goes_alone() -> None:
    world = World(most=None)
    calls = [world.call(f"m-{number}") for number in range(3)]
    world.go.set()
    await asyncio.gather(*calls)

    assert world.posted == [["m-0"], ["m-1"], ["m-2"]]


async def test_a_call_refused_as_wrong_is_split_until_the_wrong_one_stands_alone() -> None:
    def refuse(call: OmniCall) -> Outcome:
        wrong = any(message.message_id == "m-3" for message in call.messages)
        return Rejected("http_400", "HTTP 400") if wrong else accept(call)

    world = World(refuse)
    calls = [world.call(f"m-{number}") for number in range(7)]
    world.go.set()
    outcomes = await asyncio.gather(*calls)

    assert [type(outcome).__name__ for outcome in outcomes] == [*["Accepted"] * 3, "Rejected", *["Accepted"] * 3]
    assert ["m-3"] in world.posted
    assert max(sum(name in names for names in world.posted) for name in ("m-1", "m-6")) <= 4


async def test_a_shared_call_that_a_gateway_finds_too_large_is_split() -> None:
    world = World(lambda call: Unavailable("http_413") if len(call.messages) > 2 else accept(call))
    world.go.set()

    outcomes = await world.caller.attempt([call_about(name) for name in "abcdefgh"])

    assert {type(outcome) for outcome in outcomes} == {Accepted}
    assert [len(names) for names in world.posted] == [8, 4, 2, 2, 4, 2, 2]
    assert world.turnstile.breaker.bad == 0


async def test_a_request_that_is_too_large_is_alone_when_it_is_given_back_to_be_split() -> None:
    world = World(lambda call: Unavailable("http_413") if len(call.messages) > 2 else accept(call))
    world.go.set()
    large = replace(call_about("x"), messages=tuple(a_message(name) for name in "xyz"), request_id="large")

    outcomes = await world.caller.attempt([large, call_about("a"), call_about("b")])

    assert [type(outcome) for outcome in outcomes] == [Unavailable, Accepted, Accepted]
    assert [len(names) for names in world.posted] == [5, 3, 2]


@pytest.mark.parametrize("outcome", [Unknown("timeout"), Unavailable("http_503")])
async def test_what_is_said_of_the_call_is_said_of_each_and_heard_once(outcome: Outcome) -> None:
    """Many messages in one call that failed are one failure, not many in a row."""
    world = World(lambda _: outcome)
    calls = [world.call(f"m-{number}") for number in range(20)]
    await settle()
    world.go.set()

    assert await asyncio.gather(*calls) == [outcome] * 20
    assert len(world.posted) == 2
    assert (world.turnstile.breaker.mode, world.turnstile.breaker.row) == ("open", 2)


async def test_each_has_its_own_deadline_and_its_own_session() -> None:
    world = World()
    first = world.call("first")
    await settle()
    gone = a_receipt()
    gone.broken.set()
    expired = world.call("expired", expires_at=NOW)
    in_time = world.call("in-time", expires_at=NOW + timedelta(seconds=1))
    SESSION.set(gone)
    lost = world.call("lost")
    SESSION.set(None)
    await settle()
    world.go.set()

    assert await expired == NotAttempted("expired")
    assert isinstance(await in_time, Accepted)
    with pytest.raises(HandedBackError):
        await lost
    await first
    assert world.posted == [["first"], ["in-time"]]


PAUSED = Signal("denied", "http_401")


async def test_whoever_has_waited_for_a_minute_at_a_closed_turnstile_comes_back_later() -> None:
    world = World()
    world.turnstile.notice(PAUSED)
    early = world.call("early")
    await settle()
    world.seconds += LONGEST_WAIT - 1
    late = asyncio.create_task(world.caller.attempt([call_about("late"), call_about("too")]))
    await settle()
    world.seconds += 1
    world.look_again()

    assert await early == NotAttempted("http_401")
    assert not late.done()
    world.seconds += LONGEST_WAIT
    world.look_again()
    assert await late == [NotAttempted("http_401")] * 2
    assert world.posted == []


async def test_one_that_expires_at_a_closed_turnstile_is_told_of_at_once_and_the_others_wait_on() -> None:
    world = World()
    world.go.set()
    world.turnstile.notice(PAUSED)
    soon, later = NOW + timedelta(seconds=0.05), NOW + timedelta(seconds=5)
    alone = world.call("alone", expires_at=soon)
    calls = [call_about("a"), call_about("b", expires_at=soon), call_about("c", expires_at=later)]
    together = asyncio.create_task(world.caller.attempt(calls))
    await settle()
    world.now, world.seconds = soon, world.seconds + 0.05

    assert await asyncio.wait_for(alone, 5) == NotAttempted("expired")
    assert not together.done()
    world.seconds += 1
    world.turnstile.look()
    outcomes = await together
    assert [type(outcome).__name__ for outcome in outcomes] == ["Accepted", "NotAttempted", "Accepted"]
    assert world.posted == [["a"], ["c"]]


async def test_one_that_expires_within_seconds_after_its_wait_is_over_waits_for_that() -> None:
    """A delay queue would bring it back too late."""
    world = World()
    world.turnstile.notice(PAUSED)
    last = world.call("last", expires_at=NOW + timedelta(seconds=LONGEST_WAIT + 4))
    next_ = world.call("next", expires_at=NOW + timedelta(seconds=LONGEST_WAIT + 6))
    await settle()
    world.seconds += LONGEST_WAIT
    world.look_again()

    assert await next_ == NotAttempted("http_401")
    assert not last.done()
    world.seconds, world.now = world.seconds + 4, NOW + timedelta(seconds=LONGEST_WAIT + 4)
    world.look_again()
    assert await last == NotAttempted("expired")


async def test_a_pause_that_begins_while_calls_wait_for_a_slot_is_waited_for_by_each_of_them() -> None:
    world = World()
    calls = [world.call("first"), world.call("a"), world.call("b"), world.call("again", attempt=2)]
    await settle()
    world.turnstile.notice(PAUSED)
    world.go.set()
    await settle()
    assert world.posted == [["first"]]
    assert not any(call.done() for call in calls[1:])

    world.seconds += 1
    world.turnstile.look()
    assert all(isinstance(outcome, Accepted) for outcome in await asyncio.gather(*calls))
    assert sorted(world.posted) == [["a"], ["again"], ["b"], ["first"]]


async def test_a_call_denied_while_others_succeed_is_split_until_the_denied_one_stands_alone() -> None:
    world = World(lambda call: Denied("http_403") if "m-3" in ids_of(call) else accept(call))
    world.go.set()
    await world.call("before")
    calls = [call_about(f"m-{number}") for number in range(7)]
    outcomes = await world.caller.attempt(calls)

    assert [type(outcome).__name__ for outcome in outcomes] == [*["Accepted"] * 3, "Denied", *["Accepted"] * 3]
    assert world.turnstile.is_open
    (outcome,) = await world.caller.attempt([replace(calls[3], denials=1)])
    assert outcome == Denied("http_403")
    assert world.turnstile.is_open


async def test_a_call_denied_while_no_other_succeeds_is_not_split() -> None:
    world = World(lambda _: Denied("http_401"))
    world.go.set()
    outcomes = await world.caller.attempt([call_about(f"m-{number}") for number in range(7)])

    assert outcomes == [Denied("http_401")] * 7
    assert len(world.posted) == 1
    assert world.turnstile.breaker.mode == "closed"


async def test_of_a_call_that_is_split_no_more_is_made_once_the_turnstile_is_closed() -> None:
    world = World(lambda call: accept(call) if "before" in ids_of(call) else Denied("http_401"))
    world.go.set()
    await world.call("before")
    world.seconds += 30
    calls = asyncio.create_task(world.caller.attempt([call_about(f"m-{number}") for number in range(100)]))
    while world.turnstile.is_open:  # noqa: ASYNC110  # it closes once twenty calls were denied
        await asyncio.sleep(0)
    await settle()
    assert len(world.posted) == 1 + 20
    world.turnstile.shut()

    assert set(await calls) == {Denied("http_401"), NotAttempted("stopping")}
    assert len(world.posted) == 1 + 20


async def test_one_that_was_denied_before_goes_alone() -> None:
    world = World()
    calls = [world.call("first"), world.call("a"), world.call("denied", denials=1), world.call("b")]
    await settle()
    world.go.set()
    await asyncio.gather(*calls)

    assert sorted(world.posted) == [["a", "b"], ["denied"], ["first"]]


async def test_when_whoever_leads_is_gone_another_takes_over() -> None:
    world = World()
    first, leader, follower = (world.call(name) for name in ("first", "leader", "follower"))
    await settle()
    leader.cancel()
    await settle()
    world.go.set()

    assert isinstance(await follower, Accepted)
    await first
    assert world.posted == [["first"], ["follower"]]


async def test_one_who_gives_up_waiting_is_left_out() -> None:
    world = World()
    first, _, gone = (world.call(name) for name in ("first", "leader", "gone"))
    await settle()
    gone.cancel()
    await settle()
    world.go.set()
    await first
    await settle()

    assert world.posted == [["first"], ["leader"]]


async def test_sent_away_at_the_turnstile_all_go_back() -> None:
    world = World()
    world.turnstile.stall(stalled=True)
    calls = [world.call(f"m-{number}") for number in range(3)]
    await settle()
    world.turnstile.shut()

    assert await asyncio.gather(*calls) == [NotAttempted("stopping")] * 3
    assert world.posted == []


@pytest.mark.parametrize("ending", ["defect", "cancelled"])
async def test_when_whoever_leads_breaks_in_mid_call_the_others_are_in_doubt_and_do_not_post_again(ending: str) -> None:
    """OMNI may have taken the call that was theirs too."""

    def break_down(call: OmniCall) -> Outcome:
        if "leader" in call.request_id and ending == "defect":
            raise ValueError("a defect")
        return accept(call)

    world = World(break_down)
    first = world.call("first")
    await settle()
    leader, follower = world.call("leader"), world.call("follower")
    await settle()
    world.go.set()
    world.go.clear()
    await first
    await settle()
    leader.cancel() if ending == "cancelled" else world.go.set()
    await asyncio.wait({leader, follower}, timeout=1)

    assert isinstance(follower.result(), Unknown)
    assert leader.cancelled() or isinstance(leader.exception(), ValueError)
    assert world.posted == [["first"], ["leader", "follower"]]


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


async def test_what_waits_for_a_slot_is_shown() -> None:
    world = World(most=None)
    calls = [world.call(f"m-{number}") for number in range(3)]
    await settle()
    assert world.metrics.registry.get_sample_value("omni_relay_calls_waiting") == 2
    assert world.metrics.registry.get_sample_value("omni_relay_attempts_in_flight") == 1
    world.go.set()
    await asyncio.gather(*calls)
    assert world.metrics.registry.get_sample_value("omni_relay_calls_waiting") == 0


@pytest.mark.parametrize("outcome", [Accepted({"m": a_status()}), Unknown("timeout"), Unavailable("http_503")])
async def test_two_letters_about_the_same_messages_that_meet_are_one_call(outcome: Outcome) -> None:
    world = World(lambda _: outcome)
    calls = [world.call("m", attempt=3), world.call("m", attempt=3), world.call("other", attempt=3)]
    await settle()
    world.go.set()

    assert await asyncio.gather(*calls) == [outcome] * 3
    assert sorted(world.posted) == [["m"], ["other"]]
    assert world.metrics.registry.get_sample_value("omni_relay_duplicate_deliveries_total") == 1


async def test_what_was_accepted_late_is_not_posted_again_and_what_was_not_is() -> None:
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
async def test_what_omni_answered_without_an_end_is_posted_again(answer: Outcome) -> None:
    """Its own next attempt is no copy, and where the last was not counted it even has the same number."""
    answers: list[Outcome] = [answer, Accepted({"m": a_status()})]
    world = World(lambda _: answers.pop(0))
    world.go.set()

    outcomes = [await world.call("m", attempt=2) for _ in range(3)]
    assert outcomes == [answer, *[Accepted({"m": a_status()})] * 2]
    assert world.posted == [["m"], ["m"]]


async def test_another_request_about_a_message_of_the_same_name_is_another_call() -> None:
    """A producer may have mended what OMNI refused, and sent it again."""
    answers: list[Outcome] = [Rejected("http_400", "wrong"), Accepted({"m": a_status()})]
    world = World(lambda _: answers.pop(0))
    world.go.set()

    outcomes = [await world.call("m", attempt=2), await world.call("m", attempt=2, request_id="mended")]
    assert [type(outcome) for outcome in outcomes] == [Rejected, Accepted]


async def test_one_who_gives_up_leaves_the_call_to_the_other() -> None:
    world = World()
    first, second = world.call("m", attempt=2), world.call("m", attempt=2)
    await settle()
    first.cancel()
    await settle()
    world.go.set()

    assert isinstance(await second, Accepted)
    assert world.posted == [["m"], ["m"]]  # what the first had begun is for OMNI's logs to tell


async def test_what_came_together_goes_together_at_once_and_with_others_where_it_has_to_wait() -> None:
    world = World()
    groups = [
        asyncio.create_task(world.caller.attempt([call_about(name) for name in names])) for names in ("ab", "cd", "ef")
    ]
    await settle()
    assert world.posted == [["a", "b"]]
    world.go.set()
    outcomes = await asyncio.gather(*groups)

    assert world.posted == [["a", "b"], ["c", "d", "e", "f"]]
    assert [len(each) for each in outcomes] == [2, 2, 2]


async def test_of_those_that_came_together_one_finds_out_whether_omni_answers_again() -> None:
    """A probe that is doubtful should be a doubt about one."""
    world = World()
    world.turnstile.breaker = replace(world.turnstile.breaker, mode="probing", cause="http_503")
    world.go.set()
    outcomes = await world.caller.attempt([call_about(name) for name in "abc"])

    assert world.posted == [["a"], ["b", "c"]]
    assert [isinstance(outcome, Accepted) for outcome in outcomes] == [True] * 3


async def test_of_those_that_came_together_each_has_its_own_deadline_and_its_own_refusal() -> None:
    def refuse(call: OmniCall) -> Outcome:
        wrong = any(message.message_id == "b" for message in call.messages)
        return Rejected("http_400", "HTTP 400") if wrong else accept(call)

    world = World(refuse)
    world.go.set()
    calls = [call_about("a", expires_at=NOW), call_about("b"), call_about("c", expires_at=NOW + timedelta(seconds=1))]
    outcomes = await world.caller.attempt(calls)

    assert [type(outcome).__name__ for outcome in outcomes] == ["NotAttempted", "Rejected", "Accepted"]
    assert world.posted == [["b", "c"], ["b"], ["c"]]


async def test_those_that_came_together_and_are_no_longer_ours_are_handed_back() -> None:
    world, gone = World(), a_receipt()
    gone.broken.set()
    SESSION.set(gone)
    outcomes = await world.caller.attempt([call_about("a"), call_about("b")])
    assert [type(outcome) for outcome in outcomes] == [HandedBackError] * 2
    assert world.posted == []


async def test_a_call_that_is_made_again_in_halves_is_counted_as_one_start() -> None:
    def refuse(call: OmniCall) -> Outcome:
        return Rejected("http_400", "HTTP 400") if len(call.messages) > 1 else accept(call)

    world = World(refuse)
    world.go.set()
    await world.caller.attempt([call_about(name, published=NOW) for name in "abcd"])

    assert len(world.posted) == 7
    assert world.metrics.registry.get_sample_value("omni_relay_queue_seconds_count") == 4
    assert world.metrics.registry.get_sample_value("omni_relay_sms_parts_total", {"encoding": "gsm7"}) == 4


async def test_the_halves_of_a_call_that_was_too_large_are_not_counted_again() -> None:
    world = World(lambda call: Unavailable("http_413") if len(call.messages) > 1 else accept(call))
    world.go.set()
    call = merge([call_about(name, published=NOW) for name in "ab"])
    for part in (call, *split(call, Unavailable("http_413"))):
        await world.caller.attempt([part])

    assert len(world.posted) == 3
    assert world.metrics.registry.get_sample_value("omni_relay_sms_parts_total", {"encoding": "gsm7"}) == 2


def turned_to(mode: Literal["open", "closed", "probing"], world: World) -> Callable[[], None]:
    def turn() -> None:
        world.turnstile.breaker = replace(world.turnstile.breaker, mode=mode, cause="http_503")

    return turn


async def let_through(world: World) -> None:
    """Open the circuit breaker, and let those who wait look at it."""
    world.turnstile.breaker = replace(world.turnstile.breaker, mode="open")
    world.turnstile.stall(stalled=True)
    world.turnstile.stall(stalled=False)
    await settle()


async def test_a_deadline_that_passes_while_a_token_is_fetched_is_kept() -> None:
    world = World()

    def pass_time() -> None:
        world.now += timedelta(seconds=5)

    world.before_writing.append(pass_time)
    assert await world.call("m", expires_at=NOW + timedelta(seconds=5)) == NotAttempted("expired")
    assert world.posted == []
    assert world.metrics.registry.get_sample_value("omni_relay_attempts_in_flight") == 0


async def test_of_a_batch_those_whose_deadline_passes_before_writing_are_left_out() -> None:
    world = World()
    world.go.set()

    def pass_time() -> None:
        world.now += timedelta(seconds=5)

    world.before_writing.append(pass_time)
    calls = [call_about("a"), call_about("b", expires_at=NOW + timedelta(seconds=3)), call_about("c")]
    outcomes = await world.caller.attempt(calls)

    assert [type(outcome).__name__ for outcome in outcomes] == ["Accepted", "NotAttempted", "Accepted"]
    assert world.posted == [["a", "c"]]


async def test_a_deadline_that_passes_between_the_halves_of_a_refused_call_is_kept() -> None:
    def refuse(call: OmniCall) -> Outcome:
        world.now += timedelta(seconds=3)
        return Rejected("http_400", "HTTP 400") if len(call.messages) > 1 else accept(call)

    world = World(refuse)
    world.go.set()
    calls = [call_about(name, expires_at=NOW + timedelta(seconds=8)) for name in "abcd"]
    outcomes = await world.caller.attempt(calls)

    assert world.posted == [["a", "b", "c", "d"], ["a", "b"], ["a"]]
    assert outcomes == [Accepted({"a": a_status()}), *[NotAttempted("expired")] * 3]


@pytest.mark.parametrize(("lives", "outcome"), [(True, "Accepted"), (False, "HandedBackError")])
async def test_after_a_standstill_nothing_is_written_before_the_broker_has_answered(
    outcome: str, *, lives: bool
) -> None:
    """What it said meanwhile may be that the deliveries are another worker's."""
    world, broker = World(), Broker(lives=lives)
    world.go.set()

    def stand_still() -> None:
        world.elapsed += 60
        broker.life.heard_at = world.elapsed  # old bytes, read only now

    world.before_writing.append(stand_still)
    SESSION.set(a_receipt(broker))
    outcomes = await world.caller.attempt([call_about(name) for name in "abc"])

    assert [type(one).__name__ for one in outcomes] == [outcome] * 3
    assert world.posted == ([["a", "b", "c"]] if lives else [])
    assert broker.asked == 1
    assert broker.life.is_set() is not lives


async def test_a_standstill_while_the_broker_is_asked_makes_the_answer_worthless() -> None:
    world, broker = World(), Broker()
    world.go.set()
    world.elapsed += 60
    world.call("other")  # notices it
    SESSION.set(a_receipt(broker))
    asking = world.call("m")
    await broker.is_asked.wait()
    world.elapsed += 60
    await asking

    assert broker.asked == 2
    assert sorted(world.posted) == [["m"], ["other"]]


async def test_a_session_that_has_been_silent_is_asked_and_one_that_was_heard_of_is_not() -> None:
    world, silent, sync = World(most=None), Broker(), Broker()
    world.go.set()
    for _ in range(10):  # time passes, and the process runs
        world.elapsed += 0.3
        await world.call("tick")
    SESSION.set(a_receipt(silent))
    silent_calls = [world.call("a"), world.call("b")]
    SESSION.set(a_receipt(sync, world.elapsed))
    await asyncio.gather(*silent_calls, world.call("c"))

    assert (silent.asked, sync.asked) == (1, 0)
    assert len(world.posted) == 13


async def test_what_is_no_longer_ours_is_neither_told_of_as_expired_nor_as_held() -> None:
    """The worker that has it now may have had it accepted in time."""
    world = World()
    gone = a_receipt()
    gone.broken.set()
    SESSION.set(gone)
    expired = world.call("m", expires_at=NOW)
    world.turnstile.stall(stalled=True)
    held = world.call("n")
    await settle()
    world.turnstile.shut()

    for call in (expired, held):
        with pytest.raises(HandedBackError):
            await call
    assert world.posted == []


async def test_one_whose_session_ends_before_writing_does_not_take_the_others_of_the_batch_with_it() -> None:
    world = World()
    first = world.call("first")
    await settle()
    leader, lost = world.call("leader"), a_receipt()
    SESSION.set(lost)
    follower = world.call("follower")
    SESSION.set(None)
    await settle()
    world.before_writing.append(lost.broken.set)
    world.go.set()

    assert isinstance(await leader, Accepted)
    with pytest.raises(HandedBackError):
        await follower
    await first
    assert world.posted == [["first"], ["leader"]]


async def test_halves_of_a_refused_call_wait_while_sending_is_paused_and_leave_their_slot_to_the_probe() -> None:
    def refuse(call: OmniCall) -> Outcome:
        if len(call.messages) > 1:
            turned_to("closed", world)()
            return Rejected("http_400", "HTTP 400")
        return accept(call)

    world = World(refuse)
    world.go.set()
    split = asyncio.create_task(world.caller.attempt([call_about(name) for name in "ab"]))
    await settle()
    assert world.posted == [["a", "b"]]
    assert not world.caller._tools.throttle.is_full  # noqa: SLF001 - nothing else shows it
    await let_through(world)

    assert [type(outcome) for outcome in await split] == [Accepted] * 2
    assert world.posted == [["a", "b"], ["a"], ["b"]]


async def test_halves_of_a_refused_call_are_not_posted_once_the_worker_stops() -> None:
    def refuse(_: OmniCall) -> Outcome:
        world.turnstile.shut()
        return Rejected("http_400", "HTTP 400")

    world = World(refuse)
    world.go.set()
    outcomes = await world.caller.attempt([call_about(name) for name in "abc"])

    assert outcomes == [NotAttempted("stopping")] * 3
    assert world.posted == [["a", "b", "c"]]


async def test_a_pause_that_begins_while_a_token_is_fetched_is_kept() -> None:
    world = World()
    world.go.set()
    world.before_writing.append(turned_to("closed", world))
    call = world.call("m")
    await settle()
    assert (world.posted, call.done()) == ([], False)
    await let_through(world)

    assert isinstance(await call, Accepted)
    assert world.posted == [["m"]]


async def test_when_sending_goes_on_with_a_probe_one_half_goes_first_and_alone() -> None:
    def refuse(call: OmniCall) -> Outcome:
        return Rejected("http_400", "HTTP 400") if len(call.messages) == 4 else accept(call)

    world = World(refuse)
    world.go.set()
    world.before_writing = [lambda: None, turned_to("probing", world)]
    outcomes = await world.caller.attempt([call_about(name) for name in "abcd"])

    assert [type(outcome) for outcome in outcomes] == [Accepted] * 4
    assert world.posted == [["a", "b", "c", "d"], ["a"], ["b"], ["c", "d"]]


async def test_of_a_refused_call_each_is_told_as_soon_as_its_own_end_is_known() -> None:
    def refuse(call: OmniCall) -> Outcome:
        if len(call.messages) > 1 and "first" not in call.request_id:
            return Rejected("http_400", "HTTP 400")
        if call.messages[0].message_id == "b":
            turned_to("closed", world)()
        return accept(call)

    world = World(refuse)
    first = world.call("first")
    await settle()
    calls = [world.call(name) for name in "abcd"]
    await settle()
    world.go.set()
    await settle()
    for _ in range(10):
        await settle()

    assert [call.done() for call in calls] == [False, True, False, False]  # the first makes the calls for all
    await let_through(world)
    assert all(isinstance(outcome, Accepted) for outcome in await asyncio.gather(first, *calls))


async def test_when_whoever_leads_breaks_between_the_halves_what_was_begun_is_in_doubt_and_the_rest_is_made() -> None:
    world = World()
    world.turnstile.breaker = replace(world.turnstile.breaker, mode="closed", cause="http_503")
    first = world.call("first")
    await settle()
    await let_through(world)
    leader = asyncio.create_task(world.caller.attempt([call_about("a"), call_about("b")]))
    follower = asyncio.create_task(world.caller.attempt([call_about("c"), call_about("d")]))
    await settle()

    def refuse(call: OmniCall) -> Outcome:
        if len(call.messages) == 4:
            turned_to("closed", world)()
            return Rejected("http_400", "HTTP 400")
        return accept(call)

    world._answer = refuse  # noqa: SLF001 - the test's own
    world.go.set()
    for _ in range(5):
        await settle()
    leader.cancel()
    for _ in range(5):
        await settle()

    assert list(await follower) == [Unknown("exception")] * 2
    assert world.posted == [["first"], ["a", "b", "c", "d"]]
    await first


async def test_what_a_probe_left_to_others_is_made_by_them_when_whoever_leads_breaks() -> None:
    """Of a task's calls one may have its outcome while another was never begun."""
    world = World()
    first = world.call("first")
    await settle()
    leader = world.call("leader")
    follower = asyncio.create_task(world.caller.attempt([call_about("a"), call_about("b")]))
    await settle()

    def answer(call: OmniCall) -> Outcome:
        if call.request_id == "a":
            turned_to("closed", world)()
        return accept(call)

    world._answer = answer  # noqa: SLF001 - the test's own
    world.before_writing = [turned_to("probing", world), lambda: None, turned_to("probing", world)]
    world.go.set()
    for _ in range(10):
        await settle()
    leader.cancel()
    await settle()
    await let_through(world)

    assert [type(outcome) for outcome in await follower] == [Accepted] * 2
    assert world.posted == [["first"], ["leader"], ["a"], ["b"]]
    await first


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


async def test_copies_of_a_replayed_dead_letter_are_one_call() -> None:
    world = World()
    calls = [world.call("m", redrives=1), world.call("m", redrives=1)]
    await settle()
    world.go.set()
    assert [type(outcome) for outcome in await asyncio.gather(*calls)] == [Accepted] * 2
    await world.call("m", redrives=1)

    assert world.posted == [["m"]]


async def test_a_slow_retry_keeps_its_outcome_however_many_others_end_meanwhile() -> None:
    world, slow_may_end = World(), asyncio.Event()

    async def post(call: OmniCall, _: MaySend) -> Outcome:
        if call.request_id == "slow":
            await slow_may_end.wait()
        return accept(call)

    throttle = Throttle(Limit(2, 2, fixed=True), None, lambda _: None)
    caller = Caller(Tools(post, world.turnstile, throttle, SessionCheck(), world.metrics, lambda: NOW, None))
    slow = asyncio.create_task(caller.attempt([call_about("slow", attempt=2)]))
    await settle()
    for number in range(1100):
        await caller.attempt([call_about(f"m-{number}", attempt=2)])
    slow_may_end.set()

    assert [type(outcome) for outcome in await slow] == [Accepted]
