"""All logs and counters of the worker. Nothing else in the worker counts or logs.

The supervisor is another process and has its own. This file has more than 250 lines since it is the one place where
all log events and counters of a worker can be found.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from math import inf
from typing import Final

from service.adapters.logging import describe, get_logger
from service.adapters.metrics import Metrics, exemplar, show_ages
from service.adapters.omni import Deprecation, NotConnectedError
from service.adapters.rabbitmq import ConnectionEvents, TokenError, TokenEvents, connect_cause
from service.adapters.settings import RotationEvents
from service.adapters.tls import ClientCertificateError, untrusted
from service.core import topology
from service.core.attempt.breaker import CircuitBreaker
from service.core.attempt.call import OmniCall, Send
from service.core.attempt.concurrency import Limit
from service.core.attempt.lookup import Answered, LookupResult
from service.core.attempt.oauth import TokenFailure
from service.core.attempt.outcome import NOT_SENT, Outcome
from service.core.attempt.start_record import MemoryUnavailableError
from service.core.delivery import Delivery, DeliveryLostError, Publication, Unaccepted
from service.core.handler import Settlement
from service.core.headers import dead_letter_reason
from service.core.result.dead_letter import DeadLetter
from service.core.result.reply_to import ReplyResult
from service.core.topology import Lane
from service.core.trace_context import read_trace, trace_id

RESULTS_STALLED: Final = "results_stalled"
MEMORY_UNAVAILABLE: Final = "memory_unavailable"
_DEPRECATIONS_LOGGED: Final = 20
_FAILURES_LOGGED_EVERY: Final = 60.0
"""Seconds between two log lines about OMNI that cannot be reached for the same cause."""
_RETRIES_LOGGED_EVERY: Final = 10.0
"""Seconds between two log lines about publications that are repeated to the same destination."""


class Telemetry:
    """Writes the log and counts. Texts, numbers and addresses never appear in either."""

    def __init__(self, metrics: Metrics, now: Callable[[], datetime], clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self.metrics = metrics
        self.log = get_logger()
        self._now = now
        self.clock = clock
        self._attempts_in_flight = 0
        self._deprecations: set[Deprecation] = set()
        self._not_connected_at: dict[str, float] = {}
        self._memory_fault: str | None = None
        metrics.attempts_in_flight.set_function(lambda: self._attempts_in_flight)

    def observed(self, send: Send) -> Send:
        """Count and log every call that is made."""
        clock = self.clock

        async def observed_send(call: OmniCall) -> Outcome:
            asked_at, began = self._now(), clock()
            self._attempts_in_flight += 1
            try:
                outcome = await send(call)
            finally:
                self._attempts_in_flight -= 1
            if outcome is not NOT_SENT:
                self._attempt_made(call, outcome, clock() - began, asked_at)
            return outcome

        return observed_send

    def _attempt_made(self, call: OmniCall, outcome: Outcome, seconds: float, asked_at: datetime) -> None:
        metrics, name, traces = self.metrics, type(outcome).__name__.lower(), call.traces
        members = call.members or (call,)
        for member in members:
            if member.attempt == 1 and not member.is_measured:
                content, messages = member.content, len(member.messages)
                if member.published is not None:
                    waited = max(0.0, (asked_at - member.published).total_seconds())
                    metrics.queue_seconds[member.lane.name].observe(waited)
                if content.sms is not None:
                    size = content.sms.size
                    metrics.sms_parts[size.encoding].inc(size.parts * messages)
                if content.facebook is not None:
                    metrics.legacy["facebook"].inc(messages)
        metrics.attempts[name].inc()
        metrics.attempt_seconds.observe(seconds, exemplar(traces[0]) if traces else None)
        metrics.batch_messages.observe(len(call.messages))
        cause = getattr(outcome, "cause", None)
        if cause is not None:
            metrics.failures[cause if cause in metrics.failures else "other"].inc()
        self.log.info(
            "attempt.made",
            request_id=call.request_id,
            **({"trace_id": trace_id(traces[0])} if traces else {}),
            requests=len(members),
            attempt=call.attempt,
            messages=len(call.messages),
            outcome=name,
            cause=cause,
            seconds=round(seconds, 4),
        )

    def duplicate_joined(self) -> None:
        """Count a duplicate delivery, or a duplicate attempt, that took over the result of another."""
        self.metrics.duplicate_deliveries.inc()

    def delivery_settled(
        self, delivery: Delivery, settlement: str, seconds: float, result: Settlement | Exception | None = None
    ) -> None:
        """Report the end of a delivery; `settlement` is one of `metrics.SETTLEMENTS`."""
        trace = read_trace(delivery.headers) if delivery.headers else None
        facts: Mapping[str, object] = {}
        if isinstance(result, Settlement):
            if not result.identified:
                self.metrics.unidentified.inc()
            if not result.valid:
                self.metrics.invalid.inc()
            if result.resolution is not None:
                self.metrics.ambiguous_attempts[result.resolution].inc()
            if "message.accepted" in result.event_counts:
                self.metrics.acceptance_seconds[result.lane.name].observe(result.age)
            facts = {"request_id": result.request_id, "attempts": result.attempts, "events": result.event_counts}
            if result.duplicate is not None:
                self.metrics.duplicate_requests[result.duplicate].inc()
                facts = {**facts, "duplicate": result.duplicate}
        elif result is not None and not isinstance(result, DeliveryLostError):
            facts = describe(result)
        self.metrics.deliveries[settlement].inc()
        self.metrics.handling_seconds.observe(seconds, exemplar(trace) if trace else None)
        write: Callable[..., object] = self.log.error if settlement == "dead_lettered" else self.log.info
        write(
            "delivery.settled",
            settlement=settlement,
            seconds=round(seconds, 4),
            **facts,
            redelivered=delivery.redelivered,
            **({"trace_id": trace_id(trace)} if trace else {}),
        )

    def published(self, publications: Iterable[Publication]) -> None:
        """Count what the broker has confirmed, and log each final event of a message that was not accepted."""
        metrics = self.metrics
        for publication in publications:
            if publication.exchange == topology.RESULTS:
                metrics.events[publication.routing_key].inc()
            elif publication.exchange == topology.DEAD:
                metrics.dead_letters[dead_letter_reason(publication.headers)].inc()
            else:
                metrics.retries[publication.routing_key].inc()
            if publication.unaccepted is not None:
                self._unaccepted(publication.routing_key, publication.unaccepted)

    def _unaccepted(self, event_type: str, facts: Unaccepted) -> None:
        """Log the final event of a message that was not accepted, with ids and codes only."""
        self.log.warning(
            "message.unaccepted",
            type=event_type,
            request_id=facts.request_id,
            message_id=facts.message_id,
            code=facts.code,
            attempt=facts.attempt,
            **({"status": facts.status} if facts.status is not None else {}),
            **({"app_id": facts.app_id} if facts.app_id is not None else {}),
        )

    def reply_copied(self, result: ReplyResult) -> None:
        """Count a copy of an event for `reply_to`."""
        self.metrics.reply_copies[result].inc()

    def limit_changed(self, limit: Limit) -> None:
        """Report how many calls may be made at once."""
        self.metrics.concurrency_limit.set(limit.size)

    def breaker_changed(self, breaker: CircuitBreaker, seconds: float) -> None:
        """Report a pause of sending; of several in a row, ever fewer: they may follow each other all night."""
        is_paused = breaker.state != "closed"
        self.metrics.paused["denied"].set(is_paused and breaker.denied)
        self.metrics.paused["failing"].set(is_paused and not breaker.denied)
        if not is_paused:
            self.log.info("sending.resumed")
        elif breaker.state == "open" and breaker.openings.bit_count() == 1:
            until = (self._now() + timedelta(seconds=seconds)).isoformat()
            self.log.error("sending.paused", cause=breaker.cause, until=until)

    def sending_held(self, cause: str, is_held: bool) -> None:  # noqa: FBT001 - a callback
        """Report whether sending pauses for a cause that is not OMNI's."""
        self.metrics.paused[cause].set(is_held)
        if is_held:
            self.log.error("sending.paused", cause=cause)
        else:
            self.log.info("sending.resumed")

    def memory_connected(self) -> None:
        """Report that the shared memory can be used."""
        self._memory_fault = None
        self.metrics.memory_unavailable.set(0)
        self.log.info("memory.connected")

    def memory_failed(self, error: MemoryUnavailableError) -> None:
        """Report that the shared memory cannot be used; each cause once."""
        self.metrics.memory_unavailable.set(1)
        self.metrics.memory_failures[error.cause].inc()
        if error.cause != self._memory_fault:
            self._memory_fault = error.cause
            detail = {"detail": error.detail} if error.detail else {}
            self.log.error("memory.unavailable", cause=error.cause, **detail)

    def orders_changed(self, count: int) -> None:
        """Report how many orders to cancel are in force."""
        self.metrics.cancel_orders.set(count)
        self.log.info("cancel_orders.changed", orders=count)

    def untouched_taken(self) -> None:
        """Count a redelivery of which the shared memory shows that no worker has begun it."""
        self.metrics.untouched.inc()

    def logs_looked_up(self, result: LookupResult) -> None:
        """Report a question to OMNI's logs."""
        name = type(result).__name__.lower()
        self.metrics.log_lookups[name].inc()
        if not isinstance(result, Answered):
            self.log.warning("log_lookup.failed", result=name, cause=result.cause)

    def deprecated(self, deprecation: Deprecation) -> None:
        """Count an answer with a deprecation header, and log each header once."""
        self.metrics.deprecated.inc()
        if deprecation not in self._deprecations and len(self._deprecations) < _DEPRECATIONS_LOGGED:
            self._deprecations.add(deprecation)
            self.log.warning("api.deprecated", deprecation=deprecation.deprecation, sunset=deprecation.sunset)

    def omni_not_connected(self, error: NotConnectedError) -> None:
        """Log each kind of failure to reach OMNI once a minute."""
        now = self.clock()
        if now - self._not_connected_at.get(error.cause, -inf) >= _FAILURES_LOGGED_EVERY:
            self._not_connected_at[error.cause] = now
            self.log.warning("omni.not_connected", cause=error.cause, detail=error.detail)

    def connection_events(self) -> ConnectionEvents:
        """Return callbacks for the connection to the broker."""
        logged_at: dict[tuple[str, str], float] = {}
        not_logged: Counter[tuple[str, str]] = Counter()

        def repeated(publication: Publication, error: BaseException | None) -> None:
            self.metrics.publish_failures.inc()
            destination = publication.exchange, publication.routing_key
            not_logged[destination] += 1
            now = self.clock()
            if now - logged_at.get(destination, -_RETRIES_LOGGED_EVERY) >= _RETRIES_LOGGED_EVERY:
                logged_at[destination] = now
                why = describe(error) if error else {"error": "unroutable"}
                count = not_logged.pop(destination)
                self.log.warning("publish.retried", **_destination(publication), publications=count, **why)

        return ConnectionEvents(
            connected=self._connected,
            disconnected=self._disconnected,
            refused=self._broker_refused,
            unroutable=lambda _: self.metrics.unroutable.inc(),
            repeated=repeated,
            skipped=self._publication_skipped,
        )

    def _connected(self, address: str) -> None:
        self.metrics.connected.set(1)
        self.log.info("broker.connected", address=address)

    def _broker_refused(self, address: str, error: BaseException) -> None:
        self.log.warning("broker.refused", address=address, **_broker_failure(error))

    def rotation_events(self) -> RotationEvents:
        """Return callbacks for secrets that are replaced."""

        def refused(fault: str, is_new: bool) -> None:  # noqa: FBT001 - a callback
            self.metrics.reload_failures.inc()
            if is_new:  # a file that stays wrong is tried every two seconds
                self.log.error("secrets.refused", fault=fault)

        return RotationEvents(
            reloaded=lambda changed: self.log.info("secrets.reloaded", changed=changed),
            unchanged=lambda: self.log.info("secrets.unchanged"),
            refused=refused,
            need_restart=lambda names: self.log.warning("settings.need_restart", settings=names),
            ages=partial(show_ages, self.metrics.secret_age),
        )

    def token_events(self) -> TokenEvents:
        """Return callbacks for access tokens of the broker. Each cause is logged once until a token was fetched."""

        def failed(failure: TokenFailure, is_new: bool) -> None:  # noqa: FBT001 - a callback
            self.metrics.broker_token_failures[failure.cause].inc()
            if is_new:
                self.log.error("broker.token_failed", cause=failure.cause, detail=failure.detail)

        def fetched(seconds: float, recovered: bool) -> None:  # noqa: FBT001 - a callback
            self.metrics.broker_token_lifetime.set(seconds)
            if recovered:
                self.log.info("broker.token_fetched", seconds=seconds)

        return TokenEvents(failed, fetched)

    def _disconnected(self, cause: str) -> None:
        self.metrics.connected.set(0)
        self.log.warning("broker.disconnected", cause=cause)

    def _publication_skipped(self, publication: Publication) -> None:
        self.metrics.publications_skipped.inc()
        self.log.error("publish.skipped", **_destination(publication), bytes=len(publication.body))

    def consuming(self, *, is_consuming: bool) -> None:
        """Report whether deliveries are asked for."""
        self.metrics.consuming.set(is_consuming)

    def consumer_failed(self, error: BaseException) -> None:
        """Report that the broker gave no consumer, or ended it."""
        self.log.warning("consumer.failed", **describe(error))

    def consumer_lost(self, error: BaseException | None) -> None:
        """Report that the broker does not have our consumer any more."""
        self.log.warning("consumer.lost", **(describe(error) if error else {}))

    def queue_seen(self, lane: Lane, messages: int, consumers: int) -> None:
        """Report how many requests of a lane are ready, and how many consumers there are."""
        self.metrics.queue_messages[lane.name].set(messages)
        self.metrics.queue_consumers[lane.name].set(consumers)

    def loop_late(self, seconds: float) -> None:
        """Report by how much the event loop is late."""
        self.metrics.loop_lag_seconds.observe(max(0.0, seconds))

    def delivery_set_aside(self, size: int) -> None:
        """Report a delivery that is scheduled for retry unread, since there is no memory for it."""
        self.log.warning("delivery.set_aside", bytes=size)

    def drained(self, abandoned: int) -> None:
        """Report that no delivery is in flight any more; `abandoned` were given up."""
        self.log.info("worker.drained", abandoned=abandoned)

    def dead_letter_listener_failed(self, error: BaseException) -> None:
        """Report that dead letters could not be consumed."""
        self.log.warning("dead_letter_listener.failed", **describe(error))

    def dead_letter_failed(self, error: BaseException) -> None:
        """Report a defect of ours about a dead letter, which stays in `omni.dead`."""
        self.log.error("dead_letter.report_failed", **describe(error))

    def dead_letter_stored(self, dead_letter: DeadLetter) -> None:
        """Report a dead letter that the broker could not store and that was stored from its copy."""
        self.log.warning("dead_letter.stored_again", request_id=dead_letter.request_id, reason=dead_letter.reason)

    def dead_letter_arrived(self, dead_letter: DeadLetter) -> None:
        """Count a dead letter that the broker made; those of the relay are counted when they are published."""
        self.metrics.dead_letters[dead_letter.reason].inc()

    def dead_letter_reported(self, dead_letter: DeadLetter) -> None:
        """Report the final events of a dead letter."""
        write: Callable[..., object] = self.log.info if dead_letter.reason == "lapsed" else self.log.warning
        write("dead_letter.reported", request_id=dead_letter.request_id, reason=dead_letter.reason)

    def traces_lost(self, spans: int) -> None:
        """Report spans that the collector did not take."""
        self.log.warning("traces.lost", spans=spans)


def _broker_failure(error: BaseException) -> dict[str, str]:
    """Describe why there is no connection to the broker. The issuer of a refused certificate is in `detail`."""
    detail = untrusted(error) or (error if isinstance(error, TokenError | ClientCertificateError) else None)
    return {"cause": connect_cause(error), **describe(error), **({"detail": str(detail)} if detail else {})}


def _destination(publication: Publication) -> dict[str, str]:
    """Name a destination. All names are ours: nothing else is published over this connection."""
    queue = {"queue": publication.routing_key} if publication.exchange in {topology.DIRECT, topology.RELAY} else {}
    return {"exchange": publication.exchange, "routing_key": publication.routing_key, **queue}
