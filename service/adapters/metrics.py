"""The metrics of a worker. Each help text says what to do when the number changes.

Labels are closed sets. Each value starts at 0, so that an alert can distinguish "none" from "not known". No id, phone
number, address or text is ever a label.

This file has more than 250 lines since it is the one table of names, labels and help texts.
"""

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from service.core.attempt.lookup import ResolutionKind
from service.core.attempt.oauth import TokenCause
from service.core.attempt.start_record import MemoryCause
from service.core.omni.channel.sms_parts import Encoding
from service.core.omni.delivery_report import CHANNELS
from service.core.result.dead_letter import REASONS
from service.core.result.delivery_report import ReportOutcome, channel_label
from service.core.result.event import EventType
from service.core.result.repetition import DuplicateEnd
from service.core.result.reply_to import ReplyResult
from service.core.topology import LANES, LaneName
from service.core.trace_context import is_sampled, trace_id

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WAIT = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)
_DELIVERY = (1, 2.5, 5, 10, 20, 40, 60, 90, 120, 180, 300, 600, 1800, 3600, 14400, 86400)
"""Channels mostly need seconds; a failed step ends with its validity period, of minutes."""

OUTCOMES = ("accepted", "rejected", "unavailable", "unknown", "denied")
PAUSES = ("denied", "failing", "results_stalled", "memory_unavailable")
LOOKUP_RESULTS = ("answered", "unanswered", "forbidden")
SETTLEMENTS = ("acked", "dead_lettered", "abandoned", "lost")
CAUSES = (
    *("no_connection", "connect_timeout", "timeout", "connection_lost", "broken_answer", "unreadable_answer"),
    *("untrusted_certificate", "proxy_no_connection", "proxy_http_407", "proxy_refused"),
    *(f"http_{status}" for status in (400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504)),
)
"""The common causes of attempts that were not accepted; any other cause counts as `other`."""
PUSH_ANSWERS = (
    *("confirmed", "unavailable", "not_a_report", "too_large", "unsupported_type"),
    *("wrong_token", "not_found", "broken"),
)
"""Answers to pushes of reports."""
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_LAG = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


def exemplar(trace: str) -> dict[str, str] | None:
    """Link an observation to its trace, if the trace is sampled; `trace` is a `traceparent`."""
    return {"trace_id": trace_id(trace)} if is_sampled(trace) else None


class Pause:
    """Whether calls are paused for one reason, and since when."""

    def __init__(self, paused: Gauge, since: Gauge) -> None:
        self._paused = paused
        self._since = since
        self._is_paused = False

    def set(self, value: bool) -> None:  # noqa: FBT001 - as a gauge is set
        """Begin or end the pause; the time of a pause that goes on stays the same."""
        if value != self._is_paused:
            self._is_paused = value
            self._paused.set(value)
            if value:
                self._since.set_to_current_time()
            else:
                self._since.set(0)


