"""The control endpoints under `/sandbox/`: messages, faults, time and options.

No credential is required: the sandbox listens on loopback and holds nothing real. A body is `application/json`.

GET    /sandbox/messages   accepted messages; filters: `messageId=`, `since=` (a time with a zone)
DELETE /sandbox/messages   remove messages, calls, counters, reports, and which numbers already had their fault
GET    /sandbox/calls      every POST outside `/sandbox/`; filter: `since=`
GET    /sandbox/stats      counters
GET    /sandbox/faults     the faults set now; `times` is how often each will still be injected
POST   /sandbox/faults     set one: see `fault/fault.py`
DELETE /sandbox/faults     remove all, or those of one `kind=`
GET    /sandbox/clock      the sandbox's time and speed
POST   /sandbox/clock      `speed` (sandbox seconds in one real second; 0 stops the clock), `advance` (seconds)
GET    /sandbox/options    the options
POST   /sandbox/options    set some: see `options.py`; they apply to later calls
GET    /sandbox/pushes     the latest attempts to push a report
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.sandbox.delivery.store import Call, Message
from service.sandbox.endpoint.reports import query_errors
from service.sandbox.fault.fault import Fault, Kind, parse_fault
from service.sandbox.options import Options
from service.sandbox.schema.validation import errors_in
from service.sandbox.state import State
from service.sandbox.wire.auth import control_document
from service.sandbox.wire.body import UnreadableError, read
from service.sandbox.wire.format import Format, body_format
from service.sandbox.wire.response import failure


class ControlEndpoint:
    """The control endpoints of one sandbox."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return the paths."""
        return [
            Route("/sandbox/messages", self.messages, methods=["GET"]),
            Route("/sandbox/messages", self.forget, methods=["DELETE"]),
            Route("/sandbox/calls", self.calls, methods=["GET"]),
            Route("/sandbox/stats", self.stats, methods=["GET"]),
            Route("/sandbox/faults", self.faults, methods=["GET"]),
            Route("/sandbox/faults", self.set_fault, methods=["POST"]),
            Route("/sandbox/faults", self.clear_faults, methods=["DELETE"]),
            Route("/sandbox/clock", self.clock, methods=["GET"]),
            Route("/sandbox/clock", self.set_clock, methods=["POST"]),
            Route("/sandbox/options", self.options, methods=["GET"]),
            Route("/sandbox/options", self.set_options, methods=["POST"]),
            Route("/sandbox/pushes", self.pushes, methods=["GET"]),
        ]

    async def messages(self, request: Request) -> Response:
        """Return the accepted messages."""
        since = _since(request)
        if isinstance(since, Response):
            return since
        found = self._state.store.messages(request.query_params.get("messageId") or None, since)
        return JSONResponse({"messages": [_message(message) for message in found]})

    async def forget(self, _request: Request) -> Response:
        """Remove messages, calls, counters and reports."""
        self._state.forget()
        return Response(status_code=204)

    async def calls(self, request: Request) -> Response:
        """Return every POST."""
        since = _since(request)
        if isinstance(since, Response):
            return since
        return JSONResponse({"calls": [_call(number, call) for number, call in self._state.store.calls(since)]})

    async def stats(self, _request: Request) -> Response:
        """Return the counters."""
        return JSONResponse(self._state.store.stats())

    async def faults(self, _request: Request) -> Response:
        """Return the faults set now."""
        return JSONResponse({"faults": [fault.document() for fault in self._state.injector.listed()]})

    async def set_fault(self, request: Request) -> Response:
        """Set a fault."""
        document = await control_document(request)
        if isinstance(document, Response):
            return document
        fault = parse_fault(document)
        if not isinstance(fault, Fault):
            return failure(400, Format.JSON, fault)
        self._state.injector.set(fault)
        self._state.changes.announce()
        return JSONResponse(fault.document(), 201)

    async def clear_faults(self, request: Request) -> Response:
        """Remove all faults, or those of one kind."""
        errors = query_errors(request.query_params, "FaultsQuery")
        if errors:
            return failure(400, Format.JSON, errors)
        kind = request.query_params.get("kind")
        self._state.injector.clear(None if kind is None else Kind(kind))
        self._state.changes.announce()
        return Response(status_code=204)

    async def clock(self, _request: Request) -> Response:
        """Return the time and the speed."""
        clock = self._state.clock
        return JSONResponse({"now": clock.now().isoformat(timespec="milliseconds"), "speed": clock.speed})

    async def set_clock(self, request: Request) -> Response:
        """Set the speed, advance the clock, or both."""
        document = await control_document(request)
        if isinstance(document, Response):
            return document
        errors = errors_in(document, "Clock")
        if errors:
            return failure(400, Format.JSON, errors)
        if "speed" in document:
            self._state.clock.run_at(float(document["speed"]))
        self._state.clock.advance(document.get("advance", 0))
        self._state.webhook_push.wake()
        self._state.changes.announce()
        return await self.clock(request)

    async def options(self, _request: Request) -> Response:
        """Return the options."""
        return JSONResponse(self._state.options.document())

    async def set_options(self, request: Request) -> Response:
        """Set options."""
        document = await control_document(request)
        if isinstance(document, Response):
            return document
        changed = self._state.options.changed(document)
        if not isinstance(changed, Options):
            return failure(400, Format.JSON, changed)
        self._state.options = changed
        self._state.changes.announce()
        return await self.options(request)

    async def pushes(self, _request: Request) -> Response:
        """Return the attempts to push a report."""
        return JSONResponse({"pushes": [push.document() for push in self._state.webhook_push.made()]})


def _since(request: Request) -> datetime | Response | None:
    value = request.query_params.get("since")
    if not value:
        return None
    try:
        moment = datetime.fromisoformat(value.replace(" ", "+"))  # an unescaped plus arrives as a space
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        return failure(400, Format.JSON, {"since": ["must be a time with a zone"]})
    return moment


def _message(message: Message) -> dict[str, object]:
    return {
        "messageId": message.message_id,
        "bulkId": message.bulk_id,
        "to": message.to,
        "channels": list(message.channels),
        "sendAt": message.send_at,
        "receivedAt": message.received_at.isoformat(timespec="milliseconds"),
        "call": message.call,
        "times": message.times,
    }


def _call(number: int, call: Call) -> dict[str, object]:
    return {
        "call": number,
        "path": call.path,
        "contentType": call.content_type,
        "status": call.status,
        "fault": call.fault,
        "authorization": call.scheme,
        "body": parsed_body(call),
        "receivedAt": call.received_at.isoformat(timespec="milliseconds"),
    }


def parsed_body(call: Call) -> Mapping[str, Any] | None:
    """Parse a kept body; None if there is none or it is unreadable."""
    form = body_format(call.content_type)
    if form is None:
        return None
    try:
        return read(call.body, form)
    except UnreadableError:
        return None
