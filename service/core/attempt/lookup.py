"""The result of a log lookup: what OMNI's logs say about messages that may have been accepted.

Answered    a message that is not listed was not accepted, or does not show yet
Unanswered  nothing is known: to be looked up again
Forbidden   our account may not read the logs

`cause` is a word of a closed list, as in an outcome.
"""

from collections.abc import Mapping
from typing import Literal

from service.core.omni.answer import LogEntry
from service.core.value import dataclass

ResolutionKind = Literal["found", "posted", "waiting", "given_up"]
"""How the lookup of an ambiguous attempt ended. A label of the metrics.

found     OMNI has it
posted    it is posted again
waiting   it is looked up again
given_up  it is parked, or its attempts are used up
"""


@dataclass(frozen=True, slots=True)
class Answered:
    """OMNI's entries by our messageId: one for each step of the scenario that shows."""

    entries: Mapping[str, tuple[LogEntry, ...]]
    incomplete: frozenset[str] = frozenset()
    """Ids about which OMNI may have more entries than fit into an answer. If one does not show, nothing is known."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer, or an unreadable one."""

    cause: str
    retry_after: float | None = None
    """Seconds for which OMNI asks not to be asked again, counted from its answer."""


@dataclass(frozen=True, slots=True)
class Forbidden:
    """The logs are closed to our account."""

    cause: str


LookupResult = Answered | Unanswered | Forbidden
