"""Looks into OMNI's logs, gathered: many messages in one question, and no more questions than OMNI allows.

Whoever is in doubt waits for an answer. Whoever only makes sure is told at once that there is none when too many
wait already: a retry must not queue up behind doubts.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from service.words.finding import Answered, Finding, Forbidden, Purpose, Unanswered
from service.words.omni.answer import LogEntry

MOST_IDS: Final = 100
"""In one question: each may have an entry for every step of its scenario, and an answer holds a thousand."""
LONGEST_QUERY: Final = 6000
"""Bytes: servers commonly refuse a request line of more than 8 kB."""
_FORBIDDEN_FOR: Final = 300.0
_LONGEST_PAUSE: Final = 60.0

Ask = Callable[[tuple[str, ...]], Awaitable[Finding]]


@dataclass(slots=True)
class _Question:
    """Ids that fit in one question, with those of others or alone."""

    ids: tuple[str, ...]
    size: int
    answer: asyncio.Future[Finding] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Lookout:
    """Asks, at most `rate` times a minute."""

    def __init__(self, ask: Ask, rate: float, on_finding: Callable[[Finding], None]) -> None:
        self._ask = ask
        self._pause = 60 / rate
        self._on_finding = on_finding
        self._waiting: list[_Question] = []
        self._task: asyncio.Task[None] | None = None
        self._next = 0.0
        self._forbidden: tuple[float, Forbidden] | None = None

    async def look(self, ids: tuple[str, ...], purpose: Purpose) -> Finding:
        """Ask about messages; a glance is not taken when others fill the next question."""
        if self._forbidden is not None and time.monotonic() < self._forbidden[0]:
            return self._forbidden[1]
        if purpose == "glance" and sum(len(question.ids) for question in self._waiting) + len(ids) > MOST_IDS:
            return Unanswered("busy")
        questions = [_Question(part, size) for part, size in _parts(ids)]
        self._waiting += questions
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return _merged([await question.answer for question in questions])

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._next - time.monotonic())
            self._next = time.monotonic() + self._pause
            asked, self._waiting = _fill(self._waiting)
            finding = await self._ask(tuple(dict.fromkeys(one for question in asked for one in question.ids)))
            self._heed(finding)
            for question in asked:
                if not question.answer.done():  # whoever asked may have been cancelled
                    question.answer.set_result(finding)

    def _heed(self, finding: Finding) -> None:
        self._on_finding(finding)
        match finding:
            case Forbidden():
                self._forbidden = time.monotonic() + _FORBIDDEN_FOR, finding
            case Unanswered(_, float() as seconds):
                self._next = max(self._next, time.monotonic() + min(_LONGEST_PAUSE, seconds))
            case _:
                self._forbidden = None


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


def _merged(findings: list[Finding]) -> Finding:
    """Make one of the parts' findings: all that is known, or why not all is."""
    entries: dict[str, tuple[LogEntry, ...]] = {}
    for finding in findings:
        if not isinstance(finding, Answered):
            return finding
        entries.update(finding.entries)
    return Answered(entries)
