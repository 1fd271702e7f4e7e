"""Calls to OMNI: who may make one when, which are made as one, and what is learnt from how they end.

A call waits at the turnstile and then for a slot. While it waits for that, others with the same content join it, up to
so many messages; there is no timer, so where slots are free each goes alone and at once. One that failed before goes
alone, since it may be why.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from service.app.custody import SESSION, HandedBackError
from service.app.throttle import Throttle
from service.app.turnstile import Turnstile
from service.edges.log import get_logger
from service.edges.metric import Metrics
from service.rules.coalesce import content_key, merge
from service.rules.gate import read_signal
from service.words.call import OmniCall
from service.words.outcome import Held, Outcome, Rejected, Unknown

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
    """One delivery's call, and what it waits for."""

    call: OmniCall
    session: asyncio.Event | None
    answer: asyncio.Future[Outcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(eq=False, slots=True)
class _Batch:
    """Calls that will be made as one; the first member's task makes it."""

    members: list[_Member]
    ids: set[str]


class Caller:
    """Makes attempts."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._open: dict[bytes, _Batch] = {}
        self._log = get_logger()

    async def attempt(self, call: OmniCall) -> Outcome:
        """Make one attempt, alone or with others. Raises `HandedBackError`."""
        try:
            while True:
                if held := await self._tools.turnstile.enter():
                    return held
                member, key = _Member(call, SESSION.get()), self._key(call)
                if not self._joins(member, key):
                    return await self._lead(member, key)
                if outcome := await self._follow(member):
                    return outcome
        finally:
            self._tools.turnstile.leave()

    def _key(self, call: OmniCall) -> bytes | None:
        """Tell which calls it may share; nothing where it goes alone."""
        may_wait = self._tools.most and call.attempt == 1 and self._tools.throttle.is_full
        return content_key(call) if may_wait else None

    async def _follow(self, member: _Member) -> Outcome | None:
        """Wait for whoever leads; gives nothing if that one has gone, and somebody has to take over."""
        try:
            await asyncio.wait({member.answer})
        except asyncio.CancelledError:
            member.answer.cancel()
            raise
        return None if member.answer.cancelled() else member.answer.result()

    def _joins(self, member: _Member, key: bytes | None) -> bool:
        is_probe = self._tools.turnstile.gate.mode != "open"
        batch = self._open.get(key) if key is not None and not is_probe else None
        ids = {message.message_id for message in member.call.messages}
        if batch is None or len(batch.ids) + len(ids) > (self._tools.most or 0) or batch.ids & ids:
            return False
        batch.members.append(member)
        batch.ids |= ids
        return True

    async def _lead(self, member: _Member, key: bytes | None) -> Outcome:
        batch = _Batch([member], {message.message_id for message in member.call.messages})
        if key is not None:
            self._open[key] = batch
        try:
            await self._serve(batch, key)
        finally:
            self._close(batch, key)
            for left in batch.members:
                left.answer.cancel()
        return member.answer.result()

    async def _serve(self, batch: _Batch, key: bytes | None) -> None:
        held: Held | None = None
        while held is None:
            async with self._tools.throttle.slot():
                self._close(batch, key)
                await self._tools.throttle.pace(len(batch.ids))
                if self._tools.turnstile.passes():
                    if members := [member for member in batch.members if self._is_due(member)]:
                        await self._post(members)
                    return
            held = await self._tools.turnstile.enter()  # it was closed while we waited for the slot
        for member in batch.members:
            _answer(member, held)

    def _close(self, batch: _Batch, key: bytes | None) -> None:
        if key is not None and self._open.get(key) is batch:
            del self._open[key]

    def _is_due(self, member: _Member) -> bool:
        """Leave out those who have gone, whose delivery is no longer ours, or whose time is up."""
        if member.answer.done():
            return False
        if member.session is not None and member.session.is_set():
            member.answer.set_exception(HandedBackError())
            return False
        if member.call.expires_at is not None and member.call.expires_at <= self._tools.now():
            member.answer.set_result(Held("expired"))
            return False
        return True

    async def _post(self, members: Sequence[_Member]) -> None:
        """Make the call; one that is refused as a whole is made again in halves, until the wrong ones stand alone."""
        for member in members:
            self._observe_first(member.call)
        try:
            outcome = await self._call(merge([member.call for member in members]), len(members))
        except BaseException:
            for member in members:  # ours is told by what is raised; for all others it is a call without an answer
                _answer(member, Unknown("exception"))
            raise
        if isinstance(outcome, Rejected) and len(members) > 1:
            middle = len(members) // 2
            await self._post(members[:middle])
            await self._post(members[middle:])
            return
        for member in members:
            _answer(member, outcome)

    async def _call(self, call: OmniCall, requests: int) -> Outcome:
        metrics = self._tools.metrics
        started = time.perf_counter()
        with metrics.attempts_in_flight.track_inprogress():
            outcome = await self._tools.post(call)
        seconds = time.perf_counter() - started
        self._tools.throttle.notice(outcome, seconds)
        if signal := read_signal(outcome):
            self._tools.turnstile.notice(signal)
        name = type(outcome).__name__.lower()
        metrics.attempts.labels(name).inc()
        metrics.attempt_seconds.observe(seconds)
        self._log.info(
            "attempt.made",
            request_id=call.request_id,
            requests=requests,
            attempt=call.attempt,
            messages=len(call.messages),
            outcome=name,
            cause=getattr(outcome, "cause", None),
            seconds=round(seconds, 4),
        )
        return outcome

    def _observe_first(self, call: OmniCall) -> None:
        if call.attempt != 1:
            return
        metrics = self._tools.metrics
        if call.published is not None:
            metrics.queue_seconds.observe(max(0.0, (self._tools.now() - call.published).total_seconds()))
        if call.payload.sms is not None:
            size = call.payload.sms.size
            metrics.sms_parts.labels(size.encoding).inc(size.parts * len(call.messages))
        if call.payload.facebook is not None:
            metrics.legacy.labels("facebook").inc(len(call.messages))


def _answer(member: _Member, outcome: Outcome) -> None:
    if not member.answer.done():
        member.answer.set_result(outcome)
