"""A delivery's whole life, in the order in which it happens.

The effects are plain callables, bound once where the program is put together; in a test a fake is a function.
Nothing here settles: whoever handed the delivery in does that, once this has returned, and nothing at all
if it was cancelled.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field, replace
from datetime import datetime
from math import inf

from service.rules.doubt import NOT_ASKED, purpose_of_look, resolve
from service.rules.history import may_be_a_copy, recall
from service.rules.parse import is_small, parse, parse_in_steps
from service.rules.plan import plan, split
from service.rules.policy import Policy
from service.rules.publication import publish_instead, publish_report
from service.rules.report import (
    SLICE,
    Attempt,
    Report,
    report_attempt,
    report_expiry,
    report_rejections,
    slices,
)
from service.rules.trace import read_trace
from service.rules.verdict import judge
from service.words.call import OmniCall
from service.words.delivery import Delivery, History, Publication, Settlement, UnpublishableError
from service.words.finding import DoubtEnd, Finding, Purpose
from service.words.outcome import Outcome
from service.words.request import Parsed, SendRequest
from service.words.value import dataclass


async def _go_on() -> None:
    """Do nothing."""


def _forever() -> float:
    return inf


@dataclass(frozen=True, slots=True)
class Effects:
    """What a handler needs of the world."""

    attempt: Callable[[Sequence[OmniCall]], Awaitable[Sequence[Outcome | Exception]]]
    """Make one attempt, with calls of equal contents as one; gives each its outcome, or why it was not made."""
    look: Callable[[tuple[str, ...], Purpose], Awaitable[Finding]]
    """Ask OMNI's logs about messages, by their ids."""
    publish: Callable[[tuple[Publication, ...]], Awaitable[None]]
    """Return when the broker has confirmed every one, however long that takes."""
    now: Callable[[], datetime]
    draw: Callable[[], float]
    """Throw the dice: a number from [0, 1)."""
    make_id: Callable[[], str]
    let_others: Callable[[], Awaitable[None]] = _go_on
    """Give others their turn, between two steps of something long."""
    give_way: Callable[[], Awaitable[None]] = _go_on
    """Let the events of others go first, between two slices of events that no call to OMNI slows down."""
    confirm: Callable[[], Awaitable[None]] = _go_on
    """Return if the delivery that this task serves is still ours; raise if another worker may have it by now."""
    since_success: Callable[[], float] = _forever
    """Tell how many seconds ago a call showed that OMNI takes calls of ours."""


@dataclass(eq=False, slots=True)
class Errand:
    """A delivery that is being served, and what has been said about it."""

    delivery: Delivery
    history: History
    parsed: Parsed
    said: dict[str, int] = field(default_factory=dict)
    doubt: DoubtEnd | None = None
    is_touched: bool = False
    """Whether OMNI was asked to take any of it, or anything about it was published."""


_Said = tuple[Errand, Report, tuple[Publication, ...]]
"""What is said about an errand, and how it is published."""


