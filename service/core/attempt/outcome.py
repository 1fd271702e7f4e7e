"""How an attempt ended. Outcomes differ by whether the same call may be made again.

Accepted       OMNI took the call; each message has a status of its own, which may be a refusal: never
Rejected       the call is wrong: never
Unavailable    not accepted: yes, by schedule
Unknown        possibly accepted: only after a log lookup, then by policy
Denied         not accepted, by a fault of the account or the configuration: not now
NotAttempted   no call was made: later

`cause` is a word of a closed list for logs, metrics and headers. It never contains anything that came from outside.
"""

from collections.abc import Callable, Mapping
from typing import Final

from service.core.omni.status import Status
from service.core.value import dataclass


@dataclass(frozen=True, slots=True)
class Accepted:
    """A readable answer. A message that it does not name is ambiguous."""

    statuses: Mapping[str, Status]
    """By our messageId."""
    bulk_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """OMNI says that the call is wrong."""

    cause: str
    detail: str
    """OMNI's own text. It may repeat what was sent, so it goes into events only."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Nothing was accepted."""

    cause: str
    retry_after: float | None = None
    """Seconds that OMNI asks us to wait, counted from its answer."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The call was sent, and there was no readable answer."""

    cause: str


@dataclass(frozen=True, slots=True)
class Denied:
    """Nothing was accepted, and nothing will be until an operator corrects the account or the configuration."""

    cause: str


@dataclass(frozen=True, slots=True)
class NotAttempted:
    """The relay is paused, or the request's deadline passed while it waited for a slot."""

    cause: str


Outcome = Accepted | Rejected | Unavailable | Unknown | Denied | NotAttempted

NOT_SENT: Final = NotAttempted("not_sent")
"""No byte of the call was written: permission had ended when everything was ready."""
CANCELLED: Final = NotAttempted("cancelled")
"""An order to cancel concerns messages of the call. It was not sent, and the others have to be sent again."""
REFUSED_TOGETHER: Final = NotAttempted("refused_together")
"""A merged call was refused, perhaps because of one member: none was taken, and each is to be sent by itself."""
DUPLICATE: Final = NotAttempted("duplicate")
"""Nothing was sent: another delivery of the request, or of one of several, is served, or was. See `claim`."""

MaySend = Callable[[], bool]
"""Asked immediately before the bytes of a call are written, with no await in between: may they be written?"""


def always() -> bool:
    """Allow a call that nothing forbids."""
    return True
