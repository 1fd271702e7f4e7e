"""Spans, as an exporter gets them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from service.adapters.tracing import Tracer
from service.core.attempt.call import OmniCall, merge
from service.core.attempt.outcome import Accepted, Outcome, Unavailable
from service.core.delivery import Delivery, Publication
from service.core.topology import URGENT
from service.core.trace_context import read_trace, trace_id
from tests.support.builder import a_call, a_message

PRODUCER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PHONE = "41793026727"


class Exporter(SpanExporter):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


class Traced:
    """A tracer, and the spans that it has made."""

    def __init__(self) -> None:
        self._exporter = Exporter()
        self.tracer = Tracer(self._exporter, "https://omni.example")

    def spans(self) -> dict[str, ReadableSpan]:
        """End it, and give the spans by name."""
        self.tracer.close()
        return {span.name: span for span in self._exporter.spans}


@pytest.fixture
def traced() -> Iterator[Traced]:
    made = Traced()
    yield made
    made.tracer.close()


def a_traced_delivery(trace: object = PRODUCER) -> Delivery:
    return Delivery(b"{}", message_id="order-1", headers={"traceparent": trace, "other": 1})


def parent_of(span: ReadableSpan) -> str:
    assert span.parent is not None
    return f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}"


async def test_a_request_continues_its_producers_trace(traced: Traced) -> None:
    traced_delivery = traced.tracer.begin(a_traced_delivery())
    carried = read_trace(traced_delivery.delivery.headers)
    with traced.tracer.settling(traced_delivery, "ack"):
        pass
    spans = traced.spans()

    process = spans["process omni.requests"]
    assert parent_of(process) == PRODUCER[3:52]
    assert process.kind is SpanKind.CONSUMER
    assert process.status.status_code is StatusCode.UNSET
    assert (process.attributes or {})["messaging.message.id"] == "order-1"
    assert carried is not None
    assert trace_id(carried) == trace_id(PRODUCER)
    assert carried != PRODUCER
    assert traced_delivery.delivery.headers["other"] == 1
    assert parent_of(spans["ack omni.requests"]) == carried[3:52]


async def test_the_spans_of_an_urgent_request_name_its_queue(traced: Traced) -> None:
    traced_delivery = traced.tracer.begin(replace(a_traced_delivery(), lane=URGENT))
    with traced.tracer.settling(traced_delivery, "ack"):
        pass

    spans = traced.spans()
    assert set(spans) == {"process omni.requests.urgent", "ack omni.requests.urgent"}
    names = {(span.attributes or {})["messaging.destination.name"] for span in spans.values()}
    assert names == {"omni.requests.urgent"}


async def test_a_trace_of_a_future_version_is_read_by_the_rules_of_version_00(traced: Traced) -> None:
    traced_delivery = traced.tracer.begin(a_traced_delivery("cc" + PRODUCER[2:] + "-what-the-future-will-be-like"))
    with traced.tracer.settling(traced_delivery, "ack"):
        pass

    assert parent_of(traced.spans()["process omni.requests"]) == PRODUCER[3:52]
    assert str(traced_delivery.delivery.headers["traceparent"]).startswith(PRODUCER[:35])


@pytest.mark.parametrize("state", ["vendor=1", "no member", None])
async def test_a_tracestate_is_passed_on_if_it_is_valid(traced: Traced, state: object) -> None:
    delivery = Delivery(b"{}", message_id="order-1", headers={"traceparent": PRODUCER, "tracestate": state})

    traced_delivery = traced.tracer.begin(delivery)

    assert traced_delivery.delivery.headers.get("tracestate") == ("vendor=1" if state == "vendor=1" else None)


@pytest.mark.parametrize("trace", [None, 7, "nonsense", f" {PRODUCER} "])
async def test_a_request_without_a_trace_starts_one(traced: Traced, trace: object) -> None:
    traced_delivery = traced.tracer.begin(a_traced_delivery(trace))
    with traced.tracer.settling(traced_delivery, "nack"):
        pass
    process = traced.spans()["process omni.requests"]

    assert process.parent is None
    assert process.status.status_code is StatusCode.ERROR
    assert read_trace(traced_delivery.delivery.headers) is not None


async def test_a_trace_that_its_producer_does_not_sample_is_not_sampled(traced: Traced) -> None:
    traced_delivery = traced.tracer.begin(a_traced_delivery(PRODUCER[:-1] + "0"))
    with traced.tracer.settling(traced_delivery, "ack"):
        pass
    assert traced.spans() == {}
    assert str(traced_delivery.delivery.headers["traceparent"]).endswith("-00")


def a_call_of(trace: str, name: str) -> OmniCall:
    call = a_call(a_message(name, PHONE))
    return OmniCall(call.content, call.messages, name, 1, traces=(trace,))


async def test_a_batch_belongs_to_one_trace_and_is_linked_to_the_others(traced: Traced) -> None:
    other = PRODUCER.replace("4bf9", "5bf9")

    async def post(_: OmniCall) -> Outcome:
        return Accepted({})

    await traced.tracer.attempts(post)(merge([a_call_of(PRODUCER, "a"), a_call_of(other, "b")]))
    span = traced.spans()["POST"]

    assert parent_of(span) == PRODUCER[3:52]
    assert [f"{link.context.trace_id:032x}" for link in span.links] == [trace_id(other)]
    assert span.kind is SpanKind.CLIENT
    assert {**(span.attributes or {})} == {
        "server.address": "omni.example",
        "server.port": 443,
        "http.request.method": "POST",
        "omni.request_id": "a",
        "omni.attempt": 1,
        "omni.messages": 2,
        "omni.outcome": "accepted",
    }


async def test_the_span_of_a_failed_attempt_has_its_cause(traced: Traced) -> None:
    async def post(_: OmniCall) -> Outcome:
        return Unavailable("http_503")

    await traced.tracer.attempts(post)(a_call())
    span = traced.spans()["POST"]
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "http_503"


async def test_an_exception_is_recorded_by_its_kind_and_raised(traced: Traced) -> None:
    """Its text may hold what was sent."""

    async def post(_: OmniCall) -> Outcome:
        raise ValueError(PHONE)

    with pytest.raises(ValueError, match=PHONE):
        await traced.tracer.attempts(post)(a_call())
    span = traced.spans()["POST"]
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert PHONE not in span.to_json()


async def test_publications_made_together_have_one_span(traced: Traced) -> None:
    published: list[Publication] = []

    async def publish(publications: Iterable[Publication]) -> None:
        published.extend(publications)

    event = Publication("omni.results", "message.accepted", b"{}", "", "1", headers={"traceparent": PRODUCER})
    await traced.tracer.publications(publish)([event, event])
    await traced.tracer.publications(publish)([])
    span = traced.spans()["publish omni.results"]

    assert published == [event, event]
    assert parent_of(span) == PRODUCER[3:52]
    assert (span.attributes or {})["messaging.batch.message_count"] == 2


def test_the_service_is_named_unless_the_environment_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def name() -> object:
        made = Traced()
        with made.tracer.settling(made.tracer.begin(a_traced_delivery()), "ack"):
            pass
        return made.spans()["process omni.requests"].resource.attributes["service.name"]

    assert name() == "omni-relay"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=ours,team=x")
    assert name() == "ours"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    assert name() == "mine"


async def test_a_settlement_that_fails_is_recorded_by_its_kind(traced: Traced) -> None:
    traced_delivery = traced.tracer.begin(a_traced_delivery())
    with pytest.raises(ConnectionResetError), traced.tracer.settling(traced_delivery, "ack"):
        raise ConnectionResetError("amqp://user:secret@broker")
    span = traced.spans()["ack omni.requests"]
    assert (span.attributes or {})["error.type"] == "ConnectionResetError"
    assert "secret" not in span.to_json()
