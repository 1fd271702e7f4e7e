"""Every AMQP header of the relay's own. No other file knows one of these names, which all begin with `omni-`.

Hence it has more than 250 lines. A request's history travels in these headers, since a worker keeps nothing that must
survive it.

* Any producer may write any header. A value of the wrong type, or out of range, counts as absent. Which deliveries may
  have our headers at all is decided in `forged_headers`.
* Of a producer's headers, retries and dead letters keep the trace context and the application's own. RabbitMQ routes by
  `CC` and `BCC`, and reads and writes `x-…`: those are never published again. Source:
  rabbitmq.com/docs/sender-selected.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from service.core.delivery import Delivery, Header, Publication
from service.core.history import History, mark_ambiguous
from service.core.poison import times_handed_out
from service.core.topology import NORMAL, URGENT, Lane
from service.core.trace_context import TRACEPARENT, TRACESTATE, trace_headers

_PREFIX: Final = "omni-"
_ATTEMPT: Final = "omni-attempt"
_FIRST_SEEN: Final = "omni-first-seen"
"""Milliseconds since 1970."""
_AMBIGUOUS: Final = "omni-ambiguous"
_LOG_CHECKS: Final = "omni-log-checks"
_RESOLVED: Final = "omni-resolved"
_RETRIES: Final = "omni-retries"
_HOLDS: Final = "omni-holds"
_REDELIVERIES: Final = "omni-redeliveries"
_DENIALS: Final = "omni-denials"
_REDRIVES: Final = "omni-redrive-count"
_REPUBLISHED: Final = "omni-republished"
"""True if the relay may have published this message twice, so that there may be a duplicate."""
_EXPIRES_AT: Final = "omni-expires-at"
"""Milliseconds since 1970. Only beside `_UNREAD`: the delay queue forgets the AMQP expiration."""
_UNREAD: Final = "omni-unread"
"""True on a request that was scheduled for retry before any worker had parsed it: it is validated like a new one."""
_CLAIM: Final = "omni-claim"
"""See `History.claim`."""
_WAITS: Final = "omni-waits"
"""See `History.waits`."""
_PART: Final = "omni-part"
"""See `History.part`."""
_REASON: Final = "omni-reason"
_DETAIL: Final = "omni-detail"
_FAILED_AT: Final = "omni-failed-at"
_EXCHANGE: Final = "omni-original-exchange"
_ROUTING_KEY: Final = "omni-original-routing-key"
_LANE: Final = "omni-lane"
"""On a dead letter that is not of the normal lane: `omni.dead` is the queue of both."""

_HISTORY: Final = (_ATTEMPT, _FIRST_SEEN, _AMBIGUOUS, _REDRIVES, _CLAIM, _EXCHANGE, _ROUTING_KEY)
_PROGRESS: Final = (
    _WAITS,
    _PART,
    _LOG_CHECKS,
    _RESOLVED,
    _RETRIES,
    _HOLDS,
    _REDELIVERIES,
    _DENIALS,
    _REPUBLISHED,
    _EXPIRES_AT,
    _UNREAD,
)
_KEY: Final = (_ATTEMPT, _FIRST_SEEN, _RETRIES, _REDRIVES)
NO_KEY: Final = (repr(None),) * len(_KEY)
"""The `publication_key` of a new request."""

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_MAX_TIME: Final = 253_402_300_799_000  # ms; the last second of the year 9999
_MAX_COUNT: Final = 1_000_000
_MAX_NAME: Final = 255
"""Bytes of the name of an exchange or a routing key. A text with more characters cannot be one."""
_MAX_DETAIL: Final = 100


def read_history(headers: Mapping[str, Header], now: datetime) -> History:
    """Read the headers alone. The history of a new request begins at `now`."""
    seen = _integer(headers.get(_FIRST_SEEN), _MAX_TIME)
    return History(
        first_seen=now if seen is None else _EPOCH + timedelta(milliseconds=seen),
        attempts=_count(headers.get(_ATTEMPT)),
        ambiguous=headers.get(_AMBIGUOUS) is True,
        log_checks=_count(headers.get(_LOG_CHECKS)),
        resolved=headers.get(_RESOLVED) is True,
        retries=_count(headers.get(_RETRIES)),
        holds=_count(headers.get(_HOLDS)),
        redeliveries=_count(headers.get(_REDELIVERIES)),
        denials=_count(headers.get(_DENIALS)),
        redrives=_count(headers.get(_REDRIVES)),
        claim=_text(headers.get(_CLAIM)),
        waits=headers.get(_WAITS) is True,
        part=_text(headers.get(_PART))[:_MAX_NAME],
    )


def history_of(delivery: Delivery, now: datetime) -> History:
    """Read a delivery's history, and count a redelivery as an ambiguous attempt.

    A worker that died may have posted it. The broker also marks what a worker returned unhandled, so redeliveries are
    allowed on top of the attempts; see `retry.is_used_up`. It may also have published a retry message, which counts
    this redelivery if that worker had it as redelivered, and would be in step with the one that is published now.
    """
    history = read_history(delivery.headers, now)
    if not may_be_duplicate(delivery):
        return history
    is_republished_replay = history.is_replay and not delivery.redelivered  # it stays the attempt that was ordered
    attempts, redeliveries = history.attempts + (not is_republished_replay), history.redeliveries + 1
    is_even = (times_handed_out(delivery) or 1) % 2 == 0
    leaves_step = is_even != (redeliveries > 1)
    return mark_ambiguous(replace(history, attempts=attempts, redeliveries=redeliveries, leaves_step=leaves_step))


def may_be_duplicate(delivery: Delivery) -> bool:
    """Return whether another worker may have the same request, by the broker's mark or by ours."""
    return delivery.redelivered or is_republished(delivery.headers)


