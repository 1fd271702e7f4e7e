import asyncio
from dataclasses import dataclass
from typing import cast

import pytest

from service.adapters.metrics import Metrics
from service.adapters.rabbitmq import ReconnectingConnection
from service.worker.consumer import Bench, Intake
from service.worker.sending.circuit_breaker import Turnstile


@dataclass
class Broker:
    """A link that is up and gives no session, or one that is down."""

    is_connected: bool = True
    oldest_publication: float = 0.0

    async def session(self) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize(("connected", "stuck"), [(True, True), (False, False)])
async def test_one_that_should_consume_and_does_not_for_a_minute_is_stuck(*, connected: bool, stuck: bool) -> None:
    """A broker that is away is not for a restart to mend."""
    now = 1000.0
    turnstile = Turnstile(lambda *_: None, lambda _: None)
    bench = Bench(
        cast("ReconnectingConnection", Broker(connected)), lambda _, __: None, turnstile, Metrics(), prefetch=10
    )
    intake = Intake(bench, lambda: now)
    running = asyncio.create_task(intake.run())
    await asyncio.sleep(0.6)
    now += 59
    assert not intake.is_stuck
    await asyncio.sleep(0.6)
    now += 59
    await asyncio.sleep(0)
    assert intake.is_stuck is stuck
    running.cancel()
