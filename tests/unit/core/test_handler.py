import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from service.core.attempt.call import OmniCall, Send
from service.core.attempt.claim import Claim
from service.core.attempt.lookup import Answered, Forbidden, LookupResult, Unanswered
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
from service.core.attempt.retry import Policy, RetryPolicy
from service.core.delivery import Delivery, DeliveryLostError, Ownership, Publication, UnpublishableError
from service.core.handler import Effects, Handler, Job, Settlement
from service.core.history import LookupPurpose
from service.core.omni.answer import LogEntry
from service.core.topology import Lane
from tests.support.builder import NOW, OTHER_PHONE, PHONE, a_body, a_delivery, a_destination, a_status

POLICY = Policy(RetryPolicy())
TWO_PEOPLE = a_body(destinations=[a_destination(message_id="m-1"), a_destination(OTHER_PHONE, "m-2")])


async def nothing(_: tuple[Publication, ...]) -> None:
    """Confirm at once."""


def accept(call: OmniCall) -> Outcome:
    return Accepted({message.message_id: a_status() for message in call.messages}, "bulk-1")


@dataclass
class World:
    """Effects that write down in which order they were asked for."""

    outcome: Callable[[OmniCall], Outcome] = accept
    confirm: Callable[[tuple[Publication, ...]], Awaitable[None]] = nothing
    clock: Callable[[], datetime] = lambda: NOW
    policy: Policy = POLICY
    lookup_result: LookupResult = Answered({})  # noqa: RUF009 - frozen
    recorded: list[object] = field(default_factory=list)

    async def handle(self, delivery: Delivery) -> Settlement:
        """Serve one delivery."""
        handler = Handler(self.effects(self.send), self.policy)
        return await handler.handle(handler.read(delivery))

    async def handle_late(self, delivery: Delivery) -> Settlement:
        """Serve one that the broker let lapse."""
        handler = Handler(self.effects(self.send), self.policy)
        return await handler.handle(await handler.read_late(delivery))

    def effects(self, send: Send) -> Effects:
        """Bind them."""
        effects = Effects(send, self._look_up, self._publish, self.clock, lambda: 0.5, lambda: "made-up")
        return replace(effects, record_start=self._record_start)

    async def _record_start(self, claims: Sequence[Claim]) -> bool:
        self.recorded.append(("start", *[claim.record for claim in claims]))
        for claim in claims:
            claim.is_started = True
        return False

    async def _look_up(self, ids: tuple[str, ...], purpose: LookupPurpose, _: Lane) -> LookupResult:
        self.recorded.append(("look_up", ids, purpose))
        return self.lookup_result

    async def send(self, call: OmniCall) -> Outcome:
        """Return its outcome."""
        self.recorded.append(call)
        return self.outcome(call)

    async def _publish(self, publications: tuple[Publication, ...]) -> None:
        self.recorded.append([publication.routing_key for publication in publications])
        await self.confirm(publications)

    @property
    def story(self) -> list[object]:
        """What happened, each call as the ids of its messages."""
        return [
            tuple(message.message_id for message in one.messages) if isinstance(one, OmniCall) else one
            for one in self.recorded
        ]

    @property
    def calls(self) -> list[OmniCall]:
        """List the attempts."""
        return [one for one in self.recorded if isinstance(one, OmniCall)]


async def test_a_request_is_attempted_and_published_in_this_order() -> None:
    world = World()

    settlement = await world.handle(a_delivery(TWO_PEOPLE))

    assert world.story == [("m-1", "m-2"), ["message.accepted", "message.accepted"]]
    assert settlement == Settlement("order-1", identified=True, attempts=0, event_counts={"message.accepted": 2})


async def test_rejections_are_published_before_the_rest_is_attempted() -> None:
    world = World()

    settlement = await world.handle(
        a_delivery(a_body(destinations=[a_destination("call me"), a_destination(message_id="m-2")]))
    )

    assert world.story == [["message.rejected"], ("m-2",), ["message.accepted"]]
    assert settlement.event_counts == {"message.rejected": 1, "message.accepted": 1}
    assert not settlement.valid


@pytest.mark.parametrize(
    ("body", "routing_keys"),
    [
        (b"nonsense", ["request.rejected"]),
        (a_body(TWO_PEOPLE, unheardOf=1), ["message.rejected", "message.rejected"]),
    ],
)
async def test_a_request_without_a_valid_message_is_never_attempted(body: object, routing_keys: list[str]) -> None:
    world = World()

    settlement = await world.handle(a_delivery(body))

    assert world.story == [routing_keys]
    assert not settlement.valid


