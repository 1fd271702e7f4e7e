"""Takes copies of the dead letters, and publishes the last word about those that have had none."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from service.edges.log import describe, get_logger
from service.edges.rabbitmq import BrokerErrors, Link
from service.rules.obituary import write_obituary
from service.rules.publication import publish_report
from service.rules.redrive import read_dead
from service.words import topology
from service.words.delivery import Delivery, Publication

_PREFETCH: Final = 20
_PAUSE: Final = 10.0

Publish = Callable[[tuple[Publication, ...]], Awaitable[None]]


async def bury(link: Link, publish: Publish, now: Callable[[], datetime], make_id: Callable[[], str]) -> None:
    """Go on until cancelled. What was told twice, because we died between telling and settling, carries the same id."""
    log = get_logger()

    async def tell(delivery: Delivery) -> None:
        letter = read_dead(delivery)
        report = write_obituary(letter, now(), make_id)
        await publish(publish_report(report, delivery, now()))
        if report.events:
            write = log.info if letter.reason == "lapsed" else log.warning
            write("request.buried", request_id=letter.request_id, reason=letter.reason)

    while True:
        session = await link.session()
        try:
            async with contextlib.aclosing(session.following(topology.DIED, _PREFETCH)) as letters:
                async for delivery, receipt in letters:
                    try:
                        await tell(delivery)
                    except Exception as error:  # noqa: BLE001 - a defect costs its word; the letter stays in omni.dead
                        log.error("obituary.failed", **describe(error))  # noqa: TRY400 - its text may repeat the body
                    await receipt.ack()
        except BrokerErrors as error:
            log.warning("undertaker.failed", **describe(error))
            await asyncio.sleep(_PAUSE)
