"""Which queues `reply_to` may name: any producer may write anything there, and a broker reads some of it."""

import re
from typing import Final, Literal

from service.core import topology
from service.core.value import dataclass

DIRECT_REPLY: Final = "amq.rabbitmq.reply-to"
"""The name with which a client asks for direct replies. The broker replaces it with a token, so it is never an address.

RabbitMQ closes the channel of a client that publishes it. Source: rabbitmq.com/docs/direct-reply-to.
"""

_LONGEST_NAME: Final = 255
"""Bytes. A name that was not UTF-8 may be longer after decoding, and would be cut to another name."""

ReplyResult = Literal["confirmed", "not_allowed", "invalid", "unroutable", "refused", "closed", "lost", "overflow"]
"""The result of publishing a copy of an event to `reply_to`.

confirmed    the broker has it
not_allowed  RELAY_REPLY_TO does not allow the queue, or it is one of the relay's own
invalid      no address at all, or one that AMQP cannot carry
unroutable   there is no such queue
refused      the queue does not take it: it is full
closed       the broker closes the connection or the channel because of the address
lost         the connection was lost, or the broker did not answer in time
overflow     too many copies were waiting
"""


@dataclass(frozen=True, slots=True)
class ReplyPolicy:
    """Patterns of queue names, in which `*` stands for any text. Without patterns nothing is allowed."""

    patterns: tuple[str, ...] = ()

    def refusal(self, queue: str) -> ReplyResult | None:
        """Return why a queue gets no copy; None if it may have one."""
        if queue == DIRECT_REPLY or len(queue.encode(errors="replace")) > _LONGEST_NAME:
            return "invalid"
        if topology.is_own_queue(queue) or not any(_matches(pattern, queue) for pattern in self.patterns):
            return "not_allowed"
        return None


def kept_reply_to(reply_to: str | None) -> str | None:
    """Return the `reply_to` of a retry or a dead letter: the producer's, unless the broker would refuse it."""
    return None if reply_to == DIRECT_REPLY else reply_to


def _matches(pattern: str, queue: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), queue, re.DOTALL) is not None
