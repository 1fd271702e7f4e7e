"""Which fault strikes a call: those set by control calls first, then those the numbers ask for.

Set faults strike every call to a sending path (or, if set so, to the logs), right or wrong, as a failing
gateway would; a `refuse` waits for a call that is right. The waits of latencies add up; of the other kinds
the earliest set strikes. A fault that has struck `times` times is gone.
"""

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.sandbox.delivery.status import ENROUTE, Status, status_of
from service.sandbox.fault.fault import Fault, Kind, Path
from service.sandbox.fault.number import Wish, wish_of
from service.sandbox.schema.request import Destination, SendRequest


@dataclass(frozen=True)
class Strike:
    """What a call is in for: a wait, and a fault of the whole call or a status for each destination."""

    seconds: float
    fault: Fault | None
    statuses: Sequence[Status]


class Hazards:
    """The faults now set, and what the numbers have been given so far."""

    def __init__(self, dice: random.Random, keep: int) -> None:
        self._dice = dice
        self._keep = keep
        self._set: list[Fault] = []
        self._given: OrderedDict[str, None] = OrderedDict()

    def set(self, fault: Fault) -> None:
        """Set a fault."""
        self._set.append(fault)

    def listed(self) -> list[Fault]:
        """List the faults now set; `times` is what is left of each."""
        return list(self._set)

    def clear(self) -> None:
        """Take away every set fault."""
        self._set.clear()

    def forget(self) -> None:
        """Forget what the numbers have been given."""
        self._given.clear()

    def strike(self, request: SendRequest | None) -> Strike:
        """Decide what happens to a call; None is a call that is refused anyway."""
        seconds, fault = self._draw(Path.SEND, right=request is not None)
        if request is None:
            return Strike(seconds, fault, ())
        if fault is not None and fault.kind is Kind.REFUSE:
            return Strike(seconds, None, [status_of(fault.status_id)] * len(request.destinations))
        if fault is not None:
            # The statuses are those of a call gone well, for a fault whose messages count as taken.
            return Strike(seconds, fault, [ENROUTE] * len(request.destinations))
        return self._by_number(seconds, request.destinations)

    def strike_logs(self) -> Strike:
        """Decide what happens to a look at the logs."""
        seconds, fault = self._draw(Path.LOGS, right=True)
        return Strike(seconds, fault, ())

    def _draw(self, path: Path, *, right: bool) -> tuple[float, Fault | None]:
        seconds, struck = 0.0, None
        for index, fault in enumerate(self._set):
            if fault.path is not path:
                continue
            if fault.kind is not Kind.LATENCY and struck is not None:
                continue
            if fault.kind is Kind.REFUSE and not right:
                continue
            if self._dice.random() >= fault.probability:
                continue
            seconds += fault.seconds
            struck = struck if fault.kind is Kind.LATENCY else fault
            if fault.times is not None:
                self._set[index] = replace(fault, times=fault.times - 1)
        self._set = [fault for fault in self._set if fault.times != 0]
        return seconds, struck

    def _by_number(self, seconds: float, destinations: Sequence[Destination]) -> Strike:
        wishes = [self._open_wish(destination) for destination in destinations]
        whole = next((wish.fault for wish in wishes if wish and wish.fault.kind is not Kind.REFUSE), None)
        for destination, wish in zip(destinations, wishes, strict=True):
            if wish and not wish.always and (whole is None or wish.fault == whole):
                self._give(destination)
        return Strike(seconds, whole, [status_of(wish.fault.status_id) if wish else ENROUTE for wish in wishes])

    def _open_wish(self, destination: Destination) -> Wish | None:
        wish = wish_of(destination.phone_number)
        if wish is not None and not wish.always and _key(destination) in self._given:
            return None
        return wish

    def _give(self, destination: Destination) -> None:
        self._given[_key(destination)] = None
        while len(self._given) > self._keep:
            self._given.popitem(last=False)


def _key(destination: Destination) -> str:
    if destination.message_id is not None:
        return f"message:{destination.message_id}"
    return f"number:{destination.phone_number}"
