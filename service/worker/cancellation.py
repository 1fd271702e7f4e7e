"""The orders to cancel that this worker knows, and what they stop: calls that have not been written yet.

A list of orders is read from the shared memory with each renewal of the lease. While the memory is away, and after it
has lost its list, the orders that are known stay in force until they end.
"""

from collections.abc import Callable, Sequence
from math import inf

from service.core.attempt.call import OmniCall
from service.core.attempt.cancellation import NO_ORDERS, Conditions, Known, Orders, read_list, version_of
from service.core.attempt.outcome import MaySend
from service.core.attempt.start_record import ClockReading
from service.core.request.request import Message, SendRequest


class Cancellations:
    """Knows the orders in force."""

    def __init__(self, clock: Callable[[], float], on_change: Callable[[int], None] = lambda _: None) -> None:
        """`clock` is monotonic, also while the machine sleeps. `on_change` gets the number of orders in force."""
        self._clock = clock
        self._on_change = on_change
        self._listeners: list[Callable[[], None]] = []
        self._known = Known()
        self._offset = 0.0
        """Seconds to add to `clock` to get the memory's time."""
        self._in_force: frozenset[Conditions] = frozenset()
        self._orders = NO_ORDERS
        self._next_end = inf
        """By `clock`."""
        self.version = ""
        """Of the list that was read last."""

    @property
    def orders(self) -> Orders:
        """The orders in force. The same object as long as they are the same."""
        if self._orders and self._clock() >= self._next_end:
            self._set(self._known)
        return self._orders

    def listen(self, listener: Callable[[], None]) -> None:
        """Call a function whenever there are other orders."""
        self._listeners.append(listener)

    def read(self, text: bytes | None, reading: ClockReading) -> None:
        """Read a list that has changed; None if the memory has none."""
        self._offset = reading.memory - reading.arrived
        self.version = version_of(text)
        self._set(self._known.merged(read_list(text), self._now()))

    def cancelled(self, request: SendRequest, messages: Sequence[Message]) -> frozenset[str]:
        """Return the ids of those of a request's messages that an order concerns."""
        return self.orders.cancelled(request, messages)

    def concerns(self, call: OmniCall) -> bool:
        """Return whether an order concerns any message of a call."""
        orders = self.orders
        return bool(orders) and orders.concerns(call)

    def guarded(self, call: OmniCall) -> OmniCall:
        """Return a call that is not written once an order concerns it."""
        return call.guarded(self._may_send(call), is_alone=call.is_alone)

    def _may_send(self, call: OmniCall) -> MaySend:
        checked: Orders | None = None

        def may_send() -> bool:
            nonlocal checked
            orders = self.orders
            if orders is not checked:
                if orders.concerns(call):
                    return False
                checked = orders
            return call.may_send()

        return may_send

    def _now(self) -> float:
        return self._clock() + self._offset

    def _set(self, known: Known) -> None:
        now = self._now()
        self._known = known.merged({}, now)
        self._next_end = self._known.next_end(now) - self._offset
        in_force = frozenset(self._known.in_force(now))
        if in_force != self._in_force:
            self._in_force, self._orders = in_force, Orders(in_force)
            self._on_change(len(in_force))
            for listener in self._listeners:
                listener()
