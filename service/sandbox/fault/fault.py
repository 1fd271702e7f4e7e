"""Faults on demand: what can go wrong, and how a control call asks for it.

kind       what the caller of OMNI sees
---------  -------------------------------------------------------------------------------------------
latency    the true answer, `seconds` late; the call counts as made at once, even if nobody waits
status     an HTTP error: `status` (default 503), `retryAfter`, `envelope` "legacy" or "new"
reset      the connection is reset
hang       no answer for as long as the caller waits
garbage    an answer cut off in its middle: `status` (default 200)
empty      an answer without a body: `status` (default 200)
html       a web page: `status` (default 200)
refuse     HTTP 200 with status `statusId` (default 6) for every destination

Options of all: `path` ("send", the default, or "logs", where nothing can be refused), `seconds` to wait
first, `times` (how often; absent: until deleted), `probability` (of each call), `taken` (the messages count
as taken although the call fails: the doubtful case).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from service.sandbox.wire.response import Envelope

LONGEST_WAIT = 3600.0


class Kind(StrEnum):
    """What can go wrong."""

    LATENCY = "latency"
    STATUS = "status"
    RESET = "reset"
    HANG = "hang"
    GARBAGE = "garbage"
    EMPTY = "empty"
    HTML = "html"
    REFUSE = "refuse"


class Path(StrEnum):
    """Which calls a fault is for."""

    SEND = "send"
    LOGS = "logs"


@dataclass(frozen=True)
class Fault:
    """One thing to go wrong."""

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
        """Write it as a control call would ask for it."""
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


@dataclass(frozen=True)
class Misfit:
    """What is wrong with an asked fault, by field."""

    faults: Mapping[str, list[str]]


def parse_fault(document: Mapping[str, object]) -> Fault | Misfit:
    """Read the body of a control call; null is as good as absent."""
    document = {key: value for key, value in document.items() if value is not None}
    wrong = {key: ["is not a known option"] for key in document.keys() - _OPTIONS.keys()}
    wrong |= {key: [need] for key, (fits, need) in _OPTIONS.items() if key in document and not fits(document[key])}
    if "kind" not in document:
        wrong["kind"] = [_OPTIONS["kind"][1]]
    if document.get("kind") == Kind.LATENCY and "seconds" not in document:
        wrong["seconds"] = ["must be present for a latency"]
    if document.get("kind") == Kind.STATUS and document.get("status") == 200:  # noqa: PLR2004  # HTTP's own number
        wrong["status"] = ["must be an error for this kind"]
    if document.get("kind") == Kind.REFUSE and document.get("path") == Path.LOGS:
        wrong["path"] = ["must be send for a refusal"]
    if wrong:
        return Misfit(wrong)
    return _fault(document)


def _fault(document: Mapping[str, object]) -> Fault:
    def option(name: str, default: object) -> str:
        return str(document.get(name, default))

    kind = Kind(option("kind", ""))
    return Fault(
        kind=kind,
        seconds=float(option("seconds", 0.0)),
        status=int(option("status", 503 if kind is Kind.STATUS else 200)),
        retry_after=option("retryAfter", "") or None,
        status_id=int(option("statusId", 6)),
        times=int(option("times", "")) if "times" in document else None,
        probability=float(option("probability", 1.0)),
        taken=document.get("taken") is True,
        envelope=Envelope(option("envelope", Envelope.LEGACY.value)),
        path=Path(option("path", Path.SEND.value)),
    )


def _number_in(low: float, high: float) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _whole_in(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_status(value: object) -> bool:
    return _whole_in(200, 200)(value) or _whole_in(400, 599)(value)


def _is_header_value(value: object) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= 100 and value.isascii() and value.isprintable()  # noqa: PLR2004  # any bound does
    return _whole_in(0, 10**9)(value)


_OPTIONS: dict[str, tuple[Callable[[object], bool], str]] = {
    "kind": (lambda value: value in tuple(Kind), f"must be one of {', '.join(Kind)}"),
    "seconds": (_number_in(0, LONGEST_WAIT), "must be a number of seconds up to an hour"),
    "status": (_is_status, "must be 200 or 400 to 599"),
    "retryAfter": (_is_header_value, "must be seconds or an HTTP date"),
    "statusId": (_whole_in(0, 10**6), "must be the id of a status"),
    "times": (_whole_in(1, 10**9), "must be a whole number from 1"),
    "probability": (_number_in(0, 1), "must be between 0 and 1"),
    "taken": (lambda value: isinstance(value, bool), "must be true or false"),
    "envelope": (lambda value: value in ("legacy", "new"), "must be legacy or new"),
    "path": (lambda value: value in tuple(Path), "must be send or logs"),
}
