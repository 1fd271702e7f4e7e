"""Handles one delivery: every step from its bytes to its settlement, in order.

The effects are plain functions, bound at run time in `worker.app`; in a test each is a fake function. Nothing here
settles a delivery. The caller acknowledges it after `handle` has returned, dead-letters it after an exception, and
settles nothing if the task was cancelled.

This file has more than 250 lines since it is the one place where the whole order of steps can be read.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from math import inf
from typing import Protocol, assert_never

from service.core.attempt.call import OmniCall, Origin, Send, merge, plan, split
from service.core.attempt.claim import AWAY, DONE, FREE, GIVEN_UP, Claim, unclaimed
from service.core.attempt.disposition import judge
from service.core.attempt.lookup import Answered, Forbidden, LookupResult, ResolutionKind, Unanswered
from service.core.attempt.outcome import (
    CANCELLED,
    DUPLICATE,
    NOT_SENT,
    REFUSED_TOGETHER,
    Accepted,
    NotAttempted,
    Outcome,
)
from service.core.attempt.retry import Policy, duplicate_delay, hold_delay
from service.core.delivery import ALWAYS_OURS, Delivery, DeliveryLostError, Ownership, Publication, UnpublishableError
from service.core.headers import history_of, mark_republished, may_be_duplicate
from service.core.history import History, LookupPurpose, owned
from service.core.request.decoding import finished
from service.core.request.parsing import parse
from service.core.request.request import Message, Parsed, SendRequest
from service.core.result.cancellation import report_cancellation
from service.core.result.decision import Attempt, joined, report_attempt
from service.core.result.event import FINAL_EVENTS, StatusEvent
from service.core.result.hold import begun, is_short, report_hold
from service.core.result.publication import publish_instead, publish_report
from service.core.result.reconciliation import NOT_ASKED, resolve
from service.core.result.repetition import (
    DuplicateEnd,
    judge_duplicate,
    recorded_events,
    report_conflict,
    report_repetition,
    report_taken_over,
    report_wait,
    write_lookup,
    write_messages,
)
from service.core.result.report import FEW, SLICE, Report, report_expiry, report_rejections, slices
from service.core.topology import NORMAL, Lane
from service.core.trace_context import read_trace
from service.core.value import dataclass, mypyc_attr


@dataclass(frozen=True, slots=True)
class Settlement:
    """The broker has confirmed everything about a delivery, so that it can be acknowledged. The fields are for logs."""

    request_id: str
    identified: bool
    """Whether the producer gave the request an id."""
    attempts: int
    """Attempts counted before this delivery."""
    event_counts: Mapping[str, int]
    """How many events of each type were published for it."""
    valid: bool = True
    """Whether no part of it was rejected by the validation."""
    resolution: ResolutionKind | None = None
    """How the lookup of an ambiguous attempt ended."""
    age: float = 0.0
    """Seconds since it was first published, by its producer's timestamp, or else since a worker first saw it."""
    lane: Lane = NORMAL
    duplicate: DuplicateEnd | None = None
    """How it ended, if another delivery of the request was served."""


class _DuplicateError(Exception):
    """Another delivery of the request is served, or was."""


class RecordEnd(Protocol):
    """Records in a claim what is going to be published."""

    def __call__(
        self, claim: Claim, events: Sequence[StatusEvent], messages: str, /, *, is_whole: bool, is_complete: bool
    ) -> Awaitable[bytes]:
        """Begin at once. Returns the claim, once it is recorded, if another holder has it; else nothing.

        `messages`: retry messages and dead letters. `is_whole`: about all messages of the request; `is_complete`:
        nothing is left to be done after that is published.
        """


