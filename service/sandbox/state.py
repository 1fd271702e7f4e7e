"""What the endpoints of one sandbox share."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from starlette.requests import Request

from service.sandbox.delivery.clock import Clock
from service.sandbox.delivery.pull import Mailbox
from service.sandbox.delivery.push import Courier, Push
from service.sandbox.delivery.report import reports_of
from service.sandbox.delivery.scenario import Scenarios
from service.sandbox.delivery.store import Ledger, Message
from service.sandbox.fault.injector import Hazards
from service.sandbox.options import Options
from service.sandbox.wire.auth import Access, Throttle
from service.sandbox.wire.format import Format, answer_format


@dataclass
class State:
    """One sandbox: its door, its memory, its faults, its clock; `options` is replaced when they are changed."""

    access: Access
    ledger: Ledger
    hazards: Hazards
    clock: Clock
    options: Options
    mailbox: Mailbox
    courier: Courier
    scenarios: Scenarios = field(default_factory=Scenarios)
    throttle: Throttle = field(default_factory=Throttle)

    def post(self, messages: Iterable[Message]) -> None:
        """Take messages: write them down, and have the reports of the new ones pushed or ready to be fetched."""
        for message in self.ledger.take(messages):
            url = message.notice.url if self.courier.serves(message.notice.url) else None
            for report in reports_of(message):
                if url is not None:
                    self.courier.put(Push(url, report), report.at)
                elif not report.seen:  # read or not: that is told to webhooks only
                    self.mailbox.put(report)

    def forget(self) -> None:
        """Forget what was taken and all that would be told of it."""
        self.ledger.forget()
        self.hazards.forget()
        self.mailbox.forget()
        self.courier.forget()


def form_of(request: Request) -> Format:
    """Choose the format of the answer to a request."""
    return answer_format(request.headers.get("accept", ""), request.headers.get("content-type", ""))