class _Registry:
    """A registry with the metrics of the process, and ways to add others with the relay's names."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    def _name(self, name: str) -> str:
        return f"omni_relay_{name}"

    def _counter(self, name: str, text: str, label: str, values: Iterable[str]) -> Mapping[str, Counter]:
        counter = Counter(self._name(name), text, [label], registry=self.registry)
        return {value: counter.labels(value) for value in values}

    def _plain(self, name: str, text: str) -> Counter:
        return Counter(self._name(name), text, registry=self.registry)

    def _gauges(self, name: str, text: str) -> Mapping[LaneName, Gauge]:
        gauge = Gauge(self._name(name), text, ["lane"], registry=self.registry)
        return {lane.name: gauge.labels(lane.name) for lane in LANES}

    def _histograms(self, name: str, text: str, buckets: tuple[float, ...]) -> Mapping[LaneName, Histogram]:
        histogram = Histogram(self._name(name), text, ["lane"], buckets=buckets, registry=self.registry)
        return {lane.name: histogram.labels(lane.name) for lane in LANES}

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(self._name(name), text, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(self._name(name), text, buckets=buckets, registry=self.registry)

    def _secrets(self, prefix: str, process: str) -> tuple[Gauge, Counter]:
        """Add ages of secrets, and failures to reload them."""
        age = Gauge(
            self._name(f"{prefix}secret_age_seconds"),
            f"Age of the secret in use: since its file was written, or else since the {process} read it. Does not fall "
            "after a rotation: see the log lines secrets.refused and secrets.reloaded.",
            ["setting"],
            registry=self.registry,
        )
        age.labels("RELAY_RABBITMQ_URL")  # the one that is always set
        failures = self._plain(
            f"{prefix}secret_reload_failures",
            "Times that changed files of secrets or certificates could not be used; the old values stay in use. Rises: "
            "the log line secrets.refused names the setting.",
        )
        return age, failures


def show_ages(gauge: Gauge, since: Mapping[str, float]) -> None:
    """Show ages of secrets; `since` has seconds since the epoch, by their variables."""
    gauge.clear()
    for name, at in since.items():
        gauge.labels(name).set_function(partial(_age, at))


def _age(since: float) -> float:
    return max(0.0, time.time() - since)


class Metrics(_Registry):
    """Everything a worker counts."""

    def __init__(self, delays: Iterable[str] = ()) -> None:
        super().__init__()
        self.build = Info(
            "omni_relay_build", "The version that is running, and whether it is compiled.", registry=self.registry
        )
        self.deliveries = self._counter(
            "deliveries",
            "Deliveries by settlement. dead_lettered: a defect of the relay, see the log line delivery.settled. "
            "lost: the connection was lost before the ack, so it is delivered again. abandoned: shutdown.",
            "settlement",
            SETTLEMENTS,
        )
        self.duplicate_deliveries = self._plain(
            "duplicate_deliveries",
            "Redeliveries that got the result of the first delivery instead of a second call. "
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
            "Events that no queue was bound for. Rises: bind a queue to omni.results.",
        )
        self.reply_copies = self._counter(
            "reply_copies",
            "Copies of events for reply_to by result; all but confirmed are dropped, and the event in omni.results "
            "remains. not_allowed: see RELAY_REPLY_TO. invalid, unroutable, closed: a producer names a wrong queue. "
            "refused: its queue is full. lost, overflow: the broker is not reachable or slow.",
            "result",
            get_args(ReplyResult),
        )
        self.unidentified = self._plain(
            "requests_unidentified",
            "Requests with neither requestId nor message_id: their redelivery cannot be recognised. Rises: have the "
            "producer set one.",
        )
        self.invalid = self._plain(
            "requests_invalid",
            "Requests with faults, whole or in part. Rises fast: a producer is broken; its events name the faults.",
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
        self.batch_messages = self._histogram(
            "batch_messages",
            "Messages in a call to OMNI. Sum divided by count is the mean batch; 1 under load: contents differ.",
            _SIZES,
        )
        self.ambiguous_attempts = self._counter(
            "ambiguous_attempts",
            "Ambiguous attempts by the result of a log lookup. found: OMNI had the message. posted: it had not, so it "
            "was posted. waiting: another lookup follows. given_up: it stays unknown; see omni.dead.",
            "resolution",
            get_args(ResolutionKind),
        )
        self.log_lookups = self._counter(
            "log_lookups",
            "Lookups in OMNI's logs after ambiguous attempts. forbidden: the credentials may not read logs, so the "
            "policy decides alone; grant omni-failover:logs:read. unanswered: these messages wait.",
            "result",
            LOOKUP_RESULTS,
        )
        self.dead_letters = self._counter(
            "dead_letters",
            "Requests put into omni.dead by reason. failed, unknown: by the relay, after its last attempt. poison: it "
            "killed workers. defect: the relay broke on it. lapsed: its expiration passed in the queue. other: a "
            "policy removed it. Rises: list them with `omni-relay dead list`, repair the cause, replay them.",
            "reason",
            REASONS,
        )
        self.retries = self._counter(
            "retries",
            "Requests put into a delay queue, by queue. Rises with failed attempts: see attempt_failures. With "
            "RELAY_HOLD_SCHEDULED it also counts requests that wait for their sendAt.",
            "queue",
            delays,
        )
        self.publish_failures = self._plain(
            "publish_failures",
            "Publications that had to be repeated. Rises: the broker is not reachable, full or refuses.",
        )
        self.publications_skipped = self._plain(
            "publications_skipped",
            "Events, retries and dead letters that the broker never takes: it closes the connection for each. Rises: "
            "see the log line publish.skipped and the broker's log, such as for max_message_size.",
        )
        self.sms_parts = self._counter(
            "sms_parts",
            "Parts of SMS requested, by encoding; each part is charged. ucs2 rises: a text is not GSM-7.",
            "encoding",
            get_args(Encoding),
        )
        self.legacy = self._counter(
            "legacy_channel_messages",
            "Messages with content for a channel that OMNI no longer documents. Rises: have the producer change it.",
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
        self.queue_seconds = self._histograms(
            "queue_seconds",
            "From publishing (AMQP timestamp, whole seconds) to the first attempt, by lane. Rises: more workers are "
            "due. urgent rises alone: too many requests are published as urgent.",
            _WAIT,
        )
        self.acceptance_seconds = self._histograms(
            "acceptance_seconds",
            "From publishing (AMQP timestamp, whole seconds) to OMNI's acceptance, retries included, by lane. Rises: "
            "look at queue_seconds, then at attempt_failures.",
            _WAIT,
        )
        self.loop_lag_seconds = self._histogram(
            "loop_lag_seconds",
            "Delay of the event loop, measured twice a second. Rises: the process needs more CPU, or something "
            "blocks it.",
            _LAG,
        )
        self.queue_messages = self._gauges(
            "queue_messages",
            "Requests ready in the queue of a lane (normal: omni.requests, urgent: omni.requests.urgent), by the "
            "broker, at most five seconds old. Rises: more workers are due.",
        )
        self.queue_consumers = self._gauges(
            "queue_consumers", "Consumers of the queue of a lane, by the broker. 0: see consumer.lost."
        )
        self.calls_waiting = self._gauge(
            "calls_waiting", "Calls that wait for a slot. Rises with concurrency_limit low: OMNI limits us."
        )
        self.deliveries_in_flight = self._gauge(
            "deliveries_in_flight", "Deliveries not settled yet; at most the prefetch."
        )
        self.bytes_in_flight = self._gauge(
            "bytes_in_flight",
            "Approximate memory of the deliveries in flight. Stays at RELAY_RABBITMQ_MAX_BYTES_IN_FLIGHT: large "
            "requests arrive faster than they are served.",
        )
        self.attempts_in_flight = self._gauge("attempts_in_flight", "Calls to OMNI that are running.")
        self.connected = self._gauge("connected", "1 while there is a connection to RabbitMQ.")
        self.consuming = self._gauge("consuming", "1 while there is a consumer. 0: paused, draining or not connected.")
        self.concurrency_limit = self._gauge(
            "concurrency_limit",
            "Calls to OMNI allowed at once. Falls: OMNI answers 429 or slowly; it grows again by itself.",
        )
        paused = Gauge(
            self._name("paused"),
            "1 while no calls are made. denied: OMNI refuses the credentials or the account, correct those. failing: "
            "OMNI cannot take calls, one is tried every few seconds. results_stalled: the broker confirms no events, "
            "look for a full queue or an alarm. memory_unavailable: see memory_failures.",
            ["reason"],
            registry=self.registry,
        )
        self.memory_unavailable = self._gauge(
            "memory_unavailable",
            "1 while RELAY_MEMORY_URL is set and the shared memory cannot be used: see memory_failures.",
        )
        self.memory_failures = self._counter(
            "memory_failures",
            "Failures of the shared memory by cause; each ends a connection to it. timeout: it or the network is slow. "
            "login_refused, not_permitted: the user in RELAY_MEMORY_URL. full: give it more memory. read_only: a "
            "replica answers. changed: it was failed over. untrusted_certificate: RELAY_CA_FILE.",
            "cause",
            get_args(MemoryCause),
        )
        self.cancel_orders = self._gauge(
            "cancel_orders",
            "Orders of omni-relay cancel in force, as this worker knows them. Workers differ for longer than two "
            "seconds: see memory_unavailable. Not 0 though none is wanted: omni-relay cancel --undo.",
        )
        self.untouched = self._plain(
            "untouched_redeliveries",
            "Redeliveries that were posted at once, since the shared memory shows that no worker had begun them. "
            "Rises: workers die or lose the broker.",
        )
        self.duplicate_requests = self._counter(
            "duplicate_requests",
            "Requests that another delivery of the same request was served for. repeated: its final events were "
            "published again. waiting: they are not there yet. conflict: a producer uses an id for different requests. "
            "unclear: the shared memory has lost the end; the request is in omni.dead unless OMNI's logs show it.",
            "result",
            get_args(DuplicateEnd),
        )
        self.broker_token_failures = self._counter(
            "broker_token_failures",
            "Times that no access token for RabbitMQ could be fetched. Open connections stay until their token ends. "
            "client_refused: the client of RELAY_RABBITMQ_OAUTH_CLIENT_ID or its secret. no_token: the server's answer "
            "has none, see its log. Others: the way to RELAY_RABBITMQ_OAUTH_TOKEN_URL.",
            "cause",
            get_args(TokenCause),
        )
        self.broker_token_lifetime = self._gauge(
            "broker_token_lifetime_seconds",
            "Life of the latest access token for RabbitMQ; half of it is how long the token server may be away. 0 if "
            "none is used.",
        )
        self.secret_age, self.reload_failures = self._secrets("", "worker")
        since = Gauge(
            self._name("paused_since_timestamp_seconds"),
            "Unix time at which the pause began; 0 where there is none.",
            ["reason"],
            registry=self.registry,
        )
        self.paused = {reason: Pause(paused.labels(reason), since.labels(reason)) for reason in PAUSES}


class ReportMetrics(_Registry):
    """Everything the receiver of reports counts. No name is a worker's: alerts about workers sum over all there are."""

    def __init__(self) -> None:
        super().__init__()
        self.build = Info("omni_relay_reports_build", "The version that receives reports.", registry=self.registry)
        self._reports = Counter(
            self._name("reports"),
            "Reports confirmed by the broker, by channel and outcome. undelivered rises: see the events' status and "
            "report.error. unreadable rises: OMNI has changed its reports, or somebody else has the token.",
            ["channel", "outcome"],
            registry=self.registry,
        )
        self.pushes = self._counter(
            "report_pushes",
            "Pushes by answer. unavailable (503): the broker does not confirm; OMNI pushes again. wrong_token: "
            "somebody guesses, or a token was removed too early. not_a_report, too_large, unsupported_type: see who "
            "pushes. "
            "broken: a defect, see the log line push.failed.",
            "answer",
            PUSH_ANSWERS,
        )
        self.unroutable = self._plain(
            "report_events_unroutable",
            "Report events that no queue wanted. Rises: nobody is bound to omni.results.",
        )
        self._delivery_seconds = Histogram(
            self._name("delivery_seconds"),
            "From sending a step to its delivery, as OMNI says. Rises: the channel or its operator is slow.",
            ["channel"],
            buckets=_DELIVERY,
            registry=self.registry,
        )
        for channel in (*CHANNELS, "other"):
            self._delivery_seconds.labels(channel)
            for outcome in get_args(ReportOutcome):
                self._reports.labels(channel, outcome)
        self.token_failures = self._counter(
            "reports_broker_token_failures",
            "Times that the receiver could fetch no access token for RabbitMQ; causes as in broker_token_failures.",
            "cause",
            get_args(TokenCause),
        )
        self.secret_age, self.reload_failures = self._secrets("reports_", "receiver")
        self.connected = self._gauge(
            "reports_connected", "1 while the receiver has a connection to RabbitMQ. 0: pushes are answered with 503."
        )

    def report(self, channel: str, outcome: ReportOutcome, number: int) -> None:
        """Count reports; `channel` is one of the labels."""
        self._reports.labels(channel, outcome).inc(number)

    def delivered(self, channel: str | None, seconds: float) -> None:
        """Observe how long a delivery took."""
        self._delivery_seconds.labels(channel_label(channel)).observe(seconds)