@dataclass(frozen=True, slots=True)
class Effects:
    """Everything that the handler needs from outside."""

    send: Send
    """Make a call. Raises `DeliveryLostError` if the delivery is no longer ours: then publish nothing for it."""
    look_up: Callable[[tuple[str, ...], LookupPurpose, Lane], Awaitable[LookupResult]]
    """Ask OMNI's logs about messages, by their ids."""
    publish: Callable[[tuple[Publication, ...]], Awaitable[None]]
    """Return when the broker has confirmed all of them, however long that takes. Raises `UnpublishableError`."""
    now: Callable[[], datetime]
    jitter: Callable[[], float]
    """Return a random number from [0, 1)."""
    make_id: Callable[[], str]
    let_others: Callable[[], Awaitable[object]] = lambda: DONE
    """Let other tasks run, between two steps of long work."""
    give_way: Callable[[], Awaitable[object]] = lambda: DONE
    """Let the events of other requests go first, between two slices of events that cost no call to OMNI."""
    since_success: Callable[[], float] = lambda: inf
    """Return the seconds since a call last showed that OMNI accepts our calls."""
    record_start: Callable[[Sequence[Claim]], Awaitable[object]] = lambda _: DONE
    """Return when the shared memory shows that these deliveries are not untouched any more, or is not available.

    Each is then started, or refused since another delivery has the claim."""
    record_end: "RecordEnd" = lambda *_, **__: DONE
    """Begin at once to record events. Waiting for it ends when they are recorded, or there is no memory."""
    release: Callable[[Claim, str], Awaitable[object]] = lambda _, __: DONE
    """Begin at once to replace the holder of a claim. Wait for it as above."""
    cancelled: Callable[[SendRequest, Sequence[Message]], frozenset[str]] = lambda _, __: frozenset()
    """Return the ids of those of a request's messages that an order to cancel concerns."""
    wait: Callable[[float], Awaitable[object]] = lambda _: DONE
    """Wait for so many seconds, if that keeps no other request waiting; else return something false at once."""


@dataclass(eq=False, slots=True)
class Job:
    """A delivery that is being handled."""

    delivery: Delivery
    history: History
    parsed: Parsed
    ownership: Ownership = ALWAYS_OURS
    event_counts: dict[str, int] = field(default_factory=dict)
    resolution: ResolutionKind | None = None
    is_missing: bool = False
    """Whether the lookup of an ambiguous attempt has shown that OMNI has none of what remains."""
    is_touched: bool = False
    """Whether OMNI was asked to accept any of it, or anything about it was published."""
    is_measured: bool = False
    """Whether it was part of a call already, so that its waiting time and size have been measured."""
    record: Claim | None = None
    """The record of its start in the shared memory, and its claim."""
    duplicate: DuplicateEnd | None = None
    """How it ended, if another delivery of the request was served."""
    calls: tuple[OmniCall, ...] = ()
    """The calls that it needs, if they were planned before it is served."""
    ended: int = 0
    """Messages that have had their final event, apart from those that were rejected by the validation."""
    published: datetime | None = None
    """When it began to wait for its attempt, if its producer says when it was published: then, or when it was due."""


_Published = tuple[Job, Report, tuple[Publication, ...]]


