"""Checks that do not rely on the library: the broker has our consumers and confirms, and the loop keeps up.

Deliveries stop without notice where a queue was deleted and declared again, or a consumer was lost. Publications get
stuck where a full queue refuses them, or where an alarm makes the broker stop reading.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from service.adapters.rabbitmq import BrokerErrors, ReconnectingConnection, Session
from service.core.topology import LANES
from service.worker.consumer import Consumer
from service.worker.sending.circuit_breaker import Guard
from service.worker.telemetry import Telemetry

_PERIOD: Final = 0.5
_CONSUMER_PERIOD: Final = 5.0
"""Seconds between two questions to the broker whether it still has our consumers."""
_STALLED: Final = 2.0
"""Seconds without a confirm after which no further call is made."""
_STUCK: Final = 60.0


class Watchdog:
    """Looks after the consumers, the publications and the circuit breaker."""

    def __init__(
        self,
        connection: ReconnectingConnection,
        consumer: Consumer,
        guard: Guard,
        telemetry: Telemetry,
        clock: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._consumer = consumer
        self._guard = guard
        self._telemetry = telemetry
        self._clock = clock
        self._well_at = clock()

    @property
    def is_stuck(self) -> bool:
        """Whether the worker should have been consuming for 60 s and was not, or a pause does not end: restart it."""
        return self._clock() - self._well_at > _STUCK or self._guard.is_stuck

    async def run(self) -> None:
        """Check until cancelled."""
        asked_at = self._well_at = self._clock()
        asking: asyncio.Task[None] | None = None
        while True:
            slept_at = self._clock()
            await asyncio.sleep(_PERIOD)
            now, session = self._clock(), self._consumer.session
            self._telemetry.loop_late(now - slept_at - _PERIOD)
            self._guard.set_stalled(stalled=self._connection.oldest_publication > _STALLED)
            self._guard.advance()
            if session or self._consumer.is_refused or not self._connection.is_connected:
                self._well_at = now
            is_answered = asking is None or asking.done()
            if session and is_answered and not session.broken.is_unread and now - asked_at >= _CONSUMER_PERIOD:
                asked_at = now
                asking = asyncio.create_task(self._check_consumers(session))

    async def _check_consumers(self, session: Session) -> None:
        """End a session of whose consumers the broker does not have one."""
        failure: BaseException | None = None
        consumers: list[int] = []
        try:
            for lane in LANES:
                messages, count = await session.broken.ask(session.waiting(lane), _CONSUMER_PERIOD)
                self._telemetry.queue_seen(lane, messages, count)
                consumers.append(count)
        except BrokerErrors as error:
            failure = error
        if (failure or not all(consumers)) and self._consumer.session is session:
            self._telemetry.consumer_lost(failure)
            session.broken.set("consumer_lost")
