from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from service.rules.identity import bulk_id, event_id, message_id
from service.words.event import EventType, Reason, StatusEvent
from tests.support.builder import NOW, a_status
from tests.unit.strategy import law, names

EVENT = StatusEvent("message.accepted", NOW, "order-1", 1, message_id="m-1")
DEFERRED = replace(EVENT, type="message.deferred", next_attempt_at=NOW + timedelta(seconds=8))


def test_names_never_change_from_one_version_to_the_next() -> None:
    """What is in flight when the relay is updated must be recognised afterwards."""
    assert message_id("order-1", 0) == "2410a8aa-5d1a-5fae-a619-70ae97c8b618"
    assert bulk_id("order-1", "m-1") == "cd2a35b0-5a65-54a4-a8dd-c75551d30e49"
    assert event_id(EVENT) == "7cbdaca5-b885-5eb8-96a1-a89f0d2925d1"
    assert event_id(DEFERRED) == "b7d4dad0-0630-5b51-a2a5-dd7e718040d8"


@law
@given(request=names, position=st.integers(0, 10_000), other=st.integers(0, 10_000))
def test_each_position_of_each_request_has_a_name_of_its_own(request: str, position: int, other: int) -> None:
    assert UUID(message_id(request, position)).version == 5
    assert message_id(request, position) == message_id(request, position)
    assert (message_id(request, position) == message_id(request, other)) is (position == other)
    assert message_id(request, position) != message_id(request + "x", position)


def test_a_last_word_has_one_name_however_often_and_whenever_it_is_said() -> None:
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


def test_what_tells_two_facts_apart_tells_their_names_apart() -> None:
    kinds: tuple[EventType, ...] = ("message.rejected", "message.failed", "message.expired", "message.unknown")
    others = [
        *(replace(EVENT, type=kind) for kind in kinds),
        replace(EVENT, request_id="order-2"),
        replace(EVENT, message_id="m-2"),
        replace(EVENT, message_id=None),
        DEFERRED,
        replace(DEFERRED, attempt=2),
        replace(DEFERRED, next_attempt_at=NOW + timedelta(seconds=16)),
    ]

    assert len({event_id(event) for event in [EVENT, *others]}) == len(others) + 1
