"""The inbox that the page shows: its rows, one message, one call, and a person's decisions.

GET  /sandbox/inbox    rows of messages, newest first; `search=`, `state=`, `offset=`, `limit=` (50, at most 100)
GET  /sandbox/message  one message: `messageId=`, and `call=` if it was posted more than once
GET  /sandbox/call     one call as it was posted and answered, and the contents in it: `call=`
POST /sandbox/outcome  `messageId` and `outcome`: `delivered`, `failed` or `seen`, now. 409: too late, or too early
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.sandbox.delivery import inbox
from service.sandbox.delivery.parts import parts_of
from service.sandbox.delivery.simulation import Simulation, deliver, fail, see
from service.sandbox.delivery.store import Call, Message
from service.sandbox.endpoint.control import parsed_body
from service.sandbox.endpoint.reports import query_errors
from service.sandbox.schema.channel import CHANNELS
from service.sandbox.schema.request import SIMPLE_CHANNELS
from service.sandbox.schema.validation import errors_in
from service.sandbox.state import State
from service.sandbox.wire.auth import control_document
from service.sandbox.wire.format import Format
from service.sandbox.wire.response import failure

_USUAL_LIMIT = 50
_AT_ONCE = 2000  # messages searched before other calls have their turn
_LONGEST = 50_000  # characters of a request or answer that the page shows
_OUTCOMES: Mapping[str, Callable[[Simulation, datetime], Simulation | None]] = {
    "delivered": deliver,
    "failed": fail,
    "seen": see,
}


class InboxEndpoint:
    """The inbox of one sandbox."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return the paths."""
        return [
            Route("/sandbox/inbox", self.inbox, methods=["GET"]),
            Route("/sandbox/message", self.message, methods=["GET"]),
            Route("/sandbox/call", self.call, methods=["GET"]),
            Route("/sandbox/outcome", self.set_outcome, methods=["POST"]),
        ]

    async def inbox(self, request: Request) -> Response:
        """Return some rows, how many there are, and the seconds until one of them changes."""
        query = request.query_params
        errors = query_errors(query, "InboxQuery")
        if errors:
            return failure(400, Format.JSON, errors)
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", _USUAL_LIMIT))
        state, now = self._state, self._state.clock.now()
        last = state.store.last_call()
        found, total, change = await self._found(query.get("search", ""), query.get("state"), offset, limit, now)
        return _json(
            {
                "total": total,
                "messages": [inbox.row(message, now) for message in found],
                "changesIn": None if change is None else state.clock.wait_for(change),
                "stats": state.store.stats(),
                "lastCall": None if last is None else {"status": last.status, "fault": last.fault},
                "faults": [fault.document() for fault in state.injector.listed()],
                "options": state.options.document(),
            }
        )

    async def _found(
        self, search: str, wanted: str | None, offset: int, limit: int, now: datetime
    ) -> tuple[list[Message], int, datetime | None]:
        """Return the rows, how many messages match, and when the next one that matters changes."""
        store, text = self._state.store, inbox.search_text(search)
        if not text and wanted is None:
            found = list(islice(store.logged(), offset, offset + limit))
            return found, store.logged_count(), _earliest(inbox.next_change(message, now) for message in found)
        found, changes, total = [], None, 0
        for number, message in enumerate(list(store.logged()), 1):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if not inbox.matches(message, text):
                continue
            has_state = _has_state(message, wanted, now)
            if has_state and offset <= total < offset + limit:
                found.append(message)
            total += has_state
            # A message that does not have the state may enter it.
            changes = _earliest((changes, inbox.next_change(message, now)))
        return found, total, changes

    async def message(self, request: Request) -> Response:
        """Return one message."""
        query = request.query_params
        errors = query_errors(query, "MessageQuery")
        if errors:
            return failure(400, Format.JSON, errors)
        logged = list(self._state.store.logged(query["messageId"]))
        asked = [message for message in logged if str(message.call) == query.get("call")]
        return self._shown((asked or logged)[0]) if logged else failure(404, Format.JSON)

    def _shown(self, message: Message) -> Response:
        now, push = self._state.clock.now(), self._state.webhook_push
        outcomes = [name for name, decide in _OUTCOMES.items() if decide(message.simulation, now) is not None]
        change = inbox.next_change(message, now)
        pushes = [each.document() for each in push.made() if each.report.message.message_id == message.message_id]
        return _json(
            {
                **inbox.row(message, now),
                "bulkId": message.bulk_id,
                "callbackData": message.notice.callback_data,
                "sendAt": message.send_at,
                "steps": inbox.timeline(message, now),
                "outcomes": outcomes if self._state.store.has_accepted(message) else [],
                "notifyUrl": message.notice.url,
                "notify": message.notice.wanted,
                "isPushed": message.notice.wanted and push.serves(message.notice.url),
                "pushes": pushes,
                "changesIn": None if change is None else self._state.clock.wait_for(change),
            }
        )

    async def call(self, request: Request) -> Response:
        """Return one call."""
        errors = query_errors(request.query_params, "CallQuery")
        if errors:
            return failure(400, Format.JSON, errors)
        call = self._state.store.call(int(request.query_params["call"]))
        return failure(404, Format.JSON) if call is None else _json(_call(call))

    async def set_outcome(self, request: Request) -> Response:
        """Deliver or fail the step that is under way, or have a delivered message read."""
        document = await control_document(request)
        if isinstance(document, Response):
            return document
        errors = errors_in(document, "Outcome")
        if errors:
            return failure(400, Format.JSON, errors)
        messages = self._state.store.messages(document["messageId"])
        if not messages:
            return failure(404, Format.JSON)
        if not self._state.decide(messages[0], _OUTCOMES[document["outcome"]]):
            return failure(409, Format.JSON, {"outcome": ["is not possible in the present state"]})
        return self._shown(self._state.store.messages(document["messageId"])[0])


def _json(document: Mapping[str, Any]) -> Response:
    return JSONResponse(document, headers={"cache-control": "no-store", "x-content-type-options": "nosniff"})


def _earliest(moments: Iterable[datetime | None]) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _has_state(message: Message, wanted: str | None, now: datetime) -> bool:
    if wanted is None:
        return True
    if wanted == "failedOver":
        return inbox.failed_over(message, now)
    return inbox.state_at(message, now) == wanted


def _call(call: Call) -> dict[str, object]:
    document = parsed_body(call) or {}
    contents = {name: document[name] for name in CHANNELS if isinstance(document.get(name), dict)}
    if call.path == "/omni/1/text" and isinstance(document.get("text"), str):
        contents = {name: {"text": document["text"]} for name in SIMPLE_CHANNELS}
        contents["email"]["subject"] = document.get("mailSubject", "")
    sms = contents.get("sms", {}).get("text")
    return {
        "path": call.path,
        "receivedAt": call.received_at.isoformat(timespec="milliseconds"),
        "contents": contents,
        "sms": parts_of(sms).document() if isinstance(sms, str) else None,
        "request": _text(call.body, document if call.content_type.partition(";")[0].endswith("json") else None),
        "status": call.status,
        "fault": call.fault,
        "answer": _text(call.answer, None),
    }


def _text(body: bytes, document: Mapping[str, Any] | None) -> dict[str, object]:
    """Return the text of a body, indented if it is JSON and cut off if it is very long."""
    text = body.decode(errors="replace")
    if document is None:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
    if document:
        text = json.dumps(document, ensure_ascii=False, indent=2)
    return {"text": text[:_LONGEST], "isCut": len(text) > _LONGEST}
