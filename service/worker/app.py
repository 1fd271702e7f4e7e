"""The worker: everything bound together, started, and stopped in the right order."""

import asyncio
import gc
import random
import uuid
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from service import __version__
from service.adapters.logging import get_logger
from service.adapters.metrics import Metrics
from service.adapters.omni import Credentials, OmniAccess, OmniClient
from service.adapters.operations import Condition, make_app, raise_descriptor_limit, serving
from service.adapters.rabbitmq import ReconnectingConnection, ReplyPublisher
from service.adapters.settings import Settings, SettingsSource
from service.core import topology
from service.core.attempt.concurrency import MOST, START, Limit, most_in_a_call
from service.core.attempt.retry import Policy, RetryPolicy, pause_delay
from service.core.delivery import Delivery, Publication
from service.core.handler import Effects, Handler
from service.core.headers import dead_letter_reason, history_of
from service.core.result.publication import schedule_unread_retry
from service.core.result.reply_to import ReplyPolicy
from service.worker.admission import Admission
from service.worker.consumer import Bench, Intake
from service.worker.custody import SessionCheck
from service.worker.dead_letter_listener import bury
from service.worker.dispatcher import Dispatcher
from service.worker.rotation import Rotation
from service.worker.sending.caller import Caller, Post, Tools
from service.worker.sending.circuit_breaker import Turnstile
from service.worker.sending.limiter import Throttle
from service.worker.sending.log_lookup import Lookout
from service.worker.signals import listen_for_reload, listen_for_signals, stop_with_parent
from service.worker.telemetry import (
    connection_failure_teller,
    deprecation_teller,
    finding_teller,
    gate_teller,
    link_events,
    stall_teller,
)
from service.worker.tracing import tracer_for, tracing

if TYPE_CHECKING:  # where traces are off, nothing of what they need is loaded
    from service.adapters.tracing import Tracer

Publish = Callable[[Iterable[Publication]], Awaitable[None]]

_GARBAGE: Final = 20_000
"""Objects made and not freed before the collector looks for cycles, of which a message leaves none."""

_TURN: Final = 0.002
"""Seconds for others between two steps of something long: a request takes several rounds of the loop."""

_GIVING_WAY: Final = 0.05
"""Seconds between two slices of events of a request that is rejected or late: some 2,000 events in a second."""

_REPLIES_AT_MOST: Final = 1.0
"""Seconds for which a worker that stops still publishes copies for `reply_to`."""


async def work(  # noqa: PLR0915 - puts everything together, in order
    settings: Settings, source: SettingsSource, listener: int | None = None
) -> None:
    """Run until SIGTERM or SIGINT; a second one stops waiting for what is in flight.

    With a supervisor, `listener` is the descriptor of the socket that it listens on for us, and we end with it.

    Raises `SettingsError`, `TopologyError`, and `OSError` when the operations port is taken.
    """
    stop, abort = listen_for_signals()
    if listener is not None:
        stop_with_parent(stop)
    retry = retry_policy(settings)
    log, metrics = get_logger(), Metrics(map(topology.delay_queue, retry.delays))
    metrics.build.info({"version": __version__})
    throttle = Throttle(_limit(settings), settings.own_rate, lambda limit: metrics.concurrency_limit.set(limit.size))
    turnstile = Turnstile(gate_teller(log, metrics, throttle, _now), stall_teller(log, metrics))
    link = ReconnectingConnection(
        settings.rabbitmq_urls,
        retry.delays,
        link_events(log, metrics),
        declare=settings.rabbitmq_declare,
        fast=settings.rabbitmq_fast_path,
    )
    client = OmniClient(
        access(settings), _now, deprecation_teller(log, metrics), not_connected=connection_failure_teller(log)
    )
    lookout = Lookout(client.look, settings.own_logs_rate, finding_teller(log, metrics))
    policy = message_policy(settings)
    tracer = tracer_for(settings)
    replies = _replies(settings, metrics)

    async def use(new: Settings) -> None:
        await client.use(access(new))
        link.use(new.rabbitmq_urls)
        replies.use(new.rabbitmq_urls)
        turnstile.retry_denied()

    rotation = Rotation(settings, source, use, log, metrics)
    client.before_denied(rotation.look_now)
    listen_for_reload(rotation.ask)
    post, publish = _traced(tracer, client.post, _publish(link, replies, metrics))
    tools = Tools(post, turnstile, throttle, SessionCheck(), metrics, _now, _most(settings, policy))
    effects = Effects(
        attempt=Caller(tools).attempt,
        look_up=lookout.look,
        publish=publish,
        now=_now,
        jitter=random.random,
        make_id=lambda: str(uuid.uuid4()),
        let_others=lambda: asyncio.sleep(_TURN),
        give_way=lambda: asyncio.sleep(_GIVING_WAY),
        confirm=tools.session_check.require,
        since_success=lambda: turnstile.seconds_since_healthy,
    )
    handler = Handler(effects, policy)
    admission = Admission(settings.rabbitmq_max_bytes_in_flight, _put_aside(effects, retry), metrics)
    dispatcher = Dispatcher(handler, metrics, settings.rabbitmq_prefetch, tools.most, admission.done)
    receive = admission.into(dispatcher.receive, dispatcher.release)
    receive = receive if tracer is None else tracing(tracer, receive)
    intake = Intake(Bench(link, receive, turnstile, metrics, settings.rabbitmq_prefetch))

    def condition() -> Condition:
        if stop.is_set():
            return Condition(ready=False, reason="stopping")
        if not link.is_connected:
            return Condition(ready=False, reason="not connected to RabbitMQ")
        return Condition(ready=True, reason=turnstile.pause, paused=turnstile.pause is not None)

    _prepare_process()
    app = make_app(metrics.registry, condition, lambda: stop.is_set() or not (intake.is_stuck or turnstile.is_stuck))
    async with serving(app, settings.http_host, settings.http_port, listener) as port:
        log.info("worker.started", version=__version__, port=port)
        connecting, consuming, undertaking, rotating = map(
            asyncio.create_task,
            (
                link.run(),
                intake.run(),
                bury(link, handler, effects, lambda reason: metrics.dead_letters[reason].inc()),
                rotation.run(),
            ),
        )
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait(
                {connecting, consuming, undertaking, rotating, stopping}, return_when=asyncio.FIRST_COMPLETED
            )
            # Without a broker nothing can be finished.
            deadline = asyncio.get_running_loop().time() + (0.0 if connecting.done() else settings.shutdown_grace)
            log.info("worker.stopping")
            turnstile.shut()
            await dispatcher.settle_later(_end(consuming), admission.hold())
            await _end(undertaking)
            await admission.close(settings.shutdown_grace / 2)
            await dispatcher.drain(deadline, abort)
        finally:
            await _end(stopping)
            await _end(rotating)
            await asyncio.gather(replies.close(_REPLIES_AT_MOST), client.close())
            await _end(connecting)
            if tracer is not None:
                await asyncio.to_thread(tracer.close)
    log.info("worker.stopped")


