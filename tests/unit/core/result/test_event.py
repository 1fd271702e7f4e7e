from typing import get_args

from service.core.result.event import LAST_WORDS, EventType


def test_every_event_but_a_deferral_is_the_last_word() -> None:
    assert set(get_args(EventType)) - LAST_WORDS == {"message.deferred"}
