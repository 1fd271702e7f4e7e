"""Reports, each returned once, and logs, which stay.

GET /omni/1/reports   reports not fetched yet, oldest first
GET /omni/1/logs      a line for every message of the last 48 hours with its present step, newest first, and for those
                      rejected one by one; those asked for by id come in the order of their ids

* The logs have a rate limit, as published. A message shows as soon as it is accepted, unless the option `logsLag`
  delays it. Scheduled messages show too.
* Queries are as strict as bodies: unknown parameters, invalid values and repeated parameters are errors. Ids can be
  repeated or be listed with commas.
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
from service.sandbox.delivery.status import GROUPS
from service.sandbox.delivery.store import Message
from service.sandbox.fault.response import fault_response
from service.sandbox.schema.validation import Definition, Errors, errors_in, moment_of
from service.sandbox.state import State, form_of
from service.sandbox.wire.connection import caller_leaves
from service.sandbox.wire.format import Format
from service.sandbox.wire.response import failure, success

_KEPT = timedelta(hours=48)
_USUAL_LIMIT = 50
_ITEMS = {"results": "result"}
_CUT_OFF = {Format.JSON: '{"results":[{"messageI', Format.XML: "<omniLogsResponse><results><result><mess"}


class ReportEndpoint:
    """The endpoints for reports and logs of one sandbox."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return the paths."""
        return [
            Route("/omni/1/reports", self.reports, methods=["GET"]),
            Route("/omni/1/logs", self.logs, methods=["GET"]),
        ]

    async def reports(self, request: Request) -> Response:
        """Return reports that are due, each once."""
        form, query = form_of(request), request.query_params
        if not self._state.access.allows(request.headers.get("authorization", "")):
            return failure(401, form)
        errors = query_errors(query, "ReportsQuery")
        if errors:
            return failure(400, form, errors)
        found = self._state.report_queue.take(self._state.clock.now(), _wanted(query), _limit(query))
        return success({"results": [each.document() for each in found]}, form, "omniReportsResponse", _ITEMS)

    async def logs(self, request: Request) -> ASGIApp:
        """Return log lines, or the response of an injected fault."""
        injection, form = self._state.injector.for_logs(), form_of(request)
        if injection.seconds:
            await caller_leaves(request.receive, within=injection.seconds)
        if injection.fault is not None:
            return fault_response(injection.fault, form, _CUT_OFF)
        return self._log_page(request, form)

    def _log_page(self, request: Request, form: Format) -> Response:
        state, query, now = self._state, request.query_params, self._state.clock.now()
        if not state.access.allows(request.headers.get("authorization", "")):
            return failure(401, form)
        if not state.options.logs_allowed:
            return failure(403, form)
        if not state.logs_rate.allows(now, state.options.logs_per_minute):
            return failure(429, form)
        errors = query_errors(query, "LogsQuery")
        if errors:
            return failure(400, form, errors)
        visible_until = now - timedelta(seconds=state.options.logs_lag)
        visible = (message for message in self._candidates(query) if message.received_at <= visible_until)
        matching = (message for message in visible if _matches(message, query, now))
        lines = [log_line(message, now) for message in islice(matching, _limit(query))]
        return success({"results": lines}, form, "omniLogsResponse", _ITEMS)

    def _candidates(self, query: QueryParams) -> Iterator[Message]:
        wanted = _ids(query, "messageId")
        if wanted is None:
            return self._state.store.logged()
        return (message for one in sorted(wanted) for message in self._state.store.logged(one))


def query_errors(query: QueryParams, definition: Definition) -> Errors:
    """Return the errors in a query; a parameter given more than once is a list."""
    values = {name: query.getlist(name) for name in query}
    return errors_in({name: each if len(each) > 1 else each[0] for name, each in values.items()}, definition)


def _limit(query: QueryParams) -> int:
    return int(query.get("limit", _USUAL_LIMIT))


def _wanted(query: QueryParams) -> Callable[[Report], bool]:
    messages, bulks, channel = _ids(query, "messageId"), _ids(query, "bulkId"), query.get("channel")

    def wanted(report: Report) -> bool:
        return (
            (messages is None or report.message.message_id in messages)
            and (bulks is None or report.message.bulk_id in bulks)
            and channel in (None, report.step.channel)
        )

    return wanted


def _matches(message: Message, query: QueryParams, now: datetime) -> bool:
    step, status = status_at(message, now)
    bulks = _ids(query, "bulkId")
    since = moment_of(query.get("sentSince")) or step.sent_at
    until = moment_of(query.get("sentUntil")) or step.sent_at
    equal = {
        "from": step.sender,
        "to": step.to,
        "channel": step.channel,
        "generalStatus": GROUPS[status.group_id],
        "mcc": MCC,
        "mnc": MNC,
    }
    return (
        step.sent_at >= now - _KEPT
        and since <= step.sent_at <= until
        and (bulks is None or message.bulk_id in bulks)
        and all(query[name] == value for name, value in equal.items() if name in query)
    )


def _ids(query: QueryParams, name: str) -> frozenset[str] | None:
    """Return the ids in a query, each as it is and split at commas; None if there are none."""
    values = query.getlist(name)
    return frozenset(values) | {part for each in values for part in each.split(",")} if values else None
