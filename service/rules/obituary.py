"""The last word about requests that the broker gave up: nobody else is left to say it.

A request that outlives its `expiration` in the queue, kills workers up to the delivery limit, or breaks the relay's own
code goes to the dead letters without a word of the relay's. Only of the first is the body read: the others have shown
what becomes of whoever does that. It may have been posted by a worker that died since; then it is looked for like any
other redelivery, too late to be posted again. RabbitMQ 4 tells which have been handed out before; 3 forgets it when it
dead-letters.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final, assert_never

from service.rules.doubt import NOT_ASKED, resolve
from service.rules.history import read_history, recall
from service.rules.parse import parse
from service.rules.policy import Policy
from service.rules.redrive import DeadLetter
from service.rules.report import Attempt, Report, report_expiry, report_rejections
from service.words.event import Reason, StatusEvent

_DETAILS: Final = {
    "poison": "workers died of it, as often as the broker lets them",
    "defect": "the relay could not handle it",
}


def write_obituary(letter: DeadLetter, policy: Policy, now: datetime, make_id: Callable[[], str]) -> Report:
    """Say what is left to be said about a dead letter: nothing about one the relay put there itself."""
    match letter.reason:
        case "failed" | "unknown" | "other":
            return Report()
        case "lapsed":
            return _report_lapse(letter, policy, now, make_id)
        case "poison" | "defect":
            name, attempts = letter.request_id or make_id(), read_history(letter.delivery.headers, now).attempts
            reason = Reason("defect", f"{_DETAILS[letter.reason]}; it is in omni.dead")
            return Report((StatusEvent("request.rejected", now, name, attempts, reason=reason),))
        case _:
            assert_never(letter.reason)


def _report_lapse(letter: DeadLetter, policy: Policy, now: datetime, make_id: Callable[[], str]) -> Report:
    history = recall(letter.delivery, now)
    parsed = parse(replace(letter.delivery, expiration=None), history, make_id)
    rejected = report_rejections(parsed, history, now) if parsed.rejections or not parsed.request else Report()
    rest = Report()
    if parsed.request and history.in_doubt:
        late = replace(parsed.request, expires_at=now)  # the broker has forgotten until when it was to be sent
        rest = resolve(Attempt(late, history, policy, now, draw=0), NOT_ASKED).report
    elif parsed.request:
        rest = report_expiry(parsed.request, history, now)
    return Report(rejected.events + rest.events, rest.letters)
