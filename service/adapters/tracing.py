"""Traces with OpenTelemetry, as a part of the producer's own trace.

    process omni.requests      from delivery to settlement; a child of the producer's span
      POST                     one call to OMNI; the span of a batch is linked to the traces of all its requests
      publish …                events, retries and dead letters, until the broker has confirmed them
      ack omni.requests        the settlement

The trace context travels as a string in headers and calls, so the core does not depend on OpenTelemetry. Names and
attributes follow the semantic conventions for messaging and HTTP, 1.37. No phone number, address or text is ever one.
The collector and the sampling are configured by OpenTelemetry's own variables, `OTEL_…`.
"""

import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service import __version__
from service.core.attempt.call import OmniCall, Send
from service.core.attempt.outcome import Accepted, Outcome
from service.core.delivery import Delivery, Publication
from service.core.trace_context import TRACEPARENT, TRACESTATE, read_trace, trace_headers
from service.core.value import dataclass

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_NAME: Final = "omni-relay"

Publish = Callable[[Sequence[Publication]], Awaitable[None]]


class Tracer:
    """Makes spans. The SDK exports them in a thread of its own."""

    def __init__(self, exporter: SpanExporter, server: str, on_lost: Callable[[int], None] = lambda _: None) -> None:
        self._provider = TracerProvider(resource=_resource())
        self._provider.add_span_processor(BatchSpanProcessor(_CountingExporter(exporter, on_lost)))
        self._tracer = self._provider.get_tracer(_NAME, __version__)
        url = urlsplit(server)
        self._server: dict[str, str | int] = {
            "server.address": url.hostname or "",
            "server.port": url.port or (443 if url.scheme == "https" else 80),
        }

    def begin(self, delivery: Delivery) -> "TracedDelivery":
        """Start the span of a delivery. The returned delivery carries this span's context instead of the producer's."""
        span = self._tracer.start_span(
            f"process {delivery.lane.requests}",
            _extract(trace_headers(delivery.headers)),
            SpanKind.CONSUMER,
            {
                "messaging.system": "rabbitmq",
                "messaging.operation.type": "process",
                "messaging.operation.name": "process",
                "messaging.destination.name": delivery.lane.requests,
                "messaging.message.id": delivery.message_id or "",
                "messaging.message.body.size": len(delivery.body),
                "omni.redelivered": delivery.redelivered,
            },
        )
        headers = {name: value for name, value in delivery.headers.items() if name not in (TRACEPARENT, TRACESTATE)}
        return TracedDelivery(replace(delivery, headers=headers | _inject(span)), span, self)

    @contextlib.contextmanager
    def settling(self, traced_delivery: "TracedDelivery", how: str) -> Iterator[None]:
        """Settle a delivery while inside; then its span ends. `how` is `ack` or another operation name."""
        delivery = traced_delivery.delivery
        own, queue = read_trace(delivery.headers), delivery.lane.requests
        with self._span(f"{how} {queue}", SpanKind.CLIENT, [own] if own else []) as span:
            span.set_attributes(
                {
                    "messaging.system": "rabbitmq",
                    "messaging.operation.type": "settle",
                    "messaging.operation.name": how,
                    "messaging.destination.name": queue,
                }
            )
            yield
        if how != "ack":
            traced_delivery.span.set_status(Status(StatusCode.ERROR, how))
        traced_delivery.span.end()

    def attempts(self, send: Send) -> Send:
        """Wrap the function that posts a call, so that each call has a span."""

        async def traced(call: OmniCall) -> Outcome:
            with self._span("POST", SpanKind.CLIENT, call.traces) as span:
                span.set_attributes(
                    {
                        **self._server,
                        "http.request.method": "POST",
                        "omni.request_id": call.request_id,
                        "omni.attempt": call.attempt,
                        "omni.messages": len(call.messages),
                    }
                )
                outcome = await send(call)
                span.set_attribute("omni.outcome", type(outcome).__name__.lower())
                if not isinstance(outcome, Accepted):
                    span.set_attribute("error.type", outcome.cause)
                    span.set_status(Status(StatusCode.ERROR))
                return outcome

        return traced

    def publications(self, publish: Publish) -> Publish:
        """Wrap the function that publishes, so that publications made together have a span."""

        async def traced(publications: Sequence[Publication]) -> None:
            publications = tuple(publications)
            if not publications:
                return
            exchange = publications[0].exchange or "amq.default"
            traces = [trace for publication in publications if (trace := read_trace(publication.headers))]
            with self._span(f"publish {exchange}", SpanKind.PRODUCER, traces) as span:
                span.set_attributes(
                    {
                        "messaging.system": "rabbitmq",
                        "messaging.operation.type": "send",
                        "messaging.operation.name": "publish",
                        "messaging.destination.name": exchange,
                        "messaging.batch.message_count": len(publications),
                    }
                )
                await publish(publications)

        return traced

    @contextlib.contextmanager
    def _span(self, name: str, kind: SpanKind, traces: Sequence[str]) -> Iterator[Span]:
        """Start a span below the first trace, linked to the others. An exception is recorded by its kind only."""
        first, *others = dict.fromkeys(traces) or [""]
        links = [Link(get_current_span(_extract({TRACEPARENT: other})).get_span_context()) for other in others]
        span = self._tracer.start_span(name, _extract({TRACEPARENT: first}), kind, links=links)
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            span.end()

    def close(self) -> None:
        """Export the remaining spans. Blocks for some seconds if the collector does not answer."""
        self._provider.shutdown()


class _CountingExporter(SpanExporter):
    """Reports how many spans were not exported, in the SDK's thread. The SDK's own log lines may hold the URL."""

    def __init__(self, exporter: SpanExporter, on_lost: Callable[[int], None]) -> None:
        self._exporter = exporter
        self._on_lost = on_lost

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._on_lost(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


@dataclass(frozen=True, slots=True)
class TracedDelivery:
    """A delivery with its span."""

    delivery: Delivery
    span: Span
    tracer: Tracer


def make_tracer(server: str, on_lost: Callable[[int], None]) -> Tracer:
    """Make a tracer that exports to the collector named in the environment."""
    return Tracer(OTLPSpanExporter(), server, on_lost)


def _resource() -> Resource:
    """Name the service, unless the environment names it."""
    own = {"service.name": _NAME, "service.version": __version__}
    given = Resource.create().attributes
    if "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        own["service.name"] = str(given["service.name"])
    return Resource.create(own)


def _extract(carrier: Mapping[str, str]) -> Context:
    return _PROPAGATOR.extract(carrier, Context())


def _inject(span: Span) -> dict[str, str]:
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, set_span_in_context(span, Context()))
    return carrier