def _prepare_process() -> None:
    """Allow all descriptors there may be. Have the garbage collector leave alone what stays, and look more rarely."""
    raise_descriptor_limit()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE)


def access(settings: Settings) -> OmniAccess:
    """Take what the HTTP client needs. Raises `SettingsError`."""
    secret = settings.omni_client_secret
    return OmniAccess(
        base_url=settings.omni_base_url,
        credentials=Credentials(
            fixed=settings.omni_authorization,
            client_id=settings.omni_client_id or "",
            client_secret=secret.get_secret_value() if secret else "",
        ),
        format=settings.omni_format,
        connect_timeout=settings.omni_connect_timeout,
        read_timeout=settings.omni_read_timeout,
        connection_lifetime=settings.omni_connection_lifetime,
        proxy=settings.omni_proxy_url,
        ca_file=settings.ca_file,
        secrets=settings.reports_tokens,
    )


def retry_policy(settings: Settings) -> RetryPolicy:
    """Take what the retry schedule needs."""
    return RetryPolicy(settings.retry_max_attempts, settings.retry_base_delay, settings.retry_max_delay)


def message_policy(settings: Settings) -> Policy:
    """Take what the settings say about every message."""
    return Policy(
        retry=retry_policy(settings),
        on_unknown=settings.unknown_policy,
        log_checks=settings.unknown_log_checks,
        scenario_key=settings.omni_scenario_key,
        call_size=most_in_a_call(settings.omni_max_messages_per_call, settings.own_rate),
        notify_url=settings.reports_url and f"{settings.reports_url}/{settings.reports_tokens[0]}",
    )


def _most(settings: Settings, policy: Policy) -> int | None:
    """Give how many messages requests may share a call for; None if they share none."""
    return policy.call_size if settings.omni_batching else None


def _limit(settings: Settings) -> Limit:
    """More calls than deliveries are never under way; a number that is set is kept to."""
    if settings.omni_concurrency is not None:
        return Limit(settings.omni_concurrency, settings.omni_concurrency, fixed=True)
    most = min(MOST, settings.rabbitmq_prefetch)
    return Limit(min(START, most), most)


def _put_aside(effects: Effects, retry: RetryPolicy) -> Callable[[Delivery], Awaitable[None]]:
    async def schedule_retry(delivery: Delivery) -> None:
        history = history_of(delivery, effects.now())
        await effects.publish((schedule_unread_retry(delivery, history, pause_delay(retry), effects.make_id()),))

    return schedule_retry


def _replies(settings: Settings, metrics: Metrics) -> ReplyPublisher:
    return ReplyPublisher(
        settings.rabbitmq_urls,
        ReplyPolicy(settings.reply_patterns),
        lambda result: metrics.reply_copies[result].inc(),
        fast=settings.rabbitmq_fast_path,
    )


def _traced(tracer: "Tracer | None", post: Post, publish: Publish) -> tuple[Post, Publish]:
    return (post, publish) if tracer is None else (tracer.attempts(post), tracer.publications(publish))


def _publish(link: ReconnectingConnection, replies: ReplyPublisher, metrics: Metrics) -> Publish:
    async def publish(publications: Iterable[Publication]) -> None:
        publications = tuple(publications)
        copies = [publication for publication in publications if publication.is_copy]
        if copies:
            publications = tuple(publication for publication in publications if not publication.is_copy)
        await link.publish(publications)
        for copy in copies:
            replies.offer(copy)
        for publication in publications:
            if publication.exchange == topology.RESULTS:
                metrics.events[publication.routing_key].inc()
            elif publication.exchange == topology.DEAD:
                metrics.dead_letters[dead_letter_reason(publication.headers)].inc()
            else:
                metrics.retries[publication.routing_key].inc()

    return publish


async def _end(task: asyncio.Task[object]) -> None:
    """Cancel a task and take its last word: its own fault is raised, its cancellation by us is not."""
    by_itself = not task.cancel()
    await asyncio.wait({task})
    if not task.cancelled() and (error := task.exception()):
        raise error
    if by_itself and task.cancelled():
        raise RuntimeError("a part of the worker ended by itself")


def _now() -> datetime:
    return datetime.now(UTC)
