"""Deliveries in, as long as there is a connection.

The consumer stays for as long as its session does, also while sending is paused: see the circuit breaker.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from service.adapters.rabbitmq import BrokerErrors, OnDelivery, ReconnectingConnection, Session
from service.core.topology import LANES, Lane
from service.worker.telemetry import Telemetry

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 10.0
"""Seconds before the next try where the broker gives no consumer. Each try costs two connections."""


class Consumer:
    """Asks for as many deliveries of each lane at once as `prefetches` says, as long as there is a connection."""

    def __init__(
        self,
        connection: ReconnectingConnection,
        receive: OnDelivery,
        telemetry: Telemetry,
        prefetches: Mapping[Lane, int],
    ) -> None:
        self.session: Session | None = None
        """The session that it consumes over; None while it does not."""
        self.is_refused = False
        """Whether it waits, since the broker gave no consumer."""
        self._connection = connection
        self._receive = receive
        self._telemetry = telemetry
        self._prefetches: Final = {lane: prefetches[lane] for lane in reversed(LANES)}
        """The urgent lane comes first: after a start its deliveries are not behind those of the other."""

    async def run(self) -> None:
        """Consume until cancelled."""
        wait = _FIRST_WAIT
        while True:
            if await self._consume(await self._connection.session()):
                wait = _FIRST_WAIT
                continue
            self.is_refused = True
            await asyncio.sleep(wait)
            self.is_refused = False
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _consume(self, session: Session) -> bool:
        """Consume until the session ends; returns whether the broker gave a consumer."""
        try:
            async with session.consuming(self._prefetches, self._receive):
                self._telemetry.consuming(is_consuming=True)
                self.session = session
                await session.broken.wait()
        except BrokerErrors as error:
            self._telemetry.consumer_failed(error)
            session.broken.set("consumer_failed")
            return self.session is not None
        else:
            return True
        finally:
            self.session = None
            self._telemetry.consuming(is_consuming=False)
