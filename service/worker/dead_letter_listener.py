"""Consumes copies of the dead letters, and publishes the final events of those that have had none.

A dead letter that the broker could not store, because somebody had deleted `omni.dead`, is stored from its copy.
"""

import asyncio
import contextlib
from typing import Final

from service.adapters.rabbitmq import BrokerErrors, ReconnectingConnection, Session, queues
from service.core import topology
from service.core.delivery import Delivery
from service.core.forged_headers import can_be_forged
from service.core.handler import Effects, Handler
from service.core.result.dead_letter import DeadLetter, is_of_the_broker, read_dead, renew, write_final_event
from service.core.result.publication import publish_report
from service.worker.memory import SharedMemory
from service.worker.telemetry import Telemetry

_PREFETCH: Final = 2
"""A dead letter may be as long as the broker allows, and one is handled at a time."""
_PAUSE: Final = 10.0
_CHECK_PERIOD: Final = 5.0
"""Seconds between two checks that the queues of dead letters exist."""


class DeadLetterListener:
    """Reports dead letters. One that is reported twice, because we died before settling it, has the same event ids."""

    def __init__(
        self,
        connection: ReconnectingConnection,
        handler: Handler,
        effects: Effects,
        telemetry: Telemetry,
        memory: SharedMemory | None = None,
    ) -> None:
        self._connection = connection
        self._handler = handler
        self._effects = effects
        self._telemetry = telemetry
        self._memory = memory

    async def run(self) -> None:
        """Listen until cancelled."""
        checking = asyncio.create_task(self._check_queues())
        try:
            while True:
                await self._listen(await self._connection.session())
        finally:
            checking.cancel()

    async def _check_queues(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_PERIOD)
            await self._connection.ensure_dead_letter_queues()

    async def _listen(self, session: Session) -> None:
        """Consume copies until the session ends."""
        try:
            await self._connection.ensure_dead_letter_queues()  # the queue of copies may be the one that was deleted
            async with contextlib.aclosing(queues.follow(session, topology.DIED, _PREFETCH)) as dead_letters:
                async for delivery, acknowledger, arrived_at in dead_letters:
                    await self._handle(delivery, arrived_at, session)
                    await acknowledger.ack()
        except BrokerErrors as error:
            self._telemetry.dead_letter_listener_failed(error)
            await asyncio.sleep(_PAUSE)

    async def _handle(self, delivery: Delivery, arrived_at: float, session: Session) -> None:
        try:
            dead_letter = read_dead(delivery, forgeable=can_be_forged(session.server))
            if is_of_the_broker(dead_letter):  # the relay itself reports, counts and stores its own
                await self._store(dead_letter, arrived_at)
                # Counted before its event is published: the alert must not depend on that being possible.
                self._telemetry.dead_letter_arrived(dead_letter)
                await self._report(dead_letter)
        except Exception as error:  # noqa: BLE001 - a defect costs the events; the dead letter stays in omni.dead
            self._telemetry.dead_letter_failed(error)

    async def _store(self, dead_letter: DeadLetter, arrived_at: float) -> None:
        """Put a dead letter into `omni.dead` if that queue did not exist when it died."""
        await self._connection.ensure_dead_letter_queues()
        if self._connection.may_be_unstored(arrived_at) and not dead_letter.delivery.is_too_long:
            await self._connection.publish([renew(dead_letter)])
            self._telemetry.dead_letter_stored(dead_letter)

    async def _report(self, dead_letter: DeadLetter) -> None:
        """Publish the final events."""
        if dead_letter.reason == "lapsed":
            job = await self._handler.read_late(dead_letter.original)
            if self._memory is not None:
                self._memory.note(job, redelivered=True)  # a worker may have had it before it expired
            await self._handler.handle(job)
            self._telemetry.dead_letter_reported(dead_letter)
            return
        now = self._effects.now()
        report = write_final_event(dead_letter, now, self._effects.make_id)
        await self._effects.publish(publish_report(report, dead_letter.delivery, now))
        if report.events:
            self._telemetry.dead_letter_reported(dead_letter)
