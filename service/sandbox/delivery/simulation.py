"""A message's way through its scenario: which channel is tried when, and which one reaches the person.

A step is tried if the message has content for its channel and the recipient an address it can use; other
steps take no time. The first begins at once, or at `sendAt`, each later one when the validity period of the
one before has passed without an answer. All of it is decided when the message is taken and can be told for
any moment afterwards; nothing runs meanwhile.

Which step answers is told by the last five digits of the number, or else by the option `answers`:

92s00   of the steps tried, number s is the first that delivers; 0, or more than there are: none
92s01   the same, and the person reads the message

Any other number is reached by its first step.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from service.sandbox.delivery.scenario import Step
from service.sandbox.delivery.status import Status, status_of
from service.sandbox.schema.channel import CHANNELS
from service.sandbox.schema.request import Content, Destination, SendRequest

DELIVERY_TAKES = timedelta(seconds=1)
READING_TAKES = timedelta(seconds=10)

DELIVERED, EXPIRED, NOT_SENT = status_of(5), status_of(15), status_of(31)

_SUFFIX = re.compile(r"92([0-9])0([01])")
_FIELD_OF = {channel.name: name for name, channel in CHANNELS.items()}


@dataclass(frozen=True)
class Answer:
    """Which of the steps tried delivers, counted from 1 (0: none), and whether the message is read."""

    step: int = 1
    seen: bool = False


@dataclass(frozen=True, slots=True)
class Leg:
    """One step as it was tried."""

    channel: str
    sender: str | None
    to: str
    text: str
    sent_at: datetime
    done_at: datetime
    status: Status


@dataclass(frozen=True, slots=True)
class Journey:
    """Every step tried; the last one decides."""

    legs: Sequence[Leg] = ()
    seen_at: datetime | None = None

    def leg_at(self, moment: datetime) -> Leg:
        """Find the step last begun at a moment; before all of them, the first."""
        return next((leg for leg in reversed(self.legs) if leg.sent_at <= moment), self.legs[0])


def answer_of(phone_number: str | None, usual: Answer) -> Answer:
    """Read the answer out of a number, if there is one in it."""
    suffix = _SUFFIX.fullmatch((phone_number or "")[-5:])
    return Answer(int(suffix[1]), seen=suffix[2] == "1") if suffix else usual


def journey_of(
    request: SendRequest, destination: Destination, flow: Sequence[Step], now: datetime, usual: Answer
) -> Journey:
    """Work out the whole way of one message."""
    asked = request.starts_at
    start = now if asked is None else max(now, asked).astimezone(UTC)
    start = start.replace(microsecond=start.microsecond // 1000 * 1000)  # as the API tells it, and so can be asked
    answer = answer_of(destination.phone_number, usual)
    legs = list(_legs(list(_tried(request.contents, destination.to, flow)), start, answer.step))
    if not legs:
        to = next(iter(destination.to.values()))
        return Journey([Leg(flow[0].channel, flow[0].sender, to, "", start, start, NOT_SENT)])
    seen = answer.seen and legs[-1].status is DELIVERED
    return Journey(legs, legs[-1].done_at + READING_TAKES if seen else None)


def refused(journey: Journey, status: Status) -> Journey:
    """Make it end before its first step, with a refusal."""
    first = journey.legs[0]
    return Journey([replace(first, done_at=first.sent_at, status=status)])


def _tried(
    contents: Mapping[str, Content], to: Mapping[str, str], flow: Sequence[Step]
) -> Iterator[tuple[Step, str, Content]]:
    for step in flow:
        name = _FIELD_OF[step.channel]
        address = next((to[kind] for kind in CHANNELS[name].addresses if kind in to), None)
        if name in contents and address is not None:
            yield step, address, contents[name]


def _legs(tried: Sequence[tuple[Step, str, Content]], start: datetime, answers: int) -> Iterator[Leg]:
    for number, (step, to, content) in enumerate(tried, 1):
        status, takes = (DELIVERED, DELIVERY_TAKES) if number == answers else (EXPIRED, content.validity)
        yield Leg(step.channel, step.sender, to, content.text, start, start + takes, status)
        if status is DELIVERED:
            return
        start += takes
