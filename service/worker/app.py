"""The worker: its parts bound together, started, and stopped in the right order.

This file has more than 250 lines since what is bound, started and stopped has to be read together.
"""

import asyncio
import gc
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from service import COMPILED, __version__
from service.adapters.metrics import Metrics
from service.adapters.omni import Credentials, OmniAccess, OmniClient
from service.adapters.operations import Condition, make_app, raise_descriptor_limit, serving
from service.adapters.rabbitmq import ReconnectingConnection, ReplyPublisher, elapsed
from service.adapters.settings import Rotation, Settings, SettingsSource
from service.core.attempt.breaker import CircuitBreaker
from service.core.attempt.call import Send
from service.core.attempt.concurrency import MOST, START, Limit, most_in_a_call
from service.core.attempt.retry import Policy, RetryPolicy, pause_delay
from service.core.delivery import Delivery, Publication
from service.core.handler import Effects, Handler
from service.core.headers import history_of
from service.core.request.parsing import LARGE
from service.core.result.publication import schedule_unread_retry
from service.core.result.reply_to import ReplyPolicy
from service.core.topology import LANES, NORMAL, URGENT, Lane
from service.worker.admission import Admission
from service.worker.broker_tokens import broker_tokens, token_server
from service.worker.consumer import Consumer
from service.worker.dead_letter_listener import DeadLetterListener
from service.worker.deduplicator import DeliveryDeduplicator
from service.worker.dispatcher import Dispatcher
from service.worker.memory import connect_by, shared_memory
from service.worker.ownership import SessionCheck
from service.worker.sending import make_send
from service.worker.sending.circuit_breaker import Guard
from service.worker.sending.limiter import Limiter
from service.worker.sending.log_lookup import LogLookup
from service.worker.signals import listen_for_reload, listen_for_signals, stop_with_parent
from service.worker.telemetry import MEMORY_UNAVAILABLE, RESULTS_STALLED, Telemetry
from service.worker.tracing import tracer_for, tracing
from service.worker.watchdog import Watchdog

_GARBAGE: Final = 20_000
"""Objects made and not freed before the collector looks for cycles, of which a message leaves none."""

_TURN: Final = 0.002
"""Seconds for other tasks between two steps of a long one: a request takes several rounds of the loop."""

_BETWEEN_SLICES: Final = 0.05
"""Seconds between two slices of events of a request that is rejected or late: some 2,000 events per second."""

_REPLIES_TIMEOUT: Final = 1.0
"""Seconds for which a worker that stops still publishes copies for `reply_to`."""


async def work(settings: Settings, source: SettingsSource, listener: int | None = None) -> None:
    """Run until SIGTERM or SIGINT; a second one stops waiting for deliveries in flight.

    With a supervisor, `listener` is the descriptor of the socket to listen on, and the worker ends with the supervisor.

    Raises `SettingsError`, `TopologyError`, and `OSError` when the operations port is taken.
    """
    stop, abort = listen_for_signals()
    if listener is not None:
        stop_with_parent(stop)
    worker = Worker(settings, source)
    listen_for_reload(worker.reload)
    _prepare_process()
    app = make_app(worker.metrics.registry, lambda: worker.condition(stop), lambda: stop.is_set() or worker.is_live)
    async with serving(app, settings.http_host, settings.http_port, listener) as port:
        worker.telemetry.log.info("worker.started", version=__version__, compiled=COMPILED, port=port)
        await worker.run(stop, abort)
    worker.telemetry.log.info("worker.stopped")