@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=1)])
async def test_an_expired_request_is_never_attempted(late: timedelta) -> None:
    world = World()

    await world.handle(a_delivery(a_body(TWO_PEOPLE, expiresAt=(NOW - late).isoformat())))

    assert world.story == [["message.expired", "message.expired"]]


async def test_a_request_that_expires_later_is_attempted() -> None:
    world = World()

    await world.handle(a_delivery(a_body(expiresAt=(NOW + timedelta(milliseconds=1)).isoformat())))

    assert len(world.calls) == 1


@pytest.mark.parametrize(
    ("outcome", "routing_keys"),
    [
        (Rejected("http_400", "HTTP 400"), ["message.rejected"]),
        (Unavailable("http_503"), ["message.deferred", "omni.requests.delay.1"]),
        (Unknown("timeout"), ["message.deferred", "omni.requests.delay.4"]),
        (Denied("http_401"), ["message.deferred", "omni.requests.delay.32"]),
        (Accepted({}), ["message.deferred", "omni.requests.delay.4"]),
        (NotAttempted("http_503"), ["omni.requests.delay.1"]),
        (Accepted({"m-1": a_status(5, 12)}), ["message.deferred", "omni.requests.delay.32"]),
    ],
)
async def test_events_and_retries_of_an_attempt_are_published_together(
    outcome: Outcome, routing_keys: list[str]
) -> None:
    world = World(outcome=lambda _: outcome)

    await world.handle(a_delivery(a_body(destinations=[a_destination(message_id="m-1")])))

    assert world.story == [("m-1",), routing_keys]


async def test_a_request_too_large_for_one_call_is_published_call_by_call() -> None:
    """If we are killed between them, the events of the first are out."""
    outcomes: dict[str, Outcome] = {"m-1": Unavailable("http_503"), "m-2": Denied("http_401")}
    world = World(outcome=lambda call: outcomes[call.messages[0].message_id], policy=Policy(RetryPolicy(), call_size=1))

    settlement = await world.handle(a_delivery(TWO_PEOPLE))

    assert world.story == [
        ("m-1",),
        ["message.deferred", "omni.requests.delay.1"],
        ("m-2",),
        ["message.deferred", "omni.requests.delay.32"],
    ]
    assert settlement.event_counts == {"message.deferred": 2}


async def test_another_policy_applies_to_the_next_request() -> None:
    world = World()
    handler = Handler(world.effects(world.send), world.policy)
    handler.use(Policy(RetryPolicy(), call_size=1))
    await handler.handle(handler.read(a_delivery(TWO_PEOPLE)))

    assert [len(call.messages) for call in world.calls] == [1, 1]


async def test_a_retry_has_only_the_messages_of_its_call() -> None:
    bodies: list[object] = []

    async def keep(publications: tuple[Publication, ...]) -> None:
        bodies.extend(json.loads(it.body) for it in publications if it.routing_key.startswith("omni.requests"))

    world = World(lambda _: Unavailable("x"), keep, policy=Policy(RetryPolicy(), call_size=1))
    await world.handle(a_delivery(TWO_PEOPLE))

    assert bodies == [
        a_body(destinations=[a_destination(message_id="m-1")]),
        a_body(destinations=[a_destination(OTHER_PHONE, "m-2")]),
    ]


AMBIGUOUS = {"omni-attempt": 1, "omni-ambiguous": True, "omni-retries": 1}
UNRESOLVED = replace(a_delivery(TWO_PEOPLE), headers=AMBIGUOUS)


def shows(*names: str) -> LookupResult:
    return Answered({name: (LogEntry(message_id=name, status=a_status()),) for name in names})


@pytest.mark.parametrize(
    "copy", [replace(a_delivery(), redelivered=True), replace(a_delivery(), headers={"omni-republished": True})]
)
async def test_a_possible_duplicate_is_scheduled_for_retry_before_omni_is_asked(
    copy: Delivery,
) -> None:
    world = World()

    await world.handle(copy)

    assert world.story == [["message.deferred", "omni.requests.delay.8"]]


