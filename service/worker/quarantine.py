"""Suspected poison messages, handled one at a time.

A delivery that kills the worker is redelivered, and so is everything that was prefetched with it. Handled alone, in an
order that changes with each delivery count, the others are settled before the killer reaches the delivery limit.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from service.adapters.rabbitmq import Acknowledger, BrokerErrors
from service.core.delivery import Delivery
from service.core.poison import rank

_GATHERING: Final = 0.1
"""Seconds for all suspected deliveries to arrive before one is chosen."""


class Quarantine:
    """Holds suspected deliveries."""

    def __init__(
        self,
        serve: Callable[[Delivery, Acknowledger], Awaitable[None]],
        release: Callable[[Delivery], None],
    ) -> None:
        """`release` gets each delivery that is not served, since its session has ended."""
        self._serve = serve
        self._release = release
        self._suspected: list[tuple[Delivery, Acknowledger]] = []

    def add(self, delivery: Delivery, acknowledger: Acknowledger) -> bool:
        """Take a delivery; returns whether `run` has to be started for it."""
        self._suspected.append((delivery, acknowledger))
        return len(self._suspected) == 1

    async def run(self) -> None:
        """Serve all of them."""
        await asyncio.sleep(_GATHERING)
        while self._suspected:
            self._suspected.sort(key=lambda suspected: rank(suspected[0]))
            delivery, acknowledger = self._suspected[0]
            if acknowledger.broken.is_set():
                self._release(delivery)  # it is redelivered, with a higher count
            else:
                await self._serve(delivery, acknowledger)
                with contextlib.suppress(*BrokerErrors):
                    # An ack that is lost when the next delivery kills us would not have been one.
                    await acknowledger.sync()
            del self._suspected[0]
