"""Traces switched on: deliveries carry our own context, and acknowledgers end the span that the delivery began."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from service.adapters.rabbitmq import Acknowledger, OnDelivery
from service.adapters.settings import Settings, SettingsError
from service.core.delivery import Delivery

if TYPE_CHECKING:  # where traces are off, their packages are not loaded
    from service.adapters.tracing import TracedDelivery, Tracer


class TracedAcknowledger(Acknowledger):
    """An acknowledger that ends the spans of its delivery.

    It is no dataclass with slots: these would hide the fields of the base class where that one is compiled.
    """

    def __init__(self, one: Acknowledger, trail: "TracedDelivery") -> None:
        super().__init__(one.channel, one.tag, one.broken, one.fast_path)
        self.trail: Final = trail

    async def ack(self) -> None:
        """Settle it: done. Raises as `Acknowledger.ack` does."""
        with self.trail.tracer.settling(self.trail, "ack"):
            await Acknowledger.ack(self)

    async def dead_letter(self) -> None:
        """Settle it: the broker moves it to the dead-letter queue. Raises as `Acknowledger.ack` does."""
        with self.trail.tracer.settling(self.trail, "nack"):
            await Acknowledger.dead_letter(self)


def tracing(tracer: "Tracer", receive: OnDelivery) -> OnDelivery:
    """Begin a span with every delivery. That of a delivery that is lost with its connection is not exported."""

    def receive_traced(delivery: Delivery, acknowledger: Acknowledger) -> None:
        trail = tracer.begin(delivery)
        receive(trail.delivery, TracedAcknowledger(acknowledger, trail))

    return receive_traced


def tracer_for(settings: Settings, on_lost: Callable[[int], None]) -> "Tracer | None":
    """Make a tracer if traces are on. Raises `SettingsError` if the packages for it are not installed."""
    if not settings.traces:
        return None
    try:
        from service.adapters.tracing import make_tracer  # noqa: PLC0415 - optional, and 15 MiB
    except ImportError:
        raise SettingsError("RELAY_TRACES: needs more to be installed: pip install 'omni-relay[trace]'") from None
    return make_tracer(settings.omni_base_url, on_lost)
