"""A delivery's whole life, in the order in which it happens.

The effects are plain callables, bound once where the program is put together; in a test a fake is a function.
Nothing here settles: whoever handed the delivery in does that, once this has returned, and nothing at all
if it was cancelled.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime

from service.rules.doubt import NOT_ASKED, purpose_of_look, resolve
from service.rules.history import may_be_a_copy, recall
from service.rules.parse import parse
from service.rules.plan import plan
from service.rules.policy import Policy
from service.rules.publication import publish_report
from service.rules.report import Attempt, Report, report_attempt, report_expiry, report_rejections
from service.rules.verdict import judge
from service.words.call import OmniCall
from service.words.delivery import Delivery, Publication, Settlement
from service.words.finding import Finding, Purpose
from service.words.outcome import Outcome
from service.words.request import SendRequest


@dataclass(frozen=True, slots=True)
class Effects:
    """What a handler needs of the world."""

    attempt: Callable[[OmniCall], Awaitable[Outcome]]
    """Make one attempt; returns an outcome whatever happens."""
    look: Callable[[tuple[str, ...], Purpose], Awaitable[Finding]]
    """Ask OMNI's logs about messages, by their ids."""
    publish: Callable[[tuple[Publication, ...]], Awaitable[None]]
    """Return when the broker has confirmed every one, however long that takes."""
    now: Callable[[], datetime]
    draw: Callable[[], float]
    """Throw the dice: a number from [0, 1)."""
    make_id: Callable[[], str]


Handler = Callable[[Delivery], Awaitable[Settlement]]


def make_handler(effects: Effects, policy: Policy) -> Handler:
    """Bind the line from a delivery to its settlement."""

    async def handle(delivery: Delivery) -> Settlement:
        history = recall(delivery, effects.now())
        parsed = parse(delivery, history, effects.make_id)
        said: dict[str, int] = {}

        async def say(report: Report) -> None:
            await effects.publish(publish_report(report, delivery, effects.now()))
            for event in report.events:
                said[event.type] = said.get(event.type, 0) + 1

        def attempt(request: SendRequest) -> Attempt:
            return Attempt(request, history, policy, effects.now(), effects.draw())

        request, doubt = parsed.request, None
        if parsed.rejections or request is None:
            await say(report_rejections(parsed, history, effects.now()))
        if request is not None and (purpose := purpose_of_look(history)):
            finding = NOT_ASKED if may_be_a_copy(delivery) else await effects.look(request.message_ids, purpose)
            resolution = resolve(attempt(request), finding)
            request, history = resolution.rest, resolution.history
            doubt = resolution.end if purpose == "doubt" else None
            await say(resolution.report)
        if request is not None and request.expires_at is not None and request.expires_at <= effects.now():
            await say(report_expiry(request, history, effects.now()))
        elif request is not None:
            for call in plan(request, history, delivery.timestamp, policy):
                outcome = await effects.attempt(call)
                verdicts = judge(call, outcome, ambiguous=history.ambiguous)
                part = request if call.messages is request.messages else replace(request, messages=call.messages)
                await say(report_attempt(attempt(part), verdicts))
        valid = not parsed.rejections and parsed.request is not None
        age = max(0.0, (effects.now() - (delivery.timestamp or history.first_seen)).total_seconds())
        return Settlement(parsed.request_id, parsed.identified, history.attempts, said, valid, doubt, age)

    return handle
