"""The paths under `/sandbox/` that set time and options, and show what was pushed.

GET  /sandbox/clock    the sandbox's time and speed
POST /sandbox/clock    `speed` (sandbox seconds in one of the world's; 0 stands still), `advance` (seconds)
GET  /sandbox/options  the options now set
POST /sandbox/options  set some of them: see `options`; they hold for messages taken and calls made from now on
GET  /sandbox/pushes   the latest attempts to push a report
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.sandbox.schema.check import Shape, Wrong, wrongs
from service.sandbox.schema.field import number_in
from service.sandbox.state import State
from service.sandbox.wire.admission import control_document
from service.sandbox.wire.format import Format
from service.sandbox.wire.response import failure

_CLOCK = Shape({"speed": number_in(0, 100_000), "advance": number_in(0, 10_000_000)})


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
        found = list(wrongs(document, _CLOCK, ""))
        if found:
            return _bad(found)
        if "speed" in document:
            self._state.clock.run_at(float(str(document["speed"])))
        self._state.clock.advance(float(str(document.get("advance", 0))))
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
        if isinstance(changed, list):
            return _bad(changed)
        self._state.options = changed
        return await self.options(request)

    async def pushes(self, _request: Request) -> Response:
        """Show the attempts to push."""
        return JSONResponse({"pushes": [push.document() for push in self._state.courier.made()]})


def _bad(found: list[Wrong]) -> Response:
    return failure(400, Format.JSON, {path: [message] for path, message in found})
