"""A delivery's whole life, in the order in which it happens.

The effects are plain callables, bound once where the program is put together; in a test a fake is a function.
Nothing here settles: whoever handed the delivery in does that, once this has returned, and nothing at all
if it was cancelled.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime

from service.rules.history import read_history
from service.rules.parse import parse
from service.rules.plan import plan
from service.rules.policy import Policy
from service.rules.publication import publish_report
from service.rules.report import Attempt, Report, report_attempt, report_expiry, report_rejections
from service.rules.verdict import denial, judge
from service.words.call import OmniCall
from service.words.delivery import Delivery, Publication, Settlement
from service.words.outcome import Accepted, Outcome, Rejected


@dataclass(frozen=True, slots=True)
class Effects:
    """What a handler needs of the world."""

    attempt: Callable[[OmniCall], Awaitable[Outcome]]
    """Make one attempt; returns an outcome whatever happens."""
    publish: Callable[[tuple[Publication, ...]], Awaitable[None]]
    """Return when the broker has confirmed every one, however long that takes."""
    notice: Callable[[str | None], None]
    """Hear why our account was refused, which pauses the intake, or that it was not."""
    now: Callable[[], datetime]
    draw: Callable[[], float]
    """Throw the dice: a number from [0, 1)."""
    make_id: Callable[[], str]


Handler = Callable[[Delivery], Awaitable[Settlement]]


def make_handler(effects: Effects, policy: Policy) -> Handler:
    """Bind the line from a delivery to its settlement."""

    async def handle(delivery: Delivery) -> Settlement:
        history = read_history(delivery.headers, effects.now())
        parsed = parse(delivery, history, effects.make_id)
        said: Counter[str] = Counter()

        async def say(report: Report) -> None:
            await effects.publish(publish_report(report, delivery, effects.now()))
            said.update(event.type for event in report.events)

        request = parsed.request
        if parsed.rejections or request is None:
            await say(report_rejections(parsed, history, effects.now()))
        if request is not None and request.expires_at is not None and request.expires_at <= effects.now():
            await say(report_expiry(request, history, effects.now()))
        elif request is not None:
            for call in plan(request, history, delivery.timestamp, policy):
                outcome = await effects.attempt(call)
                verdicts = judge(call, outcome, ambiguous=history.ambiguous)
                if (cause := denial(verdicts)) or isinstance(outcome, Accepted | Rejected):
                    effects.notice(cause)  # of any other outcome nothing is learnt about the account
                part = replace(request, messages=call.messages)
                await say(report_attempt(Attempt(part, history, policy, effects.now(), effects.draw()), verdicts))
        return Settlement(parsed.request_id, parsed.identified, history.attempts, dict(said))

    return handle
