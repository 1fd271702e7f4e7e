"""Claims of requests in the memory that all workers share; see `core.attempt.claim`."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from service.core.attempt.claim import FREE, GIVEN_UP, Claim, holder_to_replace, taken_over
from service.core.attempt.start_record import STARTED

if TYPE_CHECKING:  # without the setting, its package is not loaded
    from service.adapters.memory import MemoryConnection

    IsGone = Callable[[MemoryConnection, str], Awaitable[bool]]


async def start_claims(connection: "MemoryConnection", claims: Sequence[Claim], kept: float, is_gone: "IsGone") -> None:
    """Record the start of deliveries, and make their claims. Raises `MemoryUnavailableError`.

    A delivery that may take a claim over does so once the holder is gone.
    """
    claiming = [claim for claim in claims if claim.is_claiming]
    plain = [claim for claim in claims if not claim.name]
    known = await connection.start(
        [claim.record for claim in plain],
        [(claim.record, claim.name, claim.value) for claim in claiming],
        STARTED,
        kept,
    )
    for claim in plain:
        claim.is_started = True
    for claim, found in zip(claiming, known, strict=True):
        await _note(connection, claim, found, kept, is_gone)
    for claim in claims:
        if claim.kind == "waiting" and not claim.may_take_over:
            claim.known = await connection.get(claim.name)
            claim.is_refused = True


async def _note(connection: "MemoryConnection", claim: Claim, found: bytes, kept: float, is_gone: "IsGone") -> None:
    """Note whether a claim was made, or another one was found."""
    claim.known = found
    claim.is_refused = bool(found) and not await _take_over(connection, claim, kept, is_gone)
    claim.is_started = not claim.is_refused


async def _take_over(connection: "MemoryConnection", claim: Claim, kept: float, is_gone: "IsGone") -> bool:
    holder = holder_to_replace(claim)
    if holder is None:
        return False
    if holder != claim.holder:  # else it has taken it over already, and the answer was lost
        if holder not in {FREE, GIVEN_UP} and not await is_gone(connection, holder):
            return False
        claim.was_held = holder != FREE
        if not await connection.exchange(claim.name, claim.known or b"", taken_over(claim), kept):
            return False  # another one has
    await connection.start([claim.record], (), STARTED, kept)
    return True
