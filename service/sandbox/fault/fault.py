"""Faults set by a control call: the kinds, their options, and how a call is read.

kind       what the caller of OMNI sees
---------  -------------------------------------------------------------------------------------------
latency    the true response, `seconds` late; the messages are accepted at once, even if the caller disconnects
status     an HTTP error: `status` (default 503), `retryAfter`, `envelope` "legacy" or "new"
reset      the connection is reset
hang       no response until the caller disconnects
garbage    a response cut off in the middle: `status` (default 200)
empty      a response without a body: `status` (default 200)
html       a web page: `status` (default 200)
refuse     HTTP 200 with status `statusId` (default 6) for every destination

Options of all kinds: `path` ("send", the default, or "logs", without "refuse"), `seconds` to wait first, `times` (how
often; absent: until deleted), `probability` (for each call), `taken` (the messages are accepted although the call
fails: an ambiguous attempt). Their bounds are in `schema/omni.json`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from service.sandbox.schema.validation import Errors, errors_in
from service.sandbox.wire.response import Envelope


class Kind(StrEnum):
    """The kinds of fault; the values are public."""

    LATENCY = "latency"
    STATUS = "status"
    RESET = "reset"
    HANG = "hang"
    GARBAGE = "garbage"
    EMPTY = "empty"
    HTML = "html"
    REFUSE = "refuse"


class Path(StrEnum):
    """The calls that a fault applies to."""

    SEND = "send"
    LOGS = "logs"


@dataclass(frozen=True)
class Fault:
    """One fault with its options."""

    kind: Kind
    seconds: float = 0.0
    status: int = 200
    retry_after: str | None = None
    status_id: int = 6
    times: int | None = None
    probability: float = 1.0
    taken: bool = False
    envelope: Envelope = Envelope.LEGACY
    path: Path = Path.SEND

    def document(self) -> dict[str, object]:
        """Return the body of the control call that sets it."""
        return {
            "kind": self.kind.value,
            "seconds": self.seconds,
            "status": self.status,
            "retryAfter": self.retry_after,
            "statusId": self.status_id,
            "times": self.times,
            "probability": self.probability,
            "taken": self.taken,
            "envelope": self.envelope.value,
            "path": self.path.value,
        }


def parse_fault(document: Mapping[str, Any]) -> Fault | Errors:
    """Read the body of a control call, or return the errors in it; null means absent."""
    document = {key: value for key, value in document.items() if value is not None}
    errors = errors_in(document, "Fault")
    if errors:
        return errors
    kind = Kind(document["kind"])
    retry_after = document.get("retryAfter")
    return Fault(
        kind=kind,
        seconds=float(document.get("seconds", 0.0)),
        status=int(document.get("status", 503 if kind is Kind.STATUS else 200)),
        retry_after=f"{retry_after:.0f}" if isinstance(retry_after, int | float) else retry_after,
        status_id=int(document.get("statusId", 6)),
        times=int(document["times"]) if "times" in document else None,
        probability=float(document.get("probability", 1.0)),
        taken=document.get("taken", False),
        envelope=Envelope(document.get("envelope", Envelope.LEGACY)),
        path=Path(document.get("path", Path.SEND)),
    )
