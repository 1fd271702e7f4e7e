"""Traces switched on: deliveries that carry our own context, and receipts that end what they began."""

from typing import TYPE_CHECKING

from service.adapters.logging import get_logger
from service.adapters.rabbitmq import Acknowledger, OnDelivery
from service.adapters.settings import Settings, SettingsError
from service.core.delivery import Delivery
from service.core.value import dataclass

if TYPE_CHECKING:  # where traces are off, nothing of what they need is loaded
    from service.adapters.tracing import TracedDelivery, Tracer


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedAcknowledger(Acknowledger):
    """A receipt whose use is the end of a trail."""

    trail: "TracedDelivery"

    async def ack(self) -> None:
        """Settle it: done. Raises as `Receipt.ack` does."""
        with self.trail.tracer.settling(self.trail, "ack"):
            await Acknowledger.ack(self)

    async def dead_letter(self) -> None:
        """Settle it: the broker moves it to the dead-letter queue. Raises as `Receipt.ack` does."""
        with self.trail.tracer.settling(self.trail, "nack"):
            await Acknowledger.dead_letter(self)


def tracing(tracer: "Tracer", receive: OnDelivery) -> OnDelivery:
    """Begin a trail with every delivery. One that is lost with its connection is not told: it comes again."""

    def receive_traced(delivery: Delivery, acknowledger: Acknowledger) -> None:
        trail = tracer.begin(delivery)
        own = TracedAcknowledger(
            acknowledger.channel, acknowledger.tag, acknowledger.broken, acknowledger.fast_path, trail=trail
        )
        receive(trail.delivery, own)

    return receive_traced


def tracer_for(settings: Settings) -> "Tracer | None":
    """Make a tracer where traces are asked for. Raises `SettingsError` where what it needs is not installed."""
    if not settings.traces:
        return None
    try:
        from service.adapters.tracing import make_tracer  # noqa: PLC0415 - optional, and 15 MiB
    except ImportError:
        raise SettingsError("RELAY_TRACES: needs more to be installed: pip install 'omni-relay[trace]'") from None
    log = get_logger()
    return make_tracer(settings.omni_base_url, lambda spans: log.warning("traces.lost", spans=spans))