@pytest.mark.parametrize(
    ("changes", "story"),
    [
        ({}, [["message.expired"]]),
        ({"timestamp": NOW + timedelta(days=9)}, [["message.expired"]]),
        ({"redelivered": True}, [["message.deferred", "omni.requests.delay.8"]]),
        ({"headers": {"omni-retries": 1}}, [("look_up", ("m-1",), "best_effort"), [], ["message.expired"]]),
        ({"headers": AMBIGUOUS}, [("look_up", ("m-1",), "required"), ["message.deferred", "omni.requests.delay.8"]]),
        # OMNI's logs do not go back so far:
        ({"redelivered": True, "headers": {"omni-first-seen": 0}}, [[], ["message.expired"]]),
        ({"body": b"nonsense"}, [["request.rejected"]]),
    ],
)
async def test_a_lapsed_request_is_handled_like_any_other_and_never_posted(
    changes: dict[str, Any], story: list[object]
) -> None:
    world = World()
    delivery = a_delivery(a_body(destinations=[a_destination(message_id="m-1")]))

    await world.handle_late(replace(delivery, **changes))

    assert world.story == story


async def test_a_lapsed_request_that_waited_for_a_lookup_is_still_late_when_it_returns() -> None:
    world = World()
    stored: list[Publication] = []

    async def keep(publications: tuple[Publication, ...]) -> None:
        stored.extend(one for one in publications if one.routing_key.startswith("omni.requests.delay"))

    world.confirm = keep
    await world.handle_late(replace(a_delivery(TWO_PEOPLE), redelivered=True))
    (stored_message,) = stored
    headers = {**stored_message.headers, "omni-log-checks": 99}
    await world.handle(
        Delivery(stored_message.body, stored_message.content_type, stored_message.message_id, headers=headers)
    )

    assert world.story[1:] == [("look_up", ("m-1", "m-2"), "required"), [], ["message.expired", "message.expired"]]


async def test_an_ambiguous_request_is_looked_up_and_not_posted_if_omni_has_it() -> None:
    world = World(lookup_result=shows("m-1", "m-2"))

    settlement = await world.handle(UNRESOLVED)

    assert world.story == [("look_up", ("m-1", "m-2"), "required"), ["message.accepted", "message.accepted"]]
    assert settlement.event_counts == {"message.accepted": 2}


async def test_a_message_that_does_not_show_waits_for_another_lookup() -> None:
    world = World(lookup_result=shows("m-1"))

    await world.handle(UNRESOLVED)

    assert world.story[1:] == [["message.accepted", "message.deferred", "omni.requests.delay.8"]]


async def test_messages_that_are_to_be_posted_again_are_posted_at_once_and_no_others() -> None:
    headers = {"omni-attempt": 1, "omni-ambiguous": True, "omni-log-checks": 2, "omni-retries": 3}
    world = World(lookup_result=shows("m-1"))

    await world.handle(replace(a_delivery(TWO_PEOPLE), headers=headers))

    lookup, found, posted, accepted = world.story
    assert lookup == ("look_up", ("m-1", "m-2"), "required")
    assert (found, posted, accepted) == (["message.accepted"], ("m-2",), ["message.accepted"])
    assert world.calls[0].attempt == 2


async def test_an_ambiguous_attempt_is_looked_up_even_after_the_deadline() -> None:
    late = a_body(TWO_PEOPLE, expiresAt=NOW.isoformat())
    world = World(lookup_result=shows("m-1"), policy=Policy(RetryPolicy(), log_checks=1))

    await world.handle(replace(a_delivery(late), headers=AMBIGUOUS))

    assert world.story[1:] == [["message.accepted"], ["message.expired"]]


@pytest.mark.parametrize("lookup_result", [Forbidden("http_403"), shows()])
async def test_a_request_that_returns_unambiguous_gets_a_best_effort_lookup(lookup_result: LookupResult) -> None:
    world = World(lookup_result=lookup_result)

    await world.handle(replace(a_delivery(), headers={"omni-attempt": 1, "omni-retries": 1}))

    ids = (world.calls[0].messages[0].message_id,)
    assert world.story[:3] == [("look_up", ids, "best_effort"), [], ids]


async def test_a_request_whose_best_effort_lookup_has_no_answer_is_scheduled_for_retry_and_not_posted() -> None:
    world = World(lookup_result=Unanswered("busy"))

    settlement = await world.handle(replace(a_delivery(), headers={"omni-attempt": 1, "omni-retries": 1}))

    (_, published) = world.story
    assert published == ["omni.requests.delay.4"]
    assert settlement.event_counts == {}


