"""The door of every path that takes a body: credential (401), size (413), content type (415), readable (400)."""

from starlette.requests import Request

from service.sandbox.body import UnreadableError, read
from service.sandbox.credential import Access
from service.sandbox.format import body_format
from service.sandbox.judgement import Refusal


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