class Handler:
    """The line from a delivery to its settlement."""

    def __init__(self, effects: Effects, policy: Policy) -> None:
        self._effects = effects
        self._policy = policy

    def read(self, delivery: Delivery) -> Errand:
        """Read what a delivery asks for."""
        history = recall(delivery, self._effects.now())
        return Errand(delivery, history, parse(delivery, history, self._effects.make_id))

    async def read_in_steps(self, delivery: Delivery) -> Errand:
        """Read a delivery as `read` does, and give others their turn where that takes long."""
        if is_small(delivery):
            return self.read(delivery)
        now = self._effects.now()
        history = recall(delivery, now)
        steps = parse_in_steps(delivery, history, self._effects.make_id)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return Errand(delivery, history, end.value)
            await self._effects.let_others()

    async def read_late(self, delivery: Delivery) -> Errand:
        """Read what a delivery asked for that the broker let lapse: too late to be posted, whenever it is handled.

        It may have been posted by a worker that died since; then it is looked for like any other redelivery. RabbitMQ 4
        tells which have been handed out before; 3 forgets it when it dead-letters.
        """
        errand = await self.read_in_steps(delivery)
        if request := errand.parsed.request:
            errand.parsed = replace(errand.parsed, request=replace(request, expires_at=self._effects.now()))
        return errand

    def only_call(self, errand: Errand) -> OmniCall | None:
        """Give the one call to make, where nothing else is to be done for an errand, and nothing was before."""
        request, history = errand.parsed.request, errand.history
        if request is None or errand.parsed.rejections or history.attempts or purpose_of_look(history):
            return None
        if self._is_late(request):
            return None
        calls = self._plan(errand, request)
        return calls[0] if len(calls) == 1 else None

    async def handle(self, errand: Errand) -> Settlement:
        """Do all that an errand asks for."""
        parsed, history, effects = errand.parsed, errand.history, self._effects
        request = parsed.request
        if parsed.rejections or request is None:
            now = effects.now()
            await self._say(errand, report_rejections(parsed, history, now), now, gives_way=True)
        if request is not None and (purpose := purpose_of_look(history)):
            is_copy = may_be_a_copy(errand.delivery)
            finding = NOT_ASKED if is_copy else await effects.look(request.message_ids, purpose)
            await effects.confirm()
            now = effects.now()
            resolution = resolve(self._attempt(request, history, now), finding)
            request, errand.history = resolution.rest, resolution.history
            errand.doubt = resolution.end if purpose == "doubt" else None
            await self._say(errand, resolution.report, now)
        if request is not None and self._is_late(request):
            await effects.confirm()  # another worker may have posted it in time, while this process stood still
            now = effects.now()
            await self._say(errand, report_expiry(request, errand.history, now), now, gives_way=True)
        elif request is not None:
            for call in self._plan(errand, request):
                (outcome,) = await effects.attempt((call,))
                await self._conclude(errand, call, outcome)
        return _settlement(errand, effects.now())

    async def handle_all(self, errands: Sequence[tuple[Errand, OmniCall]]) -> list[Settlement | Exception]:
        """Make the only calls of several errands as one; what fails for one errand afterwards is its own."""
        outcomes = await self._effects.attempt([call for _, call in errands])
        now = self._effects.now()
        said: list[_Said] = []
        size = 0
        too_large: list[tuple[Errand, OmniCall, Outcome]] = []
        defects: dict[Errand, Exception] = {}
        for (errand, call), outcome in zip(errands, outcomes, strict=True):
            if isinstance(outcome, Exception):
                defects[errand] = outcome
                continue
            errand.is_touched = True
            if split(call, outcome):
                too_large.append((errand, call, outcome))
                continue
            try:
                for part in slices(self._report(errand, call, outcome, now)):
                    publications = _publications(errand, part, now)
                    said.append((errand, part, publications))
                    for publication in publications:
                        size += len(publication.body)
                    if size >= SLICE:
                        defects |= await self._publish_all(said, now)
                        said, size = [], 0
            except Exception as error:  # noqa: BLE001 - a defect of ours, which is told with the delivery
                defects[errand] = error
        defects |= await self._publish_all(said, now)
        for errand, call, outcome in too_large:
            try:
                await self._conclude(errand, call, outcome)
            except Exception as error:  # noqa: BLE001 - as above, or the session has gone: its own alone
                defects[errand] = error
        now = self._effects.now()
        return [defects.get(errand) or _settlement(errand, now) for errand, _ in errands]

    async def _conclude(self, errand: Errand, call: OmniCall, outcome: Outcome | Exception) -> None:
        """Publish how a call has ended; one that was too large is made again in halves. Raises why it was not made."""
        if isinstance(outcome, Exception):
            raise outcome
        errand.is_touched = True
        halves = split(call, outcome)
        for half in halves:
            (end,) = await self._effects.attempt((half,))
            await self._conclude(errand, half, end)
        if not halves:
            now = self._effects.now()
            await self._say(errand, self._report(errand, call, outcome, now), now)

    def _plan(self, errand: Errand, request: SendRequest) -> tuple[OmniCall, ...]:
        delivery = errand.delivery
        trace = read_trace(delivery.headers) if delivery.headers else None
        return plan(request, errand.history, delivery.timestamp, self._policy, trace)

    def _report(self, errand: Errand, call: OmniCall, outcome: Outcome, now: datetime) -> Report:
        request = errand.parsed.request
        assert request is not None  # noqa: S101 - or there would be no call
        verdicts = judge(call, outcome, ambiguous=errand.history.ambiguous)
        part = request if call.messages is request.messages else replace(request, messages=call.messages)
        return report_attempt(self._attempt(part, errand.history, now), verdicts)

    def _attempt(self, request: SendRequest, history: History, now: datetime) -> Attempt:
        return Attempt(request, history, self._policy, now, self._effects.draw(), self._effects.since_success())

    def _is_late(self, request: SendRequest) -> bool:
        return request.expires_at is not None and request.expires_at <= self._effects.now()

    async def _say(self, errand: Errand, report: Report, now: datetime, *, gives_way: bool = False) -> None:
        """Publish what a report says, no more at once than a slice; the broker has confirmed one before the next.

        Between slices it may give way. Else ten thousand events that cost nothing to cause fill the queues of those
        who read events, and the event of an ordinary request waits behind them.
        """
        for place, part in enumerate(slices(report)):
            if place and gives_way:
                await self._effects.give_way()
            errand.is_touched |= bool(part.events or part.letters)
            try:
                await self._effects.publish(_publications(errand, part, now))
            except UnpublishableError as error:
                await self._say_instead(errand, part, now, error)

    async def _publish_all(self, said: Sequence[_Said], now: datetime) -> dict[Errand, Exception]:
        """Publish together what is said about several errands; gives those about which nothing can be published."""
        defects: dict[Errand, Exception] = {}
        try:
            await self._effects.publish(tuple([one for _, _, publications in said for one in publications]))
        except UnpublishableError as error:
            for errand, part, _ in said:
                try:
                    await self._say_instead(errand, part, now, error)
                except UnpublishableError as again:
                    defects[errand] = again
        return defects

    async def _say_instead(self, errand: Errand, report: Report, now: datetime, error: UnpublishableError) -> None:
        """Publish what takes the place of what the broker never takes. Raises `UnpublishableError` as well."""
        if publications := publish_instead(report, errand.delivery, now, error.publications):
            await self._effects.publish(publications)


def _publications(errand: Errand, report: Report, now: datetime) -> tuple[Publication, ...]:
    publications = publish_report(report, errand.delivery, now)
    for event in report.events:
        errand.said[event.type] = errand.said.get(event.type, 0) + 1
    return publications


def _settlement(errand: Errand, now: datetime) -> Settlement:
    parsed, history, delivery = errand.parsed, errand.history, errand.delivery
    valid = not parsed.rejections and parsed.request is not None
    age = max(0.0, (now - (delivery.timestamp or history.first_seen)).total_seconds())
    return Settlement(parsed.request_id, parsed.identified, history.attempts, errand.said, valid, errand.doubt, age)
