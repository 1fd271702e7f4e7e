"""What an outcome means for each message of the call, by the status catalogue: whether it may be posted again."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, assert_never

from service.core.attempt.address import is_logged_for
from service.core.attempt.call import OmniCall
from service.core.attempt.outcome import Accepted, Denied, NotAttempted, Outcome, Rejected, Unavailable, Unknown
from service.core.omni.answer import LogEntry
from service.core.omni.status import GROUPS, Disposition, Status, disposition_of, group_of
from service.core.request.request import Message
from service.core.value import dataclass

_REJECTED: Final = GROUPS.index("REJECTED")
_NOT_BEGUN: Final = frozenset({"untrusted_certificate"})
"""Causes for which no call was made, and that only a person can mend: they use up no attempt."""


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """How an attempt ended for one message. `cause` is a word of a closed list, `detail` is for the producer."""

    message: Message
    disposition: Disposition
    cause: str
    detail: str = ""
    status: Status | None = None
    bulk_id: str | None = None
    retry_after: float | None = None
    """Seconds that OMNI asks us to wait, if it does."""


def judge(messages: Sequence[Message], outcome: Outcome, *, ambiguous: bool) -> tuple[MessageOutcome, ...]:
    """Judge messages by the outcome of a call about them. `ambiguous`: OMNI may have accepted an earlier attempt."""
    match outcome:
        case Accepted(statuses, bulk_id):
            judged: list[MessageOutcome] = []
            for message in messages:
                status = statuses.get(message.message_id)
                if status is None:
                    judged.append(MessageOutcome(message, "ambiguous", "not_in_answer"))
                    continue
                meaning = disposition_of(status.group_id, status.id, status.group_name, ambiguous=ambiguous)
                cause = "accepted" if meaning == "taken" else status_cause(status)
                judged.append(MessageOutcome(message, meaning, cause, status.name or "", status, bulk_id))
            return tuple(judged)
        case Rejected(cause, detail):
            return tuple(MessageOutcome(message, "refused", cause, detail) for message in messages)
        case Unavailable(cause, retry_after):
            disposition: Disposition = "not_attempted" if cause in _NOT_BEGUN else "again"
            return tuple(MessageOutcome(one, disposition, cause, retry_after=retry_after) for one in messages)
        case Unknown(cause):
            return tuple(MessageOutcome(message, "ambiguous", cause) for message in messages)
        case Denied(cause):
            return tuple(MessageOutcome(message, "denied", cause) for message in messages)
        case NotAttempted(cause):
            return tuple(MessageOutcome(message, "not_attempted", cause) for message in messages)
        case _:
            assert_never(outcome)


def is_final(call: OmniCall, outcome: Outcome) -> bool:
    """Return whether this outcome allows no message of the call to be posted again."""
    return all(one.disposition in {"taken", "refused"} for one in judge(call.messages, outcome, ambiguous=True))


def judge_logged(
    message: Message, logged: tuple[LogEntry, ...], *, is_unresolved: bool, since: datetime | None
) -> MessageOutcome | None:
    """Judge a message by its entries in OMNI's logs; None if they say nothing about the latest attempt.

    * An entry counts only if it can be about this message: with its address, and sent no earlier than `since`, if that
      is known. The same id may have been used before for another message.
    * An entry that is not rejected means that OMNI accepted the message, whatever became of it since, and although
      another step of its scenario was rejected.
    * A permanent refusal resolves an ambiguous attempt. One that allows another try may be an earlier attempt's.
    """
    entries = [
        entry
        for entry in logged
        if is_logged_for(entry.to, message.to) and (since is None or entry.sent_at is None or entry.sent_at >= since)
    ]
    for entry in entries:
        if group_of(entry.status.group_id, entry.status.group_name) != _REJECTED:
            return MessageOutcome(message, "taken", "found", status=entry.status, bulk_id=entry.bulk_id)
    for entry in entries:
        answered = Accepted({message.message_id: entry.status}, entry.bulk_id)
        (message_outcome,) = judge((message,), answered, ambiguous=True)
        if is_unresolved and message_outcome.disposition in {"taken", "refused"}:
            return message_outcome
    return None


def status_cause(status: Status) -> str:
    """Name a refusal by a word of a closed list."""
    known = status.id is not None and 0 <= status.id <= 999  # noqa: PLR2004 - three digits
    return f"status_{status.id if known else 'other'}"
