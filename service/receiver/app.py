"""The receiver of reports: started, and stopped in order. It has no credentials of OMNI's."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from pydantic import SecretStr

from service import __version__
from service.adapters.logging import Logger, describe, get_logger
from service.adapters.metrics import ReportMetrics, show_ages
from service.adapters.operations import Condition, Limits, make_app, raise_descriptor_limit, serving
from service.adapters.rabbitmq import (
    AccessTokens,
    EventPublisher,
    PublisherEvents,
    TokenError,
    TokenEvents,
    TokenSource,
    connect_cause,
)
from service.adapters.settings import Rotation, RotationEvents, Settings, SettingsError, SettingsSource
from service.adapters.tls import ClientCertificateError, untrusted
from service.core.attempt.oauth import TokenFailure
from service.core.value import dataclass
from service.receiver.endpoint import Endpoint
from service.receiver.origins import Origins, connect_by, origins

_CONNECTIONS: Final = 512
_BACKLOG: Final = 256
_IDLE: Final = 10.0
"""Seconds for a request to arrive."""


@dataclass(frozen=True, slots=True)
class BrokerTokens:
    """Passwords of connections to the broker that are access tokens. Their server is reached as OMNI is: over HTTP."""

    make: Callable[[Settings, TokenEvents], AccessTokens | None]
    server: Callable[[Settings], TokenSource | None]


async def receive_reports(settings: Settings, source: SettingsSource, broker_tokens: BrokerTokens) -> None:
    """Run until SIGTERM or SIGINT. On SIGHUP, and when their files change, secrets are read again.

    Raises `SettingsError`, and `OSError` where a port is taken.
    """
    _require_token(settings)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    raise_descriptor_limit()
    log, metrics = get_logger(), ReportMetrics()
    metrics.build.info({"version": __version__})
    tokens = broker_tokens.make(settings, _token_events(log, metrics))
    publisher = EventPublisher(
        settings.rabbitmq_urls,
        _events(log, metrics),
        fast=settings.rabbitmq_fast_path,
        tokens=tokens,
    )
    memory = origins(
        settings,
        lambda: log.info("memory.connected"),
        lambda cause: log.error("memory.unavailable", cause=cause),
    )

    use = _use(publisher, memory, tokens, broker_tokens.server, settings.memory_url)
    rotation = Rotation(settings, source, use, _rotation_events(log, metrics))
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, rotation.ask)
    endpoint = Endpoint(
        lambda: rotation.settings.reports_tokens,
        publisher.publish,
        metrics,
        lambda: datetime.now(UTC),
        lambda error: log.error("push.failed", **describe(error)),
        find=None if memory is None else memory.find,
        record=(lambda _: None) if memory is None else memory.record,
    )

    def condition() -> Condition:
        if stop.is_set():
            return Condition(ready=False, reason="stopping")
        connected = publisher.is_connected
        return Condition(ready=connected, reason=None if connected else "not connected to RabbitMQ")

    limits = Limits(_CONNECTIONS, _BACKLOG, _IDLE, max(1, round(settings.shutdown_grace)))
    operations = make_app(metrics.registry, condition, lambda: True)
    async with serving(operations, settings.http_host, settings.http_port) as port:
        connecting = asyncio.create_task(publisher.run())
        rotating = asyncio.create_task(rotation.run())
        remembering = None if memory is None else asyncio.create_task(memory.run())
        try:
            async with serving(endpoint, settings.reports_host, settings.reports_port, limits=limits) as reports_port:
                log.info("reports.started", version=__version__, port=port, reports_port=reports_port)
                stopping = asyncio.create_task(stop.wait())
                await asyncio.wait({connecting, rotating, stopping}, return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
                log.info("reports.stopping")
            for part in (connecting, rotating):
                if part.done():
                    part.result()  # its defect
        finally:
            for task in filter(None, (rotating, remembering, connecting)):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await connecting
    log.info("reports.stopped")


def _require_token(settings: Settings) -> None:
    if not settings.reports_tokens:
        raise SettingsError("RELAY_REPORTS_TOKEN: pushes are known by it; set the one of the workers")


def _events(log: Logger, metrics: ReportMetrics) -> PublisherEvents:
    def connected(address: str) -> None:
        metrics.connected.set(1)
        log.info("broker.connected", address=address)

    def disconnected(cause: str) -> None:
        metrics.connected.set(0)
        log.warning("broker.disconnected", cause=cause)

    return PublisherEvents(
        connected=connected,
        disconnected=disconnected,
        refused=lambda address, error: log.warning("broker.refused", address=address, **_failure(error)),
        unroutable=metrics.unroutable.inc,
    )


def _failure(error: BaseException) -> dict[str, str]:
    """Describe why there is no connection to the broker."""
    detail = untrusted(error) or (error if isinstance(error, TokenError | ClientCertificateError) else None)
    return {"cause": connect_cause(error), **describe(error), **({"detail": str(detail)} if detail else {})}


def _use(
    publisher: EventPublisher,
    memory: Origins | None,
    tokens: AccessTokens | None,
    server: Callable[[Settings], TokenSource | None],
    memory_url: SecretStr | None,
) -> Callable[[Settings], Awaitable[None]]:
    """Return what puts new secrets and certificates to use. Without a token, it raises `SettingsError`."""

    async def use(settings: Settings) -> None:
        nonlocal memory_url
        _require_token(settings)
        if tokens is not None and (new := server(settings)) is not None:
            tokens.use(new)
        publisher.use(settings.rabbitmq_urls)
        if memory is not None:
            memory.use(connect_by(settings), elsewhere=settings.memory_url != memory_url)
            memory_url = settings.memory_url

    return use


def _rotation_events(log: Logger, metrics: ReportMetrics) -> RotationEvents:
    def refused(fault: str, is_new: bool) -> None:  # noqa: FBT001 - a callback
        metrics.reload_failures.inc()
        if is_new:  # a file that stays wrong is tried every two seconds
            log.error("secrets.refused", fault=fault)

    return RotationEvents(
        reloaded=lambda changed: log.info("secrets.reloaded", changed=changed),
        unchanged=lambda: log.info("secrets.unchanged"),
        refused=refused,
        need_restart=lambda names: log.warning("settings.need_restart", settings=names),
        ages=partial(show_ages, metrics.secret_age),
    )


def _token_events(log: Logger, metrics: ReportMetrics) -> TokenEvents:
    def failed(failure: TokenFailure, is_new: bool) -> None:  # noqa: FBT001 - a callback
        metrics.token_failures[failure.cause].inc()
        if is_new:
            log.error("broker.token_failed", cause=failure.cause, detail=failure.detail)

    def fetched(seconds: float, recovered: bool) -> None:  # noqa: FBT001 - a callback
        if recovered:
            log.info("broker.token_fetched", seconds=seconds)

    return TokenEvents(failed, fetched)
