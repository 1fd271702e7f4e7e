"""What becomes of messages that OMNI may have accepted: they are looked up in its logs, and never posted again blindly.

An unclear answer is "unknown", never "no". To take it for "no" sends a message twice.

found         OMNI has it: its status in the logs stands in for the answer that was lost
not found     looked up again, a few times, since logs may lag; then by policy: posted again, or parked
no answer     nothing is known, so nothing is decided: looked up again, for as long as the logs go back
forbidden     the policy applies at once

Every request that returns is looked up, ambiguous or not. A worker that dies between publishing a retry message and
settling its delivery leaves two copies of a request, and one may have been posted when the other returns. Two rules
keep both from being posted at once:

* A possible duplicate needs one lookup more, and so is always later than the original.
* Several possible duplicates may be in step: they were scheduled in the same moment. So one that follows another takes
  half of its first delay, and all other delays are multiples of that. Where this does not distinguish them (there are
  more than two, or the broker does not count), chance does: each is posted only with a probability of one in five, and
  otherwise is looked up again after a random delay.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Literal, assert_never

from service.core.attempt.disposition import MessageOutcome, judge_logged
from service.core.attempt.lookup import Answered, Forbidden, LookupResult, ResolutionKind, Unanswered
from service.core.attempt.retry import is_used_up, lookup_delay
from service.core.history import History
from service.core.request.request import Message, SendRequest
from service.core.result.decision import Attempt, give_up, joined, report_attempt, schedule_retry
from service.core.result.report import Report
from service.core.value import dataclass

NOT_ASKED: Final = Unanswered("redelivered")
"""The result for a possible duplicate: another worker may be posting it this moment, so it is too early to ask."""

_PROBABILITY: Final = 0.2
"""Of a possible duplicate being posted after enough lookups. Two that chance alone keeps apart are both posted at once
in one of eleven cases."""
_DELAYS: Final = 2
"""Delays of which a possible duplicate that is not posted takes one. Two that take different ones leave step."""
_MAX_DRAWS: Final = 12
_CLOCK_SKEW: Final = timedelta(minutes=5)
"""By which OMNI's clock may be behind ours. An id used again for the same address within that time counts as the same
message. With a smaller value, a message that OMNI has would be posted again wherever a clock is wrong."""
_RETENTION: Final = timedelta(hours=48)
"""Of OMNI's logs: a later lookup shows nothing. Source: the specification of `/omni/1/logs`."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What to publish now, and what remains to be posted: nothing, or a request with its history at that time."""

    report: Report
    rest: SendRequest | None
    history: History
    is_missing: bool = False
    """Whether OMNI's logs have shown that it does not have the rest."""

    @property
    def kind(self) -> ResolutionKind:
        """How the lookup ended: for several messages, the worst of the kinds."""
        if self.rest is not None:
            return "posted"
        if self.report.retries:
            return "waiting"
        return "given_up" if self.report.dead_letters else "found"


def resolve(attempt: Attempt, lookup_result: LookupResult) -> Resolution:
    """Decide about each message of a request. `attempt` is the one that would follow."""
    is_unresolved, latest = attempt.history.is_unresolved, _latest(attempt)
    entries = lookup_result.entries if isinstance(lookup_result, Answered) else {}
    since = _earliest_post(attempt.history, attempt.now)
    message_outcomes = {
        message: judge_logged(message, entries.get(message.message_id, ()), is_unresolved=is_unresolved, since=since)
        for message in attempt.request.messages
    }
    report = report_attempt(latest, [one for one in message_outcomes.values() if one])
    missing = tuple(message for message, message_outcome in message_outcomes.items() if message_outcome is None)
    if not missing:
        return Resolution(report, None, attempt.history)
    if isinstance(lookup_result, Answered) and any(one.message_id in lookup_result.incomplete for one in missing):
        lookup_result = Unanswered("incomplete_answer")
    rest = replace(attempt.request, messages=missing)
    if not is_unresolved:
        return _resolve_unambiguous(attempt, lookup_result, report, rest)
    history = replace(attempt.history, log_checks=attempt.history.log_checks + isinstance(lookup_result, Answered))
    match _next(attempt, history, lookup_result):
        case "post":
            is_missing = isinstance(lookup_result, Answered)
            return Resolution(report, rest, replace(history, resolved=True, log_checks=0), is_missing)
        case "look_up":
            wait = lookup_delay(attempt.policy.retry, _doublings(attempt, history, lookup_result))
            more = schedule_retry(latest, _ambiguous(missing, lookup_result), history, wait)
        case type_:
            more = give_up(latest, type_, _ambiguous(missing, lookup_result), history)
    return Resolution(joined(report, more), None, history)


