"""Takes copies of the dead letters, and publishes the last word about those that have had none."""

import asyncio
import contextlib
from typing import Final

from service.edges.log import describe, get_logger
from service.edges.rabbitmq import BrokerErrors, Link
from service.path.handler import Effects, Handler
from service.rules.obituary import write_obituary
from service.rules.publication import publish_report
from service.rules.redrive import read_dead
from service.words import topology
from service.words.delivery import Delivery

_PREFETCH: Final = 20
_PAUSE: Final = 10.0


async def bury(link: Link, handler: Handler, effects: Effects) -> None:
    """Go on until cancelled. What was told twice, because we died between telling and settling, carries the same id."""
    log = get_logger()

    async def tell(delivery: Delivery) -> None:
        letter, now = read_dead(delivery), effects.now()
        if letter.reason == "lapsed":
            await handler.handle(await handler.read_late(letter.original))
            log.info("dead_letter.reported", request_id=letter.request_id, reason=letter.reason)
            return
        report = write_obituary(letter, now, effects.make_id)
        await effects.publish(publish_report(report, delivery, now))
        if report.events:
            log.warning("dead_letter.reported", request_id=letter.request_id, reason=letter.reason)

    while True:
        session = await link.session()
        try:
            async with contextlib.aclosing(session.following(topology.DIED, _PREFETCH)) as letters:
                async for delivery, receipt in letters:
                    try:
                        await tell(delivery)
                    except Exception as error:  # noqa: BLE001 - a defect costs its word; the letter stays in omni.dead
                        log.error("dead_letter.report_failed", **describe(error))  # noqa: TRY400 - its text may repeat the body
                    await receipt.ack()
        except BrokerErrors as error:
            log.warning("dead_letter_listener.failed", **describe(error))
            await asyncio.sleep(_PAUSE)
