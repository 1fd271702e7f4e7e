"""Whether a call about a delivery can have been started, by records in the memory that all workers share.

A worker records each delivery that no worker had before as untouched, and replaces that by `STARTED`, confirmed, before
the first byte of a call is written or anything is published about it. If the worker dies, the broker redelivers, and
the next worker reads the record. Only a record that says "untouched" proves anything. A memory that has lost its data
has no such record, so the attempt is ambiguous.

A record that says "untouched" may be outdated. It counts only

* from the same holding of the delivery: the broker counts how often it hands a delivery out;
* while the lease of its worker lasts. A worker that cannot reach the memory posts without a record, but not before its
  lease has ended. So a worker with a lease has started nothing that is not recorded;
* from the latest connection of its worker: what was sent over an earlier one may be applied late;
* from the server that is asked: after a restart or a failover, records may be older than what they replaced.

The lease ends at a time of the memory's own clock, which the worker computes from the last answer. So a renewal that is
applied late prolongs nothing. If that clock is set back, leases seem to last longer: a worker that notices this trusts
none for some time.
"""

import hashlib
from datetime import datetime
from typing import Final, Literal

from service.core.delivery import Delivery
from service.core.headers import publication_key
from service.core.value import dataclass

MemoryCause = Literal[
    "no_connection",
    "timeout",
    "login_refused",
    "not_permitted",
    "untrusted_certificate",
    "full",
    "read_only",
    "changed",
    "refused",
]
"""Why the memory is unavailable. A label of the metrics.

timeout    it does not answer in time
full       it has no room, and may not evict
read_only  it is a replica
changed    the server behind the connection is another one, or its data are another's
refused    any other error that it answers
"""

NOT_DONE: Final = frozenset[MemoryCause]({"not_permitted", "full", "read_only"})
"""Causes that say that nothing was done. After any other, a command may have been applied, or may still be."""
STARTED: Final = "started"
LEASE: Final = 5.0
"""Seconds for which a worker that cannot reach the memory posts nothing."""
RENEWAL: Final = 1.0
"""Seconds between two renewals of a lease."""
MARGIN: Final = 0.5
"""Seconds by which two clocks may differ within the time of a lease."""
_SEPARATOR: Final = "|"


@dataclass(frozen=True, slots=True)
class Holder:
    """A connection of a worker to the memory."""

    worker: str
    connection: int
    """Higher for each later connection of the worker."""
    generation: str
    """Names the server process and its history: another one after each restart and failover."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The time of the memory's clock, and when its answer arrived by the worker's monotonic clock."""

    memory: float
    """Seconds since 1970."""
    arrived: float


class MemoryUnavailableError(Exception):
    """The memory does not answer in time, or refuses. Whether it has done what was asked is not known."""

    def __init__(self, cause: MemoryCause, detail: str = "") -> None:
        """`detail`: the text of a refused certificate."""
        self.cause: MemoryCause = cause
        self.detail = detail
        super().__init__(cause)


def record_name(delivery: Delivery) -> str:
    """Name a delivery by all that stays the same when it is redelivered."""
    properties = (
        delivery.message_id,
        _seconds(delivery.timestamp),
        delivery.correlation_id,
        delivery.reply_to,
        delivery.content_type,
        delivery.content_encoding,
        publication_key(delivery.headers),
    )
    named = b"%b%b" % (repr(properties).encode("utf-8", "surrogatepass"), delivery.body)
    return hashlib.blake2b(named, digest_size=16).hexdigest()


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


def untouched(holder: Holder, times: int) -> str:
    """Write a record about a delivery that was handed out `times` times before, and about which nothing was done."""
    return _SEPARATOR.join(("untouched", holder.worker, str(holder.connection), str(times)))


def holding_worker(record: bytes | None) -> str | None:
    """Return the worker that wrote a record which says "untouched"."""
    parts = (record or b"").decode("ascii", "replace").split(_SEPARATOR)
    return parts[1] if len(parts) == len(("untouched", "worker", "connection", "times")) else None


def lease(holder: Holder, reading: ClockReading, now: float) -> str:
    """Write the lease that is renewed `now` (worker's clock). Times are in milliseconds of the memory's clock.

    The answer was on its way for some time, so the memory's clock shows no less than what is computed here.
    """
    begins = reading.memory + (now - reading.arrived)
    times = (str(int(1000 * begins)), str(int(1000 * (begins + LEASE))))
    return _SEPARATOR.join((str(holder.connection), holder.generation, *times))


def end_of_lease(sent: float) -> float:
    """Return when a worker may post without a record, by its clock, if it sent its last renewal then."""
    return sent + LEASE + MARGIN


def proves_untouched(
    record: bytes | None, its_lease: bytes | None, times: int, generation: str, memory_time: float
) -> bool:
    """Return whether a delivery that was handed out `times` times before was never touched.

    `its_lease`: that of the worker which wrote the record. `generation`: of the server that is asked. `memory_time`:
    the time of its clock, in seconds.
    """
    if record is None or its_lease is None or holding_worker(record) is None:
        return False
    _, _, connection, held = record.decode("ascii", "replace").split(_SEPARATOR)
    latest, *parts = its_lease.decode("ascii", "replace").split(_SEPARATOR)
    match parts:
        case [its_generation, begins, ends] if begins.isdecimal() and ends.isdecimal():
            is_valid = int(begins) <= 1000 * (memory_time + MARGIN) and 1000 * memory_time < int(ends)
        case _:
            return False
    return is_valid and its_generation == generation and connection == latest and held == str(times - 1)


def has_ended(its_lease: bytes | None, memory_time: float) -> bool:
    """Return whether a worker's lease has ended, by the memory's clock."""
    ends = (its_lease or b"").decode("ascii", "replace").rpartition(_SEPARATOR)[2]
    return not ends.isdecimal() or 1000 * (memory_time - MARGIN) > int(ends)


def clock_step(before: ClockReading, after: ClockReading) -> float:
    """Return by how many seconds the memory's clock was set back between two answers; 0 if it was not."""
    missing = (after.arrived - before.arrived) - (after.memory - before.memory)
    return missing if missing > MARGIN else 0.0


def distrust_until(step: float, now: float) -> float:
    """Return until when no lease is trusted, after the memory's clock was set back by so many seconds."""
    return now + step + 2 * LEASE
