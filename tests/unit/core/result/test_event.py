from typing import get_args

from service.core.result.event import FINAL_EVENTS, EventType


def test_every_event_but_a_deferral_is_final() -> None:
    assert set(get_args(EventType)) - FINAL_EVENTS == {"message.deferred"}