class Worker:
    """All parts of a worker. Make it where a loop is running. Raises `SettingsError`.

    Its constructor is longer than 40 lines, since it is the one place that shows how all parts are bound together.
    """

    def __init__(self, settings: Settings, source: SettingsSource) -> None:
        retry, policy = retry_policy(settings), message_policy(settings)
        self.metrics = Metrics(lane.delay_queue(delay) for lane in LANES for delay in retry.delays)
        self.metrics.build.info({"version": __version__, "compiled": str(COMPILED).lower()})
        self.telemetry = telemetry = Telemetry(self.metrics, _now, time.monotonic)
        self._grace = settings.shutdown_grace
        self._tokens = broker_tokens(settings, telemetry.token_events())
        self._connection = ReconnectingConnection(
            settings.rabbitmq_urls,
            retry.delays,
            telemetry.connection_events(),
            declare=settings.rabbitmq_declare,
            fast=settings.rabbitmq_fast_path,
            tokens=self._tokens,
        )
        self._replies = ReplyPublisher(
            settings.rabbitmq_urls,
            ReplyPolicy(settings.reply_patterns),
            telemetry.reply_copied,
            fast=settings.rabbitmq_fast_path,
            tokens=self._tokens,
        )
        self._client = OmniClient(
            access(settings), _now, telemetry.deprecated, not_connected=telemetry.omni_not_connected
        )
        self._tracer = tracer = tracer_for(settings, telemetry.traces_lost)
        limiter = Limiter(_limit(settings), settings.own_rate, telemetry.limit_changed, time.monotonic)
        self._guard = Guard(
            _on_breaker_change(telemetry, limiter),
            partial(telemetry.sending_held, RESULTS_STALLED),
            time.monotonic,
            random.random,
        )
        self._memory = memory = shared_memory(settings, telemetry, elapsed, self._memory_missing)
        self._rotation = Rotation(settings, source, self._use, telemetry.rotation_events())
        self._client.before_denied(self._rotation.look_now)
        post: Send = self._client.post
        publish = _publish(self._connection, self._replies, telemetry)
        if tracer is not None:
            post, publish = tracer.attempts(post), tracer.publications(publish)
        most = policy.call_size if settings.omni_batching else None
        orders = None if memory is None else memory.cancellations
        effects = Effects(
            send=make_send(post, self._guard, limiter, telemetry, now=_now, most=most, memory=memory, orders=orders),
            look_up=LogLookup(
                self._client.look, settings.own_logs_rate, telemetry.logs_looked_up, time.monotonic, random.random
            ).look,
            publish=publish,
            now=_now,
            jitter=random.random,
            make_id=lambda: str(uuid.uuid4()),
            let_others=lambda: asyncio.sleep(_TURN),
            give_way=lambda: asyncio.sleep(_BETWEEN_SLICES),
            since_success=lambda: self._guard.seconds_since_healthy,
            wait=_short_waits(sum(prefetches(settings).values()) // 4),
        )
        if memory is not None:
            effects = replace(
                effects,
                record_start=memory.start,
                record_end=memory.end,
                release=memory.release,
                cancelled=memory.cancellations.cancelled,
            )
        self._handler = handler = Handler(effects, policy)
        self._admission = Admission(settings.rabbitmq_max_bytes_in_flight, _schedule_unread(effects, retry), telemetry)
        self._dispatcher = Dispatcher(
            handler,
            telemetry,
            SessionCheck(elapsed),
            # Acks may be lost with the connection: of no more deliveries than are unsettled.
            DeliveryDeduplicator(3 * sum(prefetches(settings).values()), time.monotonic),
            most=most,
            memory=memory,
            on_done=self._admission.done,
        )
        receive = self._admission.into(self._dispatcher.receive, self._dispatcher.release)
        receive = receive if tracer is None else tracing(tracer, receive)
        consumer = Consumer(self._connection, receive, telemetry, prefetches(settings))
        self._watchdog = Watchdog(self._connection, consumer, self._guard, telemetry, time.monotonic)
        self._consumer = consumer
        self._listener = DeadLetterListener(self._connection, handler, effects, telemetry, memory)

    def reload(self) -> None:
        """Read secrets and certificates again."""
        self._rotation.ask()

    def _memory_missing(self, missing: bool) -> None:  # noqa: FBT001 - a callback
        self._guard.set_memory_missing(missing=missing)
        self.telemetry.sending_held(MEMORY_UNAVAILABLE, missing)

    async def _use(self, settings: Settings) -> None:
        """Use new secrets and certificates. Raises `SettingsError` or `OSError` if they cannot be used."""
        await self._client.use(access(settings))
        if self._tokens is not None and (server := token_server(settings)) is not None:
            self._tokens.use(server)
        self._connection.use(settings.rabbitmq_urls)
        self._replies.use(settings.rabbitmq_urls)
        self._handler.use(message_policy(settings))
        self._guard.retry_denied()
        if self._memory is not None:
            elsewhere = settings.memory_url != self._rotation.settings.memory_url
            self._memory.use(connect_by(settings), elsewhere=elsewhere)

    @property
    def is_live(self) -> bool:
        """Whether the worker does its work, or does not for a reason that a restart would not mend."""
        return not self._watchdog.is_stuck

    def condition(self, stop: asyncio.Event) -> Condition:
        """Return whether the worker is ready, and why it is not or is paused."""
        if stop.is_set():
            return Condition(ready=False, reason="stopping")
        if not self._connection.is_connected:
            return Condition(ready=False, reason="not connected to RabbitMQ")
        pause = self._guard.pause
        return Condition(ready=True, reason=pause, paused=pause is not None)

    async def run(self, stop: asyncio.Event, abort: asyncio.Event) -> None:
        """Work until `stop` is set or a part fails, and stop in order; when `abort` is set, without waiting."""
        connecting, consuming, watching, listening, rotating, stopping = parts = [
            asyncio.create_task(part)
            for part in (
                self._connection.run(),
                self._consume(),
                self._watchdog.run(),
                self._listener.run(),
                self._rotation.run(),
                stop.wait(),
            )
        ]
        remembering = None if self._memory is None else asyncio.create_task(self._memory.run())
        watched = parts if remembering is None else [*parts, remembering]
        try:
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            # Without a broker nothing can be finished.
            deadline = asyncio.get_running_loop().time() + (0.0 if connecting.done() else self._grace)
            self.telemetry.log.info("worker.stopping")
            # No new calls first: calls that wait would otherwise be made while their deliveries are given back.
            self._guard.stop()
            # Then the consumer, and only when nothing is on its way to it: the broker would redeliver that, and a
            # redelivery is ambiguous.
            await self._dispatcher.settle_later(_end(consuming), self._admission.hold())
            await _end(watching)
            await _end(listening)
            # Then what has not begun goes into a delay queue, and what has begun is finished.
            await self._admission.close(self._grace / 2)
            await self._dispatcher.drain(deadline, abort)
        finally:
            await _end(stopping)
            await _end(rotating)
            if remembering is not None:
                await _end(remembering)
            # The connection is last: until here results are published and deliveries are settled over it.
            await asyncio.gather(self._replies.close(_REPLIES_TIMEOUT), self._client.close())
            await _end(connecting)
            if self._tracer is not None:
                await asyncio.to_thread(self._tracer.close)

    async def _consume(self) -> None:
        """Consume, once the shared memory is known to be there or not: redeliveries come first."""
        if self._memory is not None:
            await self._memory.tried.wait()
        await self._consumer.run()


def _prepare_process() -> None:
    """Allow as many descriptors as possible. Exclude from garbage collection what stays, and collect less often."""
    raise_descriptor_limit()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE)


