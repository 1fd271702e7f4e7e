"""The two send endpoints, from the first byte of a call to its response or fault.

A call is checked in this order: credential (401), size (413), content type (415), readable (400), valid (400). Then
faults are injected. Accepted messages are stored before the response is sent, so that a caller with a response finds
them under `/sandbox/messages`.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.sandbox.delivery.simulation import refused, simulate
from service.sandbox.delivery.status import DUPLICATE, Status
from service.sandbox.delivery.store import Call, Message
from service.sandbox.fault.injector import Injection
from service.sandbox.fault.response import fault_response
from service.sandbox.schema.request import Destination, Refusal, SendRequest
from service.sandbox.state import State, form_of
from service.sandbox.wire.auth import admitted, scheme_of
from service.sandbox.wire.connection import caller_leaves, read_body
from service.sandbox.wire.format import Format
from service.sandbox.wire.response import failure, success

Parse = Callable[[dict[str, Any], datetime], SendRequest | Refusal]

_LONGEST_KEPT = 200  # characters of a path or media type; callers choose both
_CUT_OFF = {Format.JSON: '{"messages":[{"to":{"phoneNu', Format.XML: "<omniResponse><messages><message><t"}


@dataclass(frozen=True)
class _Posted:
    """A message with its first status, and the id that it has from now on."""

    message_id: str
    destination: Destination
    status: Status


class SendEndpoint:
    """The endpoint of one send path; `parse` reads its bodies."""

    def __init__(self, state: State, parse: Parse) -> None:
        self._state = state
        self._parse = parse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        request = Request(scope, receive)
        number = self._state.store.open(opened(request, self._state.clock.now()))
        try:
            await self._serve(request, number, send)
        except ClientDisconnect:
            return  # before the body was complete: no response can be sent
        finally:
            self._state.store.close()
            self._state.changes.announce()

    async def _serve(self, request: Request, number: int, send: Send) -> None:
        raw, received_at = await read_body(request), self._state.clock.now()
        self._state.store.amend(number, body=raw or b"")
        form = form_of(request)
        parsed = self._parsed(request, raw, received_at)
        injection = self._state.injector.for_send(parsed if isinstance(parsed, SendRequest) else None)
        answer: ASGIApp
        match parsed:
            case Refusal(status, errors):
                answer = failure(status, form, errors)
            case SendRequest():
                answer = self._accepted(parsed, injection, form, received_at, number)
        if injection.fault is not None:
            answer = fault_response(injection.fault, form, _CUT_OFF)
            self._state.store.amend(number, fault=injection.fault.kind.value)
        if injection.seconds and await caller_leaves(request.receive, within=injection.seconds):
            return
        if isinstance(answer, Response):
            self._state.store.amend(number, status=answer.status_code, answer=bytes(answer.body))
        await answer(request.scope, request.receive, send)

    def _parsed(self, request: Request, raw: bytes | None, now: datetime) -> SendRequest | Refusal:
        document = admitted(request, raw, self._state.access)
        if isinstance(document, Refusal):
            return document
        parsed = self._parse(document, now)
        if isinstance(parsed, SendRequest) and not self._has_scenario(parsed.scenario_key):
            return Refusal(400, {"scenarioKey": ["must be the key of a scenario"]})
        return parsed

    def _has_scenario(self, key: str | None) -> bool:
        return not self._state.options.strict_scenarios or key is None or self._state.scenarios.find(key) is not None

    def _accepted(
        self, request: SendRequest, injection: Injection, form: Format, received_at: datetime, number: int
    ) -> Response:
        """Store the messages, unless a fault prevents it, and write the response of a call without a fault."""
        posted, bulk_id = self._posted(request, injection.statuses), _bulk_id(request)
        if injection.fault is None or injection.fault.taken:
            messages = self._messages(request, posted, bulk_id, received_at, number)
            pairs = list(zip(messages, (one.status.is_accepted for one in posted), strict=True))
            self._state.accept(message for message, is_accepted in pairs if is_accepted)
            self._state.store.add_rejected(message for message, is_accepted in pairs if not is_accepted)
            self._state.changes.announce()
        return success(_document(posted, bulk_id), form, "omniResponse", {"messages": "message"})

    def _posted(self, request: SendRequest, statuses: Sequence[Status]) -> list[_Posted]:
        posted: list[_Posted] = []
        seen: set[str] = set()
        for destination, status in zip(request.destinations, statuses, strict=True):
            message_id = destination.message_id or str(uuid.uuid4())
            is_duplicate = self._state.options.refuse_duplicates and (
                message_id in seen or self._state.store.knows(message_id)
            )
            seen.add(message_id)
            posted.append(_Posted(message_id, destination, DUPLICATE if is_duplicate else status))
        return posted

    def _messages(
        self, request: SendRequest, posted: Sequence[_Posted], bulk_id: str | None, received_at: datetime, call: int
    ) -> list[Message]:
        flow, usual = self._state.scenarios.flow(request.scenario_key), self._state.options.usual_answer
        messages = []
        for one in posted:
            simulation = simulate(request, one.destination, flow, received_at, usual)
            message = Message(
                message_id=one.message_id,
                bulk_id=bulk_id or request.bulk_id,
                to=one.destination.to,
                channels=request.channels,
                send_at=request.send_at,
                received_at=received_at,
                call=call,
                simulation=simulation if one.status.is_accepted else refused(simulation, one.status),
                notice=request.notice,
            )
            messages.append(message)
        return messages


def opened(request: Request, now: datetime) -> Call:
    """Build the entry of a call whose body has not been read."""
    headers = request.headers
    return Call(
        path=request.url.path[:_LONGEST_KEPT],
        content_type=headers.get("content-type", "")[:_LONGEST_KEPT],
        scheme=scheme_of(headers.get("authorization", "")),
        received_at=now,
    )


def _bulk_id(request: SendRequest) -> str | None:
    """Return the bulk id; only calls to several destinations have one."""
    return (request.bulk_id or str(uuid.uuid4())) if len(request.destinations) > 1 else None


def _document(posted: Sequence[_Posted], bulk_id: str | None) -> dict[str, object]:
    messages = [
        {"to": one.destination.to, "status": one.status.document(), "messageId": one.message_id} for one in posted
    ]
    return {"messages": messages} if bulk_id is None else {"bulkId": bulk_id, "messages": messages}
