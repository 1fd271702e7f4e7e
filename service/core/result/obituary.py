"""The last word about requests that the broker gave up: nobody else is left to say it.

A request that kills workers up to the delivery limit, breaks the relay's own code, or is taken off the queue by a
policy (such as a maximum length) goes to the dead letters without a final event. Its body is not read: it has shown
what becomes of whoever does that.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from service.core.headers import read_history
from service.core.identity import digest
from service.core.result.dead_letter import DeadLetter, is_of_the_broker
from service.core.result.event import Reason, StatusEvent
from service.core.result.report import Report

_DETAILS: Final = {
    "poison": "workers died of it, as often as the broker lets them",
    "defect": "the relay could not handle it",
    "other": "the broker took it off the queue",
}


def write_obituary(letter: DeadLetter, now: datetime, make_id: Callable[[], str]) -> Report:
    """Say what is left to be said about a dead letter of the broker: any other has had its final event."""
    detail = _DETAILS.get(letter.reason) if is_of_the_broker(letter) else None
    if detail is None:
        return Report()
    name, attempts = letter.request_id or make_id(), read_history(letter.delivery.headers, now).attempts
    reason = Reason("defect", f"{detail}; it is in omni.dead")
    said = digest(letter.delivery.body)
    return Report((StatusEvent("request.rejected", now, name, attempts, reason=reason, content_digest=said),))
