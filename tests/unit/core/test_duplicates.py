"""The handler with claims in a shared memory: what it publishes about a delivery that is, or may be, a duplicate."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from service.core.attempt.call import OmniCall
from service.core.attempt.claim import AWAY, DONE, FREE, GIVEN_UP, Claim, claim_name, claim_of, read_claim, written
from service.core.attempt.lookup import Answered, Forbidden, LookupResult
from service.core.attempt.outcome import DUPLICATE, NOT_SENT, Accepted, NotAttempted, Outcome, Unavailable, Unknown
from service.core.attempt.retry import Policy, RetryPolicy
from service.core.delivery import Delivery, DeliveryLostError, Ownership, Publication, UnpublishableError
from service.core.handler import Effects, Handler, Job, Settlement
from service.core.headers import retry_headers
from service.core.history import LookupPurpose
from service.core.result.event import StatusEvent
from service.core.result.repetition import short_id, write_ends
from service.core.topology import Lane
from tests.support.builder import NOW, OTHER_PHONE, a_body, a_delivery, a_destination, a_history, a_status, parsed

TWO_PEOPLE = a_body(destinations=[a_destination(message_id="m-1"), a_destination(OTHER_PHONE, "m-2")])
KEPT = 3600


def accept(call: OmniCall) -> Outcome:
    return Accepted({message.message_id: a_status() for message in call.messages}, "bulk-1")


async def at_once() -> None:
    """Confirm without a delay."""


@dataclass
class World:
    """A worker and a memory. What happens is written down in its order."""

    outcome: Callable[[OmniCall], Outcome] = accept
    claims: dict[str, bytes] = field(default_factory=dict)
    lookup_result: LookupResult = Answered({})  # noqa: RUF009 - frozen
    now: datetime = NOW
    call_size: int = 500
    is_available: bool = True
    is_holding: bool = False
    unpublishable: str = ""
    confirm: Callable[[], Awaitable[object]] = at_once
    story: list[object] = field(default_factory=list)
    published: list[Publication] = field(default_factory=list)
    number: int = 0

    @property
    def effects(self) -> Effects:
        """Bind them."""
        effects = Effects(self.send, self.look_up, self.publish, lambda: self.now, lambda: 0.5, lambda: "made-up")
        return replace(effects, record_start=self.start, record_end=self.end, release=self.release)

    @property
    def policy(self) -> Policy:
        """Return the settings."""
        return Policy(RetryPolicy(), on_unknown="resend", call_size=self.call_size, hold_scheduled=self.is_holding)

    @property
    def handler(self) -> Handler:
        """Make one."""
        return Handler(self.effects, self.policy)

    def read(self, delivery: Delivery) -> Job:
        """Read a delivery as a worker does."""
        job = self.handler.read(delivery, Ownership())
        assert job.parsed.request is not None
        self.number += 1
        holder, redelivered = f"w.{self.number}", delivery.redelivered
        job.record = claim_of(
            "x", job.parsed.request, job.history, delivery.headers, holder, redelivered=redelivered, kept=KEPT
        )
        return job

    async def handle(self, delivery: Delivery) -> Settlement:
        """Handle a delivery."""
        return await self.handler.handle(self.read(delivery))

    async def start(self, claims: Sequence[Claim]) -> bool:
        """Make claims. A holder that is named `gone` is."""
        for claim in claims:
            if not self.is_available:
                claim.is_refused = claim.kind == "waiting"
                continue
            if not claim.is_claiming:
                claim.known = self.claims.get(claim.name)
                claim.is_refused = claim.kind == "waiting"
            else:
                claim.known = self.claims.setdefault(claim.name, claim.value.encode())
                claim.is_refused = not claim.known.startswith(claim.first_line.encode())
                if claim.is_refused and claim.may_take_over and b" gone\n" in claim.known:
                    self.claims[claim.name] = claim.known.replace(b" gone\n", f" {claim.holder}\n".encode())
                    claim.is_refused, claim.was_held = False, True
            claim.is_started = not claim.is_refused
        return True

    def end(
        self, claim: Claim, events: Sequence[StatusEvent], messages: str, /, *, is_whole: bool, is_complete: bool
    ) -> Awaitable[bytes]:
        """Record ends."""
        ends = write_ends(events, is_whole=is_whole)

        async def record() -> bytes:
            self.story.append("end")
            if claim.name:
                known = self.claims.get(claim.name, claim.first_line.encode())
                if not known.startswith(claim.first_line.encode()) and self.is_available:
                    return known
                self.claims[claim.name] = known + (ends + messages).encode()
                if is_complete:
                    self._hand_over(claim, AWAY)
            if claim.request:
                self.claims.setdefault(claim.request, written(claim.meaning, AWAY).encode())
                self.claims[claim.request] += ends.encode()
            return b""

        return record()

    def release(self, claim: Claim, holder: str) -> Awaitable[object]:
        """Give a claim up."""
        self.story.append(holder)
        self._hand_over(claim, holder)
        return DONE

    def _hand_over(self, claim: Claim, holder: str) -> None:
        known, after = self.claims.get(claim.name, b""), written(claim.meaning, holder).encode()
        if known.startswith(claim.first_line.encode()):
            self.claims[claim.name] = known.replace(claim.first_line.encode(), after, 1)

    async def look_up(self, _: tuple[str, ...], __: LookupPurpose, ___: Lane) -> LookupResult:
        """Answer."""
        self.story.append("look up")
        return self.lookup_result

    async def send(self, call: OmniCall) -> Outcome:
        """Make a call, if its members have their claims."""
        records = [one.record for one in call.members or (call,) if one.record is not None]
        await self.start([record for record in records if not record.is_started])
        if any(record.is_refused for record in records):
            return NOT_SENT if call.members else DUPLICATE
        self.story.append(tuple(message.message_id for message in call.messages))
        return self.outcome(call)

    async def publish(self, publications: tuple[Publication, ...]) -> None:
        """Confirm."""
        await self.confirm()
        self.story.append([one.type or one.routing_key or one.exchange for one in publications])
        self.published += publications
        if refused := [one for one in publications if one.type == self.unpublishable]:
            self.unpublishable = ""
            raise UnpublishableError(refused)

    @property
    def ids(self) -> list[str]:
        """The ids of the events about messages."""
        return [one.message_id for one in self.published if one.exchange == "omni.results"]

    @property
    def holder(self) -> str:
        """The holder of the only claim."""
        (known,) = self.claims.values()
        return read_claim(known)[1]

    def returned(self) -> Delivery:
        """Deliver the latest retry message."""
        retry = next(one for one in reversed(self.published) if ".delay." in one.routing_key)
        return replace(a_delivery(retry.body), message_id=retry.message_id, headers=retry.headers)


ACCEPTED = "omni.message.accepted"
AGAIN = replace(a_delivery(TWO_PEOPLE), redelivered=True, headers={"x-delivery-count": 1})


async def test_the_end_is_recorded_before_it_is_published_and_a_duplicate_repeats_it() -> None:
    world = World()
    assert (await world.handle(a_delivery(TWO_PEOPLE))).duplicate is None
    assert world.story == [("m-1", "m-2"), "end", [ACCEPTED] * 2]
    assert world.holder == AWAY
    for _ in range(2):
        settlement = await world.handle(a_delivery(TWO_PEOPLE))
        assert (settlement.duplicate, settlement.event_counts) == ("repeated", {"message.accepted": 2})
    assert world.story[3:] == [[ACCEPTED] * 2] * 2
    assert world.ids == world.ids[:2] * 3


async def test_a_duplicate_that_waits_for_the_broker_leaves_no_exception_to_other_tasks() -> None:
    """A compiled `except` does, if it waits: each exception of any task would keep the one before it, for ever."""
    world, confirmed = World(), asyncio.Event()
    await world.handle(a_delivery(TWO_PEOPLE))
    seen = asyncio.get_running_loop().create_future()

    async def confirm_later() -> None:
        asyncio.get_running_loop().call_soon(lambda: seen.set_result(sys.exc_info()))
        await confirmed.wait()

    world.confirm = confirm_later
    # A task of its own coroutine, as the dispatcher's.
    waiting = asyncio.ensure_future(world.handler.handle(world.read(a_delivery(TWO_PEOPLE))))
    assert await seen == (None, None, None)
    confirmed.set()
    assert (await waiting).duplicate == "repeated"


async def test_a_message_that_the_validation_rejects_has_no_end_in_the_claim() -> None:
    world = World()
    people = [a_destination("call me"), a_destination(message_id="m-2")]
    for _ in range(2):
        settlement = await world.handle(a_delivery(a_body(destinations=people)))
        assert settlement.event_counts == {"message.rejected": 1, "message.accepted": 1}
    assert world.story[:4] == [["omni.message.rejected"], ("m-2",), "end", [ACCEPTED]]
    assert world.story[4:] == [["omni.message.rejected", ACCEPTED]]


async def test_a_duplicate_of_a_running_request_waits_until_it_has_ended() -> None:
    world = World()
    first = world.read(a_delivery(TWO_PEOPLE))
    await world.start([first.record or Claim("")])
    assert (await world.handle(a_delivery(TWO_PEOPLE))).duplicate == "waiting"
    assert world.story == [["omni.requests.delay.1"]]
    assert (await world.handle(world.returned())).duplicate == "waiting"
    assert world.story[1:] == [["omni.requests.delay.2"]]
    await world.handler.handle(first)
    assert (await world.handle(world.returned())).duplicate == "repeated"
    assert world.story[2:] == [("m-1", "m-2"), "end", [ACCEPTED] * 2, [ACCEPTED] * 2]


async def test_a_retry_has_the_claim_and_its_end_is_that_of_the_request() -> None:
    world = World(
        lambda call: Accepted({"m-1": a_status(), "m-2": a_status(5, 21)}) if call.attempt == 1 else accept(call)
    )
    await world.handle(a_delivery(TWO_PEOPLE))
    deferred = "omni.message.deferred"
    assert world.story == [("m-1", "m-2"), "end", [deferred, ACCEPTED, "omni.requests.delay.1"], AWAY]
    retry = world.returned()
    assert (await world.handle(a_delivery(TWO_PEOPLE))).duplicate == "waiting"
    waiting = world.returned()
    assert (await world.handle(retry)).event_counts == {"message.accepted": 1}
    assert (await world.handle(waiting)).duplicate == "repeated"
    assert len(set(world.ids)) == 3


async def test_an_id_of_another_request_is_a_conflict() -> None:
    world = World()
    await world.handle(a_delivery(TWO_PEOPLE))
    other = a_body(
        TWO_PEOPLE, sms={"text": "Other"}, destinations=[a_destination(message_id="m-3"), a_destination("x")]
    )
    settlement = await world.handle(a_delivery(other))
    assert (settlement.duplicate, settlement.event_counts) == ("conflict", {"message.rejected": 2})
    assert [b'"code":"conflict"' in one.body for one in world.published[2:]] == [False, True]


async def test_a_duplicate_whose_first_one_is_lost_is_looked_up_and_parked_and_never_posted() -> None:
    world = World()
    first = world.read(a_delivery(TWO_PEOPLE))
    await world.start([first.record or Claim("")])
    await world.handle(a_delivery(TWO_PEOPLE))
    world.claims.clear()
    for _ in range(3):  # the first one may be running, and records its end
        assert (await world.handle(world.returned())).duplicate == "waiting"
    world.story.clear()
    settlement = await world.handle(world.returned())
    assert settlement.duplicate == "unclear"
    assert world.story == ["look up", "end", ["omni.message.deferred"] * 2 + ["omni.requests.delay.8"]]
    world.lookup_result = Forbidden("http_403")
    settlement = await world.handle(world.returned())
    assert settlement.event_counts == {"message.unknown": 2}
    assert not [one for one in world.story if isinstance(one, tuple)]
    assert (await world.handle(a_delivery(TWO_PEOPLE))).event_counts == {"message.unknown": 2}


async def test_a_duplicate_does_not_wait_for_ever_though_the_memory_is_away() -> None:
    world = World()
    await world.start([world.read(a_delivery(TWO_PEOPLE)).record or Claim("")])
    await world.handle(a_delivery(TWO_PEOPLE))
    world.is_available = False
    assert (await world.handle(world.returned())).duplicate == "waiting"
    world.now += timedelta(seconds=KEPT + 1)
    assert (await world.handle(world.returned())).duplicate == "unclear"


async def test_a_redelivery_waits_until_the_holder_is_gone_and_one_of_two_is_served() -> None:
    world = World(lookup_result=Forbidden("http_403"))
    first = world.read(a_delivery(TWO_PEOPLE))
    await world.start([first.record or Claim("")])
    assert (await world.handle(AGAIN)).duplicate == "waiting"
    waiting = world.returned()
    (name,) = world.claims
    world.claims[name] = world.claims[name].replace(b" w.1\n", b" gone\n")
    settlement = await world.handle(waiting)
    assert (settlement.duplicate, settlement.event_counts) == (None, {"message.accepted": 2})
    assert world.story == [["omni.requests.delay.1"], "look up", [], ("m-1", "m-2"), "end", [ACCEPTED] * 2]
    assert (await world.handle(AGAIN)).duplicate == "repeated"


async def test_a_delivery_that_is_known_to_be_untouched_is_ambiguous_if_it_takes_over_from_a_dead_holder() -> None:
    world = World()
    job = world.read(a_delivery(TWO_PEOPLE))
    assert job.record is not None
    world.claims[job.record.name] = written(job.record.meaning, "gone").encode()
    job.record.may_take_over = True
    settlement = await world.handler.handle(job)
    assert world.story == ["look up", "end", ["omni.message.deferred"] * 2 + ["omni.requests.delay.8"], AWAY]
    assert settlement.duplicate is None


def dead_claim(world: World, delivery: Delivery, ends: str) -> Job:
    """Read a redelivery whose holder has died, and had recorded so much."""
    job = world.read(replace(delivery, redelivered=True))
    assert job.record is not None
    world.claims[job.record.name] = (written(job.record.meaning, "gone") + ends).encode()
    return job


def line(type_: str, *names: str) -> str:
    return f'["{type_}",0,1,null,null,null,{json.dumps([short_id(name) for name in names])}]\n'


async def test_what_a_dead_holder_has_finished_is_repeated_and_only_the_rest_is_looked_up() -> None:
    world = World(lookup_result=Forbidden("http_403"))
    job = dead_claim(world, a_delivery(a_body(TWO_PEOPLE, onUnknown="park")), line("accepted", "m-1"))
    settlement = await world.handler.handle(job)
    assert settlement.event_counts == {"message.accepted": 1, "message.deferred": 1}
    assert (await world.handle(world.returned())).event_counts == {"message.unknown": 1}


async def die_before_publishing(world: World, delivery: Delivery) -> None:
    """Handle a delivery in a worker that dies when it has recorded what it would publish."""

    async def die(publications: tuple[Publication, ...]) -> None:
        if any(one.must_arrive for one in publications):
            raise asyncio.CancelledError

    job, handler = world.read(delivery), Handler(replace(world.effects, publish=die), world.policy)
    assert job.record is not None
    job.record.holder = "gone"
    with pytest.raises(asyncio.CancelledError):
        await handler.handle(job)
    for name, known in world.claims.items():
        world.claims[name] = known.replace(f" {GIVEN_UP}\n".encode(), b" gone\n")


async def test_what_a_dead_holder_was_about_to_schedule_is_published_again_and_one_of_two_is_served() -> None:
    world = World(lambda call: Unavailable("http_503") if call.attempt == 1 else accept(call))
    people = [a_destination(message_id="m-1"), a_destination(OTHER_PHONE, "m-2"), a_destination("call me", "m-4")]
    delivery = a_delivery(a_body(TWO_PEOPLE, destinations=people))
    await die_before_publishing(world, delivery)
    settlement = await world.handle(replace(delivery, redelivered=True))
    assert (settlement.duplicate, settlement.event_counts) == ("repeated", {"message.rejected": 1})
    again = world.returned()
    assert again.headers["omni-republished"] is True
    first = replace(again, headers={name: again.headers[name] for name in again.headers if name != "omni-republished"})
    world.story.clear()
    assert (await world.handle(first)).event_counts == {"message.accepted": 2}
    assert (await world.handle(again)).duplicate == "repeated"
    assert [one for one in world.story if isinstance(one, tuple)] == [("m-1", "m-2")]
    assert (await world.handle(delivery)).duplicate == "repeated"
    assert len({one.message_id for one in world.published if one.type == ACCEPTED}) == 2


async def test_a_dead_letter_that_a_dead_holder_was_about_to_store_is_stored_with_the_same_event() -> None:
    world = World(lambda _: Unknown("reset"), lookup_result=Forbidden("http_403"))
    await world.handle(a_delivery(a_body(TWO_PEOPLE, onUnknown="park")))
    retry = world.returned()
    await die_before_publishing(world, retry)
    world.published.clear()
    settlement = await world.handle(replace(retry, redelivered=True))
    assert settlement.event_counts == {"message.unknown": 2}
    assert [one.exchange for one in world.published] == ["omni.results", "omni.results", "omni.dead"]
    assert world.published[-1].headers["omni-republished"] is True
    assert not [one for one in world.story[1:] if isinstance(one, tuple)]


async def test_a_retry_that_is_redelivered_while_its_call_runs_waits_for_its_end() -> None:
    world = World(lambda call: Unavailable("http_503") if call.attempt == 1 else accept(call))
    await world.handle(a_delivery(TWO_PEOPLE))
    retry = world.returned()
    first = world.read(retry)
    await world.start([first.record or Claim("")])
    for _ in range(2):
        assert (await world.handle(replace(retry, redelivered=True))).duplicate == "waiting"
    assert (await world.handle(world.returned())).duplicate == "waiting"
    await world.handler.handle(first)
    assert (await world.handle(world.returned())).duplicate == "repeated"
    assert [one for one in world.story if isinstance(one, tuple)] == [("m-1", "m-2")] * 2
    assert {one.message_id for one in world.published if one.type == ACCEPTED} == set(world.ids[-2:])


async def test_a_retry_that_was_retried_again_has_nothing_left_to_do_when_it_is_redelivered() -> None:
    world = World(lambda call: Unavailable("http_503") if call.attempt < 3 else accept(call))
    await world.handle(a_delivery(TWO_PEOPLE))
    second = world.returned()
    await world.handle(second)
    third = world.returned()
    settlement = await world.handle(replace(second, redelivered=True))
    assert (settlement.duplicate, settlement.event_counts) == ("repeated", {})
    assert (await world.handle(third)).event_counts == {"message.accepted": 2}


@pytest.mark.parametrize("is_lost", [True, False])
async def test_a_holder_whose_claim_was_taken_over_publishes_only_what_the_other_one_does(is_lost: bool) -> None:  # noqa: FBT001 - a column
    """Its process was suspended, so that its lease ended."""
    world = World(lookup_result=Forbidden("http_403"))
    park = a_delivery(a_body(TWO_PEOPLE, onUnknown="park"))

    def be_suspended(call: OmniCall) -> Outcome:
        (name,) = world.claims
        world.claims[name] = world.claims[name].replace(b" w.1\n", b" w.9\n")
        return accept(call)

    world.outcome = be_suspended
    first = world.read(park)
    first.ownership = Lost() if is_lost else Ownership()
    if is_lost:
        with pytest.raises(DeliveryLostError):
            await world.handler.handle(first)
        assert world.published == []
        return
    assert (await world.handler.handle(first)).duplicate == "waiting"
    (name,) = world.claims
    world.claims[name] = world.claims[name].replace(b" w.9\n", b" ~\n") + line("unknown", "m-1", "m-2").encode()
    settlement = await world.handle(world.returned())
    assert (settlement.duplicate, settlement.event_counts) == ("repeated", {"message.unknown": 2})


class Lost(Ownership):
    """A session that has ended."""

    async def confirm(self) -> bool:
        """Return whether it lives."""
        return False


async def test_of_requests_that_share_a_call_those_whose_claims_were_taken_over_are_left_to_the_others() -> None:
    world = World()

    def take_one_over(call: OmniCall) -> Outcome:
        name = claim_name("b")
        world.claims[name] = world.claims[name].replace(b" w.2\n", b" w.9\n")
        return accept(call)

    world.outcome = take_one_over
    results = await together(world, "a", "b")
    assert [one.duplicate for one in results or () if isinstance(one, Settlement)] == [None, "waiting"]
    assert [one.type for one in world.published if one.type] == [ACCEPTED]

    world = World(take_one_over)
    jobs = [world.read(named(name)) for name in "ab"]
    calls = [call for call in map(world.handler.shareable_call, jobs) if call]
    for job in jobs:
        job.ownership = Lost()
    results = await world.handler.handle_together(jobs, calls)
    assert [type(one) for one in results or ()] == [Settlement, DeliveryLostError]


async def test_without_a_claim_of_its_request_a_retry_still_has_one_of_its_own() -> None:
    world = World(lambda call: Unavailable("http_503") if call.attempt == 2 else accept(call))
    headers = retry_headers(a_history(1), a_delivery())
    retry = replace(a_delivery(TWO_PEOPLE), headers=headers)
    first = world.read(retry)
    await world.start([first.record or Claim("")])
    assert (await world.handle(replace(retry, redelivered=True))).duplicate == "waiting"
    waiting = world.returned()
    await world.handler.handle(first)
    assert (await world.handle(waiting)).duplicate == "repeated"
    assert all(name.startswith("p") for name in world.claims)


async def test_without_a_memory_a_request_is_served_and_its_end_is_recorded_once_there_is_one() -> None:
    world = World(is_available=False)

    def come_back(call: OmniCall) -> Outcome:
        world.is_available = True
        return accept(call)

    world.outcome = come_back
    await world.handle(a_delivery(TWO_PEOPLE))
    assert (await world.handle(a_delivery(TWO_PEOPLE))).duplicate == "repeated"


@pytest.mark.parametrize(("error", "holder"), [(DeliveryLostError(), FREE), (RuntimeError(), GIVEN_UP)])
async def test_a_delivery_that_is_given_up_gives_its_claim_up(error: Exception, holder: str) -> None:
    def fail(_: OmniCall) -> Outcome:
        raise error

    world = World(fail)
    with pytest.raises(type(error)):
        await world.handle(a_delivery(TWO_PEOPLE))
    assert world.story[-1] == holder
    world.story.clear()
    job, other = (world.read(named(name)) for name in "ab")
    calls = [world.handler.shareable_call(one) for one in (job, other)]
    with pytest.raises(type(error)):
        await world.handler.handle_together([job, other], [call for call in calls if call])
    assert world.story[-2:] == [holder] * 2


async def test_a_claim_of_which_a_part_was_made_is_given_up_as_that() -> None:
    def fail(call: OmniCall) -> Outcome:
        if call.messages[0].message_id == "m-2":
            raise DeliveryLostError
        return accept(call)

    world = World(fail, call_size=1)
    with pytest.raises(DeliveryLostError):
        await world.handle(a_delivery(TWO_PEOPLE))
    assert world.story == [("m-1",), "end", [ACCEPTED], ("m-2",), GIVEN_UP]
    assert world.holder == GIVEN_UP


@pytest.mark.parametrize("count", [150, 500])
async def test_a_request_with_many_messages_whose_claim_was_taken_over_is_left_to_the_other_once(count: int) -> None:
    """Its events are published in several parts, of which several may be collected."""
    world = World(call_size=1000)

    def take_over(call: OmniCall) -> Outcome:
        world.claims = {name: known.replace(b" w.1\n", b" w.9\n") for name, known in world.claims.items()}
        return accept(call)

    world.outcome = take_over
    people = [a_destination(message_id=f"m-{number}") for number in range(count)]
    jobs = [world.read(a_delivery(a_body(requestId="many", destinations=people))), world.read(named("b"))]
    calls = [call for call in map(world.handler.shareable_call, jobs) if call]
    results = await world.handler.handle_together(jobs, calls)
    assert [one.duplicate for one in results or () if isinstance(one, Settlement)] == ["waiting", None]
    assert sorted(one.type or one.routing_key for one in world.published) == [ACCEPTED, "omni.requests.delay.1"]


def named(name: str, text: str = "Hello") -> Delivery:
    return a_delivery(a_body(requestId=name, destinations=[a_destination(message_id=name)], sms={"text": text}))


async def together(world: World, *names: str) -> list[Settlement | Exception] | None:
    jobs = [world.read(named(name)) for name in names]
    calls = [world.handler.shareable_call(job) for job in jobs]
    return await world.handler.handle_together(jobs, [call for call in calls if call])


async def test_requests_that_share_a_call_have_claims_of_their_own() -> None:
    world = World()
    assert await together(world, "a", "b")
    assert world.story == [("a", "b"), "end", "end", [ACCEPTED] * 2]
    assert await together(world, "b", "c") is None
    assert world.story[4:] == []
    assert [(await world.handle(named(name))).duplicate for name in "bc"] == ["repeated", "waiting"]


async def test_requests_that_were_not_attempted_together_are_retried_unless_one_is_a_duplicate() -> None:
    world = World()
    await world.handle(named("b"))
    world.story.clear()

    async def send(_: OmniCall) -> Outcome:
        return NotAttempted("failing")

    world.send = send  # type: ignore[assignment,method-assign]  # a pause
    assert await together(world, "a", "b") is None
    assert world.story == []
    assert await together(world, "c", "d")
    assert world.story == ["end", "end", ["omni.requests.delay.1"] * 2, AWAY, AWAY]


async def test_a_defect_of_one_of_several_is_returned_with_it() -> None:
    world = World(unpublishable=ACCEPTED)

    async def publish(publications: tuple[Publication, ...]) -> None:
        raise UnpublishableError(publications)

    world.publish = publish  # type: ignore[method-assign]  # a broker that takes nothing
    results = await together(world, "a", "b")
    assert [type(result) for result in results or ()] == [UnpublishableError] * 2


async def test_a_claim_is_left_only_when_a_dead_letter_is_stored() -> None:
    world = World(lambda _: Unavailable("http_503"))
    headers = retry_headers(replace(world.read(a_delivery()).history, attempts=8), a_delivery())
    delivery = replace(a_delivery(a_body(destinations=[a_destination(message_id="m-1")])), headers=headers)
    assert parsed(delivery).request
    await world.handle(delivery)
    assert world.story[-3:] == ["end", ["omni.message.failed", "omni.dead"], AWAY]


async def test_a_duplicate_of_a_held_request_waits_as_long_and_makes_no_call_though_the_claim_has_expired() -> None:
    world = World(is_holding=True)
    due = NOW + timedelta(days=7)
    body = a_body(TWO_PEOPLE, sendAt=due.isoformat())
    await world.handle(a_delivery(body))
    held = world.returned()
    assert (await world.handle(a_delivery(body))).duplicate == "waiting"
    waiting = world.returned()
    world.claims.clear()  # all of them expire meanwhile
    for _ in range(5):
        world.now += timedelta(days=1)
        assert (await world.handle(waiting)).duplicate == "waiting"
        waiting = world.returned()
        assert world.published[-1].routing_key == "omni.requests.delay.3600"
    world.now = due + timedelta(seconds=1)
    assert (await world.handle(waiting)).duplicate == "waiting"
    waiting = world.returned()
    assert (await world.handle(held)).event_counts == {"message.accepted": 2}
    assert (await world.handle(waiting)).duplicate == "repeated"
    assert [one for one in world.story if isinstance(one, tuple)] == [("m-1", "m-2")]
    assert len(set(world.ids)) == 2
