"""The outcome of an HTTP answer of OMNI, for every status, every header and every body.

2xx readable                           Accepted
2xx unreadable, 5xx others             Unknown      it may have been accepted
408 425 429 503                        Unavailable  it was not
401 402 403 with OMNI's envelope       Denied       our credentials, our account: not the request's fault
3xx                                    Denied       our base URL
400 404 405 409 413 415 422 with it    Rejected
4xx others                             Unavailable  a gateway's answer: not accepted, and nothing about the call

OMNI answers a wrong call with one of its two error envelopes. A 4xx without one comes from a gateway, a proxy or
another server, such as the page that a wrong base URL leads to.

A message counts as accepted or refused only by an entry with its own id and address: anything less clear is unknown.
"""

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from service.core.attempt.address import repeats
from service.core.attempt.error_body import has_envelope, read_error
from service.core.attempt.lookup import Answered, Forbidden, LookupResult, Unanswered
from service.core.attempt.outcome import Accepted, Denied, Outcome, Rejected, Unavailable, Unknown
from service.core.omni.answer import DamagedAnswer, LogEntry, OmniAnswer, OmniLogs, SentMessage
from service.core.omni.charset import charset_parameter, to_utf8
from service.core.omni.destination import ADDRESSES
from service.core.omni.status import Status
from service.core.omni.xml import XmlError, is_xml, xml_to_json
from service.core.request.body import holds_at_most
from service.core.request.request import Message

MOST_ENTRIES: Final = 1000
"""In one answer of the logs, as we ask for. Source: the specification's maximum for `limit`."""

_SUCCESS: Final = TypeAdapter(OmniAnswer).validator
_DAMAGED: Final = TypeAdapter(DamagedAnswer).validator
_ANSWER: Final = frozenset({"omniResponse"})
_LOGS: Final = frozenset({"omniLogsResponse"})
_NOT_TAKEN: Final = 503
_DENIED: Final = frozenset({401, 402, 403})
_REJECTED: Final = frozenset({400, 404, 405, 409, 413, 415, 422})
_FORBIDDEN: Final = 403
_VALUES: Final = 64
"""Values for each message in an answer, or each entry in a page of the logs. OMNI sends about ten, and about thirty."""
_VALUES_BESIDE: Final = 1000
_MOST_VALUES: Final = 200_000
BYTES: Final = 2**11
"""Bytes of an answer that are read for each message of the call. OMNI sends about 400, and 600 in XML."""
BYTES_BESIDE: Final = 2**18
"""Bytes of an answer that are read in addition to those."""
_MAX_WAIT: Final = 366 * 86400.0
"""Seconds. Callers have shorter limits of their own."""
_UNCLEAR: Final = SentMessage()


def read_answer(
    status: int, headers: Mapping[str, str], body: bytes, messages: tuple[Message, ...], now: datetime
) -> Outcome:
    """Return the outcome of a call about `messages`. `headers` has lower-case names."""
    if status // 100 != 2:  # noqa: PLR2004 - what HTTP defines
        return _read_failure(status, headers, body, now)
    written = _as_json(headers, body, OmniAnswer, _ANSWER, len(messages))
    try:
        try:
            answer: OmniAnswer = _SUCCESS.validate_json(written)
        except ValidationError:
            answer = _DAMAGED.validate_json(written)
    except ValidationError:
        return Unknown("unreadable_answer")
    statuses = _match(answer.messages, messages)
    return Accepted(statuses, answer.bulk_id) if statuses else Unknown("answer_to_others")


