"""The calls and messages of one sandbox, and a few counters; bounded in memory.

* The oldest entries are dropped first: messages and calls beyond `keep`, and calls whose bodies together exceed
  `KEPT_BYTES`.
* A message id that is accepted again increments `times` of its first entry, so that a message sent twice shows.
* Bodies are kept as bytes and parsed only when they are shown.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from service.sandbox.delivery.simulation import Simulation
from service.sandbox.schema.request import Notice

KEPT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Call:
    """One POST and its outcome; without status and fault it was not answered (yet)."""

    path: str
    content_type: str
    scheme: str | None
    received_at: datetime
    body: bytes = b""
    status: int | None = None
    fault: str | None = None
    answer: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of the bodies."""
        return len(self.body) + len(self.answer)


@dataclass(frozen=True)
class Message:
    """One message; `call` and `simulation` are those of the call that sent it first."""

    message_id: str
    bulk_id: str | None
    to: Mapping[str, str]
    channels: Sequence[str]
    send_at: str | None
    received_at: datetime
    call: int
    times: int = 1
    simulation: Simulation = field(default_factory=Simulation)
    notice: Notice = field(default_factory=Notice)


class Store:
    """The store of one sandbox; `keep` bounds calls and messages, each."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._calls: OrderedDict[int, Call] = OrderedDict()
        self._messages: OrderedDict[str, Message] = OrderedDict()
        self._rejected: OrderedDict[str, Message] = OrderedDict()
        self._last_call = 0
        self._bytes = 0
        self._in_flight = 0
        self._count = {"calls": 0, "messagesTaken": 0, "messagesTakenMoreThanOnce": 0, "maxInFlight": 0, "faults": 0}

    def open(self, call: Call) -> int:
        """Add a call that has begun; returns its number."""
        self._last_call += 1
        self._in_flight += 1
        self._calls[self._last_call] = call
        self._bytes += call.size
        self._count["calls"] += 1
        self._count["maxInFlight"] = max(self._count["maxInFlight"], self._in_flight)
        self._trim()
        return self._last_call

    def amend(
        self,
        number: int,
        *,
        body: bytes = b"",
        status: int | None = None,
        fault: str | None = None,
        answer: bytes = b"",
    ) -> None:
        """Update a call."""
        call = self._calls.get(number)
        if call is None:
            return  # dropped meanwhile
        self._count["faults"] += fault is not None
        known = replace(
            call,
            body=body or call.body,
            status=status or call.status,
            fault=fault or call.fault,
            answer=answer or call.answer,
        )
        self._calls[number] = known
        self._bytes += known.size - call.size
        self._trim()

    def close(self) -> None:
        """Count a call as ended."""
        self._in_flight -= 1

    def add(self, messages: Iterable[Message]) -> list[Message]:
        """Add accepted messages; returns those with a new id."""
        new: list[Message] = []
        for message in messages:
            earlier = self._messages.get(message.message_id)
            if earlier is None:
                self._messages[message.message_id] = message
                self._count["messagesTaken"] += 1
                new.append(message)
                continue
            self._messages[message.message_id] = replace(earlier, times=earlier.times + 1)
            self._count["messagesTakenMoreThanOnce"] += earlier.times == 1
        while len(self._messages) > self._keep:
            self._messages.popitem(last=False)
        return new

    def add_rejected(self, messages: Iterable[Message]) -> None:
        """Add messages that were rejected one by one; only the logs show them, each with its latest status."""
        for message in messages:
            self._rejected.pop(message.message_id, None)
            self._rejected[message.message_id] = message
        while len(self._rejected) > self._keep:
            self._rejected.popitem(last=False)

    def simulate(self, message: Message, simulation: Simulation) -> Message:
        """Replace the simulation of an accepted message."""
        changed = replace(message, simulation=simulation)
        self._messages[message.message_id] = changed
        return changed

    def knows(self, message_id: str | None) -> bool:
        """Whether a message of that id was accepted."""
        return message_id in self._messages

    def logged(self, message_id: str | None = None) -> Iterator[Message]:
        """Return accepted and rejected messages, newest first: all, or those of one id."""
        if message_id is not None:
            found = (self._messages.get(message_id), self._rejected.get(message_id))
            return (message for message in found if message is not None)
        if not self._rejected:
            return reversed(self._messages.values())
        both = (reversed(self._messages.values()), reversed(self._rejected.values()))
        return heapq.merge(*both, key=lambda message: message.received_at, reverse=True)

    def logged_count(self) -> int:
        """Return how many messages `logged` returns."""
        return len(self._messages) + len(self._rejected)

    def has_accepted(self, message: Message) -> bool:
        """Whether a message of `logged` is an accepted one."""
        return self._messages.get(message.message_id) is message

    def messages(self, message_id: str | None = None, since: datetime | None = None) -> list[Message]:
        """Return the accepted messages, oldest first."""
        if message_id is not None:
            found = self._messages.get(message_id)
            listed = [found] if found else []
        else:
            listed = list(self._messages.values())
        return [message for message in listed if since is None or message.received_at >= since]

    def call(self, number: int) -> Call | None:
        """Return a call, unless it was dropped."""
        return self._calls.get(number)

    def last_call(self) -> Call | None:
        """Return the latest call."""
        return next(reversed(self._calls.values()), None)

    def calls(self, since: datetime | None = None) -> list[tuple[int, Call]]:
        """Return the calls with their numbers, oldest first."""
        return [(number, call) for number, call in self._calls.items() if since is None or call.received_at >= since]

    def stats(self) -> dict[str, int]:
        """Return the counters; dropped entries still count."""
        return {**self._count, "inFlight": self._in_flight}

    def forget(self) -> None:
        """Remove all entries and reset the counters, except of calls in flight."""
        self._calls.clear()
        self._messages.clear()
        self._rejected.clear()
        self._bytes = 0
        self._count = dict.fromkeys(self._count, 0) | {"maxInFlight": self._in_flight}

    def _trim(self) -> None:
        while len(self._calls) > self._keep or self._bytes > KEPT_BYTES:
            _, call = self._calls.popitem(last=False)
            self._bytes -= call.size
