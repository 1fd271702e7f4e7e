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
* Requests that the relay has published itself, in a delay queue or replayed from the dead letters, are the holder's by
  their headers. While they are away, the claim has no holder, and is not taken over.

The claim collects the final events, so that a duplicate can publish them again; see `result.repetition`. A duplicate
that comes earlier waits in a delay queue. It never makes a call: if the claim is lost, or never ends, it is looked up
in OMNI's logs, and parked.
"""

from binascii import b2a_base64
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal

from pydantic_core import to_json

from service.core.delivery import Header
from service.core.headers import is_returning
from service.core.history import History
from service.core.request.request import SendRequest

AWAY: Final = "~"
"""Instead of a holder: all messages have ended, or are in a delay queue."""
FREE: Final = "-"
"""Instead of a holder: it has given the delivery up untouched, and the broker redelivers."""
GIVEN_UP: Final = "!"
"""Instead of a holder: it has given the delivery up, perhaps after a call, and the broker redelivers."""
_BEGUN: Final = "begun"
_BYTES: Final = 12


class _Done:
    """Is done when it is awaited."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


DONE: Final = _Done()

ClaimKind = Literal["whole", "part", "waiting"]
"""whole    as a producer published it
part     published by the relay: it claims nothing, since it has the claim
waiting  a duplicate that has waited for the end of the other
"""


@dataclass(eq=False, slots=True)
class Claim:
    """The claim that a delivery makes, and the record of its start."""

    record: str
    """The name of the delivery's record."""
    name: str = ""
    """The name of the request's claim; empty if nothing is known of it."""
    meaning: str = ""
    holder: str = ""
    kind: ClaimKind = "whole"
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
    known: bytes | None = b""
    """The claim that was found; None if there was none, and empty if the memory is not available."""

    @property
    def is_claiming(self) -> bool:
        """Whether it makes a claim, or takes one over, when it starts."""
        return bool(self.name) and (self.kind == "whole" or (self.kind == "waiting" and self.may_take_over))

    @property
    def is_checked_first(self) -> bool:
        """Whether it has to be known before anything else whether it is a duplicate: it is late, and often is one."""
        return bool(self.name) and (self.kind == "waiting" or (self.kind == "whole" and self.may_take_over))

    @property
    def first_line(self) -> str:
        """Meaning and holder, as they are written."""
        return written(self.meaning, self.holder)

    @property
    def value(self) -> str:
        """The claim as it is made."""
        return self.first_line + self.begun


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
    """Return the claim of a delivery with a valid request. `redelivered`: by the broker's mark.

    `worker`: its name for people.
    """
    if history.claim:
        kind: ClaimKind = "waiting" if history.waits else "part"
        meaning = history.claim
    elif headers and (history.redrives or is_returning(headers)):
        return Claim(record, kind="part")  # published when there was no memory, or without the id's claim
    else:
        kind, meaning = "whole", meaning_of(request)
    may_take_over = kind != "part" and (redelivered or history.attempts > 0)
    begun = f"{to_json((_BEGUN, history.first_seen, worker)).decode()}\n"
    return Claim(record, claim_name(request.request_id), meaning, holder, kind, begun, may_take_over, kept)


def claim_name(request_id: str) -> str:
    """Name the claim of a request."""
    return "r" + short_digest(request_id.encode("utf-8", "surrogatepass"))


def meaning_of(request: SendRequest) -> str:
    """Digest all of a request that decides who gets what, and what its events say.

    The deadline is left out: a request that is published again may have a later one.
    """
    messages = [(message.message_id, *vars(message.to).values()) for message in request.messages]
    return short_digest(to_json((request.content_digest, request.on_unknown, request.metadata, messages)))


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
