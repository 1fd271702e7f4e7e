"""Orders to cancel messages: which messages each concerns, and how they are written in the shared memory.

An order has conditions, and a message is concerned if all of them hold. A condition is written as a digest, so the
memory holds no id. An order ends at a time of the memory's clock. One that was undone stays in the list until then.

A worker merges the list with the orders that it knows: a memory that was restarted or failed over may have lost its
list, or have an older one. What was written last about an order counts.

The list is a text: its version, and a line for each order. Everything in it is bounded, and a line that cannot be read
is ignored.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from itertools import product
from math import inf
from typing import Final

from service.core.attempt.call import OmniCall
from service.core.request.request import Message, SendRequest
from service.core.value import dataclass

LIST: Final = "cancel"
"""The name of the list in the shared memory."""
MOST_ORDERS: Final = 10_000
"""In a list, with those that were undone."""
MOST_BYTES: Final = 2**20
"""Of a list. A worker reads it whenever it changes."""
MOST_CONDITIONS: Final = 16
"""Of an order."""
LONGEST: Final = 366 * 86400.0
"""Seconds for which an order is in force at most."""
VERSION: Final = 16
"""Characters of a version."""

_REQUEST, _MESSAGE, _BULK, _METADATA = "r", "m", "b", "d"
_LINE: Final = re.compile(
    r"([+-])([0-9]{1,15}) ([0-9]{1,15}) ([rmbd][0-9a-f]{32}(?:,[rmbd][0-9a-f]{32}){0,15})", re.ASCII
)
_NONE: Final[frozenset[str]] = frozenset()

Conditions = frozenset[str]
"""Digests. All of them have to hold for a message."""


@dataclass(frozen=True, slots=True)
class Order:
    """The latest entry about a set of conditions. Times are in seconds since 1970 by the memory's clock."""

    written: float
    ends: float
    undone: bool = False
    """Whether it is not in force any more."""


Listed = Mapping[Conditions, Order]


class TooManyError(Exception):
    """The list has no room for these orders. `count`: orders that are in it."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(str(count))


@dataclass(frozen=True, slots=True)
class Named:
    """The messages that an operator names: with any of the ids of each kind, and all of the metadata.

    `metadata` is written `NAME=VALUE`. A name may contain `=` too: all that reads the same is the same.
    """

    request_ids: tuple[str, ...] = ()
    message_ids: tuple[str, ...] = ()
    bulk_ids: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()

    def count(self) -> int:
        """Return the number of orders that it takes; 0 if nothing is named."""
        kinds = (self.request_ids, self.message_ids, self.bulk_ids)
        if not any(kinds) and not self.metadata:
            return 0
        number = 1
        for kind in kinds:
            number *= max(len(set(kind)), 1)
        return number

    def orders(self) -> list[Conditions]:
        """Return the conditions of each order."""
        kinds = ((_REQUEST, self.request_ids), (_MESSAGE, self.message_ids), (_BULK, self.bulk_ids))
        alternatives = [[_digest(kind, one) for one in dict.fromkeys(ids)] for kind, ids in kinds if ids]
        shared = [_digest(_METADATA, one) for one in self.metadata]
        return [frozenset((*one, *shared)) for one in product(*alternatives)] if self.count() else []


class Orders:
    """The orders in force that a worker knows, in a form in which those about a message are found at once."""

    def __init__(self, orders: Iterable[Conditions] = ()) -> None:
        self._by_request: dict[str, list[Conditions]] = {}
        """By one condition that is the same for all messages of a request."""
        self._by_message: dict[str, list[Conditions]] = {}
        """By the condition about the message's id."""
        self._kinds: set[str] = set()
        for conditions in orders:
            self._kinds |= {one[0] for one in conditions}
            of_message = [one for one in conditions if one[0] == _MESSAGE]
            index = self._by_message if of_message else self._by_request
            index.setdefault(min(of_message or conditions), []).append(conditions)
        self._is_any = bool(self._kinds)

    def __bool__(self) -> bool:
        return self._is_any

    def cancelled(self, request: SendRequest, messages: Sequence[Message]) -> frozenset[str]:
        """Return the ids of those of a request's messages that an order concerns."""
        if not self._is_any:
            return _NONE
        shared = self._shared(request)
        for one in shared:
            for conditions in self._by_request.get(one, ()):
                if conditions <= shared:
                    return frozenset([message.message_id for message in messages])
        if not self._by_message:
            return _NONE
        return frozenset([one.message_id for one in messages if self._concerns_message(one, shared)])

    def concerns(self, call: OmniCall) -> bool:
        """Return whether an order concerns any message of a call."""
        if not self._is_any:
            return False
        members = call.members or (call,)
        return any(one.request is not None and self.cancelled(one.request, one.messages) for one in members)

    def _concerns_message(self, message: Message, shared: frozenset[str]) -> bool:
        own = _digest(_MESSAGE, message.message_id)
        return any(conditions <= shared | {own} for conditions in self._by_message.get(own, ()))

    def _shared(self, request: SendRequest) -> frozenset[str]:
        """Return the conditions that hold for every message of a request, of the kinds that orders have."""
        shared = [_digest(_REQUEST, request.request_id)] if _REQUEST in self._kinds else []
        if _BULK in self._kinds and request.content.bulk_id is not None:
            shared.append(_digest(_BULK, request.content.bulk_id))
        if _METADATA in self._kinds:
            shared += [_digest(_METADATA, f"{name}={value}") for name, value in request.metadata.items()]
        return frozenset(shared)


