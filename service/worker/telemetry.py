"""Who tells the log and the metrics what happens to the worker as a whole."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from math import inf
from typing import Final

from service.adapters.logging import Logger, describe
from service.adapters.metrics import Metrics
from service.adapters.omni import Deprecation, NotConnectedError
from service.adapters.rabbitmq import ConnectionEvents, connect_cause
from service.adapters.tls import untrusted
from service.core import topology
from service.core.attempt.breaker import CircuitBreaker
from service.core.attempt.lookup import Answered, LookupResult
from service.core.delivery import Publication
from service.worker.sending.circuit_breaker import RESULTS_STALLED
from service.worker.sending.limiter import Throttle

_TOLD_AT_MOST: Final = 20
_SAME_FAILURE_AGAIN: Final = 60.0
"""Seconds between two log lines about OMNI that cannot be reached for the same cause."""
_TELL_AGAIN: Final = 10.0
"""Seconds between two log lines about publications that are repeated to the same place."""


def gate_teller(
    log: Logger, metrics: Metrics, throttle: Throttle, now: Callable[[], datetime]
) -> Callable[[CircuitBreaker, float], None]:
    """Tell of the first closing, and then ever fewer of those in a row: they may go on all night."""

    def tell(breaker: CircuitBreaker, seconds: float) -> None:
        metrics.paused["denied"].set(breaker.mode != "open" and breaker.denied)
        metrics.paused["failing"].set(breaker.mode != "open" and not breaker.denied)
        if breaker.mode == "closed":
            throttle.begin_anew()
            if breaker.closings.bit_count() == 1:
                log.error("sending.paused", cause=breaker.cause, until=(now() + timedelta(seconds=seconds)).isoformat())
        elif breaker.mode == "open":
            log.info("sending.resumed")

    return tell


def stall_teller(log: Logger, metrics: Metrics) -> Callable[[bool], None]:
    """Tell whether results are stuck."""

    def tell(stalled: bool) -> None:  # noqa: FBT001 - the turnstile's own word
        metrics.paused[RESULTS_STALLED].set(stalled)
        if stalled:
            log.error("sending.paused", cause=RESULTS_STALLED)
        else:
            log.info("sending.resumed")

    return tell


def finding_teller(log: Logger, metrics: Metrics) -> Callable[[LookupResult], None]:
    """Tell of every look into OMNI's logs."""

    def tell(lookup_result: LookupResult) -> None:
        metrics.log_checks[type(lookup_result).__name__.lower()].inc()
        if not isinstance(lookup_result, Answered):
            log.warning("log_lookup.failed", result=type(lookup_result).__name__.lower(), cause=lookup_result.cause)

    return tell


def deprecation_teller(log: Logger, metrics: Metrics) -> Callable[[Deprecation], None]:
    """Tell of each thing that will go once; of all others there is a metric."""
    told: set[Deprecation] = set()

    def tell(deprecation: Deprecation) -> None:
        metrics.deprecated.inc()
        if deprecation not in told and len(told) < _TOLD_AT_MOST:
            told.add(deprecation)
            log.warning("api.deprecated", deprecation=deprecation.deprecation, sunset=deprecation.sunset)

    return tell


def connection_failure_teller(
    log: Logger, clock: Callable[[], float] = time.monotonic
) -> Callable[[NotConnectedError], None]:
    """Log each kind of failure to reach OMNI once a minute."""
    logged: dict[str, float] = {}

    def tell(error: NotConnectedError) -> None:
        if clock() - logged.get(error.cause, -inf) >= _SAME_FAILURE_AGAIN:
            logged[error.cause] = clock()
            log.warning("omni.not_connected", cause=error.cause, detail=error.detail)

    return tell


def link_events(log: Logger, metrics: Metrics) -> ConnectionEvents:
    """Tell of the connection to the broker."""

    def connected(address: str) -> None:
        metrics.connected.set(1)
        log.info("broker.connected", address=address)

    def disconnected(cause: str) -> None:
        metrics.connected.set(0)
        log.warning("broker.disconnected", cause=cause)

    last: dict[tuple[str, str], float] = {}
    untold: Counter[tuple[str, str]] = Counter()

    def repeated(publication: Publication, error: BaseException | None) -> None:
        metrics.publish_failures.inc()
        way = publication.exchange, publication.routing_key
        untold[way] += 1
        now = time.monotonic()
        if now - last.get(way, -_TELL_AGAIN) >= _TELL_AGAIN:
            last[way] = now
            what = describe(error) if error else {"error": "unroutable"}
            log.warning("publish.retried", **_destination(publication), publications=untold.pop(way), **what)

    def skipped(publication: Publication) -> None:
        metrics.publications_skipped.inc()
        log.error("publish.skipped", **_destination(publication), bytes=len(publication.body))

    return ConnectionEvents(
        connected=connected,
        disconnected=disconnected,
        refused=lambda address, error: log.warning("broker.refused", address=address, **_broker_failure(error)),
        unroutable=lambda _: metrics.unroutable.inc(),
        repeated=repeated,
        skipped=skipped,
    )


def _broker_failure(error: BaseException) -> dict[str, str]:
    """Describe why there is no connection to the broker. The issuer of a refused certificate is in `detail`."""
    refused = untrusted(error)
    return {"cause": connect_cause(error), **describe(error), **({"detail": str(refused)} if refused else {})}


def _destination(publication: Publication) -> dict[str, str]:
    """Name where a publication goes: names of ours alone, since no other is published here."""
    queue = {"queue": publication.routing_key} if publication.exchange in {topology.DIRECT, topology.RELAY} else {}
    return {"exchange": publication.exchange, "routing_key": publication.routing_key, **queue}
