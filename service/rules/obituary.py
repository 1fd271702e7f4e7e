"""The last word about requests that the broker gave up: nobody else is left to say it.

A request that kills workers up to the delivery limit, or breaks the relay's own code, goes to the dead letters without
a word of the relay's. Its body is not read: it has shown what becomes of whoever does that.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from service.rules.history import read_history
from service.rules.redrive import DeadLetter
from service.rules.report import Report
from service.words.event import Reason, StatusEvent

_DETAILS: Final = {
    "poison": "workers died of it, as often as the broker lets them",
    "defect": "the relay could not handle it",
}


def write_obituary(letter: DeadLetter, now: datetime, make_id: Callable[[], str]) -> Report:
    """Say what is left to be said about a dead letter: nothing about any other, which has had its words."""
    detail = _DETAILS.get(letter.reason)
    if detail is None:
        return Report()
    name, attempts = letter.request_id or make_id(), read_history(letter.delivery.headers, now).attempts
    reason = Reason("defect", f"{detail}; it is in omni.dead")
    return Report((StatusEvent("request.rejected", now, name, attempts, reason=reason),))
