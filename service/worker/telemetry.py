"""Who tells the log and the metrics what happens to the worker as a whole."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from service.adapters.logging import Logger, describe
from service.adapters.metrics import Metrics
from service.adapters.omni import Deprecation
from service.adapters.rabbitmq import LinkEvents
from service.core import topology
from service.core.attempt.breaker import Gate
from service.core.attempt.lookup import Answered, Finding
from service.core.delivery import Publication
from service.worker.sending.circuit_breaker import RESULTS_STALLED
from service.worker.sending.limiter import Throttle

_TOLD_AT_MOST: Final = 20
_TELL_AGAIN: Final = 10.0
"""Seconds between two log lines about publications that are repeated to the same place."""


def gate_teller(
    log: Logger, metrics: Metrics, throttle: Throttle, now: Callable[[], datetime]
) -> Callable[[Gate, float], None]:
    """Tell of the first closing, and then ever fewer of those in a row: they may go on all night."""

    def tell(gate: Gate, seconds: float) -> None:
        metrics.paused["denied"].set(gate.mode != "open" and gate.denied)
        metrics.paused["failing"].set(gate.mode != "open" and not gate.denied)
        if gate.mode == "closed":
            throttle.begin_anew()
            if gate.closings.bit_count() == 1:
                log.error("sending.paused", cause=gate.cause, until=(now() + timedelta(seconds=seconds)).isoformat())
        elif gate.mode == "open":
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


def finding_teller(log: Logger, metrics: Metrics) -> Callable[[Finding], None]:
    """Tell of every look into OMNI's logs."""

    def tell(finding: Finding) -> None:
        metrics.looks[type(finding).__name__.lower()].inc()
        if not isinstance(finding, Answered):
            log.warning("log_lookup.failed", result=type(finding).__name__.lower(), cause=finding.cause)

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


def link_events(log: Logger, metrics: Metrics) -> LinkEvents:
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

    return LinkEvents(
        connected=connected,
        disconnected=disconnected,
        refused=lambda address, error: log.warning("broker.refused", address=address, **describe(error)),
        unroutable=lambda _: metrics.unroutable.inc(),
        repeated=repeated,
        skipped=skipped,
    )


def _destination(publication: Publication) -> dict[str, str]:
    """Name where a publication goes: names of ours alone, since no other is published here."""
    queue = {"queue": publication.routing_key} if publication.exchange in {topology.DIRECT, topology.RELAY} else {}
    return {"exchange": publication.exchange, "routing_key": publication.routing_key, **queue}
