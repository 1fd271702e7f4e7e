"""The response of a call with an injected fault."""

from collections.abc import Mapping

from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from service.sandbox.fault.fault import Fault, Kind
from service.sandbox.wire.connection import hang, reset
from service.sandbox.wire.format import Format
from service.sandbox.wire.response import failure

_PAGE = "<!doctype html><html><head><title>Welcome</title></head><body><h1>It works</h1></body></html>"


def fault_response(fault: Fault, form: Format, cut_off: Mapping[Format, str]) -> ASGIApp:
    """Build the response; `cut_off` is the beginning of a response, for kind "garbage"."""
    headers = {"retry-after": fault.retry_after} if fault.retry_after else None
    match fault.kind:
        case Kind.STATUS:
            return failure(fault.status, form, envelope=fault.envelope, headers=headers)
        case Kind.GARBAGE:
            return Response(cut_off[form], fault.status, headers, form.value)
        case Kind.EMPTY:
            return Response(b"", fault.status, headers, form.value)
        case Kind.HTML:
            return HTMLResponse(_PAGE, fault.status, headers)
        case Kind.RESET:
            return reset
        case Kind.HANG:
            return hang
        case Kind.LATENCY | Kind.REFUSE:
            raise AssertionError("these two leave the call its own response")
