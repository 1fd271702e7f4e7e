"""What the sandbox has taken: the calls, the messages, and a few counters; bounded in memory.

The oldest entries go first: messages and calls beyond `keep`, and calls whose bodies together exceed
`KEPT_BYTES`. A message id taken again raises `times` of its first entry instead of making a second one,
so that a message sent twice shows. Bodies are kept as bytes; whoever asks for them pays for reading them.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from service.sandbox.delivery.simulation import Journey
from service.sandbox.schema.request import Notice

KEPT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Call:
    """One POST: what came, and what it was given. Neither status nor fault: not answered (yet)."""

    path: str
    content_type: str
    scheme: str | None
    received_at: datetime
    body: bytes = b""
    status: int | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Message:
    """One message taken; `call` is the number of the call that brought it first, `journey` what became of that."""

    message_id: str
    bulk_id: str | None
    to: Mapping[str, str]
    channels: Sequence[str]
    send_at: str | None
    received_at: datetime
    call: int
    times: int = 1
    journey: Journey = field(default_factory=Journey)
    notice: Notice = field(default_factory=Notice)


class Ledger:
    """The memory of one sandbox."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._calls: OrderedDict[int, Call] = OrderedDict()
        self._messages: OrderedDict[str, Message] = OrderedDict()
        self._refused: OrderedDict[str, Message] = OrderedDict()
        self._last_call = 0
        self._bytes = 0
        self._in_flight = 0
        self._count = {"calls": 0, "messagesTaken": 0, "messagesTakenMoreThanOnce": 0, "maxInFlight": 0}

    def open(self, call: Call) -> int:
        """Write down a call that has come; the number is what to close it by."""
        self._last_call += 1
        self._in_flight += 1
        self._calls[self._last_call] = call
        self._bytes += len(call.body)
        self._count["calls"] += 1
        self._count["maxInFlight"] = max(self._count["maxInFlight"], self._in_flight)
        self._trim()
        return self._last_call

    def amend(self, number: int, *, body: bytes = b"", status: int | None = None, fault: str | None = None) -> None:
        """Add what has become known of a call."""
        call = self._calls.get(number)
        if call is None:
            return  # forgotten meanwhile
        known = replace(call, body=body or call.body, status=status or call.status, fault=fault or call.fault)
        self._calls[number] = known
        self._bytes += len(known.body) - len(call.body)
        self._trim()

    def close(self) -> None:
        """Note that a call is over, however it ended."""
        self._in_flight -= 1

    def take(self, messages: Iterable[Message]) -> list[Message]:
        """Write down messages taken; those taken for the first time come back."""
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

    def refuse(self, messages: Iterable[Message]) -> None:
        """Write down messages refused one by one: of those only the logs tell, the latest refusal of each."""
        for message in messages:
            self._refused.pop(message.message_id, None)
            self._refused[message.message_id] = message
        while len(self._refused) > self._keep:
            self._refused.popitem(last=False)

    def knows(self, message_id: str | None) -> bool:
        """Whether a message of that id was taken."""
        return message_id in self._messages

    def logged(self, message_id: str | None = None) -> Iterator[Message]:
        """List what the logs tell of, newest first: the messages taken, and those refused."""
        if message_id is not None:
            found = (self._messages.get(message_id), self._refused.get(message_id))
            return (message for message in found if message is not None)
        both = (reversed(self._messages.values()), reversed(self._refused.values()))
        return heapq.merge(*both, key=lambda message: message.received_at, reverse=True)

    def messages(self, message_id: str | None = None, since: datetime | None = None) -> list[Message]:
        """List the messages taken, oldest first."""
        if message_id is not None:
            found = self._messages.get(message_id)
            listed = [found] if found else []
        else:
            listed = list(self._messages.values())
        return [message for message in listed if since is None or message.received_at >= since]

    def calls(self, since: datetime | None = None) -> list[tuple[int, Call]]:
        """List the calls by number, oldest first."""
        return [(number, call) for number, call in self._calls.items() if since is None or call.received_at >= since]

    def stats(self) -> dict[str, int]:
        """Count; entries dropped for room still count."""
        return {**self._count, "inFlight": self._in_flight}

    def forget(self) -> None:
        """Drop all entries and start counting anew; what is in flight still is."""
        self._calls.clear()
        self._messages.clear()
        self._refused.clear()
        self._bytes = 0
        self._count = dict.fromkeys(self._count, 0) | {"maxInFlight": self._in_flight}

    def _trim(self) -> None:
        while len(self._calls) > self._keep or self._bytes > KEPT_BYTES:
            _, call = self._calls.popitem(last=False)
            self._bytes -= len(call.body)