def is_republished(headers: Mapping[str, Header]) -> bool:
    """Return whether the relay may have published it twice."""
    return headers.get(_REPUBLISHED) is True


def is_returning(headers: Mapping[str, Header]) -> bool:
    """Return whether the relay wrote this body: it has validated the request already."""
    return _integer(headers.get(_FIRST_SEEN), _MAX_TIME) is not None and headers.get(_UNREAD) is not True


def is_republication(headers: Mapping[str, Header]) -> bool:
    """Return whether it is a retry message or a replay. Each is published once, so two equal ones are duplicates."""
    return _RETRIES in headers or bool(headers.get(_REDRIVES))


def publication_key(headers: Mapping[str, Header]) -> tuple[str, ...]:
    """Distinguish the publications of one request. It stays equal when the broker delivers one again."""
    return tuple(repr(headers.get(name)) for name in _KEY) if headers else NO_KEY


def read_deadline(headers: Mapping[str, Header]) -> datetime | None:
    """Read the AMQP expiration, as a time, of a request that was scheduled for retry unread."""
    deadline = _integer(headers.get(_EXPIRES_AT), _MAX_TIME)
    return None if deadline is None else _EPOCH + timedelta(milliseconds=deadline)


def retry_headers(history: History, delivery: Delivery) -> dict[str, Header]:
    """Write the headers of a retry message."""
    return write_history(history) | _origin(delivery) | write_progress(history) | kept_headers(delivery.headers)


