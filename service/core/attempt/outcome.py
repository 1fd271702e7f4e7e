"""How an attempt ended, told apart by whether the same call may be made again.

Accepted     OMNI took the call; each message has its own first status, and some may be refusals: never again.
Rejected     the call is wrong and would be again: never.
Unavailable  not taken: yes, by schedule.
Unknown      perhaps taken: only after a look into the logs, then by policy.
Denied       not taken, and the fault is the account's or the set-up's, not the request's: not now.
Held         no call was made at all: later.

`cause` is a short closed word for logs, metrics and headers; it never holds anything that came from outside.
"""

from collections.abc import Callable, Mapping
from typing import Final

from service.core.omni.status import Status
from service.core.value import dataclass


@dataclass(frozen=True, slots=True)
class Accepted:
    """A readable answer. A message that the answer does not name is in doubt."""

    statuses: Mapping[str, Status]
    """OMNI's word by our messageId."""
    bulk_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """OMNI says the call is wrong."""

    cause: str
    detail: str
    """What OMNI said, for the producer's eyes: it may repeat what was sent, so it goes into events only."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Nothing was taken."""

    cause: str
    retry_after: float | None = None
    """Seconds for which OMNI asks us to wait, counted from its answer."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The call was sent and the answer was not, or not to be read."""

    cause: str


@dataclass(frozen=True, slots=True)
class Denied:
    """Nothing was taken, and nothing will be until somebody mends it."""

    cause: str


@dataclass(frozen=True, slots=True)
class NotAttempted:
    """The relay is paused, or the request's time ran out while it waited for its turn."""

    cause: str


Outcome = Accepted | Rejected | Unavailable | Unknown | Denied | NotAttempted

NOT_SENT: Final = NotAttempted("not_sent")
"""No byte of the call was written: it was no longer allowed when everything was ready for writing."""

MaySend = Callable[[], bool]
"""Is asked immediately before the bytes of a call are written, with no wait in between: may they be written?"""
