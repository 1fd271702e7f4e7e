"""OMNI's statuses of a message, and whether each allows the message to be posted again.

Source: the vendor's published status codes (2026-07), its OMNI pages for id 0, and an older edition for codes that have
gone since. Names and even ids move between editions (14 and 52 swapped names, 87 has three meanings); groups have not.
So the group decides, and an entry of the catalogue only within its group. A status that is not in the catalogue is
decided by its group alone. No model here is an enumeration: an unknown status is carried, not refused.
"""

from functools import lru_cache
from typing import Final, Literal

from service.core.omni.model import Lenient
from service.core.value import dataclass


class Status(Lenient):
    """A complete status object. Source: the OMNI pages, `Status` of the send response."""

    group_id: int
    group_name: str | None = None
    id: int | None = None
    name: str | None = None
    description: str | None = None
    action: str | None = None


Product = Literal["general", "voice", "email", "push"]

Disposition = Literal["taken", "refused", "again", "later", "denied", "ambiguous", "not_attempted"]
"""What may be done next about one message.

taken          nothing: OMNI has accepted it
refused        nothing: OMNI refused it permanently
again          not accepted: post it again by schedule
later          not accepted: post it again in an hour
denied         not accepted, by a fault of the account: post it again when that is corrected
ambiguous      possibly accepted: look it up first
not_attempted  no call was made
"""

Group = Literal["ACCEPTED", "PENDING", "UNDELIVERABLE", "DELIVERED", "EXPIRED", "REJECTED"]
GROUPS: Final[tuple[Group, ...]] = ("ACCEPTED", "PENDING", "UNDELIVERABLE", "DELIVERED", "EXPIRED", "REJECTED")
"""Names of the groups; the position is the id."""

_REFUSING: Final = frozenset({2, 4, 5})


@dataclass(frozen=True, slots=True)
class Entry:
    """One status. `meaning` and `product` are for people who read the catalogue."""

    group_id: int
    id: int
    name: str
    meaning: str
    disposition: Disposition | Literal["duplicate"]
    product: Product = "general"


