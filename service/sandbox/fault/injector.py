"""Choose the fault of a call: faults set by control calls first, then those requested by phone numbers.

* A set fault applies to every call to a sending path (or, with `path` "logs", to the logs), valid or not, as a failing
  gateway would. Only `refuse` waits for a valid call.
* Latencies add up. Of the other kinds, the one set earliest applies.
* A fault that was injected `times` times is removed.
"""

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.sandbox.delivery.status import ENROUTE, Status, status_of
from service.sandbox.fault.fault import Fault, Kind, Path
from service.sandbox.fault.number import RequestedFault, requested_fault
from service.sandbox.schema.request import Destination, SendRequest


@dataclass(frozen=True)
class Injection:
    """What is injected into one call: a delay, and a fault of the whole call or a status for each destination."""

    seconds: float
    fault: Fault | None
    statuses: Sequence[Status]


class FaultInjector:
    """The faults set now, and the numbers and message ids that already had their requested fault.

    `keep` bounds the latter.
    """

    def __init__(self, random_: random.Random, keep: int) -> None:
        self._random = random_
        self._keep = keep
        self._set: list[Fault] = []
        self._given: OrderedDict[str, None] = OrderedDict()

    def set(self, fault: Fault) -> None:
        """Add a fault."""
        self._set.append(fault)

    def listed(self) -> list[Fault]:
        """Return the faults set now; `times` is how often each will still be injected."""
        return list(self._set)

    def clear(self, kind: Kind | None = None) -> None:
        """Remove the set faults: all, or those of one kind."""
        self._set = [fault for fault in self._set if kind is not None and fault.kind is not kind]

    def forget(self) -> None:
        """Let every number have its requested fault once more."""
        self._given.clear()

    def for_send(self, request: SendRequest | None) -> Injection:
        """Choose for a send call; None is a call that is refused anyway."""
        seconds, fault = self._drawn(Path.SEND, is_valid=request is not None)
        if request is None:
            return Injection(seconds, fault, ())
        if fault is None:
            return self._by_number(seconds, request.destinations)
        if fault.kind is Kind.REFUSE:
            return Injection(seconds, None, [status_of(fault.status_id)] * len(request.destinations))
        # A fault with `taken` needs the statuses of a successful call.
        return Injection(seconds, fault, [ENROUTE] * len(request.destinations))

    def for_logs(self) -> Injection:
        """Choose for a call to the logs."""
        seconds, fault = self._drawn(Path.LOGS, is_valid=True)
        return Injection(seconds, fault, ())

    def _drawn(self, path: Path, *, is_valid: bool) -> tuple[float, Fault | None]:
        seconds, chosen = 0.0, None
        for index, fault in enumerate(self._set):
            if fault.path is not path:
                continue
            if fault.kind is not Kind.LATENCY and chosen is not None:
                continue
            if fault.kind is Kind.REFUSE and not is_valid:
                continue
            if self._random.random() >= fault.probability:
                continue
            seconds += fault.seconds
            chosen = chosen if fault.kind is Kind.LATENCY else fault
            if fault.times is not None:
                self._set[index] = replace(fault, times=fault.times - 1)
        self._set = [fault for fault in self._set if fault.times != 0]
        return seconds, chosen

    def _by_number(self, seconds: float, destinations: Sequence[Destination]) -> Injection:
        requested = [self._still_requested(destination) for destination in destinations]
        whole = next((each.fault for each in requested if each and each.fault.kind is not Kind.REFUSE), None)
        for destination, each in zip(destinations, requested, strict=True):
            if each and not each.always and (whole is None or each.fault == whole):
                self._give(destination)
        statuses = [status_of(each.fault.status_id) if each else ENROUTE for each in requested]
        return Injection(seconds, whole, statuses)

    def _still_requested(self, destination: Destination) -> RequestedFault | None:
        requested = requested_fault(destination.phone_number)
        if requested is not None and not requested.always and _key(destination) in self._given:
            return None
        return requested

    def _give(self, destination: Destination) -> None:
        self._given[_key(destination)] = None
        while len(self._given) > self._keep:
            self._given.popitem(last=False)


def _key(destination: Destination) -> str:
    if destination.message_id is not None:
        return f"message:{destination.message_id}"
    return f"number:{destination.phone_number}"
