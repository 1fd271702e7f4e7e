"""What an HTTP answer means: total over every status, every header and every body.

2xx readable                 Accepted
2xx unreadable, 5xx others   Unknown      it may have been taken
408 425 429 503              Unavailable  it was not
401 402 403 407, 3xx         Denied       our credentials, our account, our base URL: not the request's fault
4xx others                   Rejected

A body never changes what a status means; it only says more about it.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from pydantic import BaseModel, ValidationError

from service.rules.xml import XmlError, xml_to_json
from service.words.finding import Answered, Finding, Forbidden, Unanswered
from service.words.omni.answer import LogEntry, OmniAnswer, OmniLogs, SentMessage, SentTo
from service.words.omni.destination import To
from service.words.omni.error import ApiError, LegacyError, RequestError, ServiceException
from service.words.omni.status import Status
from service.words.outcome import Accepted, Denied, Outcome, Rejected, Unavailable, Unknown
from service.words.request import Message

_ANSWER: Final = frozenset({"omniResponse"})
_LOGS: Final = frozenset({"omniLogsResponse"})
_EXCEPTION: Final = frozenset({"ApiException"})
_ERROR: Final = frozenset({"requestError"})
_NOT_TAKEN: Final = frozenset({408, 425, 429, 503})
_DENIED: Final = frozenset({401, 402, 403, 407})
_FORBIDDEN: Final = frozenset({403, 404, 405, 410})
_MAX_DETAIL: Final = 500
_MAX_WAIT: Final = 366 * 86400


def read_answer(
    status: int, headers: Mapping[str, str], body: bytes, messages: tuple[Message, ...], now: datetime
) -> Outcome:
    """Turn one HTTP answer to a call about `messages` into its outcome. `headers` has lower-case names."""
    cause = _cause(status)
    match status // 100:
        case 2:
            return _read_success(body, messages)
        case 3:
            return Denied(cause)
        case 4 if status in _DENIED:
            return Denied(cause)
        case 4 | 5 if status in _NOT_TAKEN:
            return Unavailable(cause, retry_after(headers.get("retry-after"), now))
        case 4:
            return Rejected(cause, f"HTTP {status}{_said(body)}")
        case _:
            return Unknown(cause)


def read_logs(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> Finding:
    """Turn one HTTP answer to a look into the logs into what it found. `headers` has lower-case names.

    401 is no word about the logs: with credentials that are refused nothing goes, and sending is paused for it.
    """
    cause = _cause(status)
    if status in _FORBIDDEN:
        return Forbidden(cause)
    if status // 100 != 2:  # noqa: PLR2004 - what HTTP defines
        return Unanswered(cause, retry_after(headers.get("retry-after"), now))
    try:
        logs = OmniLogs.model_validate_json(_as_json(body, OmniLogs, _LOGS))
    except ValidationError:
        return Unanswered("unreadable_answer")
    entries: dict[str, tuple[LogEntry, ...]] = {}
    for entry in logs.results:
        if entry is None:
            return Unanswered("unreadable_answer")  # it may be the very one that was looked for
        entries[entry.message_id] = (*entries.get(entry.message_id, ()), entry)
    return Answered(entries)


def retry_after(value: str | None, now: datetime) -> datetime | None:
    """Read `Retry-After` in both its forms, seconds and HTTP date (RFC 9110, 10.2.3); None for nonsense."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return now + timedelta(seconds=min(int(value[:10]), _MAX_WAIT))
    try:
        instant = parsedate_to_datetime(value)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _cause(status: int) -> str:
    return f"http_{status}" if 100 <= status <= 599 else "http_other"  # noqa: PLR2004 - what HTTP defines


def _read_success(body: bytes, messages: tuple[Message, ...]) -> Outcome:
    try:
        answer = OmniAnswer.model_validate_json(_as_json(body, OmniAnswer, _ANSWER))
    except ValidationError:
        return Unknown("unreadable_answer")
    statuses = _match(answer.messages, messages)
    return Accepted(statuses, answer.bulk_id) if statuses else Unknown("answer_to_others")


def _match(answered: tuple[SentMessage | None, ...], messages: tuple[Message, ...]) -> dict[str, Status]:
    """Find each message's status: by messageId, which we always send; else by an address nobody shares.

    The order of an answer is not promised, so a position proves nothing, but for a single message.
    """
    sent = [entry for entry in answered if entry is not None]
    if len(messages) == len(answered) == len(sent) == 1:
        return {messages[0].message_id: sent[0].status}
    named = {entry.message_id: entry.status for entry in sent if entry.message_id is not None}
    statuses = {message.message_id: named[message.message_id] for message in messages if message.message_id in named}
    left = [message for message in messages if message.message_id not in statuses]
    if left:
        ours = {message.message_id for message in messages}
        answers = Counter(_address(entry.to) for entry in sent if entry.message_id not in ours)
        askers = Counter(_address(message.to) for message in left)
        found = {_address(entry.to): entry.status for entry in sent if entry.message_id not in ours}
        for message in left:
            address = _address(message.to)
            if answers[address] == askers[address] == 1:
                statuses[message.message_id] = found[address]
    return statuses


def _address(to: To | SentTo | None) -> tuple[str | None, ...]:
    if to is None:
        return ()
    return to.phone_number, to.email_address, to.push_registration_id, to.whats_app_user_id


def _as_json(body: bytes, model: type[BaseModel], roots: frozenset[str]) -> bytes:
    """Read XML where it is XML; what is neither stays as it is, and is unreadable as JSON."""
    if not _is_xml(body):
        return body
    try:
        return xml_to_json(body, model, roots)
    except XmlError:
        return b""


def _said(body: bytes) -> str:
    """Take what OMNI says is wrong out of either envelope; nothing where it says nothing readable."""
    try:
        error = _legacy(body)
    except ValidationError:
        return _said_anew(body)
    errors = (error.validation_errors or {}).items()
    faults = [f"{path}: {what if isinstance(what, str) else ', '.join(what)}" for path, what in errors]
    return _join(error.message_id, error.text, faults)


def _is_xml(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def _legacy(body: bytes) -> ServiceException:
    """Read the legacy envelope; in XML it comes with and without its root. Raises `ValidationError`."""
    if b"<ApiException" in body[:200] or not _is_xml(body):
        return LegacyError.model_validate_json(_as_json(body, LegacyError, _EXCEPTION)).request_error.service_exception
    return RequestError.model_validate_json(_as_json(body, RequestError, _ERROR)).service_exception


def _said_anew(body: bytes) -> str:
    try:
        error = ApiError.model_validate_json(body)
    except ValidationError:
        return ""
    faults = [": ".join(filter(None, (fault.property, fault.violation))) for fault in error.violations]
    return _join(error.error_code, error.description, faults)


def _join(code: str | None, text: str | None, faults: list[str]) -> str:
    words = [word for word in (code, text, *faults) if word]
    return (", " + "; ".join(words))[:_MAX_DETAIL] if words else ""
