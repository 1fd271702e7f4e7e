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
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.sandbox.delivery.simulation import journey_of, refused
from service.sandbox.delivery.status import DUPLICATE, Status
from service.sandbox.delivery.store import Call, Message
from service.sandbox.fault.injector import Strike
from service.sandbox.fault.response import struck
from service.sandbox.schema.request import Destination, Refusal, SendRequest
from service.sandbox.state import State, form_of
from service.sandbox.wire.auth import admitted, scheme_of
from service.sandbox.wire.connection import caller_leaves, read_body
from service.sandbox.wire.format import Format
from service.sandbox.wire.response import failure, success

Judge = Callable[[dict[str, object], datetime], SendRequest | Refusal]

_LONGEST_KEPT = 200  # of a path or media type; both are the caller's to make up
_CUT_OFF = {Format.JSON: '{"messages":[{"to":{"phoneNu', Format.XML: "<omniResponse><messages><message><t"}


@dataclass(frozen=True)
class _Posted:
    """A message with its first status and the id it goes by from now on."""

    message_id: str
    destination: Destination
    status: Status


class Intake:
    """The endpoint of one sending path."""

    def __init__(self, state: State, judge: Judge) -> None:
        self._state = state
        self._judge = judge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one call."""
        request = Request(scope, receive)
        number = self._state.ledger.open(opened(request, self._state.clock.now()))
        try:
            await self._serve(request, number, send)
        except ClientDisconnect:
            return  # gone before its body was complete: nobody is left to be told
        finally:
            self._state.ledger.close()

    async def _serve(self, request: Request, number: int, send: Send) -> None:
        raw, received_at = await read_body(request), self._state.clock.now()
        self._state.ledger.amend(number, body=raw or b"")
        form = form_of(request)
        strike, answer = self._answer(self._verdict(request, raw, received_at), form, received_at, number)
        if strike.fault is not None:
            answer = struck(strike.fault, form, _CUT_OFF)
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
            case Refusal(status, errors):
                return self._state.hazards.strike(None), failure(status, form, errors)
            case SendRequest():
                strike = self._state.hazards.strike(verdict)
                posted, bulk_id = self._posted(verdict, strike), _bulk_id(verdict)
                if strike.fault is None or strike.fault.taken:
                    entries = self._entries(verdict, posted, bulk_id, received_at, number)
                    self._state.post(entry for entry, taken in entries if taken)
                    self._state.ledger.refuse(entry for entry, taken in entries if not taken)
                return strike, success(_document(posted, bulk_id), form, "omniResponse", {"messages": "message"})

    def _posted(self, request: SendRequest, strike: Strike) -> list[_Posted]:
        posted: list[_Posted] = []
        met: set[str] = set()
        for destination, status in zip(request.destinations, strike.statuses, strict=True):
            message_id = destination.message_id or str(uuid.uuid4())
            again = self._state.options.refuse_duplicates and (
                message_id in met or self._state.ledger.knows(message_id)
            )
            met.add(message_id)
            posted.append(_Posted(message_id, destination, DUPLICATE if again else status))
        return posted

    def _entries(
        self, request: SendRequest, posted: Sequence[_Posted], bulk_id: str | None, received_at: datetime, call: int
    ) -> list[tuple[Message, bool]]:
        """Make the ledger's entries, each with whether it was taken."""
        flow, usual = self._state.scenarios.flow(request.scenario_key), self._state.options.usual_answer
        entries = []
        for one in posted:
            journey = journey_of(request, one.destination, flow, received_at, usual)
            entry = Message(
                message_id=one.message_id,
                bulk_id=bulk_id or request.bulk_id,
                to=one.destination.to,
                channels=request.channels,
                send_at=request.send_at,
                received_at=received_at,
                call=call,
                journey=journey if one.status.taken else refused(journey, one.status),
                notice=request.notice,
            )
            entries.append((entry, one.status.taken))
        return entries

    def _verdict(self, request: Request, raw: bytes | None, now: datetime) -> SendRequest | Refusal:
        document = admitted(request, raw, self._state.access)
        if isinstance(document, Refusal):
            return document
        verdict = self._judge(document, now)
        if isinstance(verdict, SendRequest) and self._is_lost(verdict.scenario_key):
            return Refusal(400, {"scenarioKey": ["must be the key of a scenario"]})
        return verdict

    def _is_lost(self, key: str | None) -> bool:
        return self._state.options.strict_scenarios and key is not None and self._state.scenarios.find(key) is None


def opened(request: Request, now: datetime) -> Call:
    """Make the ledger's entry of a call whose body has not been read."""
    headers = request.headers
    return Call(
        path=request.url.path[:_LONGEST_KEPT],
        content_type=headers.get("content-type", "")[:_LONGEST_KEPT],
        scheme=scheme_of(headers.get("authorization", "")),
        received_at=now,
    )


def _bulk_id(request: SendRequest) -> str | None:
    """Name the bulk; only calls to several destinations are one."""
    return (request.bulk_id or str(uuid.uuid4())) if len(request.destinations) > 1 else None


def _document(posted: Sequence[_Posted], bulk_id: str | None) -> dict[str, object]:
    messages = [
        {"to": one.destination.to, "status": one.status.document(), "messageId": one.message_id} for one in posted
    ]
    return {"messages": messages} if bulk_id is None else {"bulkId": bulk_id, "messages": messages}
