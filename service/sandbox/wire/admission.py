"""The door of every path that takes a body: credential (401), size (413), content type (415), readable (400)."""

from starlette.requests import Request
from starlette.responses import Response

from service.sandbox.schema.request import Refusal
from service.sandbox.wire.auth import Access
from service.sandbox.wire.body import UnreadableError, read
from service.sandbox.wire.connection import read_body
from service.sandbox.wire.format import Format, body_format
from service.sandbox.wire.response import failure


def admitted(request: Request, raw: bytes | None, access: Access) -> dict[str, object] | Refusal:
    """Read the document in a call's body, if it is to be read; `raw` is None if it was too large."""
    if not access.allows(request.headers.get("authorization", "")):
        return Refusal(401, {})
    if raw is None:
        return Refusal(413, {})
    form = body_format(request.headers.get("content-type", ""))
    if form is None:
        return Refusal(415, {})
    try:
        return read(raw, form)
    except UnreadableError as unreadable:
        return Refusal(400, {"request": [str(unreadable)]})


async def control_document(request: Request) -> dict[str, object] | Response:
    """Read the document that is posted to a path under `/sandbox/`, or give the answer that refuses it.

    No credential is asked for. The content type is: with one that a form can have, or with none, a browser posts for
    a page of any site without asking first.
    """
    raw = await read_body(request)
    if raw is None:
        return failure(413, Format.JSON)
    if body_format(request.headers.get("content-type", "")) is not Format.JSON:
        return failure(415, Format.JSON, {"content-type": ["must be application/json"]})
    try:
        return read(raw, Format.JSON)
    except UnreadableError as unreadable:
        return failure(400, Format.JSON, {"request": [str(unreadable)]})
