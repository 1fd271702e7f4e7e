"""OmniCall to Outcome: one function type, `Send`, wrapped once for each concern.

    deduplicated    a duplicate of a later attempt gets the outcome of the other
    guarded         waits for the circuit breaker; a call that something forbade before writing starts over here
    batching        calls with equal contents share a call; a rejected one is sent again in halves
    limited         slots and rate; the circuit breaker learns the outcome
    noted           the start is recorded in the shared memory, where there is one
    observed        logs and counters
    traced          a span, where traces are on
    client.post     HTTP

The guard is outside of the limiter: a call that waits for the end of a pause must not hold a slot that the probe needs.
It is outside of the batching: each call has its own deadline, session and permission, and what forbids one sends that
one back alone. It takes effect inside all the others, since `OmniCall.may_send` is asked immediately before the bytes
are written.

An order to cancel stops a call wherever it waits: for the breaker, in a batch that is still open, for a slot or the
rate; and it too is asked about immediately before the bytes are written.
"""

from collections.abc import Callable
from datetime import datetime

from service.core.attempt.call import Send
from service.worker.cancellation import Cancellations
from service.worker.deduplicator import deduplicated
from service.worker.memory import SharedMemory, noted
from service.worker.sending.batching import batching
from service.worker.sending.circuit_breaker import Guard, guarded
from service.worker.sending.limiter import Limiter, limited
from service.worker.telemetry import Telemetry


def make_send(  # noqa: PLR0913 - the parts of the chain
    post: Send,
    guard: Guard,
    limiter: Limiter,
    telemetry: Telemetry,
    *,
    now: Callable[[], datetime],
    most: int | None,
    memory: SharedMemory | None = None,
    orders: Cancellations | None = None,
) -> Send:
    """Wrap `post`. `most`: messages that requests may share a call for; None if they share none."""
    telemetry.metrics.calls_waiting.set_function(lambda: limiter.waiting)
    send = telemetry.observed(post)
    send = limited(send if memory is None else noted(send, memory), limiter, guard.record, orders)
    send = guarded(batching(send, most, lambda: guard.is_closed, orders), guard, now, orders)
    return deduplicated(send, guard.clock, telemetry.duplicate_joined)
