"""A request put aside: to be tried again after a wait, or to be looked at by a person."""

from typing import Literal

from service.core.delivery import History
from service.core.request.request import SendRequest
from service.core.value import dataclass

DeadReason = Literal["failed", "unknown"]
"""failed: attempts used up. unknown: perhaps taken, parked by policy.

A dead letter without such a reason was put there by the broker: it killed workers up to the queue's delivery
limit, expired in the queue, or broke the relay's own code; `x-death` tells.
"""


@dataclass(frozen=True, slots=True)
class Parked:
    """Messages to try again when the waiting room lets go of them."""

    request: SendRequest
    history: History
    room: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Dead:
    """Messages that nothing more will be done about."""

    request: SendRequest
    history: History
    reason: DeadReason
    cause: str
    """A closed word: headers are read by people who may not see personal data."""


Letter = Parked | Dead
"""A request on its way back into the broker; the delivery is settled when the broker has it."""
