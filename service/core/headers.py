"""A request's past, in headers. Anyone may publish any header, so nonsense there counts as absent.

Trace context in a message's headers. Anyone may write any header, so what is not well-formed is not there.

Source: W3C Trace Context (2021), 3.2 (`traceparent`), 3.3 (`tracestate`), 4 (processing) and its test suite; for the
keys of `tracestate` also Level 2 (2024), which allows more of them.

The headers of a producer that the relay publishes again, and the headers of the relay that it believes.

A broker reads some headers: it routes by `CC` and `BCC`, and it writes and reads `x-…`. The relay reads its own,
`omni-…`. So every other header is chosen here and nothing else is copied. Source: rabbitmq.com/docs/sender-selected.

Any producer may write `omni-…`. The relay believes these headers only on what came through the exchange `omni.relay`,
for which producers have no write permission. The broker names the exchange of a delivery. What left a delay queue comes
through `omni.relay` whoever put it there; then `x-death` names the exchange that it came into the delay queue by.

Seen: RabbitMQ 4.3 replaces an `x-death` that a client has published. RabbitMQ 3.10 counts up an entry for the same
queue and reason that a client has published, and keeps what else it says. So there a user who may write to the default
exchange, and hence to every queue, can publish into a delay queue what is believed.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from service.core import topology
from service.core.delivery import Delivery, Header
from service.core.value import dataclass


@dataclass(frozen=True, slots=True)
class History:
    """What happened to a request before this delivery; it travels in headers of our own."""

    first_seen: datetime
    attempts: int = 0
    """Attempts that were, or may have been, made."""
    ambiguous: bool = False
    """An earlier attempt may have been taken."""
    log_checks: int = 0
    """Looks into OMNI's logs about the latest doubt that were answered and did not show every message."""
    resolved: bool = False
    """The latest doubt was looked into, and it was decided to post again."""
    retries: int = 0
    """Times it was put aside: no two letters of one request are alike."""
    redeliveries: int = 0
    """Attempts among those above that may not have been any: a worker died with it, or it was handed back untouched."""
    denials: int = 0
    """Times it was denied, the first time included, since which others were not; see `rules.report`."""
    redrives: int = 0
    """Times a person has sent it again from among the dead letters."""

    @property
    def is_unresolved(self) -> bool:
        """Tell whether a post now might be a second one that nobody decided on."""
        return self.ambiguous and not self.resolved

    @property
    def is_ordered(self) -> bool:
        """Tell whether the next attempt is the one that a person ordered by sending a dead letter again."""
        return self.redrives > 0 and self.attempts == 0


ATTEMPT: Final = "omni-attempt"
FIRST_SEEN: Final = "omni-first-seen"
AMBIGUOUS: Final = "omni-ambiguous"
LOG_CHECKS: Final = "omni-log-checks"
RESOLVED: Final = "omni-resolved"
RETRIES: Final = "omni-retries"
REDELIVERIES: Final = "omni-redeliveries"
DENIALS: Final = "omni-denials"
REPEATED: Final = "omni-republished"
EXPIRES_AT: Final = "omni-expires-at"
UNREAD: Final = "omni-unread"
"""True on what was scheduled for retry before any worker had read it: it is validated as a new request is."""
PROGRESS: Final = frozenset({LOG_CHECKS, RESOLVED, RETRIES, REDELIVERIES, DENIALS, REPEATED, EXPIRES_AT, UNREAD})
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
        log_checks=_whole(headers.get(LOG_CHECKS), _MOST) or 0,
        resolved=headers.get(RESOLVED) is True,
        retries=_whole(headers.get(RETRIES), _MOST) or 0,
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
    return mark_ambiguous(replace(history, attempts=attempts, redeliveries=history.redeliveries + 1))


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


def mark_ambiguous(history: History) -> History:
    """Write down that the latest attempt may have been taken."""
    return replace(history, ambiguous=True, resolved=False, log_checks=0)


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
        LOG_CHECKS: history.log_checks,
        RESOLVED: history.resolved,
        RETRIES: history.retries,
        REDELIVERIES: history.redeliveries,
        DENIALS: history.denials,
    }


TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
_IDS: Final = "(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_WELL_FORMED: Final = re.compile(f"00-{_IDS}|(?!00|ff)[0-9a-f]{{2}}-{_IDS}(?:-[ -~]{{0,256}})?")
"""A later version than 00 may have more fields after the flags; every event repeats them, so they are bounded here.
Version ff is forbidden."""

_MEMBER: Final = r"(?:[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~])?+"
"""A key and a value without `,` and `=`, or nothing: a member may be empty."""

_STATE: Final = re.compile(rf"[ \t]*+{_MEMBER}[ \t]*+(?:,[ \t]*+{_MEMBER}[ \t]*+)*+")
"""Possessive throughout, or long blanks would take quadratic time."""

