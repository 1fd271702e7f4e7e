"""What becomes of messages that OMNI may have taken: looked for in its logs, and never posted again blindly.

found                 OMNI has it: its status there is the answer that got lost
not found             look again, a few times, since logs may lag; then by policy: post it again, or park it
no answer             nothing is learnt, so nothing is decided: look again, for as long as the logs go back
we may not read them  by policy, at once

Every request that comes back is looked for, in doubt or not: a worker that dies between putting a letter aside
and settling leaves two copies of a request behind, and one of them may have been posted when the other returns. What
keeps the two from being posted at once is that the copy needs a look more, and so is always later. Where there are
several copies, nothing tells them apart, and what happened to one often happened to the other in the same moment: so
each posts only when a coin says so, and looks once more when it does not.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Literal, assert_never

from service.core.attempt.disposition import MessageOutcome, judge_logged
from service.core.attempt.lookup import Answered, Forbidden, LookupPurpose, LookupResult, ResolutionKind, Unanswered
from service.core.attempt.retry import is_used_up, lookup_delay
from service.core.history import History
from service.core.request.request import Message, SendRequest
from service.core.result.report import Attempt, Report, RetryMessage, give_up, report_attempt, schedule_retry
from service.core.value import dataclass

NOT_ASKED: Final = Unanswered("redelivered")
"""What is known of a redelivery: whoever had it may be posting it this moment, so there is no use in asking yet."""

_TURN: Final = 0.25
"""The chance that a copy is posted when it has been missed often enough; two in step do so together once in seven."""
_MOST_TURNS: Final = 12
"""Coins thrown at most."""
_CLOCKS_DIFFER: Final = timedelta(minutes=5)
"""So much the clock of OMNI may be behind ours. An id that is used again for the same address within that time is taken
for the same message; with less, a message that OMNI has would be posted again wherever a clock is not kept right."""
_KEPT: Final = timedelta(hours=48)
"""So long OMNI keeps its logs; later no answer would tell. Source: the specification of `/omni/1/logs`."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What to say now, and what is left to be posted: nothing, or a request with the past it has then."""

    report: Report
    rest: SendRequest | None
    history: History

    @property
    def end(self) -> ResolutionKind:
        """Tell how the look ended for the messages it was about, the worst of them counting."""
        if self.rest is not None:
            return "posted"
        if any(isinstance(stored_message, RetryMessage) for stored_message in self.report.stored):
            return "waiting"
        return "given_up" if self.report.stored else "found"


def lookup_purpose(history: History) -> LookupPurpose | None:
    """Tell what OMNI is asked for before a post; nothing where nothing was posted yet."""
    if history.is_unresolved:
        return "required"
    return "best_effort" if history.retries > 0 else None


def resolve(attempt: Attempt, lookup_result: LookupResult) -> Resolution:
    """Decide about each message of a request; `attempt` is the one that would follow."""
    is_unresolved, latest = attempt.history.is_unresolved, _latest(attempt)
    entries = lookup_result.entries if isinstance(lookup_result, Answered) else {}
    since = _since(attempt.history, attempt.now)
    message_outcomes = {
        message: judge_logged(message, entries.get(message.message_id, ()), is_unresolved=is_unresolved, since=since)
        for message in attempt.request.messages
    }
    report = report_attempt(
        latest, (message_outcome for message_outcome in message_outcomes.values() if message_outcome)
    )
    missing = tuple(message for message, message_outcome in message_outcomes.items() if message_outcome is None)
    if not missing:
        return Resolution(report, None, attempt.history)
    if isinstance(lookup_result, Answered) and any(
        message.message_id in lookup_result.incomplete for message in missing
    ):
        lookup_result = Unanswered("incomplete_answer")
    rest = replace(attempt.request, messages=missing)
    if not is_unresolved:
        return _resolve_unambiguous(attempt, lookup_result, report, rest)
    history = replace(attempt.history, log_checks=attempt.history.log_checks + isinstance(lookup_result, Answered))
    match _next(attempt, history, lookup_result):
        case "post":
            return Resolution(report, rest, replace(history, resolved=True, log_checks=0))
        case "look":
            wait = lookup_delay(attempt.policy.retry, _patience(attempt, history, lookup_result))
            more = schedule_retry(latest, _ambiguous(missing, lookup_result), history, wait)
        case type_:
            more = give_up(latest, type_, _ambiguous(missing, lookup_result), history)
    return Resolution(Report(report.events + more.events, report.stored + more.stored), None, history)