CATALOGUE: Final = (
    Entry(0, 0, "MESSAGE_ACCEPTED", "taken", disposition="taken"),
    Entry(1, 1, "PENDING_TIME_VIOLATION", "held back until its hours (an old edition)", disposition="taken"),
    Entry(1, 3, "PENDING_WAITING_DELIVERY", "with the operator, whose report is due", disposition="taken"),
    Entry(1, 7, "PENDING_ENROUTE", "on its way", disposition="taken"),
    Entry(1, 26, "PENDING_ACCEPTED", "waiting to be worked on", disposition="taken"),
    Entry(2, 4, "UNDELIVERABLE_REJECTED_OPERATOR", "the operator refused it", disposition="refused"),
    Entry(2, 9, "UNDELIVERABLE_NOT_DELIVERED", "could not be delivered", disposition="refused"),
    Entry(2, 31, "UNDELIVERABLE_NOT_SENT", "was not sent", disposition="again"),
    Entry(2, 66, "UNDELIVERABLE_NO_DESTINATION", "no device", disposition="refused", product="push"),
    Entry(2, 96, "NO_ANSWER", "nobody answered the call", disposition="refused", product="voice"),
    Entry(2, 97, "BUSY", "the line was busy", disposition="refused", product="voice"),
    Entry(2, 98, "CANCELLED", "the caller gave the call up", disposition="refused", product="voice"),
    Entry(3, 2, "DELIVERED_TO_OPERATOR", "the operator has it", disposition="taken"),
    Entry(3, 5, "DELIVERED_TO_HANDSET", "the person has it", disposition="taken"),
    Entry(4, 15, "EXPIRED_EXPIRED", "its time was over", disposition="refused"),
    Entry(4, 22, "EXPIRED_UNKNOWN", "its time was over (an old edition)", disposition="refused"),
    Entry(4, 29, "EXPIRED_DLR_UNKNOWN", "its time was over; it may have arrived", disposition="refused"),
    Entry(4, 87, "SIGNALS_BLOCKED", "taken for fraud, and charged", disposition="refused"),
    Entry(5, 6, "REJECTED_NETWORK", "the network is not covered", disposition="refused"),
    Entry(5, 8, "REJECTED_PREFIX_MISSING", "no known prefix or length", disposition="refused"),
    Entry(5, 10, "REJECTED_DND", "the person does not want to be disturbed", disposition="refused"),
    Entry(5, 11, "REJECTED_SOURCE", "the sender is not registered", disposition="refused"),
    Entry(5, 12, "REJECTED_NOT_ENOUGH_CREDITS", "no credit", disposition="denied"),
    Entry(5, 13, "REJECTED_SENDER", "the sender is blocked", disposition="refused"),
    Entry(5, 14, "REJECTED_DESTINATION_BLOCKLISTED", "the recipient is blocked", disposition="refused"),
    Entry(5, 16, "REJECTED_NOT_REACHABLE", "not reachable (an old edition)", disposition="refused"),
    Entry(5, 17, "REJECTED_PREPAID_PACKAGE_EXPIRED", "the credit has lapsed", disposition="denied"),
    Entry(5, 18, "REJECTED_DESTINATION_NOT_REGISTERED", "not a number of the trial", disposition="refused"),
    Entry(5, 19, "REJECTED_ROUTE_NOT_AVAILABLE", "the account has no route there", disposition="refused"),
    Entry(5, 20, "REJECTED_FLOODING_FILTER", "too many messages to this number", disposition="later"),
    Entry(5, 21, "REJECTED_SYSTEM_ERROR", "a fault of OMNI's; it asks for another try", disposition="again"),
    Entry(5, 23, "REJECTED_DUPLICATE_MESSAGE_ID", "the messageId was used before", disposition="duplicate"),
    Entry(5, 24, "REJECTED_INVALID_UDH", "the user data header is wrong", disposition="refused"),
    Entry(5, 25, "REJECTED_MESSAGE_TOO_LONG", "more than 25 parts or 4000 bytes", disposition="refused"),
    Entry(5, 51, "MISSING_TO", "no recipient", disposition="refused"),
    Entry(5, 52, "REJECTED_DESTINATION", "the number is not valid", disposition="refused"),
    Entry(5, 53, "REJECTED_INVALID_AUDIO_FILE_URL", "audio address", disposition="refused", product="voice"),
    Entry(5, 54, "REJECTED_UNSUPPORTED_LANGUAGE", "language", disposition="refused", product="voice"),
    Entry(5, 55, "REJECTED_MESSAGE_IS_EMPTY", "no text", disposition="refused", product="voice"),
    Entry(5, 56, "REJECTED_INVALID_NOTIFY_URL", "notifyUrl", disposition="refused", product="voice"),
    Entry(5, 57, "REJECTED_INVALID_NOTIFY_CONTENT_TYPE", "its type", disposition="refused", product="voice"),
    Entry(5, 58, "REJECTED_INVALID_DTMF_SIGN", "a key", disposition="refused", product="voice"),
    Entry(5, 59, "REJECTED_INVALID_DTMF_TIMEOUT", "a time for keys", disposition="refused", product="voice"),
    Entry(5, 60, "REJECTED_INVALID_RING_TIMEOUT", "the time to ring", disposition="refused", product="voice"),
    Entry(5, 61, "REJECTED_INVALID_CALL_TIMEOUT", "the time to talk", disposition="refused", product="voice"),
    Entry(5, 62, "REJECTED_INVALID_MACHINE_DETECTION", "an option", disposition="refused", product="voice"),
    Entry(5, 63, "REJECTED_INVALID_ACTIONS", "an option", disposition="refused", product="voice"),
    Entry(5, 64, "REJECTED_INVALID_ACTION_GROUPS", "an option", disposition="refused", product="voice"),
    Entry(5, 65, "REJECTED_NO_APPLICATION", "no such app", disposition="refused", product="push"),
    Entry(5, 68, "REJECTED_PAYLOAD_TOO_BIG", "more than 4000 characters", disposition="refused", product="push"),
    Entry(5, 69, "REJECTED_NO_CONTENT", "nothing to say", disposition="refused", product="push"),
    Entry(5, 70, "REJECTED_INVALID_VALIDITY_PERIOD", "under 30 s", disposition="refused", product="push"),
    Entry(5, 71, "REJECTED_INVALID_QUERY", "a subscription", disposition="refused", product="push"),
    Entry(5, 73, "REJECTED_INVALID_INBOX_TOPIC", "no such topic", disposition="refused", product="push"),
    Entry(5, 74, "REJECTED_INVALID_PRIMARY_BUTTON_ACTION", "a button", disposition="refused", product="push"),
    Entry(5, 75, "REJECTED_FREE_TRIAL_EXCEEDED", "the trial is used up", disposition="refused", product="email"),
    Entry(5, 83, "REJECTED_MACHINE_DETECTION_DISABLED", "an option", disposition="refused", product="voice"),
    Entry(5, 87, "SIGNALS_BLOCKED", "taken for fraud, not charged", disposition="refused"),
    Entry(5, 87, "REJECTED_INVALID_DELIVERY_TIME_WINDOW", "its hours", disposition="refused", product="voice"),
    Entry(5, 88, "REJECTED_DATA_TRANSFORMATION_FAILED", "the content", disposition="refused", product="email"),
    Entry(5, 89, "REJECTED_INTERNAL_ERROR", "a fault of OMNI's", disposition="again", product="email"),
    Entry(5, 90, "REJECTED_VALIDATION_FAILED", "the content", disposition="refused", product="email"),
    Entry(5, 91, "REJECTED_INVALID_SSML", "the text", disposition="refused", product="voice"),
    Entry(5, 99, "REJECTED", "the call was declined", disposition="refused", product="voice"),
    Entry(5, 100, "UNDELIVERABLE_REJECTED_PLATFORM", "malformed, or OMNI is busy", disposition="again"),
)
"""Every known status, by group and id."""

_DISPOSITIONS: Final = {(entry.group_id, entry.id): entry.disposition for entry in reversed(CATALOGUE)}


def group_of(group_id: int, group_name: str | None) -> int:
    """Return the group by its id, or by its name if the id is unknown; -1 if both are."""
    name = (group_name or "").upper().removeprefix("MESSAGE_")
    return group_id if 0 <= group_id < len(GROUPS) else GROUPS.index(name) if name in GROUPS else -1


@lru_cache(maxsize=1024)
def disposition_of(
    group_id: int, status_id: int | None, group_name: str | None = None, *, ambiguous: bool = False
) -> Disposition:
    """Return the disposition of a message with this status; an unknown group counts as taken.

    OMNI lists such a message without refusing it, so posting it again could reach the person twice.
    A message that is refused as a duplicate was taken if an earlier attempt is `ambiguous`.
    """
    group = group_of(group_id, group_name)
    if group not in _REFUSING:
        return "taken"
    disposition = _DISPOSITIONS.get((group, status_id if status_id is not None else -1), "refused")
    if disposition == "duplicate":
        return "taken" if ambiguous else "refused"
    return disposition
