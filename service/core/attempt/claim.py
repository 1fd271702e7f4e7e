"""Which delivery of a request is served, if there are several: the claim in the memory that all workers share.

A producer that does not know whether its request was stored publishes it again. The two deliveries may reach two
workers in the same moment. So before the first call is written, and before anything is published about a request, a
delivery claims the request's id, in the command that records its start. A delivery that finds a claim is a duplicate.

* The claim has the meaning of the request. A claim of another meaning is a conflict: the id names another request.
* The claim has a holder: a worker, and a number that the worker gives once. A redelivery cannot be distinguished from a
  duplicate with equal content that the broker redelivered too. So it claims like any other delivery, and takes a claim
  over if its holder is gone: its lease has ended, or it has given the delivery up. One of several does, the others find
  a holder.
* A delivery that was never delivered before takes nothing over: the holder's delivery will come back.
* Requests that the relay has published itself, in a delay queue or replayed from the dead letters, are parts of it.
  While they are away, the request's claim has no holder, and is not taken over. Each part has a claim of its own, since
  it may be delivered twice too: to a worker whose session ends while it makes the call, and to the next one.

A claim collects all that is published about its delivery, before that is published. So the next worker that has the
delivery publishes the same again, whatever the first one has done, and decides nothing itself; see
`result.repetition`. The final events of a part are recorded in the request's claim too, for duplicates. A duplicate
that comes earlier waits in a delay queue. It never makes a call: if the claim is lost, or never ends, it is looked up
in OMNI's logs, and parked.

A holder that learns, from the answer to such a record, that another one has taken its claim over, is a duplicate from
then on.
"""

from binascii import b2a_base64
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Literal

from pydantic_core import to_json

from service.core.delivery import Header
from service.core.headers import is_republished, is_returning
from service.core.history import History
from service.core.omni.destination import ADDRESSES
from service.core.request.request import SendRequest

AWAY: Final = "~"
"""Instead of a holder: all messages have ended, or are in a delay queue."""
FREE: Final = "-"
"""Instead of a holder: it has given the delivery up untouched, and the broker redelivers."""
GIVEN_UP: Final = "!"
"""Instead of a holder: it has given the delivery up, perhaps after a call, and the broker redelivers."""
_NO_MEANING: Final = "?"
_PART: Final = "p"
_REQUEST: Final = "r"
_BEGUN: Final = "begun"
_BYTES: Final = 12


class _Done:
    """Is done when it is awaited."""

    def __await__(self) -> Generator[None, None, bytes]:
        yield from ()
        return b""


DONE: Final = _Done()

ClaimKind = Literal["whole", "part", "waiting"]
"""whole    as a producer published it
part     published by the relay
waiting  a duplicate that has waited for the end of the other
"""


@dataclass(eq=False, slots=True)
class Claim:
    """The claim that a delivery makes, and the record of its start."""

    record: str
    """The name of the delivery's record."""
    name: str = ""
    """The name of the claim; empty if it has none."""
    meaning: str = ""
    holder: str = ""
    kind: ClaimKind = "whole"
    request: str = ""
    """The name of the request's claim, if the claim is that of a part."""
    begun: str = ""
    """The line that says when it arrived, and at which worker."""
    may_take_over: bool = False
    """Whether the broker has delivered it before, so that it may have been the holder's."""
    kept: float = 0.0
    """Seconds for which the memory keeps a claim."""
    is_started: bool = False
    """Whether the start is recorded, or there is no memory to record it in."""
    is_refused: bool = False
    """Whether another delivery has the claim."""
    was_held: bool = False
    """Whether it was taken over from a holder that may have made a call."""
    has_ended: bool = False
    """Whether it is recorded that nothing is left to do."""
    parts: int = 0
    """How many claims it has named."""
    notes: str = ""
    """Lines for an operator, which are recorded with the next end."""
    known: bytes | None = b""
    """The claim that was found; None if there was none, and empty if the memory is not available."""

    @property
    def is_claiming(self) -> bool:
        """Whether it makes a claim, or takes one over, when it starts."""
        return bool(self.name) and (self.kind != "waiting" or self.may_take_over)

    @property
    def is_of_part(self) -> bool:
        """Whether it is the claim of a part, and not of a request."""
        return self.name.startswith(_PART)

    @property
    def is_held(self) -> bool:
        """Whether it was made, or taken over, and something may be left to be done."""
        return self.is_claiming and self.is_started and not self.is_refused and not self.has_ended

    @property
    def is_checked_first(self) -> bool:
        """Whether it has to be known before anything else whether it is a duplicate: it is late, and often is one."""
        return bool(self.name) and (self.kind == "waiting" or self.may_take_over)

    @property
    def first_line(self) -> str:
        """Meaning and holder, as they are written."""
        return written(self.meaning, self.holder)

    @property
    def value(self) -> str:
        """The claim as it is made."""
        return self.first_line + (self.begun if self.kind == "whole" else "")

    def name_part(self) -> str:
        """Name the claim of a retry message."""
        self.parts += 1
        return f"{_PART}{self.holder}.{self.parts}"


