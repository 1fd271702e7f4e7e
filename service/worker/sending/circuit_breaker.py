"""The circuit breaker in use: who may make a call now, who waits, and whose call is the probe.

A call waits here for the end of a pause before it takes a slot, so that a paused call never holds a slot that the probe
needs. The consumer is not cancelled for a pause: the broker would redeliver what was on its way to it, and a redelivery
may have been posted by a worker that died. A call that has waited for long is not attempted and returns through a delay
queue, so no delivery is held for as long as the broker allows (`consumer_timeout`, half an hour).

This file has more than 250 lines since permissions and the conditions for using them have to be read together.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from service.core.attempt.breaker import (
    CLOSED,
    CircuitBreaker,
    advance,
    probe_kind,
    probe_order,
    read_signal,
    record_outcome,
    seconds_since_healthy,
)
from service.core.attempt.call import OmniCall, Send
from service.core.attempt.outcome import CANCELLED, DUPLICATE, NOT_SENT, MaySend, NotAttempted, Outcome
from service.core.topology import LANES, NORMAL, URGENT, Lane
from service.worker.cancellation import Cancellations
from service.worker.telemetry import MEMORY_UNAVAILABLE, RESULTS_STALLED

STOPPING: Final = "stopping"
LONGEST_WAIT: Final = 60.0
"""Seconds that a call waits for the end of a pause. A worker that dies meanwhile leaves its deliveries ambiguous."""
_LAST_MOMENT: Final = 5.0
"""A call that expires within so many seconds after its wait waits for that: a delay queue would return it too late."""
_SHORTEST_TIMER: Final = 0.001
_STUCK: Final = 60.0
"""Seconds by which a pause may outlive its deadline before the worker counts as stuck."""
_EXPIRED: Final = NotAttempted("expired")


class Permission:
    """Permission to make a call. That of a probe has to be given back, or no other call can become the probe."""

    def __init__(self, guard: "Guard", *, is_probe: bool) -> None:
        self.is_probe = is_probe
        self._guard = guard

    def is_valid(self) -> bool:
        """Return whether a call may be made with it at this moment."""
        guard = self._guard
        return guard.is_closed or (self.is_probe and guard.is_current(self))


class Guard:
    """Holds the circuit breaker, gives out permissions, and wakes those that wait when anything changes."""

    def __init__(
        self,
        on_change: Callable[[CircuitBreaker, float], None],
        on_stall: Callable[[bool], None],
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        """`on_change` gets the breaker and the seconds until the next probe. `clock` is monotonic, in seconds."""
        self.clock = clock
        self.breaker = CLOSED
        self.is_stalled = False
        self.is_stopped = False
        self.is_memory_missing = False
        """Whether a shared memory is required and not available."""
        self.is_closed = True
        """Whether every call may be made: the breaker is closed, results are published, the worker does not stop."""
        self._jitter = jitter
        self._on_change = on_change
        self._on_stall = on_stall
        self.shared = Permission(self, is_probe=False)
        self._probe: Permission | None = None
        self._waiting = Counter[int]()
        """How many calls of each kind wait (`probe_kind`)."""
        self._timer: asyncio.TimerHandle | None = None
        self._changed_at = clock()
        self._changed = {lane: asyncio.Event() for lane in LANES}

    @property
    def pause(self) -> str | None:
        """Why no calls are made; None if they are."""
        if self.is_stalled:
            return RESULTS_STALLED
        return MEMORY_UNAVAILABLE if self.is_memory_missing else self.breaker.cause or None

    @property
    def is_stuck(self) -> bool:
        """Whether a pause has outlived its deadline by a minute, or calls wait and none has become the probe."""
        overdue = self.clock() - _STUCK
        if self.breaker.state == "open":
            return self.breaker.until is not None and self.breaker.until < overdue
        is_wanted = self.breaker.state == "half_open" and self._waiting.total() > 0 and not self._is_held
        return is_wanted and self._probe is None and self._changed_at < overdue

    @property
    def seconds_since_healthy(self) -> float:
        """How long ago a call last showed that OMNI takes our calls."""
        return seconds_since_healthy(self.breaker, self.clock())

    def record(self, outcome: Outcome, denials: int = 0) -> None:
        """Record a call that was made: once, however many requests share it. `denials`: of its messages before."""
        if signal := read_signal(outcome, again=denials > 0):
            self._set(record_outcome(self.breaker, signal, self.clock(), self._jitter()))

    def advance(self) -> None:
        """Let a probe through if it is time. The timer calls it, and the watchdog, which does not rely on the timer."""
        self._set(advance(self.breaker, self.clock()))

    def retry_denied(self) -> None:
        """Let a probe through now if our credentials or set-up were refused: they have been replaced."""
        if self.breaker.state == "open" and self.breaker.denied:
            self._set(replace(self.breaker, until=self.clock()))
            self.advance()

    def set_stalled(self, *, stalled: bool) -> None:
        """Make no calls while results cannot be published: their outcomes would be lost if the worker died."""
        if stalled != self.is_stalled:
            self.is_stalled = stalled
            self._on_stall(stalled)
            self._wake()

    def set_memory_missing(self, *, missing: bool) -> None:
        """Make no calls while a shared memory that is required is not available."""
        if missing != self.is_memory_missing:
            self.is_memory_missing = missing
            self._wake()

    def stop(self) -> None:
        """Allow no further call. Not to be undone."""
        self.is_stopped = True
        self._wake()

    def is_current(self, permission: Permission) -> bool:
        """Return whether a permission is the probe's, and the probe may be sent."""
        return self._probe is permission and not self._is_held

    def take_back(self, permission: Permission) -> None:
        """Free the place of the probe. A probe that ended without an outcome would otherwise stop sending for ever."""
        if self._probe is permission:
            self._probe = None
            self._wake()

    def notice(self) -> None:
        """Let those that wait see whether they still want a permission, and urgent ones get slots first.

        An urgent call takes one turn of the loop to join a batch, so normal calls are woken a turn later.
        """
        changed, self._changed = self._changed, {lane: asyncio.Event() for lane in LANES}
        changed[URGENT].set()
        asyncio.get_running_loop().call_soon(changed[NORMAL].set)

    async def enter(
        self,
        until: float,
        *,
        denied_before: bool = False,
        is_urgent: bool = False,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Permission | NotAttempted:
        """Wait for permission until `until` by the clock; gives why there is none. `is_wanted`: whether to wait on.

        `probe_order` says which call is the probe. While results are stalled the wait does not end: a request could not
        be published to a delay queue either.
        """
        kind = probe_kind(is_urgent=is_urgent, denied_before=denied_before)
        self._waiting[kind] += 1
        try:
            while not self.is_stopped:
                if not is_wanted():
                    return CANCELLED
                if permission := self._permit(kind):
                    return permission
                left = until - self.clock()
                if left <= 0 and not self.is_stalled:
                    return NotAttempted(self.pause or self.breaker.cause)
                await self._change(URGENT if is_urgent else NORMAL, None if self.is_stalled else left)
            return NotAttempted(STOPPING)
        finally:
            self._waiting[kind] -= 1
            if not self._waiting[kind] and self.breaker.state == "half_open":
                self._wake()  # those of another kind may be the probe now

    def _permit(self, kind: int) -> Permission | None:
        if self.is_closed:
            return self.shared
        may_probe = self.breaker.state == "half_open" and self._probe is None and not self._is_held
        if may_probe and kind == next(one for one in probe_order(self.breaker.openings) if self._waiting[one]):
            self._probe = Permission(self, is_probe=True)
            return self._probe
        return None

    def _set(self, breaker: CircuitBreaker) -> None:
        before, self.breaker = self.breaker, breaker
        if breaker.state != before.state:
            self._probe = None
            self._on_change(breaker, self._seconds_left())
            self._wake()
        if breaker.until != before.until:
            self._set_timer()

    def _set_timer(self) -> None:
        """Call `advance` when an open breaker's time comes. If the timer fires early, it is set again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.breaker.state == "open":
            wait = max(self._seconds_left(), _SHORTEST_TIMER)
            self._timer = asyncio.get_running_loop().call_later(wait, self._fire)

    def _fire(self) -> None:
        self.advance()
        self._set_timer()

    def _seconds_left(self) -> float:
        return 0.0 if self.breaker.until is None else max(0.0, self.breaker.until - self.clock())

    async def _change(self, lane: Lane, seconds: float | None) -> None:
        """Wait until anything changes, or for so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if seconds is None else max(seconds, _SHORTEST_TIMER)):
                await self._changed[lane].wait()

    @property
    def _is_held(self) -> bool:
        """Whether no call may be made, whatever OMNI's state is."""
        return self.is_stalled or self.is_stopped or self.is_memory_missing

    def _wake(self) -> None:
        self.is_closed = self.breaker.state == "closed" and not self._is_held
        self._changed_at = self.clock()
        self.notice()


