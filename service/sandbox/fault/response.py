"""The answer of a call struck by a fault, instead of its own."""

from collections.abc import Mapping

from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from service.sandbox.fault.fault import Fault, Kind
from service.sandbox.wire.connection import hang, reset
from service.sandbox.wire.format import Format
from service.sandbox.wire.response import failure

_PAGE = "<!doctype html><html><head><title>Welcome</title></head><body><h1>It works</h1></body></html>"


def struck(fault: Fault, form: Format, cut_off: Mapping[Format, str]) -> ASGIApp:
    """Answer as the fault asks; `cut_off` is the beginning of an answer."""
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
            raise AssertionError("these two leave the call its own answer")
