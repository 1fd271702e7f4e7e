"""Calls with equal contents share a call.

Calls that are ready in the same turn of the loop, or while the batch waits for a slot, join one batch. There is no
timer: where slots are free, a call goes at once. A call that failed or was denied before goes alone, since it may be
the cause; so does a probe. Each batch is sent by a task of its own, so that the end of one member's task does not
affect the others.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from service.core.attempt.call import OmniCall, Send, content_key, fits, is_too_large, merge
from service.core.attempt.outcome import NOT_SENT, REFUSED_TOGETHER, Accepted, Denied, Outcome, Rejected, Unknown
from service.worker.cancellation import Cancellations

_Member = tuple[OmniCall, "asyncio.Future[Outcome]"]


@dataclass(eq=False, slots=True)
class _Batch:
    """Calls that will be one."""

    key: bytes
    members: list[_Member] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    task: asyncio.Task[None] | None = None


class Batching:
    """Puts calls together and sends them."""

    def __init__(self, send: Send, most: int, is_closed: Callable[[], bool]) -> None:
        """Put at most `most` messages into a call; `is_closed`: whether the circuit breaker is."""
        self._send = send
        self._most = most
        self._is_closed = is_closed
        self._open: dict[bytes, _Batch] = {}
        self._unsealed: set[_Batch] = set()
        """Open ones, and full ones that have not got their slot."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, call: OmniCall) -> Outcome:
        """Send a call, with others if possible."""
        key = content_key(call) if call.is_first and not call.is_alone else None
        if key is None:
            return await self._send(call)
        ids, batch = {message.message_id for message in call.messages}, self._open.get(key)
        if batch is None or not fits(batch.ids, ids, self._most):
            batch = self._open[key] = _Batch(key)
            self._unsealed.add(batch)
            batch.task = asyncio.create_task(self._run(batch, call))
            self._tasks.add(batch.task)
            batch.task.add_done_callback(self._tasks.discard)
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        batch.members.append((call, outcome))
        batch.ids |= ids
        try:
            return await outcome
        except asyncio.CancelledError:
            if batch.task is not None and not _waiting(batch.members):
                self._close(batch)
                batch.task.cancel()
            raise

    def drop(self, is_concerned: Callable[[OmniCall], bool]) -> None:
        """Give up calls that have not been sealed into a batch."""
        for batch in tuple(self._unsealed):
            for call, waiting in _waiting(batch.members):
                if is_concerned(call):
                    waiting.set_result(NOT_SENT)
            if batch.task is not None and batch.members and not _waiting(batch.members):
                self._close(batch)
                batch.task.cancel()

    async def _run(self, batch: _Batch, first: OmniCall) -> None:
        """Send a batch, and give each member its outcome."""

        def seal() -> OmniCall:
            self._close(batch)
            # Those that were cancelled are not posted.
            batch.members = [member for member in batch.members if not member[1].done()]
            calls = [call for call, _ in batch.members]
            if not calls:
                return first.guarded(lambda: False)
            return calls[0] if len(calls) == 1 else merge(calls)

        try:
            outcome = await self._send(first.guarded(first.may_send, seal=seal))
            await self._distribute(batch.members, outcome)
        except Exception as error:  # noqa: BLE001 - a defect of ours, which is reported with each member's delivery
            several = len(batch.members) > 1 or any(call.members for call, _ in batch.members)
            for _, waiting in _waiting(batch.members):
                # OMNI may have taken the call, and another member may have caused the defect.
                waiting.set_result(Unknown("exception")) if several else waiting.set_exception(error)
        finally:
            self._close(batch)
            for _, waiting in batch.members:
                waiting.cancel()

    async def _distribute(self, members: Sequence[_Member], outcome: Outcome) -> None:
        """Give members their outcome. A call that was rejected because of one of them is sent again in halves.

        Nothing of a rejected call was taken, so a half that is not sent any more has not been attempted either.
        """
        is_divisible = not isinstance(outcome, Accepted) and self._may_be_caused_by_one(outcome)
        if len(members) == 1 or not is_divisible:
            for call, waiting in members:
                if not waiting.done():
                    waiting.set_result(REFUSED_TOGETHER if is_divisible and call.members else outcome)
            return
        middle = len(members) // 2
        for half in (members[:middle], members[middle:]):
            if due := _waiting(half):
                calls = [call.measured() for call, _ in due]
                await self._distribute(due, await self._send(merge(calls)))

    def _may_be_caused_by_one(self, outcome: Outcome) -> bool:
        """Whether one request of several may be why a call was not taken.

        A denial may concern one request only while the breaker stays closed, which is while other calls succeed.
        """
        if isinstance(outcome, Denied):
            return self._is_closed()
        return isinstance(outcome, Rejected) or is_too_large(outcome)

    def _close(self, batch: _Batch) -> None:
        """Let no more calls join."""
        self._unsealed.discard(batch)
        if self._open.get(batch.key) is batch:
            del self._open[batch.key]


def _waiting(members: Sequence[_Member]) -> list[_Member]:
    return [member for member in members if not member[1].done()]


def batching(send: Send, most: int | None, is_closed: Callable[[], bool], orders: Cancellations | None = None) -> Send:
    """Share calls of at most `most` messages; None: every call goes alone."""
    if most is None:
        return send
    batches = Batching(send, most, is_closed)
    if orders is not None:
        orders.listen(lambda: batches.drop(orders.concerns))
    return batches.send
