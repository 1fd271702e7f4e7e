"""A delivery that an order to cancel concerns, from its bytes to its events."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pydantic_core import from_json

from service.core.attempt.call import OmniCall, Send
from service.core.attempt.cancellation import NO_ORDERS, Named, Orders
from service.core.attempt.lookup import Answered, Forbidden, LookupResult, Unanswered
from service.core.attempt.outcome import CANCELLED, NOT_SENT, Outcome
from service.core.delivery import Delivery, Publication
from service.core.handler import Effects, Handler
from service.core.omni.answer import LogEntry
from service.core.request.request import Message, SendRequest
from tests.support.builder import NOW, OTHER_PHONE, a_body, a_delivery, a_destination, a_status
from tests.unit.core.test_handler import World

BODY = a_body(destinations=[a_destination(message_id="m-1"), a_destination(OTHER_PHONE, "m-2")], metadata={"a": "b"})
ALL = Orders(Named(metadata=("a=b",)).orders())
FIRST = Orders(Named(message_ids=("m-1",)).orders())
FOUND = Answered({"m-1": (LogEntry(message_id="m-1", status=a_status()),)})
AMBIGUOUS: dict[str, object] = {"omni-attempt": 1, "omni-ambiguous": True, "omni-retries": 1, "omni-first-seen": 1}


@dataclass
class Cancelling(World):
    """A worker that knows orders from the beginning, or from its first call on."""

    orders: Orders = NO_ORDERS
    at_the_call: Orders | None = None
    published: list[Publication] = field(default_factory=list)

    def effects(self, send: Send) -> Effects:
        return replace(super().effects(send), cancelled=self._cancelled)

    def _cancelled(self, request: SendRequest, messages: Sequence[Message]) -> frozenset[str]:
        return self.orders.cancelled(request, messages)

    async def send(self, call: OmniCall) -> Outcome:
        """Send a call as the chain does."""
        if self.at_the_call is not None:
            self.orders = self.at_the_call
        return CANCELLED if self.orders.concerns(call) else await super().send(call)

    async def _publish(self, publications: tuple[Publication, ...]) -> None:
        self.published += publications
        await super()._publish(publications)

    @property
    def events(self) -> dict[str, tuple[str, str | None, int]]:
        """The last event of each message: its type, code and attempt."""
        bodies: list[dict[str, Any]] = [from_json(one.body) for one in self.published if one.exchange == "omni.results"]
        return {
            body["subject"]: (
                body["type"].removeprefix("omni.message."),
                body["data"]["reason"] and body["data"]["reason"]["code"],
                body["data"]["attempt"],
            )
            for body in bodies
        }


def returning(**headers: object) -> Delivery:
    return replace(a_delivery(BODY), headers={**AMBIGUOUS, **headers})


async def test_a_request_is_cancelled_without_a_call() -> None:
    world = Cancelling(orders=ALL)
    settlement = await world.handle(a_delivery(BODY))

    assert world.calls == []
    assert world.events == dict.fromkeys(("m-1", "m-2"), ("cancelled", "cancelled", 0))
    assert settlement.event_counts == {"message.cancelled": 2}
    assert from_json(world.published[0].body)["data"]["metadata"] == {"a": "b"}


@pytest.mark.parametrize("late", [False, True])
async def test_the_messages_that_an_order_does_not_concern_are_posted(late: bool) -> None:  # noqa: FBT001 - a parameter
    world = Cancelling(orders=NO_ORDERS if late else FIRST, at_the_call=FIRST)
    await world.handle(a_delivery(BODY))

    assert world.story == [["message.cancelled"], ("m-2",), ["message.accepted"]]
    assert world.events == {"m-1": ("cancelled", "cancelled", 0), "m-2": ("accepted", None, 1)}


async def test_an_order_that_is_undone_before_it_is_applied_has_no_effect() -> None:
    outcomes: list[Outcome] = [CANCELLED]
    world = World(lambda call: outcomes.pop() if outcomes else World().outcome(call))
    await world.handle(a_delivery(BODY))

    assert world.story == [("m-1", "m-2"), ("m-1", "m-2"), ["message.accepted"] * 2]


async def test_a_merged_call_that_is_not_sent_leaves_each_request_to_be_handled_by_itself() -> None:
    world = Cancelling(lambda _: NOT_SENT)
    handler = Handler(world.effects(world.send), world.policy)
    jobs = [handler.read(a_delivery(BODY))]
    call = handler.shareable_call(jobs[0])

    assert call is not None
    assert call.request is jobs[0].parsed.request
    assert await handler.handle_together(jobs, [call]) is None


@pytest.mark.parametrize(
    ("lookup_result", "first"),
    [
        (FOUND, ("accepted", None, 1)),
        (Answered({}), ("cancelled", "cancelled", 1)),
        (Forbidden("http_403"), ("cancelled", "cancelled", 1)),
    ],
)
async def test_a_message_that_failed_before_is_looked_up_first_like_any_other(
    lookup_result: LookupResult, first: tuple[str, str | None, int]
) -> None:
    world = Cancelling(orders=ALL, lookup_result=lookup_result)
    await world.handle(returning(**{"omni-ambiguous": False}))

    assert world.calls == []
    assert world.events == {"m-1": first, "m-2": ("cancelled", "cancelled", 1)}


@pytest.mark.parametrize(
    ("lookup_result", "checks", "expected"),
    [
        (Answered({}), 2, ("cancelled", "cancelled", 1)),
        (Answered({}), 1, ("deferred", "ambiguous", 1)),
        (Unanswered("timeout"), 2, ("deferred", "ambiguous", 1)),
        (Forbidden("http_403"), 0, ("unknown", "ambiguous", 1)),
        (FOUND, 2, ("accepted", None, 1)),
    ],
)
async def test_a_message_that_may_have_been_posted_is_cancelled_only_if_the_logs_show_that_it_was_not(
    lookup_result: LookupResult, checks: int, expected: tuple[str, str | None, int]
) -> None:
    world = Cancelling(orders=ALL, lookup_result=lookup_result)
    await world.handle(returning(**{"omni-log-checks": checks, "omni-first-seen": int(1000 * NOW.timestamp())}))

    assert world.calls == []
    assert world.events["m-1"] == expected
    dead_letters = [one for one in world.published if one.exchange == "omni.dead"]
    assert [one.headers["omni-detail"] for one in dead_letters] == ["cancelled"] * (expected[0] == "unknown")


async def test_a_message_that_was_posted_again_after_an_ambiguous_attempt_is_looked_up_anew() -> None:
    """The lookups before may have been none: the logs are closed, and the policy is to post again."""
    world = Cancelling(orders=ALL, lookup_result=Forbidden("http_403"))
    await world.handle(returning(**{"omni-resolved": True, "omni-attempt": 2, "omni-retries": 2}))

    assert world.calls == []
    assert world.events == dict.fromkeys(("m-1", "m-2"), ("deferred", "ambiguous", 2))
    (retry,) = [one for one in world.published if one.exchange == "omni.relay"]
    assert [retry.headers[f"omni-{name}"] for name in ("resolved", "attempt", "retries")] == [False, 2, 3]

    world = Cancelling(orders=ALL, lookup_result=Forbidden("http_403"))
    await world.handle(Delivery(retry.body, retry.content_type, headers=retry.headers))
    assert world.events == dict.fromkeys(("m-1", "m-2"), ("unknown", "ambiguous", 2))
