"""Calls to OMNI: who may make one when, which are made as one, and what is learnt from how they end.

A call waits at the turnstile and then for a slot. While it waits for that, others with the same content join it, up to
so many messages; there is no timer, so where slots are free each goes alone and at once. One that failed or was denied
before goes alone, since it may be why.

Everything that forbids a call is asked once more immediately before its bytes are written, since a token or a
connection may have taken seconds: whether a delivery is still ours, whether its time is up, whether sending is paused
or the worker stops. Then a call that may no longer be made as it is has not been made at all, and is put together anew.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import field
from datetime import datetime
from typing import Final

from service.adapters.logging import get_logger
from service.adapters.metrics import Metrics, exemplar
from service.adapters.rabbitmq import Acknowledger
from service.core.attempt.breaker import read_signal
from service.core.attempt.call import OmniCall, content_key, fits, ids_of, is_too_large, merge
from service.core.attempt.disposition import is_final
from service.core.attempt.outcome import NOT_SENT, Denied, MaySend, NotAttempted, Outcome, Rejected, Unknown
from service.core.trace_context import trace_id
from service.core.value import dataclass
from service.worker.custody import SESSION, HandedBackError, SessionCheck
from service.worker.deduplicator import Memory
from service.worker.sending.circuit_breaker import LONGEST_WAIT, STOPPING, Turnstile
from service.worker.sending.limiter import Throttle

_REMEMBERED: Final = 1000
"""Calls that were not the first about their messages, and were the last."""

_LAST_MOMENT: Final = 5.0
"""Seconds before its expiry in which a call is not sent away from the turnstile."""
_EXPIRED: Final = NotAttempted("expired")

Post = Callable[[OmniCall, MaySend], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Tools:
    """What a caller works with."""

    post: Post
    turnstile: Turnstile
    throttle: Throttle
    session_check: SessionCheck
    metrics: Metrics
    now: Callable[[], datetime]
    most: int | None
    """Messages in a merged call; None to merge none."""


@dataclass(eq=False, slots=True)
class _Part:
    """One request's call, whose delivery came with a receipt."""

    call: OmniCall
    acknowledger: Acknowledger | None
    is_begun: bool = False
    """Whether OMNI may have been told of it."""
    outcome: Outcome | HandedBackError | None = None


@dataclass(eq=False, slots=True)
class _Member:
    """Parts of one task, and what that task waits for when another makes the call."""

    parts: Sequence[_Part]
    over: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def wait(self) -> None:
        """Wait for whoever leads. A part without an outcome is left where that one has gone, and is to be made yet."""
        try:
            await asyncio.wait({self.over})
        except asyncio.CancelledError:
            self.over.cancel()
            raise

    @property
    def is_waiting(self) -> bool:
        """Tell whether anybody waits."""
        return not self.over.done()

    def tell(self) -> None:
        """End the wait where every part has its outcome."""
        if self.is_waiting and all(part.outcome is not None for part in self.parts):
            self.over.set_result(None)

    def leave(self) -> None:
        """End the wait, since nothing more will come of it. A call that was begun may have been taken."""
        if not self.is_waiting:
            return
        for part in self.parts:
            if part.is_begun:
                part.outcome = part.outcome or Unknown("exception")
        self.tell()
        self.over.cancel()


@dataclass(eq=False, slots=True)
class _Batch:
    """Members whose calls will be made as one; the first member's task makes it."""

    leader: Sequence[_Part]
    key: bytes
    ids: set[str]
    followers: list[_Member] = field(default_factory=list)

    def parts(self) -> list[_Part]:
        """List what is to be made, without the parts of those who have gone."""
        members = [member for member in self.followers if member.is_waiting]
        return [*self.leader, *(part for member in members for part in member.parts)]

    def tell(self) -> None:
        """End the wait of all whose outcomes are there."""
        for member in self.followers:
            member.tell()


