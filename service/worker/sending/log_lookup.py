"""Looks into OMNI's logs, gathered: many messages in one question, and no more questions than OMNI allows.

Whoever is in doubt waits for an answer. A best-effort lookup is told at once that there is none where it would have to
wait long: then the request is put aside, and does not keep the place of another.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from service.core.attempt.log_access import OPEN, LogAccess, hear
from service.core.attempt.lookup import Answered, Forbidden, LookupPurpose, LookupResult, Unanswered
from service.core.omni.answer import LogEntry

MOST_IDS: Final = 100
"""In one question: each may have an entry for every step of its scenario, and an answer holds a thousand."""
LONGEST_QUERY: Final = 6000
"""Bytes: servers commonly refuse a request line of more than 8 kB."""
SOON: Final = 10.0
"""Seconds that a best-effort lookup may wait for those before it."""
_LONGEST_PAUSE: Final = 60.0

Ask = Callable[[tuple[str, ...]], Awaitable[LookupResult]]


@dataclass(slots=True)
class _Question:
    """Ids that fit in one question, with those of others or alone."""

    ids: tuple[str, ...]
    size: int
    answer: asyncio.Future[LookupResult] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Lookout:
    """Asks, at most `rate` times a minute."""

    def __init__(
        self,
        ask: Ask,
        rate: float,
        on_finding: Callable[[LookupResult], None],
        access: LogAccess = OPEN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._pause = 60 / rate
        self._on_finding = on_finding
        self._waiting: list[_Question] = []
        self._task: asyncio.Task[None] | None = None
        self._next = 0.0
        self._access = access
        self._clock = clock

    async def look(self, ids: tuple[str, ...], purpose: LookupPurpose) -> LookupResult:
        """Ask about messages, in as many questions as it takes.

        The next question is put when the one before it is answered: so a request with many messages takes turns with
        others, and does not keep them waiting until all of its questions are answered.
        """
        if purpose == "best_effort" and self._is_busy():
            return Unanswered("busy")
        whole = Answered({})
        for part, size in _parts(ids):
            if self._access.closed_until is not None and self._clock() < self._access.closed_until:
                return Forbidden("http_403")
            lookup_result = await self._put(_Question(part, size))
            if not isinstance(lookup_result, Answered):
                return lookup_result
            whole = _joined(whole, lookup_result)
        return whole

    def _is_busy(self) -> bool:
        ahead = sum(len(question.ids) for question in self._waiting) / MOST_IDS
        return self._next - self._clock() + ahead * self._pause > SOON

    async def _put(self, question: _Question) -> LookupResult:
        self._waiting.append(question)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await question.answer

    async def _work(self) -> None:
        while self._waiting:
            await self._until_next()
            asked, self._waiting = _fill(self._waiting)
            lookup_result = await self._find(tuple(dict.fromkeys(one for question in asked for one in question.ids)))
            for question in asked:
                if not question.answer.done():  # whoever asked may have been cancelled
                    question.answer.set_result(lookup_result)

    async def _until_next(self) -> None:
        await asyncio.sleep(self._next - self._clock())
        self._next = self._clock() + self._pause

    async def _find(self, ids: tuple[str, ...]) -> LookupResult:
        """Ask one question; where its answer is not complete, ask again in halves."""
        lookup_result = self._heed(await self._ask(ids))
        if not isinstance(lookup_result, Answered) or not lookup_result.incomplete or len(ids) == 1:
            return lookup_result
        whole = Answered({})
        for half in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
            await self._until_next()
            lookup_result = await self._find(half)
            if not isinstance(lookup_result, Answered):
                return lookup_result
            whole = _joined(whole, lookup_result)
        return whole

    def _heed(self, said: LookupResult) -> LookupResult:
        self._access, lookup_result = hear(self._access, said, self._clock())
        self._on_finding(lookup_result)
        if isinstance(lookup_result, Unanswered) and lookup_result.retry_after is not None:
            self._next = max(self._next, self._clock() + min(_LONGEST_PAUSE, lookup_result.retry_after))
        return lookup_result


def _parts(ids: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Cut into parts that fit."""
    part: list[str] = []
    size = 0
    for one in ids:
        length = len(quote(one, safe="")) + len("&messageId=")
        if part and (len(part) == MOST_IDS or size + length > LONGEST_QUERY):
            yield tuple(part), size
            part, size = [], 0
        part.append(one)
        size += length
    yield tuple(part), size


def _fill(waiting: list[_Question]) -> tuple[list[_Question], list[_Question]]:
    """Take as many from the front as fit in one question."""
    count = size = taken = 0
    for question in waiting:
        if taken and (count + len(question.ids) > MOST_IDS or size + question.size > LONGEST_QUERY):
            break
        count, size, taken = count + len(question.ids), size + question.size, taken + 1
    return waiting[:taken], waiting[taken:]


def _joined(one: Answered, other: Answered) -> Answered:
    """Make one of the findings about different messages."""
    entries: dict[str, tuple[LogEntry, ...]] = {**one.entries, **other.entries}
    return Answered(entries, one.incomplete | other.incomplete)
