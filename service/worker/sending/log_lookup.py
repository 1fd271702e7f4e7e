"""Lookups in OMNI's logs, gathered: many messages in one query, and no more queries than OMNI allows.

The urgent lane's questions are asked first, and questions of both lanes share a query. One whose ids had no answer in a
query of their own, while others had, shares none, and waits for no other: see `core.attempt.log_sharing`.

A lookup about an ambiguous attempt waits for its answer. A best-effort lookup that would have to wait long is not made:
the request is then scheduled for retry and does not take the place of another.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from service.core.attempt.log_access import GRANTED, record_answer
from service.core.attempt.log_sharing import WHOLE, may_concern_one, record_lookup
from service.core.attempt.lookup import Answered, Forbidden, LookupResult, Unanswered
from service.core.history import LookupPurpose
from service.core.lanes import LaneQueue
from service.core.omni.answer import LogEntry
from service.core.topology import LANES, NORMAL, Lane

MOST_IDS: Final = 100
"""In one query: each id may have an entry for every step of its scenario, and an answer has at most a thousand."""
LONGEST_QUERY: Final = 6000
"""Bytes: servers commonly refuse a request line of more than 8 kB."""
SOON: Final = 10.0
"""Seconds that a best-effort lookup may wait for others."""
_LONGEST_PAUSE: Final = 60.0
_ALONE: Final = 60.0
"""Seconds for which an id that had no answer alone is asked about only when nothing else is."""
_MOST_ALONE: Final = 10_000

Ask = Callable[[tuple[str, ...]], Awaitable[LookupResult]]


@dataclass(slots=True, eq=False)
class _Query:
    """Ids that fit in one query, together with others or alone."""

    ids: tuple[str, ...]
    size: int
    """Bytes in the request line; `LONGEST_QUERY` leaves no room for others."""
    lane: Lane
    answer: asyncio.Future[LookupResult] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class LogLookup:
    """Asks OMNI's logs, at most `rate` times a minute."""

    def __init__(
        self,
        ask: Ask,
        rate: float,
        on_result: Callable[[LookupResult], None],
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        """`clock` is monotonic, in seconds. `chance` gives numbers from [0, 1)."""
        self._ask = ask
        self._pause = 60 / rate
        self._on_result = on_result
        self._waiting: LaneQueue[_Query] = LaneQueue()
        self._task: asyncio.Task[None] | None = None
        self._divided: set[asyncio.Task[None]] = set()
        self._next = 0.0
        self._access = GRANTED
        self._clock = clock
        self._chance = chance
        self._sharing = WHOLE
        self._alone: OrderedDict[str, float] = OrderedDict()
        """Ids that had no answer in a query of their own while others had, with the time of that."""

    async def look(self, ids: tuple[str, ...], purpose: LookupPurpose, lane: Lane = NORMAL) -> LookupResult:
        """Ask about messages, in as many queries as necessary.

        The next query is made when the one before it is answered. So a request with many messages takes turns with
        others, and does not make them wait until all of its queries are answered.
        """
        if purpose == "best_effort" and self._wait(lane) > SOON:
            return Unanswered("busy")
        whole = Answered({})
        for part, size in _parts(ids):
            if self._access.denied_until is not None and self._clock() < self._access.denied_until:
                return Forbidden("http_403")
            is_alone = bool(self._alone) and any(one in self._alone for one in part)
            if is_alone and self._wait(NORMAL) > self._longest_wait(part):
                return Unanswered("busy")
            lookup_result = await self._put(_Query(part, LONGEST_QUERY if is_alone else size, lane))
            if not isinstance(lookup_result, Answered):
                return lookup_result
            whole = _joined(whole, lookup_result)
        return whole

    def _wait(self, lane: Lane) -> float:
        """Return for how many seconds a question would wait."""
        lanes = LANES if lane is NORMAL else (lane,)
        ahead = sum(len(query.ids) for one in lanes for query in self._waiting.waiting(one)) / MOST_IDS
        return self._next - self._clock() + ahead * self._pause

    def _longest_wait(self, ids: tuple[str, ...]) -> float:
        """Return for how many seconds a question about ids that had no answer alone may wait."""
        latest = max(self._alone.get(one, 0.0) for one in ids)
        return 0.0 if self._clock() - latest < _ALONE else SOON

    async def _put(self, query: _Query) -> LookupResult:
        self._waiting.append(query.lane, query)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await query.answer

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._next - self._clock())
            self._next = self._clock() + self._pause
            asked = _fill(self._waiting, self._sharing.most)
            ids = _ids_of(asked)
            lookup_result = await self._ask(ids)
            again = self._again(asked, lookup_result)
            lookup_result = self._record(lookup_result)
            for query in reversed(again):
                self._waiting.put_back(query.lane, query)
            asked = [query for query in asked if query not in again]
            if isinstance(lookup_result, Answered) and lookup_result.incomplete and len(ids) > 1:
                self._ask_again(asked)
            else:
                _answer(asked, lookup_result)

    def _again(self, asked: list[_Query], lookup_result: LookupResult) -> list[_Query]:
        """Return the questions that are asked again at once, since one of them may have left the others unanswered."""
        now = self._clock()
        self._sharing, following = record_lookup(self._sharing, lookup_result, len(asked), now)
        if following != "settle":
            # Any one: in turn, those of two producers that alternate could all be of the one that is to blame.
            sample = asked[int(self._chance() * len(asked))]
            return asked if following == "divide" else [sample]
        if isinstance(lookup_result, Answered):
            for one in _ids_of(asked) if self._alone else ():
                self._alone.pop(one, None)
        elif may_concern_one(lookup_result):
            self._note_alone(asked, now)
        return []

    def _note_alone(self, asked: list[_Query], now: float) -> None:
        """Remember a question that had no answer; if the logs have answered nothing lately, none is to blame."""
        if not self._sharing.is_open(now):
            self._alone.clear()
            return
        for one in _ids_of(asked):
            self._alone[one] = now
            self._alone.move_to_end(one)
        while len(self._alone) > _MOST_ALONE:
            self._alone.popitem(last=False)

    def _ask_again(self, asked: list[_Query]) -> None:
        """Ask again what had no complete answer: each lane's question by itself, or the one lane's in halves."""
        lanes = [lane for lane in LANES if any(query.lane is lane for query in asked)]
        for lane in lanes:
            task = asyncio.create_task(self._ask_in_parts([one for one in asked if one.lane is lane], len(lanes) == 1))
            self._divided.add(task)
            task.add_done_callback(self._divided.discard)

    async def _ask_in_parts(self, queries: list[_Query], in_halves: bool) -> None:  # noqa: FBT001 - one call
        """Put each part in line again, where questions of the urgent lane go first."""
        ids, whole = _ids_of(queries), Answered({})
        middle = len(ids) // 2 if in_halves else 0
        for part in filter(None, (ids[:middle], ids[middle:])):
            lookup_result = await self._put(_Query(part, LONGEST_QUERY, queries[0].lane))
            if not isinstance(lookup_result, Answered):
                _answer(queries, lookup_result)
                return
            whole = _joined(whole, lookup_result)
        _answer(queries, whole)

    def _record(self, answer: LookupResult) -> LookupResult:
        self._access, lookup_result = record_answer(self._access, answer, self._clock())
        self._on_result(lookup_result)
        if isinstance(lookup_result, Unanswered) and lookup_result.retry_after is not None:
            self._next = max(self._next, self._clock() + min(_LONGEST_PAUSE, lookup_result.retry_after))
        return lookup_result


def _parts(ids: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Divide ids into parts that fit into a query; gives each with its size in bytes."""
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


def _ids_of(queries: list[_Query]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for query in queries for one in query.ids))


def _answer(queries: list[_Query], lookup_result: LookupResult) -> None:
    for query in queries:
        if not query.answer.done():  # its task may have been cancelled
            query.answer.set_result(lookup_result)


def _fill(waiting: LaneQueue[_Query], most: int) -> list[_Query]:
    """Take as many queries as fit into one, and no more than `most`."""
    taken: list[_Query] = []
    count = size = 0
    while waiting and len(taken) < most:
        query = waiting.first
        count, size = count + len(query.ids), size + query.size
        if taken and (count > MOST_IDS or size > LONGEST_QUERY):
            break
        taken.append(waiting.take(lambda query: len(query.ids)))
    return taken


def _joined(one: Answered, other: Answered) -> Answered:
    """Merge the results about different messages."""
    entries: dict[str, tuple[LogEntry, ...]] = {**one.entries, **other.entries}
    return Answered(entries, one.incomplete | other.incomplete)
