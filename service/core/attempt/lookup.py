"""What a look into OMNI's logs has found out about messages that may have been taken.

Answered    OMNI told what it knows; a message it does not name was not taken, or does not show yet
Unanswered  nothing is learnt: look again
Forbidden   OMNI says that our account may not read the logs; if it says so again and again, nothing will be learnt

`cause` is a short closed word, as in an outcome.
"""

from collections.abc import Mapping
from typing import Literal

from service.core.omni.answer import LogEntry
from service.core.value import dataclass

ResolutionKind = Literal["found", "posted", "waiting", "given_up"]
"""How a look at a doubt ended: it was taken, it is posted (again), it is looked for again, or nobody will know."""

LookupPurpose = Literal["required", "best_effort"]
"""required     an attempt is ambiguous: nothing can be decided without an answer
best_effort  no attempt is known to be ambiguous; the lookup is skipped rather than waited for while the logs are busy
"""


@dataclass(frozen=True, slots=True)
class Answered:
    """OMNI's words by our messageId: one for each step of the scenario that shows."""

    entries: Mapping[str, tuple[LogEntry, ...]]
    incomplete: frozenset[str] = frozenset()
    """Ids of messages about which OMNI may have more entries than fit into an answer: what is missing is not known."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer, or none that can be read."""

    cause: str
    retry_after: float | None = None
    """Seconds for which OMNI asks not to be asked again, counted from its answer."""


@dataclass(frozen=True, slots=True)
class Forbidden:
    """The logs are closed to us."""

    cause: str


LookupResult = Answered | Unanswered | Forbidden
