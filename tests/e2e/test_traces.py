import urllib.request
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.e2e.stage import Stage
from tests.support.omni_server import OmniServer, answer, misbehaving
from tests.support.worker import Worker

pytestmark = pytest.mark.once

NUMBER = "41793026727"
TEXT = "a text that nobody but the person may read"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PRODUCER = f"00-{TRACE}-00f067aa0ba902b7-01"
TAKEN = answer(b"", 200, "Content-Type: application/x-protobuf")


def a_request(name: str) -> dict[str, object]:
    return {"requestId": name, "messageId": name, "phoneNumber": NUMBER, "text": TEXT}


def bodies(collector: OmniServer) -> Iterator[bytes]:
    for request in collector.requests:
        head, _, body = request.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/traces ")
        yield body


def spans(collector: OmniServer) -> list[Span]:
    """Decode a request to a collector."""
    exports = [ExportTraceServiceRequest.FromString(body) for body in bodies(collector)]
    return [span for export in exports for each in export.resource_spans for s in each.scope_spans for span in s.spans]


def open_metrics(worker: Worker) -> str:
    headers = {"Accept": "application/openmetrics-text"}
    request = urllib.request.Request(f"http://127.0.0.1:{worker.port}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=5) as page:  # noqa: S310 - our own process
        text: str = page.read().decode()
    return text


async def test_one_trace_follows_a_request_from_its_producer_to_its_final_event(stage: Stage) -> None:
    """The requestId is in every log line and event."""
    async with misbehaving(TAKEN) as collector:
        stage.settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{collector.port}"
        worker = await stage.worker(TRACES="true")
        await stage.fault(kind="status", status=503, times=1)
        await stage.send(a_request("order-1"), headers={"traceparent": PRODUCER})
        await stage.until_final_events(1)
        await worker.until(lambda: len(worker.lines("delivery.settled")) == 2)
        metrics = open_metrics(worker)
        assert await worker.stop() == 0
        found = spans(collector)

    ids = {span.span_id: span for span in found}
    assert {span.trace_id.hex() for span in found} == {TRACE}
    assert sorted(span.name for span in found) == sorted(
        2 * ["process omni.requests", "POST", "publish omni.results", "ack omni.requests"]
    )
    begun = [span for span in found if span.name == "process omni.requests"]
    first, second = sorted(begun, key=lambda span: span.start_time_unix_nano)
    assert first.parent_span_id.hex() == PRODUCER[36:52]
    assert second.parent_span_id == first.span_id  # the retry has the trace context of the first attempt
    assert {ids[span.parent_span_id].name for span in found if span is not first} == {"process omni.requests"}

    deferred, accepted = stage.about("order-1")
    for event, span in ((deferred, first), (accepted, second)):
        assert event.message.headers["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
    for event_name in ("attempt.made", "delivery.settled"):
        lines = worker.lines(event_name)
        assert {(line["request_id"], line["trace_id"]) for line in lines} == {("order-1", TRACE)}
    for name in ("attempt_seconds", "handling_seconds"):
        assert [line for line in metrics.splitlines() if f"{name}_bucket" in line and TRACE in line]
    assert all(NUMBER.encode() not in body and TEXT.encode() not in body for body in collector.requests)


async def test_exemplars_point_to_traces_with_several_processes(stage: Stage) -> None:
    async with misbehaving(TAKEN) as collector:
        stage.settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{collector.port}"
        supervisor = await stage.workers(2, TRACES="true")
        await stage.send(a_request("order-1"), headers={"traceparent": PRODUCER})
        await stage.until_final_events(1)
        await supervisor.until(lambda: bool(supervisor.lines("delivery.settled")))
        pointing = [line for line in open_metrics(supervisor).splitlines() if TRACE in line]

    for name in ("attempt_seconds", "handling_seconds"):
        assert [line for line in pointing if f"{name}_bucket" in line and 'process="' in line]


async def test_a_collector_that_does_not_answer_delays_nothing(stage: Stage) -> None:
    stage.settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    worker = await stage.worker(TRACES="true")
    await stage.send(*(a_request(f"m-{number}") for number in range(20)))
    await stage.until_final_events(20)

    assert set(map(tuple, stage.final_events().values())) == {("accepted",)}
    assert await worker.stop() == 0
    made = 2 * 20 + 2 * len(worker.lines("attempt.made"))  # process and ack; POST and publish
    assert sum(line["spans"] for line in worker.lines("traces.lost")) == made
    assert "127.0.0.1:9" not in worker.text


async def test_without_tracing_a_producers_trace_is_passed_on_and_logged(stage: Stage) -> None:
    worker = await stage.worker()
    await stage.send(a_request("order-1"), headers={"traceparent": PRODUCER})
    await stage.until_final_events(1)
    await worker.until_line("delivery.settled")

    assert stage.events[0].message.headers["traceparent"] == PRODUCER
    assert worker.lines("delivery.settled")[0]["trace_id"] == TRACE
    assert TRACE in open_metrics(worker)
