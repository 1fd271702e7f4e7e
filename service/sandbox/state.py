"""The state that the endpoints of one sandbox share."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from starlette.requests import Request

from service.sandbox.changes import Changes
from service.sandbox.delivery.clock import Clock
from service.sandbox.delivery.inbox import whole_milliseconds
from service.sandbox.delivery.pull import ReportQueue
from service.sandbox.delivery.push import Push, WebhookPush
from service.sandbox.delivery.report import Report, reports_of
from service.sandbox.delivery.scenario import Scenarios
from service.sandbox.delivery.simulation import Simulation
from service.sandbox.delivery.status import Status
from service.sandbox.delivery.store import Message, Store
from service.sandbox.fault.injector import FaultInjector
from service.sandbox.options import Options
from service.sandbox.wire.auth import Access, RateLimit
from service.sandbox.wire.format import Format, answer_format


@dataclass
class State:
    """The state of one sandbox; `options` is replaced when they change."""

    access: Access
    store: Store
    injector: FaultInjector
    clock: Clock
    options: Options
    report_queue: ReportQueue
    webhook_push: WebhookPush
    changes: Changes
    scenarios: Scenarios = field(default_factory=Scenarios)
    logs_rate: RateLimit = field(default_factory=RateLimit)

    def accept(self, messages: Iterable[Message]) -> None:
        """Store accepted messages, and have the reports of new ones pushed or queued to be fetched."""
        for message in self.store.add(messages):
            self._report(message, reports_of(message))

    def decide(self, message: Message, decision: Callable[[Simulation, datetime], Simulation | None]) -> bool:
        """Replace the rest of the delivery of a message, and its reports; False if the decision comes too late."""
        now = whole_milliseconds(self.clock.now())
        simulation = decision(message.simulation, now)
        if simulation is None:
            return False
        self.report_queue.drop(message.message_id, after=now)
        self.webhook_push.drop(message.message_id, after=now)
        known = {_key(report) for report in reports_of(message) if report.at <= now}
        changed = self.store.simulate(message, simulation)
        self._report(changed, (report for report in reports_of(changed) if _key(report) not in known))
        self.changes.announce()
        return True

    def _report(self, message: Message, reports: Iterable[Report]) -> None:
        url = message.notice.url if self.webhook_push.serves(message.notice.url) else None
        for report in reports:
            if url is not None:
                self.webhook_push.put(Push(url, report), report.at)
            elif not report.seen:  # seen reports go to webhooks only
                self.report_queue.put(report)

    def forget(self) -> None:
        """Remove messages, calls, reports, and which numbers already had their requested fault."""
        self.store.forget()
        self.injector.forget()
        self.report_queue.forget()
        self.webhook_push.forget()
        self.changes.announce()


def form_of(request: Request) -> Format:
    """Choose the format of the response to a request."""
    return answer_format(request.headers.get("accept", ""), request.headers.get("content-type", ""))


def _key(report: Report) -> tuple[datetime, str, Status | None]:
    return report.at, report.step.channel, report.status