class Caller:
    """Makes attempts."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._open: dict[bytes, _Batch] = {}
        self._again: Memory[Outcome] = Memory(_REMEMBERED)
        self._log = get_logger()
        self._running = 0
        tools.metrics.attempts_in_flight.set_function(lambda: self._running)
        tools.metrics.calls_waiting.set_function(lambda: tools.throttle.waiting)

    async def attempt(self, calls: Sequence[OmniCall]) -> Sequence[Outcome | HandedBackError]:
        """Make one attempt with calls of equal contents, as one or with others.

        Where a delivery was handed to two workers, each may have put aside a letter about the same messages, and they
        may come back in the same moment, when none can be found at OMNI yet: so the second takes what the first gets.
        """
        if calls[0].is_first:
            return await self._attempt(calls)
        (call,) = calls
        name = _name(call)
        while known := self._again.find(name):
            if (outcome := await known.wait()) is not None:
                self._tools.metrics.joined.inc()
                return (outcome,)
        promise = self._again.enter(name)
        end: Outcome | HandedBackError | None = None
        try:
            (end,) = await self._attempt(calls)
        finally:
            if end is None or isinstance(end, HandedBackError):
                self._again.give_up(promise)
            elif is_final(call, end):
                self._again.keep(promise, end)
            else:
                self._again.tell(promise, end)  # its own next attempt must be one
        return (end,)

    async def _attempt(self, calls: Sequence[OmniCall]) -> list[Outcome | HandedBackError]:
        acknowledger, turnstile = SESSION.get(), self._tools.turnstile
        parts = [_Part(call, acknowledger) for call in calls]
        deadline = turnstile.clock() + LONGEST_WAIT
        try:
            left = parts
            while left:
                if not turnstile.is_open and (held := await self._wait(left, deadline)):
                    await self._send_away(left, held, deadline)
                elif key := self._key(left[0].call):
                    await self._make_together(left, key, deadline)
                else:
                    await self._make(left, deadline)
                    break
                left = [part for part in left if part.outcome is None]
        finally:
            turnstile.leave()
        return [part.outcome for part in parts if part.outcome is not None]

    async def _wait(self, parts: Sequence[_Part], deadline: float) -> NotAttempted | None:
        """Wait at the turnstile until the deadline, or the first of them expires.

        One that would expire right after the deadline waits for that: a delay queue would bring it back too late.
        """
        now, clock = self._tools.now(), self._tools.turnstile.clock()
        ends = [
            clock + (part.call.expires_at - now).total_seconds() for part in parts if part.call.expires_at is not None
        ]
        until = min([end for end in ends if end < deadline + _LAST_MOMENT], default=deadline)
        return await self._tools.turnstile.enter(until, again=parts[0].call.denials > 0)

    async def _make_together(self, parts: list[_Part], key: bytes, deadline: float) -> None:
        """Have calls made with others of the same key, or make them with those that join while they wait for a slot."""
        ids = ids_of(*(part.call for part in parts))
        if member := self._join(parts, ids, key):
            await member.wait()
            return
        batch = self._open[key] = _Batch(parts, key, ids)
        try:
            await self._make(parts, deadline, batch)
        finally:
            self._close(batch)
            for follower in batch.followers:
                follower.leave()

    def _key(self, call: OmniCall) -> bytes | None:
        """Tell which calls it may share; nothing where it goes alone."""
        may_wait = self._tools.most and call.is_first and self._tools.throttle.is_full
        return content_key(call) if may_wait else None

    def _join(self, parts: list[_Part], ids: set[str], key: bytes) -> _Member | None:
        is_probe = self._tools.turnstile.breaker.mode != "open"
        batch = None if is_probe else self._open.get(key)
        if batch is None or not fits(batch.ids, ids, self._tools.most or 0):
            return None
        member = _Member(parts)
        batch.followers.append(member)
        batch.ids |= ids
        return member

    def _close(self, batch: _Batch) -> list[_Part]:
        """Let nobody join any more; gives what is to be made."""
        if self._open.get(batch.key) is batch:
            del self._open[batch.key]
        return batch.parts()

    async def _make(self, parts: list[_Part], deadline: float, batch: _Batch | None = None) -> None:
        """Make a batch's calls: as one, or as several where OMNI refuses it as a whole or a probe goes first.

        Between two of them the turnstile is passed again. Whoever has to wait there gives the slot back: the probe that
        all wait for may need it.
        """
        throttle, turnstile = self._tools.throttle, self._tools.turnstile
        groups: list[list[_Part]] | None = None
        while True:
            async with throttle.slot(_count(parts), is_part=parts[0].call.is_part) as slot:
                if groups is None:
                    groups = [parts if batch is None else self._close(batch)]
                has_had_its_turn = False
                while groups:
                    self._set_probe_apart(groups)
                    if not (has_had_its_turn or turnstile.is_shut):
                        await slot.pace(_count(groups[-1]))
                    if not turnstile.passes():
                        break
                    self._set_probe_apart(groups)
                    back = await self._post(groups.pop())
                    has_had_its_turn = len(back) == 1  # it was not sent; what was refused comes back in halves
                    groups += back
                    if batch is not None:
                        batch.tell()
            left = [part for group in groups for part in group]
            if left and (held := await self._wait(left, deadline)):  # it was closed while we waited for the slot
                await self._send_away(left, held, deadline)
                groups = [due for group in groups if (due := [part for part in group if part.outcome is None])]
                if batch is not None:
                    batch.tell()
            if not groups:
                return

    def _set_probe_apart(self, groups: list[list[_Part]]) -> None:
        """Let a single part go first where sending is paused: a probe may be ambiguous, and then for one request."""
        if self._tools.turnstile.breaker.mode != "open" and len(groups[-1]) > 1:
            groups[-1:] = [groups[-1][1:], groups[-1][:1]]

    async def _send_away(self, parts: Sequence[_Part], held: NotAttempted, deadline: float) -> None:
        """Make no call of those that have waited long enough or expired; the others wait on.

        What is no longer ours must not be told of as held either.
        """
        now = self._tools.now()
        is_over = held.cause == STOPPING or self._tools.turnstile.clock() >= deadline
        leaving = [part for part in parts if is_over or _is_late(part.call, now)]
        lost = await self._lost(leaving)
        for part in leaving:
            part.outcome = HandedBackError() if part in lost else _EXPIRED if _is_late(part.call, now) else held

    async def _post(self, group: list[_Part]) -> list[list[_Part]]:
        """Make one call of those parts that may go; give the groups that are still to be made, the last one first.

        A call that is refused as a whole is made again in halves, until the wrong ones stand alone. So is one that is
        denied while the turnstile stays open: the reason may be one of its requests.
        """
        may_send = self._may_send(group)
        if not may_send():
            due = await self._due(group)
            return [due] if due else []
        now = self._tools.now()
        is_new, calls = not group[0].is_begun, []
        for part in group:
            part.is_begun = True
            calls.append(part.call)
        outcome = await self._call(calls, may_send)
        if outcome is NOT_SENT:
            for part in group:
                part.is_begun = not is_new
            return [group]
        if is_new and calls[0].attempt == 1 and not calls[0].is_measured:
            self._observe_first(calls, now)
        if len(group) > 1 and self._may_be_of_one(outcome):
            middle = len(group) // 2
            return [group[middle:], group[:middle]]
        for part in group:
            part.outcome = outcome
        return []

    def _may_be_of_one(self, outcome: Outcome) -> bool:
        """Tell whether one request of several may be the reason why a call was not taken."""
        is_refusal = isinstance(outcome, Rejected) or is_too_large(outcome)
        return is_refusal or (isinstance(outcome, Denied) and self._tools.turnstile.is_open)

    async def _due(self, parts: Sequence[_Part]) -> list[_Part]:
        """Leave out what is no longer ours, and then what has expired: whoever has it now tells how it ends."""
        lost = await self._lost(parts)
        now = self._tools.now()
        due = []
        for part in parts:
            if part in lost:
                part.outcome = HandedBackError()
            elif _is_late(part.call, now):
                part.outcome = _EXPIRED
            else:
                due.append(part)
        return due

    async def _lost(self, parts: Sequence[_Part]) -> set[_Part]:
        """Find the parts whose session is over; each session is asked at most once."""
        check = self._tools.session_check
        over = {life for life, acknowledger in _sessions(parts).items() if not await check.confirm(acknowledger)}
        return (
            {part for part in parts if part.acknowledger is not None and part.acknowledger.broken in over}
            if over
            else set()
        )

    def _may_send(self, due: Sequence[_Part]) -> MaySend:
        """Give what is asked immediately before the bytes are written."""
        turnstile, is_valid, now = self._tools.turnstile, self._tools.session_check.is_valid, self._tools.now
        if len(due) == 1:
            acknowledger, expires_at = due[0].acknowledger, due[0].call.expires_at
            return lambda: is_valid(acknowledger) and (expires_at is None or now() < expires_at) and turnstile.passes()
        sessions, deadline = _sessions(due).values(), _deadline(due)

        def may_send() -> bool:
            if not all(map(is_valid, sessions)) or turnstile.breaker.mode != "open":
                return False  # only one may be the probe
            return (deadline is None or now() < deadline) and turnstile.passes()

        return may_send

    async def _call(self, calls: Sequence[OmniCall], may_send: MaySend) -> Outcome:
        metrics, call = self._tools.metrics, merge(calls)
        started = time.perf_counter()
        self._running += 1
        try:
            outcome = await self._tools.post(call, may_send)
        finally:
            self._running -= 1
        if outcome is NOT_SENT:
            return outcome
        seconds = time.perf_counter() - started
        self._tools.throttle.notice(outcome, seconds)
        if signal := read_signal(outcome, again=call.denials > 0):
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
            requests=len(calls),
            attempt=call.attempt,
            messages=len(call.messages),
            outcome=name,
            cause=cause,
            seconds=round(seconds, 4),
        )
        return outcome

    def _observe_first(self, calls: Sequence[OmniCall], now: datetime) -> None:
        first, metrics = calls[0], self._tools.metrics
        for call in calls:
            if call.published is not None:
                metrics.queue_seconds.observe(max(0.0, (now - call.published).total_seconds()))
        messages = sum([len(call.messages) for call in calls])
        if first.content.sms is not None:
            size = first.content.sms.size
            metrics.sms_parts[size.encoding].inc(size.parts * messages)
        if first.content.facebook is not None:
            metrics.legacy["facebook"].inc(messages)


def _count(parts: Sequence[_Part]) -> int:
    return sum([len(part.call.messages) for part in parts])


def _is_late(call: OmniCall, now: datetime) -> bool:
    return call.expires_at is not None and call.expires_at <= now


def _name(call: OmniCall) -> Hashable:
    """Name a call that is not the first by all that makes it what it is, except for the number of the attempt."""
    digest = hashlib.blake2b(call.to_json(), digest_size=16).digest()
    return call.request_id, call.redrives, call.published, digest


def _deadline(parts: Sequence[_Part]) -> datetime | None:
    """Give the time from which on one of them must not be posted any more."""
    earliest = None
    for part in parts:
        deadline = part.call.expires_at
        if deadline is not None and (earliest is None or deadline < earliest):
            earliest = deadline
    return earliest


def _sessions(parts: Sequence[_Part]) -> dict[asyncio.Event, Acknowledger]:
    """List the sessions that parts came over, with a receipt of each."""
    return {part.acknowledger.broken: part.acknowledger for part in parts if part.acknowledger is not None}
