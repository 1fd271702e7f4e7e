"""Deliveries in, as long as there is a connection, and a watch on it.

The consumer stays for as long as its session does, also while sending is paused: see the turnstile.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from service.adapters.logging import describe, get_logger
from service.adapters.metrics import Metrics
from service.adapters.rabbitmq import BrokerErrors, OnDelivery, ReconnectingConnection, Session
from service.core.value import dataclass
from service.worker.sending.circuit_breaker import Turnstile

_PULSE: Final = 0.5
_ROUND: Final = 5.0
"""Seconds between two questions to the broker whether it still has our consumer."""
_STALLED: Final = 2.0
"""Seconds without a confirm after which no further call is made."""
_STUCK: Final = 60.0
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 10.0
"""Seconds before the next try where the broker gives no consumer. Each try costs two connections."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What an intake works with."""

    link: ReconnectingConnection
    receive: OnDelivery
    turnstile: Turnstile
    metrics: Metrics
    prefetch: int


class Intake:
    """Takes deliveries as long as there is a connection."""

    def __init__(self, bench: Bench, clock: Callable[[], float] = time.monotonic) -> None:
        self._bench = bench
        self._clock = clock
        self._log = get_logger()
        self._consuming: Session | None = None
        self._is_refused = False
        self._well_at = clock()

    async def run(self) -> None:
        """Consume until cancelled."""
        watching = asyncio.create_task(self._watch())
        wait = _FIRST_WAIT
        try:
            while True:
                if await self._consume(await self._bench.link.session()):
                    wait = _FIRST_WAIT
                    continue
                self._is_refused = True
                await asyncio.sleep(wait)
                self._is_refused = False
                wait = min(2 * wait, _LONGEST_WAIT)
        finally:
            watching.cancel()

    async def _consume(self, session: Session) -> bool:
        """Consume until the session ends; tell whether the broker gave a consumer."""
        try:
            async with session.consuming(self._bench.prefetch, self._bench.receive):
                self._bench.metrics.consuming.set(1)
                self._consuming = session
                await session.broken.wait()
        except BrokerErrors as error:
            self._log.warning("consumer.failed", **describe(error))
            session.broken.set("consumer_failed")
            return self._consuming is not None
        else:
            return True
        finally:
            self._consuming = None
            self._bench.metrics.consuming.set(0)

    async def _watch(self) -> None:
        """Doubt what the library says: whether the broker has our consumer, and whether it confirms.

        Deliveries stop without a word where a queue was deleted and made again behind the broker's back, or a consumer
        was lost; publications, where a queue that is full refuses them or an alarm makes the broker stop reading.
        """
        asked_at = self._well_at = self._clock()
        asking: asyncio.Task[None] | None = None
        while True:
            slept_at = self._clock()
            await asyncio.sleep(_PULSE)
            now, bench = self._clock(), self._bench
            bench.metrics.loop_lag_seconds.observe(max(0.0, now - slept_at - _PULSE))
            bench.turnstile.stall(stalled=bench.link.oldest_publication > _STALLED)
            bench.turnstile.look()
            if self._consuming or self._is_refused or not bench.link.is_connected:
                self._well_at = now
            is_answered = asking is None or asking.done()
            if self._consuming and is_answered and not self._consuming.broken.is_unread and now - asked_at >= _ROUND:
                asked_at = now
                asking = asyncio.create_task(self._make_sure(self._consuming))

    async def _make_sure(self, session: Session) -> None:
        """End a session whose consumer the broker does not have. One that does not consume any more ends by itself."""
        what: dict[str, str] = {}
        try:
            messages, consumers = await session.broken.ask(session.waiting(), _ROUND)
            self._bench.metrics.queue_messages.set(messages)
            self._bench.metrics.queue_consumers.set(consumers)
        except BrokerErrors as error:
            consumers, what = 0, describe(error)
        if not consumers and self._consuming is session:
            self._log.warning("consumer.lost", **what)
            session.broken.set("consumer_lost")

    @property
    def is_stuck(self) -> bool:
        """Tell whether it has not consumed for a minute for no reason that it knows of."""
        return self._clock() - self._well_at > _STUCK