NO_ORDERS: Final = Orders()


@dataclass(frozen=True, slots=True)
class Known:
    """The orders that a worker knows, from the lists that it has read."""

    orders: Listed = field(default_factory=dict)

    def merged(self, listed: Listed, now: float) -> "Known":
        """Add a list."""
        known = self.orders
        newer = {name: one for name, one in listed.items() if name not in known or one.written >= known[name].written}
        orders = [(name, order) for name, order in {**known, **newer}.items() if order.ends > now]
        return Known(dict(orders[-2 * MOST_ORDERS :]))

    def in_force(self, now: float) -> list[Conditions]:
        """Return the orders that are in force. Times are by the memory's clock."""
        return _in_force(self.orders, now)

    def next_end(self, now: float) -> float:
        """Return when the next order ends; infinity if none does."""
        return min([order.ends for order in self.orders.values() if order.ends > now], default=inf)


def version_of(text: bytes | None) -> str:
    """Return the version of a list; empty if there is none."""
    return (text or b"")[:VERSION].decode("ascii", "replace")


def read_list(text: bytes | None) -> dict[Conditions, Order]:
    """Read a list. One that is too long is ignored as a whole, since half a line may be another order.

    Lines that cannot be read are ignored.
    """
    orders: dict[Conditions, Order] = {}
    if text is None or len(text) > MOST_BYTES:
        return orders
    for line in text.decode("ascii", "replace").split("\n")[1:]:
        if match := _LINE.fullmatch(line):
            sign, written, ends, conditions = match.groups()
            orders[frozenset(conditions.split(","))] = Order(int(written) / 1000, int(ends) / 1000, sign == "-")
    return orders


def write_list(listed: Listed, version: str) -> str:
    """Write a list."""
    return "\n".join((version, *(_line(conditions, order) for conditions, order in listed.items())))


def _line(conditions: Conditions, order: Order) -> str:
    times = f"{round(1000 * order.written)} {round(1000 * order.ends)}"
    return f"{'-' if order.undone else '+'}{times} {','.join(sorted(conditions))}"


@dataclass(frozen=True, slots=True)
class Change:
    """A list after a command."""

    listed: Listed
    changed: int
    """Orders that are new or prolonged, or that were in force and are undone."""
    in_force: int
    seconds: float
    """For which the memory has to keep it."""


def change_list(listed: Listed, orders: Sequence[Conditions], now: float, seconds: float, *, undo: bool) -> Change:
    """Add orders for so many seconds, or undo them. Raises `TooManyError`.

    An order that the list does not have can be undone too: a worker may know it from a memory that has lost it.
    """
    after = {name: order for name, order in listed.items() if order.ends > now}
    before = set(_in_force(after, now))
    ends = now + min(seconds, LONGEST)
    for name in orders:
        # A worker that misses the list for some time must not find that the order was undone only after its end.
        known = after.get(name)
        written = max(now, known.written) if known else now
        after[name] = Order(written, max(ends, known.ends) if undo and known else ends, undo)
    in_force = _in_force(after, now)
    if len(after) > MOST_ORDERS or len(write_list(after, "").encode()) > MOST_BYTES - VERSION:
        raise TooManyError(len(before))
    changed = len(before.intersection(orders)) if undo else len(set(orders))
    last = max((order.ends for order in after.values()), default=ends)
    return Change(after, changed, len(in_force), last - now)


def _in_force(listed: Listed, now: float) -> list[Conditions]:
    return [name for name, order in listed.items() if order.ends > now and not order.undone]


def _digest(kind: str, value: str) -> str:
    data = value.encode("utf-8", "surrogatepass")
    return kind + hashlib.blake2b(data, digest_size=16, person=kind.encode()).hexdigest()