@mypyc_attr(allow_interpreted_subclasses=True)
class Handler:
    """Handles one delivery: `read`, then `handle`."""

    def __init__(self, effects: Effects, policy: Policy) -> None:
        self._effects = effects
        self._policy = policy

    def use(self, policy: Policy) -> None:
        """Use another policy for every call that is planned from now on."""
        self._policy = policy

    def read(self, delivery: Delivery, ownership: Ownership = ALWAYS_OURS) -> Job:
        """Parse a delivery in one step."""
        now = self._effects.now()
        is_first = not delivery.headers and not delivery.redelivered  # as almost all
        history = History(now) if is_first else history_of(delivery, now)
        parsed = finished(parse(delivery, history, self._effects.make_id))
        return Job(delivery, history, parsed, ownership, published=delivery.timestamp)

    async def read_in_steps(self, delivery: Delivery, ownership: Ownership = ALWAYS_OURS) -> Job:
        """Parse a delivery as `read` does, and let other tasks run if that takes long."""
        now = self._effects.now()
        history = history_of(delivery, now)
        steps = parse(delivery, history, self._effects.make_id)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return Job(delivery, history, end.value, ownership, published=delivery.timestamp)
            await self._effects.let_others()

    async def read_late(self, delivery: Delivery) -> Job:
        """Parse a delivery that expired in the queue: it is never posted, whenever it is handled.

        A worker that has died since may have posted it. Then it is looked up like any other redelivery. RabbitMQ 4
        says which messages were delivered before; RabbitMQ 3 forgets that when it dead-letters them.
        """
        job = await self.read_in_steps(delivery)
        if request := job.parsed.request:
            job.parsed = replace(job.parsed, request=replace(request, expires_at=self._effects.now()))
        return job

    async def handle(self, job: Job) -> Settlement:
        """Do everything about a job: report what is invalid, look up, attempt, report. Or repeat another's events."""
        try:
            is_served = True  # and no await in `except`: compiled, it would leave its exception to all other tasks
            try:
                await self._serve(job)
            except _DuplicateError:
                is_served = False
            if not is_served:
                await self._repeat(job)
            if job.record is not None and not job.record.has_ended:
                await self._leave((job,))
        except BaseException as error:
            self._give_up((job,), is_untouched=isinstance(error, DeliveryLostError))
            raise
        return _settlement(job, self._effects.now())

    async def _serve(self, job: Job) -> None:
        if job.record is not None and job.record.is_checked_first:
            await self._record_start((job,))
            job.history = owned(job.history, was_held=job.record.was_held)
            if job.record.was_held and not await self._leave_out(job, job.record):
                return
        parsed, history, effects = job.parsed, job.history, self._effects
        request = parsed.request
        if parsed.rejections or request is None:
            now = effects.now()
            await self._publish(job, report_rejections(parsed, history, now), now, gives_way=True)
        if request is not None and self._policy.hold_scheduled and (due := request.content.send_at):
            request, history = await self._hold(job, request, due), job.history
        may_be_posted = history.retries > 0 or history.ambiguous
        if request is not None and may_be_posted and (purpose := history.lookup_purpose):
            lookup_result: LookupResult = NOT_ASKED
            if not may_be_duplicate(job.delivery):
                lookup_result = await effects.look_up(request.message_ids, purpose, job.delivery.lane)
            await job.ownership.require()
            now = effects.now()
            resolution = resolve(self._attempt(request, history, now), lookup_result)
            request, job.history = resolution.rest, resolution.history
            job.resolution = resolution.kind if purpose == "required" else None
            job.is_missing = resolution.is_missing
            _note_lookup(job, now, lookup_result, resolution.kind)
            await self._publish(job, resolution.report, now)
        if request is not None and request.expires_at is not None and self._is_late(request):
            await job.ownership.require()  # another worker may have posted it in time, while this process stood still
            now = effects.now()
            await self._publish(job, report_expiry(request, job.history, now), now, gives_way=True)
        elif request is not None:
            calls, job.calls = job.calls or self._plan(job, request), ()
            for call in calls:
                await self._conclude(job, call, await effects.send(call))

    def shareable_call(self, job: Job) -> OmniCall | None:
        """Return the call of a job that needs one call and nothing else; `handle_together` takes such jobs."""
        request, history = job.parsed.request, job.history
        if request is None or job.parsed.rejections or history.attempts or history.lookup_purpose:
            return None
        if request.expires_at is not None or (self._policy.hold_scheduled and request.content.send_at is not None):
            return None
        job.calls = self._plan(job, request)
        return job.calls[0] if len(job.calls) == 1 else None

    async def handle_together(
        self, jobs: Sequence[Job], calls: Sequence[OmniCall]
    ) -> list[Settlement | Exception] | None:
        """Handle jobs whose calls have equal contents, and which have one session, as `handle` does, for less CPU.

        Returns each job's settlement, or the exception that concerns this job alone. None if the call was not sent, or
        may have been refused because of one of them: then OMNI has taken none of them, and each is handled by itself.
        """
        try:
            return await self._handle_together(jobs, calls)
        except BaseException as error:
            self._give_up(jobs, is_untouched=isinstance(error, DeliveryLostError))
            raise

    async def _handle_together(
        self, jobs: Sequence[Job], calls: Sequence[OmniCall]
    ) -> list[Settlement | Exception] | None:
        outcome = await self._send_together(jobs, calls)
        if outcome is None:
            return None
        _note_started(jobs)
        now = self._effects.now()
        collected: list[_Published] = []
        size = 0
        defects: dict[Job, Exception] = {}
        for job, call in zip(jobs, calls, strict=True):
            try:
                for part in slices(_named(job, self._report(job, call, outcome, now))):
                    if job.duplicate:
                        break  # since an earlier part was not recorded: another delivery has the claim
                    publications = publish_report(part, job.delivery, now)
                    for event in part.events:
                        job.event_counts[event.type] = job.event_counts.get(event.type, 0) + 1
                    collected.append((job, part, publications))
                    for publication in publications:
                        size += len(publication.body)
                    if size >= SLICE:
                        defects |= await self._publish_together(collected, now)
                        collected, size = [], 0
            except Exception as error:  # noqa: BLE001 - a defect of ours, which is returned with the delivery
                defects[job] = error
        defects |= await self._publish_together(collected, now)
        await self._leave(jobs)
        self._give_up([*defects], is_untouched=False)
        now = self._effects.now()
        return [defects.get(job) or _settlement(job, now) for job in jobs]

    async def _send_together(self, jobs: Sequence[Job], calls: Sequence[OmniCall]) -> Outcome | None:
        outcome = await self._effects.send(merge(calls))
        if outcome is NOT_SENT:
            return None
        for job in jobs:
            job.is_measured, job.calls = True, ()
        if outcome is REFUSED_TOGETHER:
            for job in jobs:
                job.is_touched = True
            return None
        if isinstance(outcome, NotAttempted):
            try:
                await self._record_start(jobs)
            except _DuplicateError:
                return None
        for job in jobs:
            job.is_touched = True
        return outcome

    async def _publish_together(self, collected: Sequence[_Published], now: datetime) -> dict[Job, Exception]:
        """Publish for several jobs at once. Returns the jobs about which nothing can be published."""
        defects: dict[Job, Exception] = {}
        ending = [(job, claim, self._record_end(job, part)) for job, part, _ in collected if (claim := job.record)]
        refused: dict[Job, None] = {}  # each once, however many parts it has
        for job, claim, ended in ending:
            if found := await ended:
                _refuse(claim, found)
                refused[job] = None
        collected = [one for one in collected if one[0] not in refused]
        unpublishable: UnpublishableError | None = None
        try:
            await self._effects.publish(tuple([one for _, _, publications in collected for one in publications]))
        except UnpublishableError as error:
            unpublishable = error
        if unpublishable is not None:
            for job, part, _ in collected:
                try:
                    await self._publish_instead(job, part, now, unpublishable)
                except UnpublishableError as again:
                    defects[job] = again
        for job in refused:
            job.event_counts.clear()
            try:
                await self._repeat(job)
            except Exception as defect:  # noqa: BLE001 - as in `_handle_together`
                defects[job] = defect
        return defects

    async def _conclude(self, job: Job, call: OmniCall, outcome: Outcome) -> None:
        """Publish how a call ended; one that was too large is sent again in halves."""
        if outcome is DUPLICATE:
            raise _DuplicateError
        if outcome is CANCELLED:
            await self._cancel(job, call)
            return
        job.is_touched = True
        if job.record is not None and not isinstance(outcome, NotAttempted):
            _note_started((job,))
        halves = () if isinstance(outcome, Accepted) else split(call, outcome)
        for half in halves:
            await self._conclude(job, half, await self._effects.send(half))
        if not halves:
            now = self._effects.now()
            await self._publish(job, self._report(job, call, outcome, now), now)

    async def _cancel(self, job: Job, call: OmniCall) -> None:
        """Report the messages of a call that an order concerns, and make the call about the others."""
        request = job.parsed.request
        assert request is not None  # noqa: S101 - or there would be no call
        rest = await self._report_cancelled(job, replace(request, messages=call.messages))
        if rest is not None:
            left = replace(call, messages=rest.messages)
            await self._conclude(job, left, await self._effects.send(left))

    async def _report_cancelled(self, job: Job, request: SendRequest) -> SendRequest | None:
        """Report those of a request's messages that an order concerns. Returns the request without them."""
        effects = self._effects
        ids = effects.cancelled(request, request.messages)
        if not ids:
            return request
        now = effects.now()
        concerned = replace(request, messages=tuple([one for one in request.messages if one.message_id in ids]))
        attempt = self._attempt(concerned, job.history, now)
        report = report_cancellation(attempt, job.resolution, is_missing=job.is_missing)
        await self._publish(job, report, now, gives_way=True)
        rest = tuple([one for one in request.messages if one.message_id not in ids])
        return replace(request, messages=rest) if rest else None

    async def _hold(self, job: Job, request: SendRequest, due: datetime) -> SendRequest | None:
        """Let a request wait for its `sendAt`. Returns it once it is due; None if it is in a delay queue.

        One that may have been posted is held too, and looked up when it is due: then a duplicate of it may be posted.
        """
        effects = self._effects
        while not self._is_late(request) and (seconds := (due - effects.now()).total_seconds()) > 0:
            if is_short(seconds, self._policy) and await effects.wait(seconds):
                continue
            await job.ownership.require()
            held: SendRequest | None = request
            if not job.history.ambiguous and job.history.lookup_purpose is None:
                held = await self._report_cancelled(job, request)
            if held is not None:
                now = effects.now()
                await self._publish(job, report_hold(held, job.history, self._policy, now, due), now, gives_way=True)
            return None
        if not self._is_late(request):
            job.history = begun(job.history, due)
            if job.published is not None:
                job.published = max(job.published, due)
        return request

    def _plan(self, job: Job, request: SendRequest) -> tuple[OmniCall, ...]:
        delivery = job.delivery
        trace = read_trace(delivery.headers) if delivery.headers else None
        calls = plan(
            request,
            job.history,
            Origin(job.published, trace, job.ownership, delivery.lane, job.record),
            self._policy,
        )
        return tuple([replace(call, is_measured=True) for call in calls]) if job.is_measured else calls

    def _report(self, job: Job, call: OmniCall, outcome: Outcome, now: datetime) -> Report:
        request = job.parsed.request
        assert request is not None  # noqa: S101 - or there would be no call
        message_outcomes = judge(call.messages, outcome, ambiguous=job.history.ambiguous)
        part = request if call.messages is request.messages else replace(request, messages=call.messages)
        effects = self._effects
        is_denied = "denied" in [one.disposition for one in message_outcomes]
        since_success = effects.since_success() if is_denied else inf
        attempt = Attempt(part, job.history, self._policy, now, effects.jitter(), since_success)
        return report_attempt(attempt, message_outcomes)

    def _attempt(self, request: SendRequest, history: History, now: datetime) -> Attempt:
        return Attempt(request, history, self._policy, now, self._effects.jitter())

    def _is_late(self, request: SendRequest) -> bool:
        return request.expires_at is not None and request.expires_at <= self._effects.now()

    async def _publish(
        self, job: Job, report: Report, now: datetime, *, gives_way: bool = False, is_again: bool = False
    ) -> None:
        """Publish a report in slices; the broker has confirmed one before the next is published.

        Between slices it may give way. Otherwise ten thousand events that cost nothing to cause would fill the queues
        of consumers, and the event of an ordinary request would wait behind them.
        """
        if job.record is not None and job.duplicate is None and not job.record.is_started:
            await self._record_start((job,))
        if report.retries or report.dead_letters:
            report = _named(job, report)
        for place, part in enumerate(slices(report) if len(report.events) > FEW else (report,)):
            if place and gives_way:
                await self._effects.give_way()
            job.is_touched |= bool(part.events or part.retries or part.dead_letters)
            if job.record is not None and (found := await self._record_end(job, part)):
                _refuse(job.record, found)
                raise _DuplicateError
            publications = publish_report(part, job.delivery, now)
            for event in part.events:
                job.event_counts[event.type] = job.event_counts.get(event.type, 0) + 1
            if is_again:
                publications = tuple([mark_republished(one) for one in publications])
            unpublishable: UnpublishableError | None = None
            try:
                await self._effects.publish(publications)
            except UnpublishableError as error:
                unpublishable = error
            if unpublishable is not None:
                await self._publish_instead(job, part, now, unpublishable)

    async def _record_start(self, jobs: Sequence[Job]) -> None:
        """Record jobs before anything is published about them: a retry message, or a final event, may have a rival."""
        records = [job.record for job in jobs if job.record is not None and not job.record.is_started]
        if records:
            await self._effects.record_start(records)
            if any(record.is_refused for record in records):
                raise _DuplicateError

    def _record_end(self, job: Job, report: Report) -> Awaitable[bytes]:
        """Record a report in the claim of its delivery. Wait for that before the report is published.

        Then a worker that dies, or loses its session, leaves a record of all that it may have published: the next one
        publishes the same. The holder leaves the claim only when a retry message and a dead letter are stored.
        """
        claim, request = job.record, job.parsed.request
        if claim is None or request is None or job.duplicate or not (claim.name or claim.request):
            return DONE
        events, count, messages = recorded_events(report), len(request.messages), ""
        if report.retries or report.dead_letters:
            messages = write_messages(report, count)
        elif not events:
            return DONE
        job.ended += len([event for event in events if event.type in FINAL_EVENTS])
        is_whole = claim.kind == "whole" and not claim.was_held and len(events) == count
        claim.has_ended = job.ended >= count and not report.dead_letters
        return self._effects.record_end(claim, events, messages, is_whole=is_whole, is_complete=claim.has_ended)

    async def _leave(self, jobs: Sequence[Job]) -> None:
        """Record that a claim has no holder any more, unless that is recorded already."""
        held = [job.record for job in jobs if job.record is not None and job.record.is_held]
        for left in [self._effects.release(claim, AWAY) for claim in held]:
            await left

    def _give_up(self, jobs: Sequence[Job], *, is_untouched: bool) -> None:
        """Let a redelivery have the claims. `is_untouched`: if no call was made before, none was made now.

        One that was taken over from a holder stays that holder's: it may have made a call, or recorded an end.
        """
        for job in jobs:
            claim = job.record
            if claim is not None and claim.is_claiming and not claim.has_ended:
                is_free = is_untouched and not job.is_touched and not claim.was_held
                self._effects.release(claim, FREE if is_free else GIVEN_UP)

    async def _repeat(self, job: Job) -> None:
        """Publish the final events of another delivery again, or wait for them."""
        request, claim, now = job.parsed.request, job.record, self._effects.now()
        assert request is not None  # noqa: S101 - or it would have claimed nothing
        assert claim is not None  # noqa: S101
        due = request.content.send_at if self._policy.hold_scheduled else None
        job.duplicate = judge_duplicate(claim, request, job.history, now, due)
        report = report_rejections(job.parsed, job.history, now) if job.parsed.rejections else Report()
        match job.duplicate:
            case "repeated":
                report = joined(report, report_repetition(claim, request))
            case "conflict":
                report = joined(report, report_conflict(request, job.history, now))
            case "waiting":
                is_held, delay = False, duplicate_delay(self._policy.retry, job.history.retries)
                if due is not None and (seconds := (due - now).total_seconds()) > 0:
                    is_held, delay = True, hold_delay(self._policy.retry, seconds)
                report = joined(report, report_wait(claim, request, job.history, delay, is_held=is_held))
            case "unclear":
                await self._park(job, request, claim)
            case _:
                assert_never(job.duplicate)
        if job.duplicate != "unclear":
            await job.ownership.require()
            await self._publish(job, report, now, gives_way=True)

    async def _leave_out(self, job: Job, claim: Claim) -> bool:
        """Leave out the messages that the holder had finished, and repeat their events. Returns whether any is left.

        A message that it had scheduled for retry is left out too. The holder may have died before the retry message was
        stored, so that is published again.
        """
        request = job.parsed.request
        assert request is not None  # noqa: S101 - or there would be no claim
        now = self._effects.now()
        report, left = report_taken_over(claim, request, now)
        if len(left) == len(request.messages):
            return True
        job.duplicate = "repeated"  # nothing of this is recorded again
        await job.ownership.require()
        if not left and job.parsed.rejections:
            report = joined(report, report_rejections(job.parsed, job.history, now))
        await self._publish(job, report, now, gives_way=True, is_again=True)
        if left:
            job.duplicate = None
            job.parsed = replace(job.parsed, request=replace(request, messages=left))
        return bool(left)

    async def _park(self, job: Job, request: SendRequest, claim: Claim) -> None:
        """Look a duplicate up in OMNI's logs, as often as that takes, and park it if it is not found."""
        job.record = unclaimed(claim)
        job.duplicate = None
        job.history = owned(replace(job.history, claim=claim.meaning, part="", log_checks=0), was_held=True)
        job.parsed = replace(job.parsed, request=replace(request, on_unknown="park"))
        await self._serve(job)
        job.duplicate = "unclear"

    async def _publish_instead(self, job: Job, report: Report, now: datetime, error: UnpublishableError) -> None:
        """Replace publications that the broker never accepts. Raises `UnpublishableError` for the replacement too."""
        if publications := publish_instead(report, job.delivery, now, error.publications):
            await self._effects.publish(publications)


