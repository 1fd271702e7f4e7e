"""A request's past, in headers. Anyone may publish any header, so nonsense there counts as absent."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from service.core.delivery import Delivery, Header, History

ATTEMPT: Final = "omni-attempt"
FIRST_SEEN: Final = "omni-first-seen"
AMBIGUOUS: Final = "omni-ambiguous"
LOOKS: Final = "omni-log-checks"
RESOLVED: Final = "omni-resolved"
PARKED: Final = "omni-retries"
REDELIVERIES: Final = "omni-redeliveries"
DENIALS: Final = "omni-denials"
REPEATED: Final = "omni-republished"
EXPIRES_AT: Final = "omni-expires-at"
UNREAD: Final = "omni-unread"
"""True on what was scheduled for retry before any worker had read it: it is validated as a new request is."""
PROGRESS: Final = frozenset({LOOKS, RESOLVED, PARKED, REDELIVERIES, DENIALS, REPEATED, EXPIRES_AT, UNREAD})
REDRIVES: Final = "omni-redrive-count"

MOST_REDELIVERIES: Final = 20

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_END_OF_TIME: Final = 253_402_300_799_000  # ms; the last second of year 9999
_MOST: Final = 1_000_000


def _whole(value: Header, most: int) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def read_history(headers: Mapping[str, Header], now: datetime) -> History:
    """Read what happened to a request before; one that was never put aside begins at `now`."""
    if not headers:
        return History(now)
    seen = _whole(headers.get(FIRST_SEEN), _END_OF_TIME)
    return History(
        first_seen=now if seen is None else _EPOCH + timedelta(milliseconds=seen),
        attempts=_whole(headers.get(ATTEMPT), _MOST) or 0,
        ambiguous=headers.get(AMBIGUOUS) is True,
        looks=_whole(headers.get(LOOKS), _MOST) or 0,
        resolved=headers.get(RESOLVED) is True,
        parked=_whole(headers.get(PARKED), _MOST) or 0,
        redeliveries=_whole(headers.get(REDELIVERIES), _MOST) or 0,
        denials=_whole(headers.get(DENIALS), _MOST) or 0,
        redrives=_whole(headers.get(REDRIVES), _MOST) or 0,
    )


def recall(delivery: Delivery, now: datetime) -> History:
    """Read a delivery's past. One that was handed out before may have been posted by a worker that died since.

    So that counts as an attempt. A broker also marks what a worker handed back untouched, hence `is_used_up`.
    """
    history = read_history(delivery.headers, now)
    if not may_be_a_copy(delivery):
        return history
    is_copy_of_order = history.is_ordered and not delivery.redelivered  # it stays the attempt that a person ordered
    attempts = history.attempts + (not is_copy_of_order)
    return doubt(replace(history, attempts=attempts, redeliveries=history.redeliveries + 1))


def may_be_a_copy(delivery: Delivery) -> bool:
    """Tell whether another worker may have this request too, or a letter about it may be on its way.

    The broker says so of what it hands out again, and the relay of a letter that it published twice.
    """
    return delivery.redelivered or delivery.headers.get(REPEATED) is True


def is_used_up(history: History, max_attempts: int) -> bool:
    """Tell whether there is no further attempt.

    Redeliveries are allowed on top, since most follow from the death of a neighbour; but a request that kills workers
    whenever it is posted, and is a new message to the broker each time, must come to an end too.
    """
    return history.attempts - history.redeliveries >= max_attempts or history.redeliveries >= MOST_REDELIVERIES


def doubt(history: History) -> History:
    """Write down that the latest attempt may have been taken."""
    return replace(history, ambiguous=True, resolved=False, looks=0)


def is_returning(headers: Mapping[str, Header]) -> bool:
    """Tell whether the relay has read this request before, and has written its body."""
    return _whole(headers.get(FIRST_SEEN), _END_OF_TIME) is not None and headers.get(UNREAD) is not True


def read_deadline(headers: Mapping[str, Header]) -> datetime | None:
    """Read until when a request that was put aside unread may be attempted."""
    deadline = _whole(headers.get(EXPIRES_AT), _END_OF_TIME)
    return None if deadline is None else _EPOCH + timedelta(milliseconds=deadline)


def write_deadline(deadline: datetime | None) -> dict[str, Header]:
    """Write down until when a request may be attempted that is put aside unread."""
    return {} if deadline is None else {EXPIRES_AT: max(0, (deadline - _EPOCH) // timedelta(milliseconds=1))}


def write_history(history: History) -> dict[str, Header]:
    """Write the past down for whoever meets the request next; it travels in milliseconds."""
    return {
        ATTEMPT: history.attempts,
        FIRST_SEEN: (history.first_seen - _EPOCH) // timedelta(milliseconds=1),
        AMBIGUOUS: history.ambiguous,
    }


def write_progress(history: History) -> dict[str, Header]:
    """Write down how far the relay has come; a dead letter needs none of it, since it begins anew when replayed."""
    return {
        LOOKS: history.looks,
        RESOLVED: history.resolved,
        PARKED: history.parked,
        REDELIVERIES: history.redeliveries,
        DENIALS: history.denials,
    }
