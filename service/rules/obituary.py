"""The last word about requests that the broker gave up: nobody else is left to say it.

A request that outlives its `expiration` in the queue, kills workers up to the delivery limit, or breaks the relay's own
code goes to the dead letters without a word of the relay's. Only of the first is the body read: the others have shown
what becomes of whoever does that.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final, assert_never

from service.rules.history import read_history
from service.rules.parse import parse
from service.rules.redrive import DeadLetter
from service.rules.report import Report, report_expiry, report_rejections
from service.words.event import Reason, StatusEvent

_DETAILS: Final = {
    "poison": "workers died of it, as often as the broker lets them",
    "defect": "the relay could not handle it",
}


def write_obituary(letter: DeadLetter, now: datetime, make_id: Callable[[], str]) -> Report:
    """Say what is left to be said about a dead letter: nothing about one the relay put there itself."""
    history = read_history(letter.delivery.headers, now)
    match letter.reason:
        case "failed" | "unknown" | "other":
            return Report()
        case "lapsed":
            parsed = parse(replace(letter.delivery, expiration=None), history, make_id)
            rejected = report_rejections(parsed, history, now) if parsed.rejections or not parsed.request else Report()
            expired = report_expiry(parsed.request, history, now) if parsed.request else Report()
            return Report(rejected.events + expired.events)
        case "poison" | "defect":
            name = letter.request_id or make_id()
            reason = Reason("defect", f"{_DETAILS[letter.reason]}; it is in omni.dead")
            return Report((StatusEvent("request.rejected", now, name, history.attempts, reason=reason),))
        case _:
            assert_never(letter.reason)
