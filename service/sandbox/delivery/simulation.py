"""The simulated delivery of a message: which channels are tried, when, and which one delivers.

* A step of the scenario is tried if the message has content for its channel and the recipient has an address that the
  channel can use. Other steps take no time.
* The first step begins at once, or at `sendAt`; a later one when the validity period of the step before has ended.
* The whole simulation is computed when the message is accepted. Nothing runs afterwards, but a person can decide
  otherwise on the page: `deliver`, `fail` and `see` return the simulation that follows.

The last five digits of the number, or else the option `answers`, choose the step that delivers:

92s00   of the steps tried, step s delivers; with 0, or more than there are, none does
92s01   the same, and the person reads the message
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from service.sandbox.delivery.scenario import FlowStep
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
    """The step that delivers, counted from 1 (0: none), and whether the message is read."""

    step: int = 1
    seen: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One step that is tried."""

    channel: str
    sender: str | None
    to: str
    text: str
    sent_at: datetime
    done_at: datetime
    status: Status


@dataclass(frozen=True, slots=True)
class Simulation:
    """The steps tried; the last one decides the outcome. `untried` are the steps after the one that delivers."""

    steps: Sequence[Step] = ()
    seen_at: datetime | None = None
    untried: Sequence[Step] = ()

    def step_at(self, moment: datetime) -> Step:
        """Return the step that is under way at a time; before the first step, the first."""
        return next((step for step in reversed(self.steps) if step.sent_at <= moment), self.steps[0])


def answer_of(phone_number: str | None, usual: Answer) -> Answer:
    """Read the answer out of a number; `usual` if there is none in it."""
    suffix = _SUFFIX.fullmatch((phone_number or "")[-5:])
    return Answer(int(suffix[1]), seen=suffix[2] == "1") if suffix else usual


def simulate(
    request: SendRequest, destination: Destination, flow: Sequence[FlowStep], now: datetime, usual: Answer
) -> Simulation:
    """Compute the whole delivery of one message."""
    asked = request.starts_at
    start = now if asked is None else max(now, asked).astimezone(UTC)
    start = start.replace(
        microsecond=start.microsecond // 1000 * 1000
    )  # the API writes milliseconds, and filters compare with them
    answer = answer_of(destination.phone_number, usual)
    every = list(_steps(list(_tried(request.contents, destination.to, flow)), start, answer.step))
    if not every:
        to = next(iter(destination.to.values()))
        return Simulation([Step(flow[0].channel, flow[0].sender, to, "", start, start, NOT_SENT)])
    last = answer.step if 0 < answer.step <= len(every) else len(every)
    steps, untried = every[:last], every[last:]
    seen = answer.seen and steps[-1].status is DELIVERED
    return Simulation(steps, steps[-1].done_at + READING_TAKES if seen else None, untried)


def refused(simulation: Simulation, status: Status) -> Simulation:
    """Return a simulation that ends before its first step with a refusal."""
    first = simulation.steps[0]
    return Simulation([replace(first, done_at=first.sent_at, status=status)])


def deliver(simulation: Simulation, now: datetime) -> Simulation | None:
    """Deliver a message by the step that is under way; None if none is."""
    under_way = _under_way(simulation, now)
    if under_way is None:
        return None
    before, step, after = under_way
    return Simulation([*before, replace(step, done_at=now, status=DELIVERED)], None, [*after, *simulation.untried])


def fail(simulation: Simulation, now: datetime) -> Simulation | None:
    """Fail the step that is under way, so that the next one begins; None if none is.

    If the failed step was to deliver, the next one is.
    """
    under_way = _under_way(simulation, now)
    if under_way is None:
        return None
    before, step, after = under_way
    failed, untried = replace(step, done_at=now, status=EXPIRED), list(simulation.untried)
    seen_at = simulation.seen_at
    if step.status is DELIVERED and untried:
        takes_over = untried.pop(0)
        after = [replace(takes_over, done_at=takes_over.sent_at + DELIVERY_TAKES, status=DELIVERED)]
    steps = [failed]
    for each in after:
        begins = steps[-1].done_at
        steps.append(replace(each, sent_at=begins, done_at=begins + (each.done_at - each.sent_at)))
    seen_at = None if seen_at is None or steps[-1].status is not DELIVERED else steps[-1].done_at + READING_TAKES
    return Simulation([*before, *steps], seen_at, untried)


def see(simulation: Simulation, now: datetime) -> Simulation | None:
    """Have the person read a delivered message; None if it is not delivered or was read before."""
    is_delivered = simulation.steps[-1].status is DELIVERED and simulation.steps[-1].done_at <= now
    if not is_delivered or (simulation.seen_at is not None and simulation.seen_at <= now):
        return None
    return replace(simulation, seen_at=now)


def _under_way(simulation: Simulation, now: datetime) -> tuple[list[Step], Step, list[Step]] | None:
    """Return the steps before the one that is under way, this one, and those after it."""
    for index, step in enumerate(simulation.steps):
        if step.sent_at <= now < step.done_at:
            return list(simulation.steps[:index]), step, list(simulation.steps[index + 1 :])
    return None


def _tried(
    contents: Mapping[str, Content], to: Mapping[str, str], flow: Sequence[FlowStep]
) -> Iterator[tuple[FlowStep, str, Content]]:
    for step in flow:
        name = _FIELD_OF[step.channel]
        address = next((to[kind] for kind in CHANNELS[name].addresses if kind in to), None)
        if name in contents and address is not None:
            yield step, address, contents[name]


def _steps(tried: Sequence[tuple[FlowStep, str, Content]], start: datetime, answers: int) -> Iterator[Step]:
    for number, (step, to, content) in enumerate(tried, 1):
        status, takes = (DELIVERED, DELIVERY_TAKES) if number == answers else (EXPIRED, content.validity)
        yield Step(step.channel, step.sender, to, content.text, start, start + takes, status)
        start += takes