def _resolve_unambiguous(
    attempt: Attempt, lookup_result: LookupResult, report: Report, rest: SendRequest
) -> Resolution:
    """Decide about what a best-effort lookup did not show: post it, but not while the logs only have no answer yet.

    OMNI may have it nevertheless: from an attempt that was decided to be repeated because the logs lagged, or from a
    copy of the request. Nothing has happened that a producer has to know of, so no event is published. After as many
    lookups in vain as a doubt gets it is posted: logs that never answer must not end all retries.
    """
    history = attempt.history
    if (
        not isinstance(lookup_result, Unanswered)
        or lookup_result is NOT_ASKED
        or history.log_checks >= attempt.policy.log_checks
    ):
        return Resolution(report, rest, replace(history, log_checks=0))
    waiting = tuple(MessageOutcome(message, "not_attempted", lookup_result.cause) for message in rest.messages)
    past, wait = (
        replace(history, log_checks=history.log_checks + 1),
        lookup_delay(attempt.policy.retry, history.log_checks),
    )
    more = schedule_retry(attempt, waiting, past, wait)
    return Resolution(Report(report.events, report.stored + more.stored), None, history)


def _since(history: History, now: datetime) -> datetime | None:
    """Tell when OMNI can have been sent a request at the earliest, by OMNI's clock; None where that is not known.

    No worker posts a request before one has seen it for the first time. But that time is not known of a request that
    was handed out before to a worker that died, or that a person has sent again: it counts from the latest time then.
    It is not known either where it lies ahead: a clock was wrong when it was written down, and has been set since.
    """
    if history.redeliveries or history.redrives or history.first_seen > now:
        return None
    return history.first_seen - _CLOCKS_DIFFER


def _next(
    attempt: Attempt, history: History, lookup_result: LookupResult
) -> Literal["post", "look", "message.unknown", "message.failed"]:
    """Decide about what was not found. Whoever replays a dead letter has had the logs' lag behind them.

    That does not hold for a replay that may exist twice: the other copy may have been posted a moment ago. It is looked
    for as often as any copy, and then posted, since a person ordered that; but where the logs are closed, by policy.
    """
    is_recent = attempt.now - history.first_seen < _KEPT or (lookup_result is NOT_ASKED and history.is_replay)
    if isinstance(lookup_result, Unanswered) and is_recent:
        return "look"
    beyond = history.log_checks - attempt.policy.log_checks - _lag(history)
    is_only = history.is_replay and not history.redeliveries
    if isinstance(lookup_result, Answered) and not is_only:
        if beyond < 0:
            return "look"
        if history.redeliveries and beyond < _MOST_TURNS and attempt.jitter >= _TURN:
            return "look"
    if is_only or (history.is_replay and not isinstance(lookup_result, Forbidden)):
        return "post"
    if (attempt.request.on_unknown or attempt.policy.on_unknown) == "park":
        return "message.unknown"
    return "message.failed" if is_used_up(history, attempt.policy.retry.max_attempts) else "post"


def _patience(attempt: Attempt, history: History, lookup_result: LookupResult) -> int:
    """Tell how often the first wait for a look is to be doubled."""
    if lookup_result is NOT_ASKED:
        return 1
    if not isinstance(lookup_result, Answered):
        return history.retries
    log_checks = history.log_checks - _lag(history)
    return max(log_checks, 0) if log_checks < attempt.policy.log_checks else 0


def _lag(history: History) -> int:
    """Tell how many looks one that may be a copy is behind."""
    return min(history.redeliveries, 1)


def _latest(attempt: Attempt) -> Attempt:
    """Give the attempt in doubt, which a look completes: what is found is told under its number."""
    return replace(attempt, history=replace(attempt.history, attempts=max(attempt.history.attempts - 1, 0)))


def _ambiguous(messages: tuple[Message, ...], lookup_result: LookupResult) -> tuple[MessageOutcome, ...]:
    match lookup_result:
        case Answered():
            cause = "not_in_logs"
        case Unanswered(cause):
            cause = cause if cause == NOT_ASKED.cause else "logs_unanswered"
        case Forbidden():
            cause = "logs_forbidden"
        case _:
            assert_never(lookup_result)
    return tuple(MessageOutcome(message, "ambiguous", cause) for message in messages)
