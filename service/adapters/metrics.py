"""Metrics: numbers that answer a question. Help texts say what to do when one moves.

Labels are closed sets, set to 0 at the start, so that an alert can tell "none" from "unknown". No id, number,
address or text is ever one.
"""

from collections.abc import Iterable, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from service.core.attempt.lookup import ResolutionKind
from service.core.omni.channel.sms_parts import Encoding
from service.core.result.event import EventType
from service.core.result.reply_to import ReplyResult
from service.core.result.report import RelayReason
from service.core.trace_context import is_sampled, trace_id

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WAIT = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)

OUTCOMES = ("accepted", "rejected", "unavailable", "unknown", "denied")
PAUSES = ("denied", "failing", "results_stalled")
LOOKUP_RESULTS = ("answered", "unanswered", "forbidden")
SETTLEMENTS = ("acked", "dead_lettered", "abandoned", "lost")
CAUSES = (
    *("no_connection", "connect_timeout", "timeout", "connection_lost", "broken_answer", "unreadable_answer"),
    *("untrusted_certificate", "proxy_no_connection", "proxy_http_407", "proxy_refused"),
    *(f"http_{status}" for status in (400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504)),
)
"""Why attempts end as they do, as far as it is common; all else is `other`."""
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_LAG = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


def exemplar(trace: str) -> dict[str, str] | None:
    """Point from a number to a trace that somebody keeps; `trace` is a `traceparent`."""
    return {"trace_id": trace_id(trace)} if is_sampled(trace) else None


