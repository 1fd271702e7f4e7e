"""What an HTTP answer means: total over every status, every header and every body.

2xx readable                           Accepted
2xx unreadable, 5xx others             Unknown      it may have been taken
408 425 429 503                        Unavailable  it was not
401 402 403 with OMNI's envelope       Denied       our credentials, our account: not the request's fault
3xx                                    Denied       our base URL
400 404 405 409 413 415 422 with it    Rejected
4xx others                             Unavailable  a gateway's answer: not taken, and no word about the call

OMNI answers a wrong call in one of its two error envelopes. A 4xx without one comes from a gateway, a proxy or another
server, as a page does while the base URL is wrong.
"""

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json

from service.core.attempt.address import repeats
from service.core.attempt.lookup import Answered, Forbidden, LookupResult, Unanswered
from service.core.attempt.outcome import Accepted, Denied, Outcome, Rejected, Unavailable, Unknown
from service.core.omni.answer import LogEntry, OmniAnswer, OmniLogs, SentMessage
from service.core.omni.charset import EncodingError, charset_parameter, to_utf8, xml_text
from service.core.omni.error import ApiError, LegacyError
from service.core.omni.status import Status
from service.core.omni.xml import XmlError, xml_to_json
from service.core.request.body import holds_at_most
from service.core.request.request import Message

MOST_ENTRIES: Final = 1000
"""In one answer of the logs, as we ask for. Source: the specification's maximum for `limit`."""

_SUCCESS: Final = TypeAdapter(OmniAnswer).validator
_ANSWER: Final = frozenset({"omniResponse"})
_LOGS: Final = frozenset({"omniLogsResponse"})
_NOT_TAKEN: Final = 503
_DENIED: Final = frozenset({401, 402, 403})
_REJECTED: Final = frozenset({400, 404, 405, 409, 413, 415, 422})
_FORBIDDEN: Final = 403
_MAX_ERROR: Final = 2**18
"""Bytes of an error body that are read."""
_VALUES: Final = 64
"""Values for each message in an answer, or each entry in a page of the logs. OMNI sends about ten, and about thirty."""
_VALUES_BESIDE: Final = 1000
_MOST_VALUES: Final = 200_000
_BYTES: Final = 2**11
"""Bytes of an answer for each message. OMNI sends about 400, and 600 in XML."""
_BYTES_BESIDE: Final = 2**18
_MAX_ERROR_DEPTH: Final = 20
_MAX_DETAIL: Final = 500
_MAX_WAIT: Final = 366 * 86400.0
"""Seconds that `Retry-After` can ask for; whoever waits has a shorter limit of its own."""
_UNCLEAR: Final = SentMessage()


def read_answer(
    status: int, headers: Mapping[str, str], body: bytes, messages: tuple[Message, ...], now: datetime
) -> Outcome:
    """Turn one HTTP answer to a call about `messages` into its outcome. `headers` has lower-case names."""
    cause = _cause(status)
    match status // 100:
        case 2:
            return _read_success(headers, body, messages)
        case 3:
            return Denied(cause)
        case 4:
            said = _read_error(headers, body) if status in _REJECTED or status in _DENIED else None
            if said is None:
                return Unavailable(cause, retry_after(headers, now))
            return Denied(cause) if status in _DENIED else Rejected(cause, f"HTTP {status}{said}")
        case 5 if status == _NOT_TAKEN:
            return Unavailable(cause, retry_after(headers, now))
        case _:
            return Unknown(cause)


def longest_answer(messages: int) -> int:
    """Give the bytes of the longest answer that is read to a call about so many messages."""
    return _BYTES_BESIDE + _BYTES * messages