def unread_retry_headers(history: History, delivery: Delivery, deadline: datetime | None) -> dict[str, Header]:
    """Write the headers of a retry message whose body nobody has parsed, so that it is the producer's."""
    written = write_history(history) | _origin(delivery) | write_progress(history)
    if deadline is not None:
        written[_EXPIRES_AT] = max(0, (deadline - _EPOCH) // timedelta(milliseconds=1))
    if not is_returning(delivery.headers):
        written[_UNREAD] = True
    return written | kept_headers(delivery.headers)


def dead_letter_headers(
    history: History, delivery: Delivery, reason: str, cause: str, now: datetime
) -> dict[str, Header]:
    """Write the headers of a dead letter. Only closed words: people who may read headers may not see messages.

    It has no progress, since a replay begins anew.
    """
    why: dict[str, Header] = {_REASON: reason, _DETAIL: cause, _FAILED_AT: now.isoformat()}
    return (
        write_history(history) | _origin(delivery) | _write_lane(delivery.lane) | why | kept_headers(delivery.headers)
    )


def redrive_headers(headers: Mapping[str, Header], redrives: int, *, republished: bool) -> dict[str, Header]:
    """Write the headers of a dead letter that is replayed: its messages keep their ids, and OMNI is asked first.

    `republished`: an earlier replay may have published it already, so that there may be a duplicate.
    """
    written = {
        name: headers[name] for name in (_FIRST_SEEN, _UNREAD, _CLAIM, _EXCHANGE, _ROUTING_KEY) if name in headers
    }
    written |= {_ATTEMPT: 0, _AMBIGUOUS: True, _REDRIVES: redrives}
    if republished or headers.get(_REPUBLISHED) is True:
        written[_REPUBLISHED] = True
    return written | kept_headers(headers)


def renewed_headers(
    headers: Mapping[str, Header], reason: str, failed_at: datetime | None, lane: Lane
) -> dict[str, Header]:
    """Write the headers of a dead letter that is stored again: ours repeat what the broker's said, which are lost."""
    written: dict[str, Header] = {_REASON: reason, **_write_lane(lane)}
    if failed_at is not None:
        written[_FAILED_AT] = failed_at.isoformat()
    written |= {name: headers[name] for name in (*_HISTORY, *_PROGRESS, _DETAIL) if name in headers}
    return written | kept_headers(headers)


def write_history(history: History) -> dict[str, Header]:
    """Write the part of a history that a retry and a dead letter have. Times are in milliseconds."""
    claim: dict[str, Header] = {_CLAIM: history.claim} if history.claim else {}
    return {
        _ATTEMPT: history.attempts,
        _FIRST_SEEN: (history.first_seen - _EPOCH) // timedelta(milliseconds=1),
        _AMBIGUOUS: history.ambiguous,
        _REDRIVES: history.redrives,
        **claim,
    }


def write_progress(history: History) -> dict[str, Header]:
    """Write the part of a history that only a retry has."""
    written: dict[str, Header] = {
        _LOG_CHECKS: history.log_checks,
        _RESOLVED: history.resolved,
        _RETRIES: history.retries,
        _REDELIVERIES: history.redeliveries,
        _DENIALS: history.denials,
    }
    if history.holds:
        written[_HOLDS] = history.holds
    if history.part:
        written[_PART] = history.part
    return {_WAITS: True, **written} if history.waits else written


def mark_republished(publication: Publication) -> Publication:
    """Mark a retry or a dead letter before it is published again: the broker may have stored the first one."""
    if not publication.must_arrive or _REPUBLISHED in publication.headers:
        return publication
    return replace(publication, headers={_REPUBLISHED: True, **publication.headers})


def dead_letter_reason(headers: Mapping[str, Header]) -> str:
    """Return our reason; an empty text if there is none."""
    return _text(headers.get(_REASON))


def dead_letter_detail(headers: Mapping[str, Header]) -> str:
    """Return the cause of the last attempt's end; an empty text if there is none."""
    return _text(headers.get(_DETAIL))[:_MAX_DETAIL]


def dead_letter_time(headers: Mapping[str, Header]) -> Header:
    """Return when it was dead-lettered, as it is written."""
    return headers.get(_FAILED_AT)


def dead_letter_lane(headers: Mapping[str, Header]) -> Lane:
    """Return the lane of a dead letter of the relay's own."""
    return URGENT if headers.get(_LANE) == URGENT.name else NORMAL


def kept_headers(headers: Mapping[str, Header]) -> dict[str, Header]:
    """Return the headers of a producer that a retry and a dead letter keep.

    The most important come first: headers that do not fit into one frame are left out from the end on.
    """
    return trace_headers(headers) | {name: value for name, value in headers.items() if _is_application(name)}


def is_own(name: str) -> bool:
    """Return whether a header is the relay's own. The letter case is ignored, to be on the safe side."""
    return name[: len(_PREFIX)].lower() == _PREFIX


def _write_lane(lane: Lane) -> dict[str, Header]:
    return {} if lane is NORMAL else {_LANE: lane.name}


def _origin(delivery: Delivery) -> dict[str, Header]:
    """Record where the producer published it. The delay queue forgets, so a record from before stays."""
    origin = {_EXCHANGE: delivery.exchange, _ROUTING_KEY: delivery.routing_key}
    return {name: _name(delivery.headers.get(name)) or value for name, value in origin.items()}


def _is_application(name: str) -> bool:
    lower = name.lower()
    return not (lower in {"cc", "bcc", TRACEPARENT, TRACESTATE} or lower.startswith(("x-", _PREFIX)))


def _integer(value: Header, most: int) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def _count(value: Header) -> int:
    return _integer(value, _MAX_COUNT) or 0


def _text(value: Header) -> str:
    return value if isinstance(value, str) else ""


def _name(value: Header) -> str:
    return value if isinstance(value, str) and len(value) <= _MAX_NAME else ""