def access(settings: Settings) -> OmniAccess:
    """Return the settings of the HTTP client. Raises `SettingsError`."""
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
    """Return the settings of the retry schedule."""
    return RetryPolicy(settings.retry_max_attempts, settings.retry_base_delay, settings.retry_max_delay)


def message_policy(settings: Settings) -> Policy:
    """Return the settings that concern every message."""
    return Policy(
        retry=retry_policy(settings),
        on_unknown=settings.unknown_policy,
        log_checks=settings.unknown_log_checks,
        scenario_key=settings.omni_scenario_key,
        call_size=most_in_a_call(settings.omni_max_messages_per_call, settings.own_rate),
        hold_scheduled=settings.hold_scheduled,
        notify_url=settings.reports_url and f"{settings.reports_url}/{settings.reports_tokens[0]}",
    )


def prefetches(settings: Settings) -> dict[Lane, int]:
    """Return how many deliveries of each lane may be unsettled.

    Small deliveries that are being served can only be waited for. If those of one lane filled the memory, nothing would
    be read for the other lane either. So those of a lane get at most half of it.
    """
    most = settings.rabbitmq_max_bytes_in_flight // 2 // LARGE
    return {NORMAL: min(settings.rabbitmq_prefetch, most), URGENT: min(settings.rabbitmq_urgent_prefetch, most)}


def _limit(settings: Settings) -> Limit:
    """There are never more calls than deliveries; a number that is set does not change."""
    if settings.omni_concurrency is not None:
        return Limit(settings.omni_concurrency, settings.omni_concurrency, fixed=True)
    most = min(MOST, sum(prefetches(settings).values()))
    return Limit(min(START, most), most)


def _short_waits(most: int) -> Callable[[float], Awaitable[bool]]:
    """Let at most so many deliveries wait at a time: each takes the place of another."""
    waiting = 0

    async def wait(seconds: float) -> bool:
        nonlocal waiting
        if waiting >= most:
            return False
        waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            waiting -= 1
        return True

    return wait


def _schedule_unread(effects: Effects, retry: RetryPolicy) -> Callable[[Delivery], Awaitable[None]]:
    async def schedule_retry(delivery: Delivery) -> None:
        history = history_of(delivery, effects.now())
        await effects.publish((schedule_unread_retry(delivery, history, pause_delay(retry), effects.make_id()),))

    return schedule_retry


def _on_breaker_change(telemetry: Telemetry, limiter: Limiter) -> Callable[[CircuitBreaker, float], None]:
    def on_change(breaker: CircuitBreaker, seconds: float) -> None:
        telemetry.breaker_changed(breaker, seconds)
        if breaker.state == "open":
            limiter.begin_anew()  # after a pause nothing is known of what OMNI can take

    return on_change


def _publish(
    connection: ReconnectingConnection, replies: ReplyPublisher, telemetry: Telemetry
) -> Callable[[Sequence[Publication]], Awaitable[None]]:
    async def publish(publications: Sequence[Publication]) -> None:
        copies = [publication for publication in publications if publication.is_copy]
        if copies:
            publications = [publication for publication in publications if not publication.is_copy]
        await connection.publish(publications)
        for copy in copies:
            replies.offer(copy)
        telemetry.published(publications)

    return publish


async def _end(task: asyncio.Task[object]) -> None:
    """Cancel a task and wait for it. Raises its own error, but not its cancellation by us."""
    by_itself = not task.cancel()
    await asyncio.wait({task})
    if not task.cancelled() and (error := task.exception()):
        raise error
    if by_itself and task.cancelled():
        raise RuntimeError("a part of the worker ended by itself")


def _now() -> datetime:
    return datetime.now(UTC)
