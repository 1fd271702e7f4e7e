"""The two sending paths, from the first byte of a call to its answer or fault.

A call is judged in this order: credential (401), size (413), content type (415), readable (400), a send
request (400). Then the hazards have their say. What is taken is written down before the answer goes out,
so whoever has an answer finds the message in the ledger.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.sandbox.answer import failure, success
from service.sandbox.body import UnreadableError, read
from service.sandbox.connection import caller_leaves, hang, read_body, reset
from service.sandbox.credential import scheme_of
from service.sandbox.fault import Fault, Kind
from service.sandbox.format import Format, body_format
from service.sandbox.hazard import Strike
from service.sandbox.judgement import Refusal, SendRequest
from service.sandbox.ledger import Call, Message
from service.sandbox.state import State, form_of
from service.sandbox.status import Status

Judge = Callable[[dict[str, object], datetime], SendRequest | Refusal]

_LONGEST_KEPT = 200  # of a path or media type; both are the caller's to make up
_CUT_OFF = {Format.JSON: '{"messages":[{"to":{"phoneNu', Format.XML: "<omniResponse><messages><message><t"}
_PAGE = "<!doctype html><html><head><title>Welcome</title></head><body><h1>It works</h1></body></html>"


@dataclass(frozen=True)
class _Posted:
    """A message with its first status and the id it goes by from now on."""

    message_id: str
    to: dict[str, str]
    status: Status


class Intake:
    """The endpoint of one sending path."""

    def __init__(self, state: State, judge: Judge) -> None:
        self._state = state
        self._judge = judge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one call."""
        request = Request(scope, receive)
        number = self._state.ledger.open(opened(request, self._state.clock()))
        try:
            await self._serve(request, number, send)
        except ClientDisconnect:
            return  # gone before its body was complete: nobody is left to be told
        finally:
            self._state.ledger.close()

    async def _serve(self, request: Request, number: int, send: Send) -> None:
        raw, received_at = await read_body(request), self._state.clock()
        self._state.ledger.amend(number, body=raw or b"")
        form = form_of(request)
        strike, answer = self._answer(self._verdict(request, raw, received_at), form, received_at, number)
        if strike.fault is not None:
            answer = _struck(strike.fault, form)
            self._state.ledger.amend(number, fault=strike.fault.kind.value)
        if strike.seconds and await caller_leaves(request.receive, within=strike.seconds):
            return
        if isinstance(answer, Response):
            self._state.ledger.amend(number, status=answer.status_code)
        await answer(request.scope, request.receive, send)

    def _answer(
        self, verdict: SendRequest | Refusal, form: Format, received_at: datetime, number: int
    ) -> tuple[Strike, ASGIApp]:
        """Decide on faults, take what is to be taken, and write the answer of a call without a fault."""
        match verdict:
            case Refusal(status, faults):
                return self._state.hazards.strike(None), failure(status, form, faults)
            case SendRequest():
                strike = self._state.hazards.strike(verdict)
                posted, bulk_id = _posted(verdict, strike), _bulk_id(verdict)
                if strike.fault is None or strike.fault.taken:
                    self._state.ledger.take(_entries(verdict, posted, bulk_id, received_at, number))
                return strike, success(_document(posted, bulk_id), form, "omniResponse", {"messages": "message"})

    def _verdict(self, request: Request, raw: bytes | None, now: datetime) -> SendRequest | Refusal:
        if not self._state.access.allows(request.headers.get("authorization", "")):
            return Refusal(401, {})
        if raw is None:
            return Refusal(413, {})
        form = body_format(request.headers.get("content-type", ""))
        if form is None:
            return Refusal(415, {})
        try:
            document = read(raw, form)
        except UnreadableError as unreadable:
            return Refusal(400, {"request": [str(unreadable)]})
        return self._judge(document, now)


def opened(request: Request, now: datetime) -> Call:
    """Make the ledger's entry of a call whose body has not been read."""
    headers = request.headers
    return Call(
        path=request.url.path[:_LONGEST_KEPT],
        content_type=headers.get("content-type", "")[:_LONGEST_KEPT],
        scheme=scheme_of(headers.get("authorization", "")),
        received_at=now,
    )


def _posted(request: SendRequest, strike: Strike) -> list[_Posted]:
    return [
        _Posted(destination.message_id or str(uuid.uuid4()), dict(destination.to), status)
        for destination, status in zip(request.destinations, strike.statuses, strict=True)
    ]


def _bulk_id(request: SendRequest) -> str | None:
    """Name the bulk; only calls to several destinations are one."""
    return (request.bulk_id or str(uuid.uuid4())) if len(request.destinations) > 1 else None


def _document(posted: Sequence[_Posted], bulk_id: str | None) -> dict[str, object]:
    messages = [{"to": one.to, "status": one.status.document(), "messageId": one.message_id} for one in posted]
    return {"messages": messages} if bulk_id is None else {"bulkId": bulk_id, "messages": messages}


def _entries(
    request: SendRequest, posted: Sequence[_Posted], bulk_id: str | None, received_at: datetime, call: int
) -> list[Message]:
    return [
        Message(
            message_id=one.message_id,
            bulk_id=bulk_id or request.bulk_id,
            to=one.to,
            channels=request.channels,
            send_at=request.send_at,
            received_at=received_at,
            call=call,
        )
        for one in posted
        if one.status.taken
    ]


def _struck(fault: Fault, form: Format) -> ASGIApp:
    headers = {"retry-after": fault.retry_after} if fault.retry_after else None
    match fault.kind:
        case Kind.STATUS:
            return failure(fault.status, form, envelope=fault.envelope, headers=headers)
        case Kind.GARBAGE:
            return Response(_CUT_OFF[form], fault.status, headers, form.value)
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