def _read_failure(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> Outcome:
    cause = _cause(status)
    match status // 100:
        case 3:
            return Denied(cause)
        case 4:
            text = read_error(headers, body) if status in _REJECTED or status in _DENIED else None
            if text is None:
                return Unavailable(cause, retry_after(headers, now))
            return Denied(cause) if status in _DENIED else Rejected(cause, f"HTTP {status}{text}")
        case 5 if status == _NOT_TAKEN:
            return Unavailable(cause, retry_after(headers, now))
        case _:
            return Unknown(cause)


def read_logs(
    status: int, headers: Mapping[str, str], body: bytes, ids: tuple[str, ...], now: datetime
) -> LookupResult:
    """Return the result of a log lookup about `ids`. `headers` has lower-case names.

    * An answer with as many entries as the limit may lack others.
    * An answer with entries about other messages is not ours: a gateway may have confused two answers.
    * Only OMNI's own 403 means that the logs are closed to us. A 401 concerns every call, and pauses sending.
    """
    cause = _cause(status)
    if status == _FORBIDDEN and has_envelope(headers, body):
        return Forbidden(cause)
    if status // 100 != 2:  # noqa: PLR2004 - what HTTP defines
        return Unanswered(cause, retry_after(headers, now))
    try:
        logs = OmniLogs.model_validate_json(_as_json(headers, body, OmniLogs, _LOGS, MOST_ENTRIES))
    except ValidationError:
        return Unanswered("unreadable_answer")
    # OMNI may take an id that has a comma for several.
    asked = {*ids, *(part for one in ids if "," in one for part in one.split(","))}
    entries: dict[str, list[LogEntry]] = {}
    for entry in logs.results:
        if entry is None:
            return Unanswered("unreadable_answer")  # it may be about one of these ids
        if entry.message_id not in asked:
            return Unanswered("answer_to_others")
        entries.setdefault(entry.message_id, []).append(entry)
    incomplete = frozenset(ids if len(logs.results) >= MOST_ENTRIES else ())
    return Answered({name: tuple(several) for name, several in entries.items()}, incomplete)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read `Retry-After` as seconds, in both its forms: seconds and HTTP date (RFC 9110, 10.2.3).

    A date is compared with the answer's own `Date`, so that neither our clock nor a difference between two clocks
    matters; only without one is it compared with `now`.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value[:10]), _MAX_WAIT))
    if (instant := _http_date(value)) is None:
        return None
    sent = _http_date(headers.get("date", "")) or now
    return min(max(0.0, (instant - sent).total_seconds()), _MAX_WAIT)


def _http_date(value: str) -> datetime | None:
    try:
        instant = parsedate_to_datetime(value)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _cause(status: int) -> str:
    return f"http_{status}" if 100 <= status <= 599 else "http_other"  # noqa: PLR2004 - what HTTP defines


def _match(answered: tuple[SentMessage, ...], messages: tuple[Message, ...]) -> dict[str, Status]:
    """Return the status of each message, by its id.

    A message is left out, and so is ambiguous, if the answer does not have its id, has it more than once, or has it
    with another address: a gateway may have returned the answer to an earlier call. Neither the position in the answer
    nor the address alone proves anything.
    """
    entries: dict[str, SentMessage] = {}
    for entry in answered:
        if entry.message_id is not None:
            entries[entry.message_id] = _UNCLEAR if entry.message_id in entries else entry
    statuses: dict[str, Status] = {}
    for message in messages:
        entry = entries.get(message.message_id, _UNCLEAR)
        # Almost every entry has no address, or exactly those that were posted. `SentTo` has the order of `ADDRESSES`.
        is_about = (
            entry.to is None
            or tuple(vars(entry.to).values()) == tuple(map(message.to.get, ADDRESSES))
            or repeats(entry.to, message.to)
        )
        if entry.status is not None and is_about:
            statuses[message.message_id] = entry.status
    return statuses


def _as_json(
    headers: Mapping[str, str], body: bytes, model: type[BaseModel], roots: frozenset[str], entries: int
) -> bytes:
    """Convert XML in any encoding to JSON. A body that is neither is returned as it is: it is unreadable as JSON too.

    A server may name a charset that its answers are not in. Then they are in UTF-8, or their first bytes decide. A body
    with far more values than so many `entries` have is no answer, and parsing it could exhaust the memory.
    """
    is_plain = body.startswith(b'{"') and body.isascii()  # the usual answer: no other encoding begins like that
    plain = body if is_plain else to_utf8(body, headers.get("content-type"))
    most = min(_VALUES_BESIDE + _VALUES * entries, _MOST_VALUES)
    if is_plain or not is_xml(plain):
        return plain if len(plain) <= most or holds_at_most(most, plain) else b""
    for text, charset in ((body, charset_parameter(headers.get("content-type"))), (plain, "utf-8")):
        with contextlib.suppress(XmlError):
            return xml_to_json(text, model, roots, charset, most)
    return b""
