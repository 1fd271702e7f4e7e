"""The paths that tell what became of messages: reports, each told once, and logs, which stay.

GET /omni/1/reports   reports nobody has fetched yet, oldest first
GET /omni/1/logs      a line for every message of the last 48 hours with its present step, newest first, and for those
                      refused one by one; those asked for by id come in the order of their ids

Logs are read as the published limits have it, so many times a minute. A message shows there as soon as it is
taken, unless the option `logsLag` holds it back; scheduled ones show too.

The query parameters of the paths that only tell something.

As strict as `judgement`: a parameter nobody published, a value that does not fit, or a single one given
twice is a bad request. Ids can be repeated or be listed with commas.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from service.sandbox.delivery.report import MCC, MNC, Report, log_line, status_at
from service.sandbox.delivery.simulation import Leg
from service.sandbox.delivery.status import GROUPS, Status
from service.sandbox.delivery.store import Message
from service.sandbox.fault.response import struck
from service.sandbox.schema.validation import Definition, Errors, errors_in, moment_of
from service.sandbox.state import State, form_of
from service.sandbox.wire.connection import caller_leaves
from service.sandbox.wire.format import Format
from service.sandbox.wire.response import failure, success

_KEPT = timedelta(hours=48)
_USUAL_LIMIT = 50
_ITEMS = {"results": "result"}
_CUT_OFF = {Format.JSON: '{"results":[{"messageI', Format.XML: "<omniLogsResponse><results><result><mess"}


class Inquiry:
    """The endpoints for reports and logs of one sandbox."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """List the paths."""
        return [
            Route("/omni/1/reports", self.reports, methods=["GET"]),
            Route("/omni/1/logs", self.logs, methods=["GET"]),
        ]

    async def reports(self, request: Request) -> Response:
        """Hand out reports."""
        form, query = form_of(request), request.query_params
        if not self._state.access.allows(request.headers.get("authorization", "")):
            return failure(401, form)
        errors = query_errors(query, "ReportsQuery")
        if errors:
            return failure(400, form, errors)
        found = self._state.mailbox.take(self._state.clock.now(), _wanted(query), _limit(query))
        return success({"results": [each.document() for each in found]}, form, "omniReportsResponse", _ITEMS)

    async def logs(self, request: Request) -> ASGIApp:
        """Show what became of messages, unless a fault strikes."""
        strike, form = self._state.hazards.strike_logs(), form_of(request)
        if strike.seconds:
            await caller_leaves(request.receive, within=strike.seconds)
        return self._log_page(request, form) if strike.fault is None else struck(strike.fault, form, _CUT_OFF)

    def _log_page(self, request: Request, form: Format) -> Response:
        state, query, now = self._state, request.query_params, self._state.clock.now()
        if not state.access.allows(request.headers.get("authorization", "")):
            return failure(401, form)
        if not state.options.logs_allowed:
            return failure(403, form)
        if not state.throttle.lets(now, state.options.logs_per_minute):
            return failure(429, form)
        errors = query_errors(query, "LogsQuery")
        if errors:
            return failure(400, form, errors)
        shown = now - timedelta(seconds=state.options.logs_lag)
        found = (message for message in self._candidates(query) if message.received_at <= shown)
        fitting = (message for message in found if _fits(message, query, now))
        lines = [log_line(message, now) for message in islice(fitting, _limit(query))]
        return success({"results": lines}, form, "omniLogsResponse", _ITEMS)

    def _candidates(self, query: QueryParams) -> Iterator[Message]:
        wanted = ids(query, "messageId")
        if wanted is None:
            return self._state.ledger.logged()
        return (message for one in sorted(wanted) for message in self._state.ledger.logged(one))


def _limit(query: QueryParams) -> int:
    return int(query.get("limit", _USUAL_LIMIT))


def _wanted(query: QueryParams) -> Callable[[Report], bool]:
    messages, bulks, channel = ids(query, "messageId"), ids(query, "bulkId"), query.get("channel")

    def wanted(report: Report) -> bool:
        return (
            (messages is None or report.message.message_id in messages)
            and (bulks is None or report.message.bulk_id in bulks)
            and channel in (None, report.leg.channel)
        )

    return wanted


def _fits(message: Message, query: QueryParams, now: datetime) -> bool:
    leg, status = status_at(message, now)
    bulks = ids(query, "bulkId")
    since = moment_of(query.get("sentSince")) or leg.sent_at
    until = moment_of(query.get("sentUntil")) or leg.sent_at
    return (
        leg.sent_at >= now - _KEPT
        and since <= leg.sent_at <= until
        and (bulks is None or message.bulk_id in bulks)
        and all(query[name] == told for name, told in _told(leg, status).items() if name in query)
    )


def _told(leg: Leg, status: Status) -> dict[str, str | None]:
    """List what a parameter has to be equal to."""
    return {
        "from": leg.sender,
        "to": leg.to,
        "channel": leg.channel,
        "generalStatus": GROUPS[status.group_id],
        "mcc": MCC,
        "mnc": MNC,
    }


def query_errors(query: QueryParams, definition: Definition) -> Errors:
    """Return the errors in a query; a parameter given more than once is a list."""
    values = {name: query.getlist(name) for name in query}
    return errors_in({name: each if len(each) > 1 else each[0] for name, each in values.items()}, definition)


def ids(query: QueryParams, name: str) -> frozenset[str] | None:
    """List the ids asked for, each as it is and as a list with commas; None if there are none."""
    told = query.getlist(name)
    return frozenset(told) | {part for each in told for part in each.split(",")} if told else None
