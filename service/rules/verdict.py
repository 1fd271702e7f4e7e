"""What an outcome means for each message of the call: the status tables, and what may be done next."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, assert_never

from service.words.call import OmniCall
from service.words.omni.status import Status
from service.words.outcome import Accepted, Denied, Outcome, Rejected, Unavailable, Unknown
from service.words.request import Message

Standing = Literal["taken", "refused", "again", "doubtful", "denied"]
"""taken: OMNI has it. refused: for good. again: not taken, may be. doubtful: who knows. denied: not now."""

_UNDELIVERABLE, _EXPIRED, _REJECTED = 2, 4, 5
_FAILURES: Final = frozenset({_UNDELIVERABLE, _EXPIRED, _REJECTED})
_FAILURE_NAMES: Final = frozenset({"UNDELIVERABLE", "EXPIRED", "REJECTED"})

_SYSTEM_ERROR: Final = 21
_NO_CREDIT: Final = frozenset({12, 17})
_DUPLICATE_ID: Final = 23


@dataclass(frozen=True, slots=True)
class Verdict:
    """One message's standing after an attempt. `cause` is a closed word, `detail` is for the producer."""

    message: Message
    standing: Standing
    cause: str
    detail: str = ""
    status: Status | None = None
    bulk_id: str | None = None
    retry_at: datetime | None = None


def judge(call: OmniCall, outcome: Outcome, *, ambiguous: bool) -> tuple[Verdict, ...]:
    """Give every message its verdict; `ambiguous` says that an earlier attempt may have been taken."""
    match outcome:
        case Accepted():
            return tuple(_judge_message(message, outcome, ambiguous=ambiguous) for message in call.messages)
        case Rejected(cause, detail):
            return tuple(Verdict(message, "refused", cause, detail) for message in call.messages)
        case Unavailable(cause, retry_at):
            return tuple(Verdict(message, "again", cause, retry_at=retry_at) for message in call.messages)
        case Unknown(cause):
            return tuple(Verdict(message, "doubtful", cause) for message in call.messages)
        case Denied(cause):
            return tuple(Verdict(message, "denied", cause) for message in call.messages)
        case _:
            assert_never(outcome)


def _judge_message(message: Message, accepted: Accepted, *, ambiguous: bool) -> Verdict:
    status = accepted.statuses.get(message.message_id)
    if status is None:
        return Verdict(message, "doubtful", "not_in_answer")
    standing = _standing(status, ambiguous=ambiguous)
    cause = "accepted" if standing == "taken" else f"status_{_bounded(status.id)}"
    return Verdict(message, standing, cause, status.name or "", status, accepted.bulk_id)


def _standing(status: Status, *, ambiguous: bool) -> Standing:
    """Read the group first: ids and names move between editions of the vendor's tables, groups have not.

    A group nobody has seen counts as taken: OMNI lists the message and does not say that it refused it, and
    sending it again could reach the person twice.
    """
    if status.group_id not in _FAILURES and (status.group_name or "").upper() not in _FAILURE_NAMES:
        return "taken"
    if status.id in _NO_CREDIT:
        return "denied"
    if status.id == _SYSTEM_ERROR:
        return "again"  # its own description asks to send again
    if status.id == _DUPLICATE_ID and ambiguous:
        return "taken"  # the attempt in doubt got through
    return "refused"


def _bounded(status_id: int | None) -> str:
    return str(status_id) if status_id is not None and 0 <= status_id <= 999 else "other"  # noqa: PLR2004 - 3 digits


def denial(verdicts: tuple[Verdict, ...]) -> str | None:
    """Tell why sending should pause, if any message was refused for our account's sake."""
    return next((verdict.cause for verdict in verdicts if verdict.standing == "denied"), None)