def claim_of(  # noqa: PLR0913 - all that it follows from
    record: str,
    request: SendRequest,
    history: History,
    headers: Mapping[str, Header],
    holder: str,
    *,
    redelivered: bool,
    kept: float,
    worker: str = "",
) -> Claim:
    """Return the claim of a delivery with a valid request.

    `redelivered`: by the broker's mark; that of the relay is in the headers. `worker`: its name for people.
    """
    name, meaning = claim_name(request.request_id), history.claim
    was_delivered_before = history.attempts > 0 or history.redeliveries > 0
    if headers and (meaning or history.redrives or is_returning(headers)):
        kind: ClaimKind = "waiting" if meaning and history.waits else "part"
    else:
        kind, meaning = "whole", meaning_of(request)
    if kind == "part" or (kind == "waiting" and history.part):
        whole = "" if meaning in {"", _NO_MEANING} else name  # else it was published when there was no memory
        again = redelivered or is_republished(headers) or (kind == "waiting" and was_delivered_before)
        own = history.part or f"{_PART}{record}"
        return Claim(record, own, meaning or _NO_MEANING, holder, kind, whole, may_take_over=again, kept=kept)
    may_take_over = redelivered or was_delivered_before
    begun = f'["{_BEGUN}","{history.first_seen.isoformat().replace("+00:00", "Z")}",{_quoted(worker)}]\n'
    return Claim(record, name, meaning, holder, kind, "", begun, may_take_over, kept)


@lru_cache(maxsize=1)
def _quoted(worker: str) -> str:
    return to_json(worker).decode()


def unclaimed(claim: Claim) -> Claim:
    """Return the claim of a duplicate that is served without one: its ends are recorded for others all the same."""
    name = claim.request or claim.name
    return Claim(claim.record, "", claim.meaning, kind="part", request=name, kept=claim.kept, is_started=True)


def claim_name(request_id: str) -> str:
    """Name the claim of a request."""
    return _REQUEST + short_digest(request_id.encode("utf-8", "surrogatepass"))


def meaning_of(request: SendRequest) -> str:
    """Digest all of a request that decides who gets what, and what its events say.

    The deadline is left out: a request that is published again may have a later one.
    """
    facts: list[object] = [request.content_digest, request.on_unknown, request.metadata]
    for message in request.messages:
        facts.append(message.message_id)
        facts.extend(map(message.to.get, ADDRESSES))
    return short_digest(to_json(facts))


def short_digest(data: bytes) -> str:
    """Return a text of 16 characters, without a space."""
    return b2a_base64(blake2b(data, digest_size=_BYTES).digest(), newline=False).decode()


def written(meaning: str, holder: str) -> str:
    """Write the first line of a claim. The lines that follow are its final events."""
    return f"{meaning} {holder}\n"


def read_claim(known: bytes) -> tuple[str, str, bytes]:
    """Return meaning, holder and final events; total."""
    first, _, ends = known.partition(b"\n")
    meaning, _, holder = first.decode("ascii", "replace").partition(" ")
    return meaning, holder, ends


def holder_to_replace(claim: Claim) -> str | None:
    """Return the holder of a claim that can be taken over once that is gone; None if it cannot be."""
    meaning, holder, _ = read_claim(claim.known or b"")
    return holder if claim.may_take_over and meaning == claim.meaning and holder != AWAY else None


def taken_over(claim: Claim) -> str:
    """Write a claim that was taken over. Its final events stay."""
    return claim.first_line + read_claim(claim.known or b"")[2].decode("utf-8", "replace") + claim.begun