@pytest.mark.parametrize(("ambiguous", "routing_keys"), [(True, "message.accepted"), (False, "message.rejected")])
async def test_an_earlier_ambiguous_attempt_is_remembered(routing_keys: str, *, ambiguous: bool) -> None:
    world = World(outcome=lambda call: Accepted({call.messages[0].message_id: a_status(5, 23)}))

    await world.handle(replace(a_delivery(), headers={"omni-ambiguous": ambiguous, "omni-resolved": True}))

    assert world.recorded[-1] == [routing_keys]


async def test_a_call_has_the_number_of_its_attempt_and_the_time_of_publication() -> None:
    world = World()

    settlement = await world.handle(replace(a_delivery(), headers={"omni-attempt": 3}, timestamp=NOW))

    (call,) = world.calls
    assert (call.request_id, call.attempt, call.published) == ("order-1", 4, NOW)
    assert settlement.attempts == 3


async def test_a_request_without_a_name_is_given_one() -> None:
    settlement = await World().handle(a_delivery(a_body(requestId=...)))

    assert (settlement.request_id, settlement.identified) == ("made-up", False)


@pytest.mark.parametrize("body", [a_body(), b"nonsense", a_body(expiresAt="2026-01-01T00:00:00Z")])
async def test_nothing_is_settled_before_the_broker_has_confirmed(body: object) -> None:
    asked, confirmed = asyncio.Event(), asyncio.Event()

    async def confirm(_: tuple[Publication, ...]) -> None:
        asked.set()
        await confirmed.wait()

    handling = asyncio.create_task(World(confirm=confirm).handle(a_delivery(body)))
    await asked.wait()
    for _ in range(10):
        await asyncio.sleep(0)
        assert not handling.done()
    confirmed.set()

    assert (await handling).event_counts


async def test_a_handler_cancelled_during_a_call_publishes_and_settles_nothing() -> None:
    started = asyncio.Event()

    async def hang(_: OmniCall) -> Outcome:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    world = World()
    handler = Handler(world.effects(hang), POLICY)
    handling = asyncio.ensure_future(handler.handle(handler.read(a_delivery())))
    await started.wait()
    handling.cancel()

    with pytest.raises(asyncio.CancelledError):
        await handling
    assert world.recorded == []


async def test_cancelled_while_the_broker_confirms_it_settles_nothing() -> None:
    asked = asyncio.Event()

    async def hang(_: tuple[Publication, ...]) -> None:
        asked.set()
        await asyncio.Event().wait()

    handling = asyncio.create_task(World(confirm=hang).handle(a_delivery()))
    await asked.wait()
    handling.cancel()

    with pytest.raises(asyncio.CancelledError):
        await handling


async def test_a_publication_that_fails_is_not_settled_and_ends_the_rest() -> None:
    async def fail(_: tuple[Publication, ...]) -> None:
        raise RuntimeError("the channel is closed")

    world = World(confirm=fail, policy=Policy(RetryPolicy(), call_size=1))

    with pytest.raises(RuntimeError, match="the channel is closed"):
        await world.handle(a_delivery(TWO_PEOPLE))
    assert len(world.calls) == 1


async def test_a_settlement_has_the_age_of_the_request_and_the_kind_of_resolution() -> None:
    published = replace(a_delivery(TWO_PEOPLE), timestamp=NOW - timedelta(seconds=7))
    settlement = await World().handle(published)
    assert (settlement.age, settlement.resolution) == (7, None)

    settlement = await World().handle(replace(published, timestamp=NOW + timedelta(seconds=7)))
    assert settlement.age == 0  # the producer's clock is ahead of ours

    headers = {"omni-first-seen": int((NOW - timedelta(seconds=9)).timestamp() * 1000), "omni-ambiguous": True}
    settlement = await World(lookup_result=shows("m-1", "m-2")).handle(replace(a_delivery(TWO_PEOPLE), headers=headers))
    assert (settlement.age, settlement.resolution) == (9, "found")


def jobs(world: World, *deliveries: Delivery) -> tuple[Handler, list[Job], list[OmniCall]]:
    """Read deliveries; return those that one call is all there is to do for, and their calls."""
    handler = Handler(world.effects(world.send), world.policy)
    pairs = [(job, call) for job in map(handler.read, deliveries) if (call := handler.shareable_call(job))]
    return handler, [job for job, _ in pairs], [call for _, call in pairs]


