"""The statuses OMNI gives to a message, as far as they can appear in the answer to a send request.

A status belongs to a group. Groups 0 accepted, 1 pending and 3 delivered mean that the message was accepted; 2
undeliverable, 4 expired and 5 rejected mean that it was not.
"""

from dataclasses import dataclass

GROUPS = {0: "ACCEPTED", 1: "PENDING", 2: "UNDELIVERABLE", 3: "DELIVERED", 4: "EXPIRED", 5: "REJECTED"}
_ACCEPTED = frozenset({0, 1, 3})


@dataclass(frozen=True)
class Status:
    """A status as OMNI publishes it."""

    group_id: int
    id: int
    name: str
    description: str
    action: str | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether OMNI goes on with the message."""
        return self.group_id in _ACCEPTED

    def document(self) -> dict[str, str | int]:
        """Return it as the API writes it; `action` only if there is one."""
        action = {"action": self.action} if self.action is not None else {}
        return {
            "groupId": self.group_id,
            "groupName": GROUPS[self.group_id],
            "id": self.id,
            "name": self.name,
            "description": self.description,
            **action,
        }


ENROUTE = Status(1, 7, "PENDING_ENROUTE", "Message sent to next instance")

_ALL = (
    Status(0, 0, "MESSAGE_ACCEPTED", "Message accepted"),
    Status(1, 3, "PENDING_WAITING_DELIVERY", "Handed to the operator, no report yet"),
    ENROUTE,
    Status(1, 26, "PENDING_ACCEPTED", "Accepted, waiting to be processed"),
    Status(2, 4, "UNDELIVERABLE_REJECTED_OPERATOR", "The operator refused it"),
    Status(2, 9, "UNDELIVERABLE_NOT_DELIVERED", "It was not delivered"),
    Status(2, 31, "UNDELIVERABLE_NOT_SENT", "It was not sent"),
    Status(2, 96, "NO_ANSWER", "Nobody took the call"),
    Status(2, 97, "BUSY", "The line was busy"),
    Status(2, 98, "CANCELLED", "The caller ended the call before it was taken"),
    Status(3, 2, "DELIVERED_TO_OPERATOR", "Delivered to the operator"),
    Status(3, 5, "DELIVERED_TO_HANDSET", "Delivered to the handset"),
    Status(4, 15, "EXPIRED_EXPIRED", "Its validity period ended first"),
    Status(4, 29, "EXPIRED_DLR_UNKNOWN", "Its validity period ended, the outcome is not known"),
    Status(5, 6, "REJECTED_NETWORK", "Network is not covered by this account", "Ask the account manager"),
    Status(5, 8, "REJECTED_PREFIX_MISSING", "Unknown prefix or number length"),
    Status(5, 10, "REJECTED_DND", "The recipient is on a do-not-disturb list"),
    Status(5, 11, "REJECTED_SOURCE", "The sender is not registered"),
    Status(5, 12, "REJECTED_NOT_ENOUGH_CREDITS", "The account has no credit left"),
    Status(5, 13, "REJECTED_SENDER", "The sender is on a block list", "Take the sender off the block list"),
    Status(5, 14, "REJECTED_DESTINATION_BLOCKLISTED", "The recipient is on a block list", "Take it off the list"),
    Status(5, 17, "REJECTED_PREPAID_PACKAGE_EXPIRED", "The account's credits have expired", "Top up the account"),
    Status(5, 18, "REJECTED_DESTINATION_NOT_REGISTERED", "A trial account reaches verified numbers only"),
    Status(5, 19, "REJECTED_ROUTE_NOT_AVAILABLE", "The account has no route there", "Ask the account manager"),
    Status(5, 20, "REJECTED_FLOODING_FILTER", "Too many messages to this number", "Send less to this number"),
    Status(5, 21, "REJECTED_SYSTEM_ERROR", "System error, worth another try"),
    Status(5, 23, "REJECTED_DUPLICATE_MESSAGE_ID", "This message id was used before"),
    Status(5, 24, "REJECTED_INVALID_UDH", "Bad user data header"),
    Status(5, 25, "REJECTED_MESSAGE_TOO_LONG", "More than 25 parts or 4000 bytes"),
    Status(5, 51, "MISSING_TO", "It names no recipient"),
    Status(5, 52, "REJECTED_DESTINATION", "The recipient's number is not valid"),
    # 87 is published in groups 4 and 5; 5 is the one that costs nothing.
    Status(5, 87, "SIGNALS_BLOCKED", "Held back by fraud protection"),
    Status(5, 99, "REJECTED", "The call was declined"),
    Status(5, 100, "UNDELIVERABLE_REJECTED_PLATFORM", "Malformed, or the service is away for a moment"),
)
CATALOGUE = {status.id: status for status in _ALL}
DUPLICATE = CATALOGUE[23]


def status_of(status_id: int) -> Status:
    """Return the status of an id; an unpublished id is a rejection."""
    return CATALOGUE.get(status_id) or Status(5, status_id, "REJECTED", "Refused by the sandbox")
