"""Which calls are admitted: credential (401), size (413), content type (415), readable body (400); and the rate limit.

`App <key>`, `Basic <base64 of user:password>` and `Bearer <token>` are accepted, with the scheme in exactly this
case: whether OMNI ignores the case is not published. If the sandbox has an API key, only `App` with that key is
admitted. Otherwise every credential is, except refused ones.
"""

import base64
import binascii
from collections import deque
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.sandbox.schema.request import Refusal
from service.sandbox.wire.body import UnreadableError, read
from service.sandbox.wire.connection import read_body
from service.sandbox.wire.format import Format, body_format
from service.sandbox.wire.response import failure

_SCHEMES = frozenset({"App", "Basic", "Bearer"})
_PERIOD = timedelta(minutes=1)


@dataclass(frozen=True)
class Access:
    """The credentials of one sandbox; `refused` holds keys, tokens and `user:password` pairs."""

    api_key: str | None = None
    refused: AbstractSet[str] = frozenset()

    def allows(self, authorization: str) -> bool:
        """Whether a value of the `Authorization` header is admitted."""
        scheme, _, rest = authorization.partition(" ")
        if scheme not in _SCHEMES:
            return False
        secret = _pair(rest) if scheme == "Basic" else rest.strip()
        if not secret or secret in self.refused:
            return False
        return self.api_key is None or (scheme == "App" and secret == self.api_key)


class RateLimit:
    """Counts the calls of the last minute; refused calls do not count."""

    def __init__(self) -> None:
        self._allowed: deque[datetime] = deque()

    def allows(self, now: datetime, limit: int) -> bool:
        """Whether one more call is within the limit; it counts if so."""
        while self._allowed and now - self._allowed[0] >= _PERIOD:
            self._allowed.popleft()
        if len(self._allowed) >= limit:
            return False
        self._allowed.append(now)
        return True


def scheme_of(authorization: str) -> str | None:
    """Return the scheme for the record, never the secret; an unknown scheme is `other`."""
    if not authorization:
        return None
    scheme = authorization.partition(" ")[0]
    return scheme if scheme in _SCHEMES else "other"


def admitted(request: Request, raw: bytes | None, access: Access) -> dict[str, Any] | Refusal:
    """Read the document in a body, or refuse the call; `raw` is None if the body was too large."""
    if not access.allows(request.headers.get("authorization", "")):
        return Refusal(401)
    if raw is None:
        return Refusal(413)
    form = body_format(request.headers.get("content-type", ""))
    if form is None:
        return Refusal(415)
    try:
        return read(raw, form)
    except UnreadableError as unreadable:
        return Refusal(400, {"request": [str(unreadable)]})


async def control_document(request: Request) -> dict[str, Any] | Response:
    """Read the JSON body of a control call, or return the response that refuses it.

    The content type is checked although no credential is: a browser posts the content types of forms, or none, for a
    page of any site without a preflight request.
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


def _pair(encoded: str) -> str | None:
    """Decode `user:password`; None if it is not base64, not text, or has no user."""
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    user, colon, _ = pair.partition(":")
    return pair if user and colon else None
