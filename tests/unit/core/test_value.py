"""The values that hold no logic: delivery, request, call, outcome, event and dead letter."""

from collections.abc import Callable
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, get_args

import pytest

from service.core.attempt.call import OmniCall
from service.core.attempt.outcome import Accepted, Denied, NotAttempted, Outcome, Rejected, Unavailable, Unknown
from service.core.delivery import Delivery, Publication
from service.core.handler import Settlement
from service.core.history import History
from service.core.request.request import Fault, Message, Parsed, Rejection, SendRequest
from service.core.result.event import Reason, StatusEvent
from service.core.result.report import DeadLetterMessage, RetryMessage
from tests.support.builder import a_call, a_delivery, a_history, a_message

if TYPE_CHECKING:  # mypy refuses to change a value; were it not so, it would refuse the exceptions for being needless
    a_delivery().body = b""  # type: ignore[misc]
    a_call().attempt = 2  # type: ignore[misc]
    Fault("$", "x").path = ""  # type: ignore[misc]


@pytest.mark.parametrize("make", [a_delivery, a_history, a_message, lambda: Denied("x"), lambda: Fault("$", "x")])
def test_equal_values_are_one_to_sets_and_dictionaries_as_far_as_their_fields_are(make: Callable[[], object]) -> None:
    value, equal = make(), make()
    assert value == equal
    assert is_dataclass(value)
    if not isinstance(value, Delivery):  # its headers are a mapping
        assert len({value, equal}) == 1


@pytest.mark.parametrize(
    "kind",
    [
        Accepted,
        DeadLetterMessage,
        Delivery,
        Denied,
        Fault,
        History,
        Message,
        OmniCall,
        RetryMessage,
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
def test_a_value_has_no_fields_but_its_own(kind: type) -> None:
    assert kind.__dictoffset__ == 0  # no instance has a dictionary


def test_an_attempt_ends_in_one_of_five_ways_or_is_not_made() -> None:
    assert get_args(Outcome) == (Accepted, Rejected, Unavailable, Unknown, Denied, NotAttempted)
