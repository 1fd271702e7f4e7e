from dataclasses import replace
from datetime import timedelta
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from service.core.identity import bulk_id, digest, message_id
from service.core.result.event import EventType, Reason, StatusEvent
from service.core.result.publication import event_id
from tests.support.builder import NOW, a_status
from tests.unit.strategy import law, lined_names, names

EVENT = StatusEvent(
    "message.accepted",
    NOW,
    "order-1",
    1,
    message_id="m-1",
    to={"phoneNumber": "41793026727"},
    content_digest=digest(b"Hello"),
)
DEFERRED = replace(EVENT, type="message.deferred", next_attempt_at=NOW + timedelta(seconds=8))


def test_names_never_change_from_one_version_to_the_next() -> None:
    """What is in flight when the relay is updated must be recognised afterwards."""
    assert message_id("order-1", "Hello", 0) == "5d92b3ad-13aa-501d-a96c-ebf216fbef4b"
    assert digest(b"Hello") == "f7ff9e8b7bb2e09b70935a5d785e0cc5d9d0abf0"
    assert bulk_id("order-1", "m-1", digest(b"Hello")) == "d1515ba6-4f88-50ef-a513-5ec778c3395e"
    assert event_id(EVENT) == "43252e31-57de-5b02-85c9-bac4a1b1cdb8"
    assert event_id(DEFERRED) == "e0ce4948-6797-5d21-9b45-84032fa3ef97"


@law
@given(request=names, position=st.integers(0, 10_000), other=st.integers(0, 10_000))
def test_each_position_of_each_request_has_a_name_of_its_own(request: str, position: int, other: int) -> None:
    name = message_id(request, "Hello", position)

    assert (UUID(name).version, UUID(name).variant) == (5, RFC_4122)
    assert name == message_id(request, "Hello", position)
    assert (name == message_id(request, "Hello", other)) is (position == other)
    assert name != message_id(request + "x", "Hello", position)
    assert name != message_id(request, "Goodbye", position)


class InUse:
    """Says of so many names that they are in use, and keeps all that it was asked for."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.names: list[str] = []

    def __contains__(self, name: object) -> bool:
        self.names.append(str(name))
        return len(self.names) <= self.count


def test_a_name_is_found_however_many_are_in_use() -> None:
    """A producer knows how ids are derived, and can give them all to other messages of its request."""
    used = InUse(9_999)
    assert message_id("order-1", "Hello", 7, used) == used.names[-1]
    assert len(set(used.names)) == 10_000
    assert [message_id("order-1" + "/7" * place, "Hello", 7) for place in (0, 1, 999)] == [
        used.names[place] for place in (0, 1, 999)
    ]


def test_a_final_event_has_one_id_however_often_and_whenever_it_is_published() -> None:
    again = replace(
        EVENT,
        time=NOW + timedelta(hours=1),
        attempt=2,
        status=a_status(),
        bulk_id="bulk-2",
        reason=Reason("refused", "again"),
        metadata={"tenant": "acme"},
    )

    assert event_id(again) == event_id(EVENT)


def test_two_facts_have_two_ids() -> None:
    kinds: tuple[EventType, ...] = ("message.rejected", "message.failed", "message.expired", "message.unknown")
    others = [
        *(replace(EVENT, type=kind) for kind in kinds),
        replace(EVENT, request_id="order-2"),
        replace(EVENT, message_id="m-2"),
        replace(EVENT, message_id=None),
        replace(EVENT, to={"phoneNumber": "41793026728"}),
        replace(EVENT, to={"emailAddress": "41793026727"}),
        replace(EVENT, to={**EVENT.to, "emailAddress": "a@example.com"}),
        replace(EVENT, to={}),
        replace(EVENT, content_digest=digest(b"Goodbye")),
        DEFERRED,
        replace(DEFERRED, attempt=2),
        replace(DEFERRED, next_attempt_at=NOW + timedelta(seconds=16)),
    ]

    assert len({event_id(event) for event in [EVENT, *others]}) == len(others) + 1


def test_a_copied_id_is_left_to_the_message_that_uses_it() -> None:
    """A producer may give one message the id that the relay made for another, as read in an event."""
    copied = message_id("order-1", "Hello", 1)
    other = message_id("order-1", "Hello", 1, {copied})

    assert other != copied
    assert message_id("order-1", "Hello", 1, {"m-1"}) == copied
    assert message_id("order-1", "Hello", 1, {copied, other}) not in {copied, other}


def test_a_requests_id_and_its_content_are_separated_in_a_derived_id() -> None:
    assert message_id("a", "b c", 0) != message_id("a b", "c", 0)


@law
@given(first=lined_names, second=lined_names, third=lined_names, fourth=lined_names)
def test_no_two_lists_of_ids_come_to_the_same_name(first: str, second: str, third: str, fourth: str) -> None:
    """An id may hold any character, also whatever one would join them with."""
    same = (first, second) == (third, fourth)

    assert (bulk_id(first, second, "x") == bulk_id(third, fourth, "x")) is same
    one, other = (
        event_id(replace(EVENT, request_id=request, message_id=message))
        for request, message in ((first, second), (third, fourth))
    )
    assert (one == other) is same


def test_two_ids_are_separated_in_a_derived_id() -> None:
    assert event_id(replace(EVENT, request_id="a\nb", message_id="c")) != event_id(
        replace(EVENT, request_id="a", message_id="b\nc")
    )