def _note_lookup(job: Job, now: datetime, lookup_result: LookupResult, kind: ResolutionKind) -> None:
    """Note how a lookup ended, for an operator."""
    if job.record is None:
        return
    match lookup_result:
        case Answered():
            result: str = kind
        case Forbidden():
            result = "forbidden"
        case Unanswered(cause):
            result = cause
        case _:
            assert_never(lookup_result)
    job.record.notes += write_lookup(now, job.history, result)


def _named(job: Job, report: Report) -> Report:
    """Name the claim of the request, and that of each retry message, in what comes back."""
    if not (report.retries or report.dead_letters) or job.duplicate:
        return report
    claim, meaning = job.record, job.history.claim
    if claim is None or not claim.name:
        claim = None
    elif claim.kind == "whole":
        meaning = claim.meaning
    retries = [
        replace(retry, history=replace(retry.history, claim=meaning, part="" if claim is None else claim.name_part()))
        for retry in report.retries
    ]
    dead_letters = [replace(dead, history=replace(dead.history, claim=meaning)) for dead in report.dead_letters]
    return replace(report, retries=tuple(retries), dead_letters=tuple(dead_letters))


def _refuse(claim: Claim, found: bytes) -> None:
    """Note that another delivery has taken a claim over."""
    claim.known, claim.is_refused, claim.has_ended = found, True, False


def _note_started(jobs: Sequence[Job]) -> None:
    """Note that a call was made: its end counts, also if its start could not be recorded."""
    for job in jobs:
        if job.record is not None:
            job.record.is_started = True


def _settlement(job: Job, now: datetime) -> Settlement:
    parsed, history, delivery = job.parsed, job.history, job.delivery
    valid = not parsed.rejections and parsed.request is not None
    age = max(0.0, (now - (job.published or history.first_seen)).total_seconds())
    return Settlement(
        parsed.request_id,
        parsed.identified,
        history.attempts,
        job.event_counts,
        valid,
        job.resolution,
        age,
        delivery.lane,
        job.duplicate,
    )
