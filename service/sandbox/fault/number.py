"""Faults requested by the recipient's phone number: its last five digits, `90ccc` or `91ccc`.

suffix      when
----------  ------------------------------------------------------------------------------------------
90ccc       the first time for this message id (without one: for this number)
91ccc       always

ccc         fault
----------  ------------------------------------------------------------------------------------------
000         the call hangs until the caller disconnects
001 to 100  HTTP 200 in which this destination alone has the status of that id
104         the connection is reset
200         HTTP 200 with an unreadable body
400 to 599  that HTTP status; 429 and 503 come with `Retry-After: 1`

Any other ccc is an ordinary number. `92...` chooses the channel that delivers: see `delivery/simulation.py`.
A fault other than a status of one destination applies to the whole call. The first destination that requests one
decides; other destinations that request the same fault have then had it too.
"""

import re
from dataclasses import dataclass

from service.sandbox.fault.fault import Fault, Kind

_SUFFIX = re.compile(r"(90|91)([0-9]{3})")
_ALWAYS = "91"
_WITH_RETRY_AFTER = frozenset({429, 503})

# First code, last code, kind of fault.
TABLE = (
    (0, 0, Kind.HANG),
    (1, 100, Kind.REFUSE),
    (104, 104, Kind.RESET),
    (200, 200, Kind.GARBAGE),
    (400, 599, Kind.STATUS),
)


@dataclass(frozen=True)
class RequestedFault:
    """The fault that one number requests."""

    fault: Fault
    always: bool


def requested_fault(phone_number: str | None) -> RequestedFault | None:
    """Read the requested fault out of a number, if there is one in it."""
    suffix = _SUFFIX.fullmatch((phone_number or "")[-5:])
    if suffix is None:
        return None
    code = int(suffix[2])
    kind = next((kind for first, last, kind in TABLE if first <= code <= last), None)
    return None if kind is None else RequestedFault(_fault(kind, code), always=suffix[1] == _ALWAYS)


def _fault(kind: Kind, code: int) -> Fault:
    if kind is Kind.REFUSE:
        return Fault(kind, status_id=code)
    if kind is Kind.STATUS:
        return Fault(kind, status=code, retry_after="1" if code in _WITH_RETRY_AFTER else None)
    return Fault(kind)
