"""Reports to be fetched by the caller. Each is returned once, when it is due."""

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime

from service.sandbox.delivery.report import Report


class ReportQueue:
    """The reports of one account; beyond `keep` the earliest are dropped."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._numbers = itertools.count()
        self._later: list[tuple[datetime, int, Report]] = []
        self._due: OrderedDict[int, Report] = OrderedDict()

    def put(self, report: Report) -> None:
        """Add a report, to be returned once it is due."""
        entry = (report.at, next(self._numbers), report)
        if len(self._later) < self._keep:
            heapq.heappush(self._later, entry)
        else:
            heapq.heappushpop(self._later, entry)

    def take(self, now: datetime, wanted: Callable[[Report], bool], limit: int) -> list[Report]:
        """Remove and return the wanted reports that are due, oldest first."""
        while self._later and self._later[0][0] <= now:
            _, number, report = heapq.heappop(self._later)
            self._due[number] = report
        while len(self._due) > self._keep:
            self._due.popitem(last=False)
        numbers = itertools.islice((number for number, report in self._due.items() if wanted(report)), limit)
        return [self._due.pop(number) for number in list(numbers)]

    def drop(self, message_id: str, after: datetime) -> None:
        """Remove the reports of a message that are due after a time."""
        self._later = [each for each in self._later if each[0] <= after or each[2].message.message_id != message_id]
        heapq.heapify(self._later)

    def forget(self) -> None:
        """Remove all reports."""
        self._later.clear()
        self._due.clear()
