"""The reports that wait to be fetched. Each is handed out once, when its moment has come."""

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime

from service.sandbox.delivery.report import Report


class Mailbox:
    """The mailbox of one account; past `keep` reports the earliest are lost."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._numbers = itertools.count()
        self._to_come: list[tuple[datetime, int, Report]] = []
        self._here: OrderedDict[int, Report] = OrderedDict()

    def put(self, report: Report) -> None:
        """Put in a report, to show at its moment."""
        entry = (report.at, next(self._numbers), report)
        if len(self._to_come) < self._keep:
            heapq.heappush(self._to_come, entry)
        else:
            heapq.heappushpop(self._to_come, entry)

    def take(self, now: datetime, wanted: Callable[[Report], bool], limit: int) -> list[Report]:
        """Hand out the reports whose moment has come, oldest first."""
        while self._to_come and self._to_come[0][0] <= now:
            _, number, report = heapq.heappop(self._to_come)
            self._here[number] = report
        while len(self._here) > self._keep:
            self._here.popitem(last=False)
        numbers = itertools.islice((number for number, report in self._here.items() if wanted(report)), limit)
        return [self._here.pop(number) for number in list(numbers)]

    def forget(self) -> None:
        """Throw all of it away."""
        self._to_come.clear()
        self._here.clear()