def guarded(send: Send, guard: Guard, now: Callable[[], datetime], orders: Cancellations | None = None) -> Send:
    """Send a call only while everything allows it: the breaker, its deadline, its session, the orders to cancel.

    Each of these is asked again immediately before the bytes are written (`may_send`), since a slot, a token or a
    connection may take seconds. Without that last check, a delivery that another worker has by then would be posted
    twice. A call that was not sent for that reason starts over here.

    Raises `DeliveryLostError` if the session ended: then not even the expiry may be reported here.
    """
    if orders is not None:
        orders.listen(guard.notice)
    return _Guarded(send, guard, now, orders).send


class _Guarded:
    """See `guarded`."""

    def __init__(self, send: Send, guard: Guard, now: Callable[[], datetime], orders: Cancellations | None) -> None:
        self._send = send
        self._guard = guard
        self._now = now
        self._orders = orders
        self._latest: tuple[object, MaySend] = (None, lambda: False)

    async def send(self, call: OmniCall) -> Outcome:
        """Send a call, or return why it was not attempted. `NOT_SENT`: its members must be sent one by one."""
        guard = self._guard
        deadline = guard.clock() + LONGEST_WAIT
        while True:
            is_cancelled = self._orders is not None and self._orders.concerns(call)
            if call.members and (not guard.is_closed or is_cancelled):
                return NOT_SENT  # each member waits by itself, since a probe must concern one request only
            if is_cancelled:
                await call.ownership.require()
                return CANCELLED
            entered = guard.shared if guard.is_closed else await self._enter(call, deadline)
            if isinstance(entered, NotAttempted):
                return entered
            try:
                may_send = self._may_send(call, entered)
                if not may_send():
                    await call.ownership.require()  # before the expiry: another worker may have posted it in time
                    if self._is_late(call):
                        return _EXPIRED
                outcome = await self._send(call.guarded(may_send, is_alone=entered.is_probe))
            finally:
                if entered.is_probe:
                    guard.take_back(entered)
            if outcome is DUPLICATE and call.members:
                return NOT_SENT
            is_innocent = outcome is DUPLICATE and (call.record is None or not call.record.is_refused)
            if outcome is not NOT_SENT and not is_innocent:
                return outcome

    async def _enter(self, call: OmniCall, deadline: float) -> Permission | NotAttempted:
        """Wait for permission until the deadline, or until the call expires."""
        guard = self._guard
        while True:
            until = _end_of_wait(call, deadline, guard.clock(), self._now())
            entered = await guard.enter(
                until,
                denied_before=call.denials > 0,
                is_urgent=call.lane is URGENT,
                is_wanted=lambda: self._orders is None or not self._orders.concerns(call),
            )
            if isinstance(entered, Permission):
                return entered
            await call.ownership.require()
            if entered is CANCELLED:
                return CANCELLED
            if self._is_late(call):
                return _EXPIRED
            if guard.is_stopped or guard.clock() >= deadline:
                return entered

    def _may_send(self, call: OmniCall, permission: Permission) -> MaySend:
        """Return what is asked before writing; the same object for equal conditions, so that a batch asks once."""
        guard, now, expires_at, is_certain = self._guard, self._now, call.expires_at, call.ownership.is_certain
        if permission.is_probe or expires_at is not None:
            return lambda: permission.is_valid() and (expires_at is None or now() < expires_at) and is_certain()
        if self._latest[0] is not call.ownership:
            self._latest = (call.ownership, lambda: guard.is_closed and is_certain())
        return self._latest[1]

    def _is_late(self, call: OmniCall) -> bool:
        return call.expires_at is not None and call.expires_at <= self._now()


def _end_of_wait(call: OmniCall, deadline: float, clock: float, now: datetime) -> float:
    """Return when a call's wait for the end of a pause is over, by the clock."""
    if call.expires_at is None:
        return deadline
    expiry = clock + (call.expires_at - now).total_seconds()
    return expiry if expiry < deadline + _LAST_MOMENT else deadline
