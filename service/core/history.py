"""What happened to a request before the delivery in hand. It travels in AMQP headers; see `headers`."""

from dataclasses import replace
from datetime import datetime
from typing import Literal

from service.core.value import dataclass

LookupPurpose = Literal["required", "best_effort"]
"""required     an attempt is ambiguous: nothing can be decided without an answer
best_effort  no attempt is known to be ambiguous: the lookup is skipped while the logs are busy
"""


@dataclass(frozen=True, slots=True)
class History:
    """What happened to a request before this delivery."""

    first_seen: datetime
    attempts: int = 0
    """Attempts that were made, or may have been."""
    ambiguous: bool = False
    """Whether OMNI may have accepted an earlier attempt."""
    log_checks: int = 0
    """Log lookups since the latest ambiguous attempt that OMNI answered without showing every message."""
    resolved: bool = False
    """Whether the latest ambiguous attempt was looked up, with the decision to post again."""
    retries: int = 0
    """Times it was put into a delay queue. So no two retry messages of one request are equal."""
    holds: int = 0
    """Those of `retries` that only waited for its `sendAt`."""
    redeliveries: int = 0
    """Those of `attempts` that may not have been made: redelivered after a worker died, or returned unhandled."""
    leaves_step: bool = False
    """Whether it takes another delay now than the last redelivery of the same message did. Not written to headers."""
    denials: int = 0
    """Consecutive attempts denied while other calls succeeded, the first one included; see `report._denials`."""
    redrives: int = 0
    """Times an operator has replayed it from the dead letters."""

    claim: str = ""
    """The meaning of the whole request, if this is a part of the delivery that has the request's claim."""
    waits: bool = False
    """Whether it is a duplicate that waits for the end of the delivery that has the claim."""
    part: str = ""
    """The name of the claim of a retry message; empty if it is derived from the request or the delivery."""

    @property
    def is_unresolved(self) -> bool:
        """Whether posting now could send a message twice without a decision to accept that."""
        return self.ambiguous and not self.resolved

    @property
    def lookup_purpose(self) -> LookupPurpose | None:
        """Why OMNI's logs are asked before a post; None if nothing can have been posted yet."""
        if self.ambiguous and not self.resolved:
            return "required"
        return "best_effort" if self.retries > self.holds else None

    @property
    def is_replay(self) -> bool:
        """Whether the next attempt is the one that an operator ordered by replaying a dead letter."""
        return self.redrives > 0 and self.attempts == 0


def mark_ambiguous(history: History) -> History:
    """Record that OMNI may have accepted the latest attempt: it must be looked up anew."""
    return replace(history, ambiguous=True, resolved=False, log_checks=0)


def owned(history: History, *, was_held: bool) -> History:
    """Return the history of a delivery that has got the claim of its request.

    `was_held`: another delivery had it, which OMNI may have accepted. Then this one is ambiguous.
    """
    if history.waits:
        history = replace(history, waits=False, log_checks=0)
    if not was_held or history.ambiguous:
        return history
    return mark_ambiguous(replace(history, attempts=max(history.attempts, 1)))