def named(name: str, **others: object) -> Delivery:
    return a_delivery(a_body(requestId=name, destinations=[a_destination(message_id=name)], **others))


async def test_several_jobs_share_one_call_and_one_publication_and_end_as_each_would_alone() -> None:
    alone = [await World().handle(named(name)) for name in ("r-1", "r-2")]
    world = World()
    handler, several, calls = jobs(world, named("r-1"), named("r-2"))

    assert await handler.handle_together(several, calls) == alone
    assert world.story == [("r-1", "r-2"), ["message.accepted", "message.accepted"]]
    assert all(job.is_touched for job in several)


@pytest.mark.parametrize(
    "outcome", [Unavailable("http_503"), Unknown("timeout"), Denied("http_401"), NotAttempted("stopping")]
)
async def test_an_outcome_that_concerns_all_jobs_is_reported_for_each(outcome: Outcome) -> None:
    alone = World(lambda _: outcome)
    await alone.handle(named("r-1"))
    world = World(lambda _: outcome)
    handler, several, calls = jobs(world, named("r-1"), named("r-2"))

    assert await handler.handle_together(several, calls) is not None
    (_, published) = world.story
    (_, published_alone) = alone.story
    assert published == cast("list[str]", published_alone) * 2


@pytest.mark.parametrize(
    ("outcome", "touched"),
    [
        (REFUSED_TOGETHER, True),
        (NOT_SENT, False),
    ],
)
async def test_jobs_are_handled_one_by_one_if_one_of_them_may_have_caused_a_refusal(
    outcome: Outcome, *, touched: bool
) -> None:
    world = World(lambda _: outcome)
    handler, several, calls = jobs(world, named("r-1"), named("r-2"))

    assert await handler.handle_together(several, calls) is None
    assert len(world.story) == 1
    assert [job.is_touched for job in several] == [touched, touched]
    world.outcome = accept
    await handler.handle(several[0])
    assert world.calls[-1].is_measured is touched


async def test_a_defect_in_one_of_several_jobs_does_not_affect_the_others() -> None:
    """Its outcome cannot be reported; those of the others are."""
    world = World()
    handler, several, calls = jobs(world, named("r-1"), named("r-2"))
    several[0].parsed = replace(several[0].parsed, request=None)
    results = await handler.handle_together(several, calls)

    assert results is not None
    assert isinstance(results[0], AssertionError)
    assert isinstance(results[1], Settlement)
    assert world.story[1:] == [["message.accepted"]]


def never(*keys: str, size: int = 0) -> Callable[[tuple[Publication, ...]], Awaitable[None]]:
    """Be a broker that never takes what goes there, if it is larger than that."""

    async def confirm(publications: tuple[Publication, ...]) -> None:
        refused = [one for one in publications if one.routing_key in keys and len(one.body) > size]
        if refused:
            raise UnpublishableError(refused)

    return confirm


async def test_a_retry_that_the_broker_never_takes_ends_in_a_final_event() -> None:
    world = World(lambda _: Unavailable("http_503"), never("omni.requests.delay.1"))

    settlement = await world.handle(a_delivery(a_body(destinations=[a_destination(message_id="m-1")])))

    assert world.story[1:] == [["message.deferred", "omni.requests.delay.1"], ["message.failed"]]
    assert settlement.request_id == "order-1"


async def test_a_final_event_that_the_broker_never_takes_is_published_in_short() -> None:
    small = len((await published_by(a_body())).body)
    body = a_body(metadata={"tenant": "x" * 1000})
    world = World(confirm=never("message.accepted", size=small))

    await world.handle(a_delivery(body))

    assert world.story[1:] == [["message.accepted"], ["message.accepted"]]


async def test_an_event_that_is_not_final_and_is_never_taken_has_no_replacement() -> None:
    world = World(lambda _: Unavailable("http_503"), never("message.deferred"))

    await world.handle(a_delivery(a_body(destinations=[a_destination(message_id="m-1")])))

    assert world.story == [("m-1",), ["message.deferred", "omni.requests.delay.1"]]


async def published_by(body: object) -> Publication:
    """Give the event about a request that is accepted."""
    seen: list[Publication] = []

    async def see(publications: tuple[Publication, ...]) -> None:
        seen.extend(publications)

    await World(confirm=see).handle(a_delivery(body))
    return seen[0]


