"""Takes copies of the dead letters, and publishes the last word about those that have had none.

A letter that the broker could not store, because somebody had deleted `omni.dead`, is put there from its copy.
"""

import asyncio
import contextlib
from typing import Final

from service.adapters.logging import describe, get_logger
from service.adapters.rabbitmq import BrokerErrors, ReconnectingConnection, Session, queues
from service.core import topology
from service.core.delivery import Delivery
from service.core.forged_headers import can_be_forged
from service.core.handler import Effects, Handler
from service.core.result.dead_letter import DeadLetter, is_of_the_broker, read_dead, renew, write_final_event
from service.core.result.publication import publish_report

_PREFETCH: Final = 2
"""A dead letter may be as long as the broker takes them, and one is served at a time."""
_PAUSE: Final = 10.0
_LOOK_EVERY: Final = 5.0
"""Seconds between two looks whether the queues of dead letters are there."""


async def bury(link: ReconnectingConnection, handler: Handler, effects: Effects) -> None:
    """Go on until cancelled. What was told twice, because we died between telling and settling, carries the same id."""
    undertaker = _Undertaker(link, handler, effects)
    looking = asyncio.create_task(undertaker.look())
    try:
        await undertaker.run()
    finally:
        looking.cancel()


class _Undertaker:
    def __init__(self, link: ReconnectingConnection, handler: Handler, effects: Effects) -> None:
        self._link = link
        self._handler = handler
        self._effects = effects
        self._log = get_logger()

    async def look(self) -> None:
        """Make sure now and then that the queues of dead letters are there."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            await self._link.ensure_dead_letter_queues()

    async def run(self) -> None:
        """Take copies over as many sessions as it takes."""
        while True:
            session = await self._link.session()
            try:
                await self._link.ensure_dead_letter_queues()  # the queue of copies may be the one that is gone
                async with contextlib.aclosing(queues.follow(session, topology.DIED, _PREFETCH)) as dead_letters:
                    async for delivery, acknowledger, arrived_at in dead_letters:
                        await self._handle(delivery, arrived_at, session)
                        await acknowledger.ack()
            except BrokerErrors as error:
                self._log.warning("dead_letter_listener.failed", **describe(error))
                await asyncio.sleep(_PAUSE)

    async def _handle(self, delivery: Delivery, arrived_at: float, session: Session) -> None:
        try:
            dead_letter = read_dead(delivery, forgeable=can_be_forged(session.server))
            await self._store(dead_letter, arrived_at)
            if is_of_the_broker(dead_letter):
                await self._tell(dead_letter)
        except Exception as error:  # noqa: BLE001 - a defect costs its word; the letter stays in omni.dead
            self._log.error("dead_letter.report_failed", **describe(error))

    async def _store(self, dead_letter: DeadLetter, arrived_at: float) -> None:
        """Put a letter into `omni.dead` that died while it was gone; the relay makes sure of its own by itself."""
        if is_of_the_broker(dead_letter):
            await self._link.ensure_dead_letter_queues()
        may_be_unstored = self._link.may_be_unstored(arrived_at)
        if may_be_unstored and is_of_the_broker(dead_letter) and not dead_letter.delivery.is_too_long:
            await self._link.publish([renew(dead_letter)])
            self._log.warning("dead_letter.stored_again", request_id=dead_letter.request_id, reason=dead_letter.reason)

    async def _tell(self, dead_letter: DeadLetter) -> None:
        """Publish the final event."""
        now = self._effects.now()
        if dead_letter.reason == "lapsed":
            await self._handler.handle(await self._handler.read_late(dead_letter.original))
            self._log.info("dead_letter.reported", request_id=dead_letter.request_id, reason=dead_letter.reason)
            return
        report = write_final_event(dead_letter, now, self._effects.make_id)
        await self._effects.publish(publish_report(report, dead_letter.delivery, now))
        if report.events:
            self._log.warning("dead_letter.reported", request_id=dead_letter.request_id, reason=dead_letter.reason)
