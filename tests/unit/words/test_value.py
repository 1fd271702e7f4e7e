"""The values that hold no logic: delivery, request, call, outcome, event and letter."""

from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import get_args

import pytest

from service.words.call import OmniCall
from service.words.delivery import Delivery, History, Publication, Settlement
from service.words.event import Fault, Reason, StatusEvent
from service.words.letter import Dead, Letter, Parked
from service.words.outcome import Accepted, Denied, Held, Outcome, Rejected, Unavailable, Unknown
from service.words.request import Message, Parsed, Rejection, SendRequest
from tests.support.builder import a_call, a_delivery, a_history, a_message, a_request, parsed


@pytest.mark.parametrize(
    "value",
    [
        a_call(),
        a_delivery(),
        a_history(),
        a_message(),
        a_request(),
        parsed(a_delivery()),
        Accepted({}),
        Denied("x"),
        Fault("$", "x"),
        Parked(a_request(), a_history(), 1.0),
        Settlement("x", identified=True, attempts=0, words={}),
    ],
)
def test_a_value_cannot_be_changed(value: object) -> None:
    assert is_dataclass(value)
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, None)


@pytest.mark.parametrize(
    "kind",
    [
        Accepted,
        Dead,
        Delivery,
        Denied,
        Fault,
        History,
        Message,
        OmniCall,
        Parked,
        Parsed,
        Publication,
        Reason,
        Rejected,
        Rejection,
        SendRequest,
        Settlement,
        StatusEvent,
        Unavailable,
        Unknown,
    ],
)
def test_a_value_has_room_for_its_own_fields_only(kind: type) -> None:
    assert "__slots__" in vars(kind)


def test_an_attempt_ends_in_one_of_five_ways_or_is_not_made() -> None:
    assert get_args(Outcome) == (Accepted, Rejected, Unavailable, Unknown, Denied, Held)


def test_a_letter_is_parked_or_dead() -> None:
    assert get_args(Letter) == (Parked, Dead)