class Metrics:
    """Everything the relay counts."""

    def __init__(self, delays: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.build = Info("omni_relay_build", "The version that is running.", registry=self.registry)
        self.deliveries = self._counter(
            "deliveries",
            "Deliveries by what became of them. dead_lettered: the relay broke on it, read its log line "
            "delivery.settled. lost: the connection went before the ack, so it comes again. abandoned: shutdown.",
            "settlement",
            SETTLEMENTS,
        )
        self.joined = self._plain(
            "duplicate_deliveries",
            "Redeliveries that took over what was running or done: phones that would have rung twice. "
            "Rises: the connection to the broker drops.",
        )
        self.events = self._counter(
            "events",
            "Status events confirmed by the broker. message.failed and message.unknown rise: see omni.dead.",
            "type",
            get_args(EventType),
        )
        self.unroutable = self._plain(
            "events_unroutable",
            "Events that no queue wanted. Rises: nobody is bound to omni.results.",
        )
        self.reply_copies = self._counter(
            "reply_copies",
            "Copies of events for reply_to by result; all but confirmed are dropped, and the event in omni.results "
            "remains. not_allowed: see RELAY_REPLY_TO. invalid, unroutable, closed: a producer names a wrong queue. "
            "refused: its queue is full. lost, overflow: the broker is away or slow.",
            "result",
            get_args(ReplyResult),
        )
        self.unidentified = self._plain(
            "requests_unidentified",
            "Requests with neither requestId nor message_id: their redelivery cannot be recognised. Tell the producer.",
        )
        self.invalid = self._plain(
            "requests_invalid",
            "Requests that were wrong, whole or in part. Rises fast: a producer is broken; its events name the faults.",
        )
        self.attempts = self._counter(
            "attempts",
            "Calls to OMNI by outcome. denied: credentials or credit; unavailable, unknown: OMNI or the network.",
            "outcome",
            OUTCOMES,
        )
        self.failures = self._counter(
            "attempt_failures",
            "Attempts that were not accepted, by cause. http_401, 402, 403: our account. http_429: OMNI limits us. "
            "http_404 without rejected messages: the base URL, or a gateway before OMNI. "
            "http_5xx, timeout: OMNI is ill. no_connection, connect_timeout: the network, DNS or TLS. "
            "untrusted_certificate: RELAY_CA_FILE. proxy_http_407: the proxy's password. Others with proxy: the proxy. "
            "The log line omni.not_connected has the details.",
            "cause",
            (*CAUSES, "other"),
        )
        self.call_messages = self._histogram(
            "batch_messages",
            "Messages in a call to OMNI; its sum over its count is how much is shared. 1 under load: contents differ.",
            _SIZES,
        )
        self.doubts = self._counter(
            "ambiguous_attempts",
            "Doubts by how a look ended. found: it was taken. posted: it was not, so it was posted. waiting: it is "
            "looked for again. given_up: nobody knows; see omni.dead.",
            "resolution",
            get_args(ResolutionKind),
        )
        self.log_checks = self._counter(
            "log_lookups",
            "Questions to OMNI's logs about messages in doubt. forbidden: the credentials may not read logs, so doubts "
            "are settled by policy alone; grant omni-failover:logs:read. unanswered: doubts wait.",
            "result",
            LOOKUP_RESULTS,
        )
        self.dead_letters = self._counter(
            "dead_letters",
            "Requests put into omni.dead by reason. Rises: look at omni.dead, mend the cause, send again.",
            "reason",
            get_args(RelayReason),
        )
        self.retries = self._counter(
            "retries",
            "Requests put into a waiting room. Rises with attempts that were not taken: see attempt_failures.",
            "queue",
            delays,
        )
        self.publish_failures = self._plain(
            "publish_failures",
            "Publications that had to be repeated. Rises: the broker is away, full or refusing.",
        )
        self.publications_skipped = self._plain(
            "publications_skipped",
            "Events, retries and dead letters that the broker never takes: it closes the connection over each. Rises: "
            "see the log line publish.skipped and the broker's log, such as for max_message_size.",
        )
        self.sms_parts = self._counter(
            "sms_parts",
            "Parts of SMS asked for, by encoding; parts are what is paid. ucs2 rises: a text left GSM-7.",
            "encoding",
            get_args(Encoding),
        )
        self.legacy = self._counter(
            "legacy_channel_messages",
            "Messages with content for a channel that OMNI no longer documents. Rises: tell the producer.",
            "channel",
            ("facebook",),
        )
        self.deprecated = self._plain(
            "deprecated_answers", "Answers with a Deprecation or Sunset header. Rises: see the log line api.deprecated."
        )
        self.attempt_seconds = self._histogram(
            "attempt_seconds", "Duration of a call to OMNI. Rises: OMNI or the network is slow.", _LATENCY
        )
        self.handling_seconds = self._histogram(
            "handling_seconds",
            "From delivery to settlement. Rises without attempt_seconds: the broker is slow.",
            _LATENCY,
        )
        self.queue_seconds = self._histogram(
            "queue_seconds",
            "From publishing (AMQP timestamp, whole seconds) to the first attempt. Rises: more workers are due.",
            _WAIT,
        )
        self.acceptance_seconds = self._histogram(
            "acceptance_seconds",
            "From publishing (AMQP timestamp, whole seconds) to OMNI's acceptance, retries included. Rises: look at "
            "queue_seconds, then at attempt_failures.",
            _WAIT,
        )
        self.loop_lag_seconds = self._histogram(
            "loop_lag_seconds",
            "By how much the event loop is late, looked at twice a second. Rises: the process needs more CPU, or "
            "something holds it up.",
            _LAG,
        )
        self.queue_messages = self._gauge(
            "queue_messages",
            "Requests ready in omni.requests, as the broker said within five seconds. Rises: more workers are due.",
        )
        self.queue_consumers = self._gauge("queue_consumers", "Consumers of omni.requests, as the broker said.")
        self.calls_waiting = self._gauge(
            "calls_waiting", "Calls that wait for a slot. Rises with concurrency_limit low: OMNI limits us."
        )
        self.deliveries_in_flight = self._gauge(
            "deliveries_in_flight", "Deliveries not settled yet; at most the prefetch."
        )
        self.bytes_in_flight = self._gauge(
            "bytes_in_flight",
            "Memory that deliveries in flight take, about. Stays at RELAY_RABBITMQ_MAX_BYTES_IN_FLIGHT: large requests "
            "come faster than they are served.",
        )
        self.attempts_in_flight = self._gauge("attempts_in_flight", "Calls to OMNI that are running.")
        self.connected = self._gauge("connected", "1 while there is a connection to RabbitMQ.")
        self.consuming = self._gauge(
            "consuming", "1 while deliveries are asked for. 0: paused, draining or not connected."
        )
        self.concurrency_limit = self._gauge(
            "concurrency_limit",
            "Calls to OMNI allowed at once. Falls: OMNI answers 429 or too late; it grows again by itself.",
        )
        paused = Gauge(
            self._name("paused"),
            "1 while no calls are made. denied: OMNI refuses our credentials or account, mend those. failing: OMNI "
            "cannot take calls, it is tried every few seconds. results_stalled: the broker confirms no events, look "
            "for a full queue or an alarm.",
            ["reason"],
            registry=self.registry,
        )
        self.secret_age = Gauge(
            self._name("secret_age_seconds"),
            "Age of the secret in use: since its file was written, or else since the worker read it. Does not fall "
            "after a rotation: see the log lines secrets.refused and secrets.reloaded.",
            ["setting"],
            registry=self.registry,
        )
        self.secret_age.labels("RELAY_RABBITMQ_URL")  # the one that is always set
        self.reload_failures = self._plain(
            "secret_reload_failures",
            "Times that changed files of secrets or certificates could not be used; the old values stay in use. Rises: "
            "the log line secrets.refused names the setting.",
        )
        self.paused = {reason: paused.labels(reason) for reason in PAUSES}

    def _name(self, name: str) -> str:
        return f"omni_relay_{name}"

    def _counter(self, name: str, text: str, label: str, values: Iterable[str]) -> Mapping[str, Counter]:
        counter = Counter(self._name(name), text, [label], registry=self.registry)
        return {value: counter.labels(value) for value in values}

    def _plain(self, name: str, text: str) -> Counter:
        return Counter(self._name(name), text, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(self._name(name), text, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(self._name(name), text, buckets=buckets, registry=self.registry)
