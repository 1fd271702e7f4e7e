"""The paths under `/sandbox/`: looking at what was taken, and asking for faults.

No credential is asked for: the sandbox sits on loopback and holds nothing real. A body is `application/json`.

GET    /sandbox/messages   the messages taken; `messageId=` and `since=` (a moment with a zone) narrow it
DELETE /sandbox/messages   forget messages, calls, counters, reports, and which numbers have had their fault
GET    /sandbox/calls      every POST outside this folder; `since=`
GET    /sandbox/stats      counters
GET    /sandbox/faults     the faults now set; `times` is how often each will strike yet
POST   /sandbox/faults     set one: see `fault`
DELETE /sandbox/faults     clear them

More of them, for time and options, are in `dial`.

The paths under `/sandbox/` that set time and options, and show what was pushed.

GET  /sandbox/clock    the sandbox's time and speed
POST /sandbox/clock    `speed` (sandbox seconds in one of the world's; 0 stands still), `advance` (seconds)
GET  /sandbox/options  the options now set
POST /sandbox/options  set some of them: see `options`; they hold for messages taken and calls made from now on
GET  /sandbox/pushes   the latest attempts to push a report
"""

from collections.abc import Mapping
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.sandbox.delivery.store import Call, Message
from service.sandbox.fault.fault import Fault, parse_fault
from service.sandbox.options import Options
from service.sandbox.schema.validation import errors_in
from service.sandbox.state import State
from service.sandbox.wire.auth import control_document
from service.sandbox.wire.body import UnreadableError, read
from service.sandbox.wire.format import Format, body_format
from service.sandbox.wire.response import failure


class Control:
    """The control endpoints of one sandbox."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """List the paths."""
        return [
            Route("/sandbox/messages", self.messages, methods=["GET"]),
            Route("/sandbox/messages", self.forget, methods=["DELETE"]),
            Route("/sandbox/calls", self.calls, methods=["GET"]),
            Route("/sandbox/stats", self.stats, methods=["GET"]),
            Route("/sandbox/faults", self.faults, methods=["GET"]),
            Route("/sandbox/faults", self.set_fault, methods=["POST"]),
            Route("/sandbox/faults", self.clear_faults, methods=["DELETE"]),
        ]

    async def messages(self, request: Request) -> Response:
        """Show what was taken."""
        since = _since(request)
        if isinstance(since, Response):
            return since
        found = self._state.ledger.messages(request.query_params.get("messageId") or None, since)
        return JSONResponse({"messages": [_message(message) for message in found]})

    async def calls(self, request: Request) -> Response:
        """Show every POST."""
        since = _since(request)
        if isinstance(since, Response):
            return since
        return JSONResponse({"calls": [_call(number, call) for number, call in self._state.ledger.calls(since)]})

    async def forget(self, _request: Request) -> Response:
        """Forget all that was taken."""
        self._state.forget()
        return Response(status_code=204)

    async def stats(self, _request: Request) -> Response:
        """Show the counters."""
        return JSONResponse(self._state.ledger.stats())

    async def faults(self, _request: Request) -> Response:
        """Show the faults now set."""
        return JSONResponse({"faults": [fault.document() for fault in self._state.hazards.listed()]})

    async def set_fault(self, request: Request) -> Response:
        """Set a fault."""
        document = await control_document(request)
        if isinstance(document, Response):
            return document
        fault = parse_fault(document)
        if not isinstance(fault, Fault):
            return failure(400, Format.JSON, fault)
        self._state.hazards.set(fault)
        return JSONResponse(fault.document(), 201)

    async def clear_faults(self, _request: Request) -> Response:
        """Clear the faults."""
        self._state.hazards.clear()
        return Response(status_code=204)


def _since(request: Request) -> datetime | Response | None:
    told = request.query_params.get("since")
    if not told:
        return None
    try:
        moment = datetime.fromisoformat(told.replace(" ", "+"))  # an unescaped plus arrives as a space
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        return failure(400, Format.JSON, {"since": ["must be a moment with a zone"]})
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
        "body": _parsed(call),
        "receivedAt": call.received_at.isoformat(timespec="milliseconds"),
    }


def _parsed(call: Call) -> Mapping[str, object] | None:
    """Read a kept body; None where there is none or it cannot be read."""
    form = body_format(call.content_type)
    if form is None:
        return None
    try:
        return read(call.body, form)
    except UnreadableError:
        return None


class Dial:
    """The endpoints for time and options of one sandbox."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """List the paths."""
        return [
            Route("/sandbox/clock", self.clock, methods=["GET"]),
            Route("/sandbox/clock", self.set_clock, methods=["POST"]),
            Route("/sandbox/options", self.options, methods=["GET"]),
            Route("/sandbox/options", self.set_options, methods=["POST"]),
            Route("/sandbox/pushes", self.pushes, methods=["GET"]),
        ]

    async def clock(self, _request: Request) -> Response:
        """Show the time."""
        clock = self._state.clock
        return JSONResponse({"now": clock.now().isoformat(timespec="milliseconds"), "speed": clock.speed})

    async def set_clock(self, request: Request) -> Response:
        """Set the speed, put the clock forward, or both."""
        document = await control_document(request)
        if isinstance(document, Response):
            return document
        errors = errors_in(document, "Clock")
        if errors:
            return failure(400, Format.JSON, errors)
        if "speed" in document:
            self._state.clock.run_at(document["speed"])
        self._state.clock.advance(document.get("advance", 0))
        self._state.courier.wake()
        return await self.clock(request)

    async def options(self, _request: Request) -> Response:
        """Show the options."""
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
        return await self.options(request)

    async def pushes(self, _request: Request) -> Response:
        """Show the attempts to push."""
        return JSONResponse({"pushes": [push.document() for push in self._state.courier.made()]})