def read_logs(
    status: int, headers: Mapping[str, str], body: bytes, ids: tuple[str, ...], now: datetime
) -> LookupResult:
    """Turn one HTTP answer to a question about `ids` into what it found. `headers` has lower-case names.

    An answer with as many entries as were asked for at most may lack others. One with entries about messages
    that were not asked for is not the answer to this question: a gateway may have given that to another one.
    Only OMNI's own 403 says that the logs are closed to us. 401 is no word about the logs: with credentials that are
    refused nothing goes, and sending is paused for it.
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
            return Unanswered("unreadable_answer")  # it may be the very one that was looked for
        if entry.message_id not in asked:
            return Unanswered("answer_to_others")
        entries.setdefault(entry.message_id, []).append(entry)
    incomplete = frozenset(ids if len(logs.results) >= MOST_ENTRIES else ())
    return Answered({name: tuple(several) for name, several in entries.items()}, incomplete)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read `Retry-After` in both its forms, seconds and HTTP date (RFC 9110, 10.2.3), as seconds; None for nonsense.

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


def _read_success(headers: Mapping[str, str], body: bytes, messages: tuple[Message, ...]) -> Outcome:
    try:
        answer: OmniAnswer = _SUCCESS.validate_json(_as_json(headers, body, OmniAnswer, _ANSWER, len(messages)))
    except ValidationError:
        return Unknown("unreadable_answer")
    statuses = _match(answer.messages, messages)
    return Accepted(statuses, answer.bulk_id) if statuses else Unknown("answer_to_others")


def _match(answered: tuple[SentMessage, ...], messages: tuple[Message, ...]) -> dict[str, Status]:
    """Find the status of each message by its id, which every call carries.

    A message is left out, and so may or may not have been taken, where the answer does not have its id, has it more
    than once, or has it with another address: a gateway may have given the answer to an earlier call. The place in the
    answer, and the address alone, prove nothing.
    """
    entries: dict[str, SentMessage] = {}
    for entry in answered:
        if entry.message_id is not None:
            entries[entry.message_id] = _UNCLEAR if entry.message_id in entries else entry
    statuses: dict[str, Status] = {}
    for message in messages:
        entry = entries.get(message.message_id, _UNCLEAR)
        if entry.status is not None and repeats(entry.to, message.to):
            statuses[message.message_id] = entry.status
    return statuses


def _as_json(
    headers: Mapping[str, str], body: bytes, model: type[BaseModel], roots: frozenset[str], entries: int
) -> bytes:
    """Read XML where it is XML, in whatever encoding; what is neither stays as it is, and is unreadable as JSON.

    A server may name a charset that its answers are not in. Then they are in UTF-8, or in what their first bytes say.
    What holds far more values than so many `entries` have is no answer, and reading it could end the process.
    """
    plain, most = to_utf8(body, headers.get("content-type")), min(_VALUES_BESIDE + _VALUES * entries, _MOST_VALUES)
    if not _is_xml(plain):
        return plain if holds_at_most(most, plain) else b""
    for text, charset in ((body, charset_parameter(headers.get("content-type"))), (plain, "utf-8")):
        with contextlib.suppress(XmlError):
            return xml_to_json(text, model, roots, charset, most)
    return b""


def _is_xml(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def has_envelope(headers: Mapping[str, str], body: bytes) -> bool:
    """Tell whether an error body is OMNI's own."""
    return _read_error(headers, body) is not None


def _read_error(headers: Mapping[str, str], body: bytes) -> str | None:
    """Give what OMNI says is wrong; None where the body has neither of its envelopes, and so is not OMNI's."""
    if len(body) > _MAX_ERROR:
        return None
    try:
        document = _as_document(headers, body)
    except ValueError:
        return None
    try:
        error = LegacyError.model_validate(document).request_error.service_exception
    except ValidationError:
        return _read_new_error(document)
    errors = (error.validation_errors or {}).items()
    faults = [f"{path}: {what if isinstance(what, str) else ', '.join(what)}" for path, what in errors]
    return _join(error.message_id, error.text, faults)


def _read_new_error(document: object) -> str | None:
    try:
        error = ApiError.model_validate(document)
    except ValidationError:
        return None
    faults = [": ".join(filter(None, (fault.property, fault.violation))) for fault in error.violations or ()]
    return _join(error.error_code, error.description, faults)


def _as_document(headers: Mapping[str, str], body: bytes) -> object:
    """Read JSON, or XML by its elements alone. Raises `ValueError`.

    The envelope must be recognised also where something in it has a form that nobody has published, as the validation
    errors in XML. So the element tree is read without a model.
    """
    plain = to_utf8(body, headers.get("content-type"))
    if not _is_xml(plain):
        return from_json(plain)
    try:
        text = xml_text(body, charset_parameter(headers.get("content-type")))
    except EncodingError:
        text = xml_text(plain, "utf-8")
    try:
        root = fromstring(text, forbid_dtd=True)  # as text, so that it is not read in the encoding that it declares
    except ParseError as error:
        raise ValueError from error
    name = _local(root)
    return _tree(root, 0) if name == "ApiException" else {name: _tree(root, 0)}


def _tree(element: Element, depth: int) -> object:
    if depth > _MAX_ERROR_DEPTH:
        raise ValueError
    if not len(element):
        return (element.text or "").strip()
    return {_local(child): _tree(child, depth + 1) for child in element}


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _join(code: str | None, text: str | None, faults: list[str]) -> str:
    parts = [word for word in (code, text, *faults) if word]
    return (", " + "; ".join(parts))[:_MAX_DETAIL] if parts else ""