async def test_an_event_that_is_not_taken_even_in_short_is_the_delivery_s_defect() -> None:
    with pytest.raises(UnpublishableError, match=r"omni\.results"):
        await World(confirm=never("message.accepted")).handle(a_delivery())


async def test_of_several_jobs_only_the_one_whose_event_is_unpublishable_is_changed() -> None:
    small = len((await published_by(a_body(requestId="r-1"))).body)
    world = World(confirm=never("message.accepted", size=small + 40))
    handler, several, calls = jobs(world, named("r-1"), named("r-2", metadata={"tenant": "x" * 1000}))

    results = await handler.handle_together(several, calls)

    assert results is not None
    assert [type(result) for result in results] == [Settlement, Settlement]
    assert world.story[1:] == [["message.accepted", "message.accepted"], ["message.accepted"]]


async def test_of_several_jobs_only_the_one_about_which_nothing_can_be_published_is_a_defect() -> None:
    async def confirm(publications: tuple[Publication, ...]) -> None:
        refused = [one for one in publications if one.correlation_id == "r-2"]
        if refused:
            raise UnpublishableError(refused)

    handler, several, calls = jobs(World(confirm=confirm), named("r-1"), named("r-2"))

    results = await handler.handle_together(several, calls)

    assert results is not None
    assert [type(result) for result in results] == [Settlement, UnpublishableError]


@pytest.mark.parametrize(
    "delivery",
    [
        pytest.param(replace(a_delivery(), redelivered=True), id="may have been posted"),
        pytest.param(replace(a_delivery(), headers={"omni-first-seen": 1, "omni-attempt": 1}), id="was posted before"),
        pytest.param(replace(a_delivery(), headers={"omni-first-seen": 1, "omni-retries": 1}), id="returns"),
        pytest.param(a_delivery({}), id="is not valid"),
        pytest.param(a_delivery(a_body(expiresAt=(NOW + timedelta(seconds=1)).isoformat())), id="expires"),
        pytest.param(a_delivery(TWO_PEOPLE), id="needs two calls"),
    ],
)
def test_a_job_that_needs_more_than_one_first_call_shares_none(delivery: Delivery) -> None:
    _, none, _ = jobs(World(policy=Policy(RetryPolicy(), call_size=1)), delivery)
    assert none == []


def limited_to(most: int, outcome: Outcome) -> Callable[[OmniCall], Outcome]:
    return lambda call: accept(call) if len(call.messages) <= most else outcome


MANY = a_body(destinations=[a_destination(message_id=f"m-{number}") for number in range(5)])


@pytest.mark.parametrize("outcome", [Rejected("http_413", "HTTP 413"), Unavailable("http_413")])
async def test_a_request_that_is_too_large_is_posted_in_halves_until_it_fits(outcome: Outcome) -> None:
    world = World(limited_to(2, outcome))

    settlement = await world.handle(a_delivery(MANY))

    accepted = "message.accepted"
    assert world.story == [
        ("m-0", "m-1", "m-2", "m-3", "m-4"),
        ("m-0", "m-1"),
        [accepted] * 2,
        ("m-2", "m-3", "m-4"),
        ("m-2",),
        [accepted],
        ("m-3", "m-4"),
        [accepted] * 2,
    ]
    assert settlement.event_counts == {accepted: 5}


async def test_a_message_that_is_too_large_alone_is_rejected() -> None:
    world = World(limited_to(0, Rejected("http_413", "HTTP 413")))

    settlement = await world.handle(a_delivery(MANY))

    assert settlement.event_counts == {"message.rejected": 5}


async def test_a_defect_in_a_part_ends_its_request() -> None:
    world = World(lambda call: cast("Outcome", None) if len(call.messages) == 1 else Unavailable("http_413"))

    with pytest.raises((AssertionError, TypeError)):  # compiled code checks types
        await world.handle(a_delivery(TWO_PEOPLE))
    assert world.story.count(("m-1",)) == 1
    assert ("m-2",) not in world.story


