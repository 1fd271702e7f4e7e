"""What the endpoints of one sandbox share."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request

from service.sandbox.credential import Access
from service.sandbox.format import Format, answer_format
from service.sandbox.hazard import Hazards
from service.sandbox.ledger import Ledger


@dataclass(frozen=True)
class State:
    """One sandbox: its door, its memory, its faults, its clock."""

    access: Access
    ledger: Ledger
    hazards: Hazards
    clock: Callable[[], datetime]


def form_of(request: Request) -> Format:
    """Choose the format of the answer to a request."""
    return answer_format(request.headers.get("accept", ""), request.headers.get("content-type", ""))
