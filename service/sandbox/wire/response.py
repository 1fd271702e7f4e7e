"""Responses and error envelopes, in JSON and XML.

Errors have the envelope that every OMNI operation declares, or for a fault with `envelope` "new" that of newer Infobip
APIs. How `validationErrors` look in XML is not published: the sandbox writes an `error` element with `path` and
`message` for each.
"""

import json
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from html import escape
from http import HTTPStatus

from starlette.responses import Response

from service.sandbox.wire.format import Format

MAX_ERRORS = 100

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ERROR_ITEMS = {"validationErrors": "error", "violations": "violation", "resources": "resource"}
_WORDS = {
    400: ("BAD_REQUEST", "Bad request"),
    401: ("UNAUTHORIZED", "Unauthorized"),
    403: ("FORBIDDEN", "Forbidden"),
    404: ("NOT_FOUND", "Requested resource not found"),
    429: ("TOO_MANY_REQUESTS", "Too many requests"),
    500: ("GENERAL_ERROR", "Something went wrong. Please contact support."),
}


class Envelope(Enum):
    """The two shapes of an error body."""

    LEGACY = "legacy"
    NEW = "new"


def success(
    document: Mapping[str, object], form: Format, root: str, items: Mapping[str, str], status: int = 200
) -> Response:
    """Build a response with a document; `root` and the names of list items are for XML."""
    return Response(written(document, form, root, items), status, media_type=form.value)


def failure(
    status: int,
    form: Format,
    errors: Mapping[str, Sequence[str]] | None = None,
    envelope: Envelope = Envelope.LEGACY,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build an error response; `errors` are messages by path."""
    shown = dict(list((errors or {}).items())[:MAX_ERRORS])
    document = _legacy(status, shown, form) if envelope is Envelope.LEGACY else _new(status, shown)
    return Response(written(document, form, "ApiException", _ERROR_ITEMS), status, headers, form.value)


def _legacy(status: int, errors: Mapping[str, Sequence[str]], form: Format) -> dict[str, object]:
    message_id, text = _words(status)
    exception: dict[str, object] = {"messageId": message_id, "text": text}
    if errors:
        # A path such as destinations[0].to cannot be the name of an element.
        exception["validationErrors"] = errors if form is Format.JSON else _listed(errors, "path", "message")
    return {"requestError": {"serviceException": exception}}


def _new(status: int, errors: Mapping[str, Sequence[str]]) -> dict[str, object]:
    return {
        "errorCode": f"E{status}",
        "description": _words(status)[1],
        "action": "Check the request, or try again later",
        "violations": _listed(errors, "property", "violation"),
        "resources": [],
    }


def _listed(errors: Mapping[str, Sequence[str]], path: str, message: str) -> list[dict[str, str]]:
    return [{path: where, message: what} for where, several in errors.items() for what in several]


def _words(status: int) -> tuple[str, str]:
    if status in _WORDS:
        return _WORDS[status]
    try:
        known = HTTPStatus(status)
    except ValueError:
        return _WORDS[500 if status >= HTTPStatus.INTERNAL_SERVER_ERROR else 400]
    return known.name, known.phrase


def written(document: Mapping[str, object], form: Format, root: str, items: Mapping[str, str]) -> str:
    """Serialize a document."""
    match form:
        case Format.JSON:
            return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        case Format.XML:
            return _element(root, document, items)


def _element(name: str, value: object, items: Mapping[str, str]) -> str:
    match value:
        case dict():
            inside = "".join(_element(key, child, items) for key, child in value.items())
        case list():
            inside = "".join(_element(items[name], child, items) for child in value)
        case bool():
            inside = "true" if value else "false"
        case _:
            inside = escape(_NOT_XML.sub("\ufffd", str(value)), quote=False)
    return f"<{name}>{inside}</{name}>"