@pytest.mark.parametrize(
    ("outcomes", "body", "touched"),
    [
        pytest.param([LookupError()], a_body(), False, id="no call was made"),
        pytest.param([NotAttempted("paused"), LookupError()], a_body(MANY), True, id="scheduled in part"),
        pytest.param([Unavailable("http_413"), LookupError()], TWO_PEOPLE, True, id="a call was made"),
        pytest.param([LookupError()], a_body(destinations=[a_destination(), {}]), True, id="rejected in part"),
    ],
)
async def test_a_job_is_touched_once_anything_was_done_about_it(
    outcomes: list[Outcome | Exception], body: dict[str, object], *, touched: bool
) -> None:
    """Only what is untouched is as new when it is handed out again."""

    async def send(_: OmniCall) -> Outcome:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    handler = Handler(World().effects(send), replace(POLICY, call_size=2))
    job = handler.read(a_delivery(body))
    with pytest.raises(LookupError):
        await handler.handle(job)

    assert job.is_touched is touched


METADATA = {"tenant": "x" * 4000}


def many(count: int, phone: str = PHONE) -> Delivery:
    people = [a_destination(phone, f"m-{number}") for number in range(count)]
    return a_delivery(a_body(destinations=people, metadata=METADATA))


@pytest.mark.parametrize(
    ("delivery", "outcome", "routing_keys"),
    [
        pytest.param(many(2000), accept, "message.accepted", id="accepted"),
        pytest.param(many(2000), lambda _: Rejected("http_400", "HTTP 400"), "message.rejected", id="refused"),
        pytest.param(many(2000), lambda _: Unavailable("http_503"), "message.deferred", id="scheduled"),
        pytest.param(many(2000, "call me"), accept, "message.rejected", id="wrong"),
        pytest.param(replace(many(2000), expiration=-1.0), accept, "message.expired", id="late"),
    ],
)
async def test_events_of_a_large_request_are_published_in_slices(
    delivery: Delivery, outcome: Callable[[OmniCall], Outcome], routing_keys: str
) -> None:
    sizes: list[int] = []

    async def confirm(publications: tuple[Publication, ...]) -> None:
        sizes.append(sum(len(one.body) for one in publications if one.routing_key.startswith("message.")))

    settlement = await World(outcome, confirm=confirm).handle(delivery)

    assert settlement.event_counts == {routing_keys: 2000}
    assert max(sizes) < 2**18
    assert len(sizes) > 50


@pytest.mark.parametrize(
    ("delivery", "gives_way"),
    [
        pytest.param(many(1000, "call me"), True, id="rejected"),
        pytest.param(replace(many(1000), expiration=-1.0), True, id="late"),
        pytest.param(many(1000), False, id="accepted: each call takes its time"),
        pytest.param(many(1, "call me"), False, id="small"),
    ],
)
async def test_events_that_cost_no_call_give_way_to_those_of_others_after_each_slice(
    delivery: Delivery, *, gives_way: bool
) -> None:
    story: list[str] = []

    async def confirm(publications: tuple[Publication, ...]) -> None:
        story.append("publish" if publications else "nothing")

    async def give_way() -> None:
        story.append("give way")

    world = World(confirm=confirm)
    handler = Handler(replace(world.effects(world.send), give_way=give_way), POLICY)
    await handler.handle(handler.read(delivery))

    slices = story.count("publish")
    assert story == (["publish", "give way"] * slices)[:-1] if gives_way else ["publish"] * slices
    assert (slices > 25) is (len(delivery.body) > 10_000)


async def test_events_of_jobs_handled_together_are_published_in_slices_too() -> None:
    sizes: list[int] = []

    async def confirm(publications: tuple[Publication, ...]) -> None:
        sizes.append(sum(len(publication.body) for publication in publications))

    handler, several, calls = jobs(World(confirm=confirm), *(many(50) for _ in range(10)))
    assert len(several) == 10

    settlements = await handler.handle_together(several, calls)

    assert settlements is not None
    assert [one.event_counts for one in settlements if isinstance(one, Settlement)] == [{"message.accepted": 50}] * 10
    assert max(sizes) < 2**18
    assert len(sizes) > 10


async def test_others_have_their_turn_while_a_large_body_is_read() -> None:
    turns = 0

    async def let_others() -> None:
        nonlocal turns
        turns += 1

    world = World()
    handler = Handler(replace(world.effects(world.send), let_others=let_others), POLICY)

    job = await handler.read_in_steps(many(4_000))
    assert turns >= 20
    assert job.parsed == handler.read(many(4_000)).parsed

    turns = 0
    assert (await handler.read_in_steps(a_delivery())).parsed == handler.read(a_delivery()).parsed
    assert turns == 0