def _resolve_unambiguous(
    attempt: Attempt, lookup_result: LookupResult, report: Report, rest: SendRequest
) -> Resolution:
    """Decide about messages that a best-effort lookup did not show: post them, or wait while the logs do not answer.

    OMNI may have one nevertheless: from an attempt that was repeated because the logs lagged, or from a duplicate of
    the request. No event is published, since a producer need not know of the lookup. After as many unanswered lookups
    as an ambiguous attempt gets it is posted: logs that never answer must not stop all retries.
    """
    history = attempt.history
    if (
        not isinstance(lookup_result, Unanswered)
        or lookup_result is NOT_ASKED
        or history.log_checks >= attempt.policy.log_checks
    ):
        return Resolution(report, rest, replace(history, log_checks=0))
    waiting = tuple(MessageOutcome(message, "not_attempted", lookup_result.cause) for message in rest.messages)
    past = replace(history, log_checks=history.log_checks + 1)
    more = schedule_retry(attempt, waiting, past, lookup_delay(attempt.policy.retry, history.log_checks))
    return Resolution(joined(report, replace(more, events=())), None, history)


def _earliest_post(history: History, now: datetime) -> datetime | None:
    """Return when a request can have been posted at the earliest, by OMNI's clock; None if that is not known.

    No worker posts a request before one has first seen it. That time is not known

    * of a request that was delivered before to a worker that died, or that an operator has replayed: `first_seen` is
      then the latest of several times;
    * if it is in the future: a clock was wrong when it was written, and has been set since.
    """
    if history.redeliveries or history.redrives or history.first_seen > now:
        return None
    return history.first_seen - _CLOCK_SKEW


def _next(
    attempt: Attempt, history: History, lookup_result: LookupResult
) -> Literal["post", "look_up", "message.unknown", "message.failed"]:
    """Decide about messages that were not found.

    A replayed dead letter is posted after one lookup, since the logs have had their time and an operator ordered it. A
    replay that may exist twice is looked up as often as any possible duplicate, as the other may have been posted a
    moment ago; then it is posted, but by policy where the logs are closed.
    """
    is_recent = attempt.now - history.first_seen < _RETENTION or (lookup_result is NOT_ASKED and history.is_replay)
    if isinstance(lookup_result, Unanswered) and is_recent:
        return "look_up"
    beyond = history.log_checks - attempt.policy.log_checks - _extra_lookups(history)
    is_only_replay = history.is_replay and not history.redeliveries
    if isinstance(lookup_result, Answered) and not is_only_replay:
        if beyond < 0:
            return "look_up"
        if history.redeliveries and beyond < _MAX_DRAWS and attempt.jitter >= _PROBABILITY:
            return "look_up"
    if is_only_replay or (history.is_replay and not isinstance(lookup_result, Forbidden)):
        return "post"
    if (attempt.request.on_unknown or attempt.policy.on_unknown) == "park":
        return "message.unknown"
    return "message.failed" if is_used_up(history, attempt.policy.retry.max_attempts) else "post"


def _doublings(attempt: Attempt, history: History, lookup_result: LookupResult) -> int:
    """Return how often the first delay of a lookup is doubled."""
    if lookup_result is NOT_ASKED:
        return 0 if attempt.history.leaves_step else 1
    if not isinstance(lookup_result, Answered):
        return history.retries - history.holds
    least = _extra_lookups(history)  # all delays of possible duplicates but the first are multiples of the doubled one
    log_checks = history.log_checks - least
    if log_checks < attempt.policy.log_checks:
        return max(log_checks, least)
    return least + int((attempt.jitter - _PROBABILITY) / (1 - _PROBABILITY) * _DELAYS)


def _extra_lookups(history: History) -> int:
    """Return the number of lookups that a possible duplicate needs beyond the setting."""
    return min(history.redeliveries, 1)


def _latest(attempt: Attempt) -> Attempt:
    """Return the ambiguous attempt, which the lookup completes: events carry its number."""
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