_MAX_MEMBERS: Final = 32


def read_trace(headers: Mapping[str, Header]) -> str | None:
    """Give the `traceparent`, if it is one. One of a future version is read by the rules of version 00."""
    given = headers.get(TRACEPARENT)
    return given if isinstance(given, str) and _WELL_FORMED.fullmatch(given) else None


def read_state(headers: Mapping[str, Header]) -> str | None:
    """Give the `tracestate`, if it is one and says something. It means nothing without a valid `traceparent`."""
    given = headers.get(TRACESTATE)
    if not isinstance(given, str) or "=" not in given or given.count("=") > _MAX_MEMBERS:
        return None
    return given if _STATE.fullmatch(given) else None


def trace_id(traceparent: str) -> str:
    """Give the id by which a trace is found."""
    return traceparent[3:35]


def is_sampled(traceparent: str) -> bool:
    """Tell whether somebody keeps the trace."""
    return bool(int(traceparent[53:55], 16) & 1)


_TRACE: Final = frozenset({TRACEPARENT, TRACESTATE})
_ROUTING: Final = frozenset({"cc", "bcc"})
_OWN: Final = "omni-"
_REPLACES_DEATHS: Final = 4
"""The major version of RabbitMQ from which on a client's `x-death` is replaced."""
_BY_WORKERS: Final = ("delivery_limit", "rejected")
"""Reasons in `x-death` of what a worker had."""
_RESERVED: Final = ("x-", _OWN)


def trace_headers(headers: Mapping[str, Header]) -> dict[str, str]:
    """Choose the trace context, as far as it is valid: all that an event carries of a producer's headers."""
    if not headers or (parent := read_trace(headers)) is None:
        return {}
    state = read_state(headers)
    return {TRACEPARENT: parent} if state is None else {TRACEPARENT: parent, TRACESTATE: state}


def kept_headers(headers: Mapping[str, Header]) -> dict[str, Header]:
    """Choose what a retry and a dead letter carry: the trace context, then the application's headers.

    The order is the order of importance: what does not fit into one frame is left out from the end on.
    """
    return trace_headers(headers) | {name: value for name, value in headers.items() if _is_application(name)}


def believed(delivery: Delivery) -> Delivery:
    """Give a delivery of the request queue; one that a producer can have created comes without headers of the relay."""
    headers = delivery.headers
    for name in headers:
        if name[:1] in "oO" and _is_own(name):  # the first letter saves the call for almost every header
            break
    else:
        return delivery
    came_by = latest_death(headers).get("exchange", topology.RELAY)
    return delivery if delivery.exchange == topology.RELAY == came_by else without_own_headers(delivery)


def believed_dead(delivery: Delivery, *, forgeable: bool = False) -> Delivery:
    """Do the same with a dead letter: of the relay's own, or of a delivery of the request queue.

    The broker takes a delivery from the request queue to `omni.dead` and says in `x-death` how it had come. The relay
    publishes its own dead letters to `omni.dead`, and puts one back through `omni.relay`, without `x-death`.

    Where `x-death` is `forgeable`, it counts only on what a worker had. A producer alone can have brought anything else
    here, with an `expiration`. One of the relay's own comes here unread only where a policy takes it off the queue.
    """
    ways = (topology.DEAD, topology.RELAY)
    death = latest_death(delivery.headers)
    is_made_up = forgeable and bool(death) and death.get("reason") not in _BY_WORKERS
    if delivery.exchange in ways and death.get("exchange", topology.RELAY) == topology.RELAY and not is_made_up:
        return delivery
    return without_own_headers(delivery)


def can_be_forged(server: Mapping[str, object]) -> bool:
    """Tell whether a producer may have written a part of `x-death`, by what the broker says of itself."""
    major = str(server.get("version", "")).partition(".")[0]
    return not major.isdecimal() or int(major) < _REPLACES_DEATHS


def without_own_headers(delivery: Delivery) -> Delivery:
    """Take the relay's headers away."""
    return replace(delivery, headers={name: value for name, value in delivery.headers.items() if not _is_own(name)})


def latest_death(headers: Mapping[str, Header]) -> Mapping[str, Header]:
    """Give the latest entry of `x-death`, which the broker puts first; an empty one where there is none."""
    deaths = headers.get("x-death")
    first = deaths[0] if isinstance(deaths, list) and deaths else None
    return first if isinstance(first, dict) else {}


def _is_own(name: str) -> bool:
    """Tell whether a header's name is one of the relay's. The letter case does not count, to be on the safe side."""
    return name[: len(_OWN)].lower() == _OWN


def _is_application(name: str) -> bool:
    """Tell whether a header is the application's own. The letter case does not count, to be on the safe side."""
    lower = name.lower()
    return not (lower in _ROUTING or lower in _TRACE or lower.startswith(_RESERVED))