class Lost(Ownership):
    """The delivery is another worker's."""

    async def confirm(self) -> bool:
        return False


@pytest.mark.parametrize("headers", [{}, AMBIGUOUS])
async def test_nothing_is_published_for_a_lost_delivery(headers: dict[str, object]) -> None:
    """It may be accepted elsewhere; a request that expired while the process was suspended is one example."""
    world = World()
    handler = Handler(world.effects(world.send), world.policy)
    delivery = a_delivery(a_body(TWO_PEOPLE, expiresAt=NOW.isoformat()))
    with pytest.raises(DeliveryLostError):
        await handler.handle(handler.read(replace(delivery, headers=headers), Lost()))

    assert [one for one in world.story if one[0] != "look_up"] == []  # type: ignore[index]  # lists and tuples


async def test_nothing_is_published_for_a_call_that_was_not_sent_because_the_delivery_was_lost() -> None:
    async def send(_: OmniCall) -> Outcome:
        raise DeliveryLostError

    world = World()
    handler = Handler(world.effects(send), world.policy)
    with pytest.raises(DeliveryLostError):
        await handler.handle(handler.read(a_delivery()))
    assert world.story == []


async def test_a_call_carries_the_ownership_of_its_delivery() -> None:
    world, ownership = World(policy=Policy(RetryPolicy(), call_size=1)), Ownership()
    handler = Handler(world.effects(world.send), world.policy)
    await handler.handle(handler.read(a_delivery(TWO_PEOPLE), ownership))

    assert [call.ownership for call in world.calls] == [ownership] * 2


@pytest.mark.parametrize(
    ("outcome", "story"),
    [
        (accept, [("m-1", "m-2"), ["message.accepted", "message.accepted"]]),
        (
            lambda _: Unknown("timeout"),
            [("m-1", "m-2"), ["message.deferred", "message.deferred", "omni.requests.delay.4"]],
        ),
        (lambda _: NotAttempted("failing"), [("m-1", "m-2"), ("start", "record"), ["omni.requests.delay.1"]]),
    ],
    ids=["accepted", "ambiguous", "not attempted"],
)
async def test_a_request_is_not_untouched_any_more_before_anything_is_published_about_it(
    outcome: Callable[[OmniCall], Outcome], story: list[object]
) -> None:
    """The start of a call that was made is recorded where it is made."""
    world = World(outcome)
    handler = Handler(world.effects(world.send), POLICY)
    job = handler.read(a_delivery(TWO_PEOPLE))
    job.record = Claim("record")

    await handler.handle(job)

    assert world.story == story
    assert world.calls[0].record is job.record
    assert world.calls[0].guarded(lambda: True).record is job.record


async def test_without_a_shared_memory_nothing_is_recorded() -> None:
    world = World(lambda _: NotAttempted("failing"))
    plain = Effects(world.send, world._look_up, world._publish, world.clock, lambda: 0.5, lambda: "made-up")  # noqa: SLF001
    handler = Handler(plain, POLICY)
    job = handler.read(a_delivery(TWO_PEOPLE))
    job.record = Claim("record", "r")

    await handler.handle(job)

    assert world.story == [("m-1", "m-2"), ["omni.requests.delay.1"]]

    world.outcome = accept
    accepted = handler.read(a_delivery(TWO_PEOPLE))
    accepted.record = Claim("record", "r")
    await handler.handle(accepted)

    assert world.story[2:] == [("m-1", "m-2"), ["message.accepted", "message.accepted"]]


async def test_a_request_that_is_rejected_in_part_is_recorded_once() -> None:
    world = World()
    handler = Handler(world.effects(world.send), POLICY)
    job = handler.read(a_delivery(a_body(destinations=[a_destination("call me"), a_destination(message_id="m-2")])))
    job.record = Claim("record")

    await handler.handle(job)

    assert world.story == [("start", "record"), ["message.rejected"], ("m-2",), ["message.accepted"]]
    assert world.calls[0].record is job.record


async def test_jobs_that_were_not_attempted_together_are_recorded_before_their_retries_are_published() -> None:
    world = World(lambda _: NotAttempted("failing"))
    handler, members, calls = jobs(world, named("a"), named("b"))
    for member in members:
        member.record = Claim(f"record {member.parsed.request_id}")

    assert await handler.handle_together(members, calls)

    assert world.story[1] == ("start", "record a", "record b")
    assert len(world.story) == 3
