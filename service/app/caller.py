"""Calls to OMNI: who may make one when, which are made as one, and what is learnt from how they end.

A call waits at the turnstile and then for a slot. While it waits for that, others with the same content join it, up to
so many messages; there is no timer, so where slots are free each goes alone and at once. One that failed before goes
alone, since it may be why.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field
from datetime import datetime
from typing import Final

from service.app.custody import SESSION, HandedBackError
from service.app.throttle import Throttle
from service.app.turnstile import Turnstile
from service.edges.log import get_logger
from service.edges.metric import Metrics, exemplar
from service.rules.coalesce import content_key, fits, ids_of, merge
from service.rules.gate import read_signal
from service.rules.plan import is_too_large
from service.rules.trace import trace_id
from service.rules.verdict import is_final
from service.words.call import OmniCall
from service.words.outcome import Held, Outcome, Rejected, Unknown
from service.words.value import dataclass

_REMEMBERED: Final = 1000
"""Calls that were not the first about their messages, and were the last."""

Post = Callable[[OmniCall], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Tools:
    """What a caller works with."""

    post: Post
    turnstile: Turnstile
    throttle: Throttle
    metrics: Metrics
    now: Callable[[], datetime]
    most: int | None
    """Messages in a merged call; None to merge none."""


@dataclass(eq=False, slots=True)
class _Member:
    """Calls that are made together, and what they wait for: an outcome each."""

    calls: Sequence[OmniCall]
    session: asyncio.Event | None
    answer: asyncio.Future[Sequence[Outcome]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


@dataclass(eq=False, slots=True)
class _Batch:
    """Members whose calls will be made as one; the first member's task makes it."""

    members: list[_Member]
    ids: set[str]


