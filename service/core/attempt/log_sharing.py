"""How many questions share a lookup in OMNI's logs, as the latest answers show it.

Requests of all producers share lookups. A gateway, or OMNI, may refuse a whole lookup because of one id in it: a filter
takes the id for an attack, or OMNI answers about another id that it takes for the same. Then one producer would keep
the requests of all others without an answer. So

* a lookup that failed for a reason that one id may be is made again in halves;
* after several failures in a row the logs are rather closed to everybody. Then each failed lookup is followed by one
  about a single question of it, chosen at random, and the others have no answer;
* a question that failed alone while others were answered shares no lookup for some time; see `worker.sending`.
"""

from dataclasses import replace
from math import inf
from typing import Final, Literal

from service.core.attempt.lookup import Answered, LookupResult, Unanswered
from service.core.value import dataclass

MOST: Final = 100
"""Questions in a lookup."""
IN_A_ROW: Final = 8
"""Lookups without an answer, in a row, after which the questions of a failed one are not asked again at once."""
LATELY: Final = 60.0
"""Seconds for which an answer shows that the logs are open."""
_OF_ALL: Final = frozenset({"http_401", "http_407", "http_408", "http_425", "http_429", "http_503"})
"""Statuses that concern our account, or the moment."""
_OF_ONE: Final = frozenset({"answer_to_others", "unreadable_answer", "broken_answer", "connection_lost", "exception"})

Next = Literal["settle", "divide", "sample"]
"""settle  the questions have their result
divide  all are asked again, fewer at once
sample  one of them is asked again, alone; the others have their result
"""


@dataclass(frozen=True, slots=True)
class Sharing:
    """How many questions share a lookup. Times are seconds of a monotonic clock."""

    most: int = MOST
    failures: int = 0
    """Lookups in a row that failed for a reason that one id may be."""
    answered_at: float = -inf

    def is_open(self, now: float) -> bool:
        """Return whether the logs have answered lately: then a question without an answer is refused for itself."""
        return now - self.answered_at < LATELY


WHOLE: Final = Sharing()


def may_concern_one(lookup_result: LookupResult) -> bool:
    """Return whether a lookup may have failed because of one id in it."""
    match lookup_result:
        case Unanswered(cause, None):
            return cause in _OF_ONE or (cause.startswith("http_") and cause not in _OF_ALL)
        case _:
            return False


def record_lookup(sharing: Sharing, lookup_result: LookupResult, questions: int, now: float) -> tuple[Sharing, Next]:
    """Return how many questions share the next lookup, and what becomes of those of this one."""
    if isinstance(lookup_result, Answered):
        return Sharing(min(2 * sharing.most, MOST), answered_at=now), "settle"
    if not may_concern_one(lookup_result):
        return sharing, "settle"
    failed = replace(sharing, failures=sharing.failures + 1)
    is_general = failed.failures >= IN_A_ROW
    if questions == 1:
        return replace(failed, most=MOST) if is_general else failed, "settle"
    return replace(failed, most=1 if is_general else questions // 2), "sample" if is_general else "divide"