class Caller:
    """Makes attempts."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._open: dict[bytes, _Batch] = {}
        self._again: dict[tuple[str, ...], asyncio.Future[Outcome]] = {}
        self._log = get_logger()
        self._running = 0
        tools.metrics.attempts_in_flight.set_function(lambda: self._running)
        tools.metrics.calls_waiting.set_function(lambda: tools.throttle.waiting)

    async def attempt(self, calls: Sequence[OmniCall]) -> Sequence[Outcome]:
        """Make one attempt with calls of equal contents, as one or with others. Raises `HandedBackError`.

        Where a delivery was handed to two workers, each may have put aside a letter about the same messages, and they
        may come back in the same moment, when none can be found at OMNI yet: so the second takes what the first gets.
        """
        if calls[0].attempt == 1:
            return await self._attempt(calls)
        (call,) = calls
        names = call.request_id, *(message.message_id for message in call.messages)
        while known := self._again.get(names):
            await asyncio.wait({known})
            if not known.cancelled():
                self._tools.metrics.joined.inc()
                return (known.result(),)
        self._again[names] = promise = asyncio.get_running_loop().create_future()
        outcome = None
        try:
            (outcome,) = await self._attempt(calls)
        finally:
            if outcome is None:
                promise.cancel()
            else:
                promise.set_result(outcome)
            if outcome is None or not is_final(call, outcome):
                del self._again[names]  # its own next attempt must be one
            elif len(self._again) > _REMEMBERED:
                del self._again[next(iter(self._again))]
        return (outcome,)

    async def _attempt(self, calls: Sequence[OmniCall]) -> Sequence[Outcome]:
        """Make them, in more than one go where the first of them has to find out whether any may be made."""
        outcomes: list[Outcome] = []
        while len(outcomes) < len(calls):
            try:
                outcomes += await self._go(calls[len(outcomes) :])
            finally:
                self._tools.turnstile.leave()
        return outcomes

    async def _go(self, calls: Sequence[OmniCall]) -> Sequence[Outcome]:
        turnstile = self._tools.turnstile
        while True:
            if held := await turnstile.enter():
                return [held] * len(calls)
            if turnstile.gate.mode != "open":
                calls = calls[:1]  # a probe goes alone
            key = self._key(calls[0])
            if key is None:
                return await self._go_alone(calls)
            member = _Member(calls, SESSION.get())
            if not self._joins(member, key):
                return await self._lead(member, key)
            if outcomes := await self._follow(member):
                return outcomes

    def _key(self, call: OmniCall) -> bytes | None:
        """Tell which calls it may share; nothing where it goes alone."""
        may_wait = self._tools.most and call.attempt == 1 and self._tools.throttle.is_full
        return content_key(call) if may_wait else None

    async def _go_alone(self, calls: Sequence[OmniCall]) -> Sequence[Outcome]:
        throttle, turnstile = self._tools.throttle, self._tools.turnstile
        while True:
            async with throttle.slot():
                await throttle.pace(sum(len(call.messages) for call in calls))
                if turnstile.passes():
                    if _is_gone(SESSION.get()):
                        raise HandedBackError
                    return await self._make(calls)
            if held := await turnstile.enter():  # it was closed while we waited for the slot
                return [held] * len(calls)

    async def _follow(self, member: _Member) -> Sequence[Outcome] | None:
        """Wait for whoever leads; gives nothing if that one has gone, and somebody has to take over."""
        try:
            await asyncio.wait({member.answer})
        except asyncio.CancelledError:
            member.answer.cancel()
            raise
        return None if member.answer.cancelled() else member.answer.result()

    def _joins(self, member: _Member, key: bytes) -> bool:
        is_probe = self._tools.turnstile.gate.mode != "open"
        batch = None if is_probe else self._open.get(key)
        ids = ids_of(*member.calls)
        if batch is None or not fits(batch.ids, ids, self._tools.most or 0):
            return False
        batch.members.append(member)
        batch.ids |= ids
        return True

    async def _lead(self, member: _Member, key: bytes) -> Sequence[Outcome]:
        batch = _Batch([member], ids_of(*member.calls))
        self._open[key] = batch
        try:
            await self._serve(batch, key)
        finally:
            self._close(batch, key)
            for left in batch.members:
                left.answer.cancel()
        return member.answer.result()

    async def _serve(self, batch: _Batch, key: bytes) -> None:
        held: Held | None = None
        while held is None:
            async with self._tools.throttle.slot():
                self._close(batch, key)
                await self._tools.throttle.pace(len(batch.ids))
                if self._tools.turnstile.passes():
                    if members := [member for member in batch.members if _is_here(member)]:
                        await self._serve_members(members)
                    return
            held = await self._tools.turnstile.enter()  # it was closed while we waited for the slot
        for member in batch.members:
            _answer(member, [held] * len(member.calls))

    def _close(self, batch: _Batch, key: bytes) -> None:
        if self._open.get(key) is batch:
            del self._open[key]

    async def _serve_members(self, members: Sequence[_Member]) -> None:
        try:
            outcomes = await self._make([call for member in members for call in member.calls])
        except BaseException:
            for member in members:  # ours is told by what is raised; for all others it is a call without an answer
                _answer(member, [Unknown("exception")] * len(member.calls))
            raise
        start = 0
        for member in members:
            _answer(member, outcomes[start : start + len(member.calls)])
            start += len(member.calls)

    async def _make(self, calls: Sequence[OmniCall]) -> Sequence[Outcome]:
        """Make one call of those whose time is not up."""
        now = self._tools.now()
        due = [call for call in calls if call.expires_at is None or call.expires_at > now]
        self._observe_first(due, now)
        if len(due) == len(calls):
            return await self._post(calls)
        outcomes = dict(zip(map(id, due), await self._post(due), strict=True)) if due else {}
        return [outcomes.get(id(call), Held("expired")) for call in calls]

    async def _post(self, calls: Sequence[OmniCall]) -> list[Outcome]:
        """Make the call; one that is refused as a whole is made again in halves, until the wrong ones stand alone."""
        outcome = await self._call(merge(calls), len(calls))
        if len(calls) > 1 and (isinstance(outcome, Rejected) or is_too_large(outcome)):
            middle = len(calls) // 2
            return [*await self._post(calls[:middle]), *await self._post(calls[middle:])]
        return [outcome] * len(calls)

    async def _call(self, call: OmniCall, requests: int) -> Outcome:
        metrics = self._tools.metrics
        started = time.perf_counter()
        self._running += 1
        try:
            outcome = await self._tools.post(call)
        finally:
            self._running -= 1
        seconds = time.perf_counter() - started
        self._tools.throttle.notice(outcome, seconds)
        if signal := read_signal(outcome):
            self._tools.turnstile.notice(signal)
        name = type(outcome).__name__.lower()
        metrics.attempts[name].inc()
        metrics.attempt_seconds.observe(seconds, exemplar(call.traces[0]) if call.traces else None)
        metrics.call_messages.observe(len(call.messages))
        cause = getattr(outcome, "cause", None)
        if cause is not None:
            metrics.failures[cause if cause in metrics.failures else "other"].inc()
        self._log.info(
            "attempt.made",
            request_id=call.request_id,
            **({"trace_id": trace_id(call.traces[0])} if call.traces else {}),
            requests=requests,
            attempt=call.attempt,
            messages=len(call.messages),
            outcome=name,
            cause=cause,
            seconds=round(seconds, 4),
        )
        return outcome

    def _observe_first(self, calls: Sequence[OmniCall], now: datetime) -> None:
        if not calls or calls[0].attempt != 1:
            return
        first, metrics = calls[0], self._tools.metrics
        for call in calls:
            if call.published is not None:
                metrics.queue_seconds.observe(max(0.0, (now - call.published).total_seconds()))
        messages = sum(len(call.messages) for call in calls)
        if first.content.sms is not None:
            size = first.content.sms.size
            metrics.sms_parts[size.encoding].inc(size.parts * messages)
        if first.content.facebook is not None:
            metrics.legacy["facebook"].inc(messages)


def _is_gone(session: asyncio.Event | None) -> bool:
    return session is not None and session.is_set()


def _is_here(member: _Member) -> bool:
    """Leave out those who have gone, or whose deliveries are no longer ours."""
    if not member.answer.done() and _is_gone(member.session):
        member.answer.set_exception(HandedBackError())
    return not member.answer.done()


def _answer(member: _Member, outcomes: Sequence[Outcome]) -> None:
    if not member.answer.done():
        member.answer.set_result(outcomes)
