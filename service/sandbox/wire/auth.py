"""Who may call.

`App <key>`, `Basic <base64 of user:password>` and `Bearer <token>` are known, spelled exactly so: whether
OMNI minds the case is not published, and a sandbox is there to be particular.

With a key of its own the sandbox lets in that `App` key alone. Without one it lets in anybody who brings
a credential, except those it was told to refuse.

The door of every path that takes a body: credential (401), size (413), content type (415), readable (400).

So many calls a minute, and no more.
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


@dataclass(frozen=True)
class Access:
    """The rule of one sandbox. `refused` holds keys, tokens and `user:password` pairs."""

    api_key: str | None = None
    refused: AbstractSet[str] = frozenset()

    def allows(self, authorization: str) -> bool:
        """Whether the value of this `Authorization` header opens the door."""
        scheme, _, rest = authorization.partition(" ")
        if scheme not in _SCHEMES:
            return False
        secret = _pair(rest) if scheme == "Basic" else rest.strip()
        if not secret or secret in self.refused:
            return False
        return self.api_key is None or (scheme == "App" and secret == self.api_key)


def scheme_of(authorization: str) -> str | None:
    """Name the scheme for the record, never the secret; a header without a known one is `other`."""
    if not authorization:
        return None
    scheme = authorization.partition(" ")[0]
    return scheme if scheme in _SCHEMES else "other"


def _pair(encoded: str) -> str | None:
    """Decode `user:password`; None when it is not base64, not text, or has no user."""
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    user, colon, _ = pair.partition(":")
    return pair if user and colon else None


def admitted(request: Request, raw: bytes | None, access: Access) -> dict[str, Any] | Refusal:
    """Read the document in a call's body, if it is to be read; `raw` is None if it was too large."""
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


_PERIOD = timedelta(minutes=1)


class Throttle:
    """Counts the calls let through; those sent away do not count."""

    def __init__(self) -> None:
        self._let: deque[datetime] = deque()

    def lets(self, now: datetime, most: int) -> bool:
        """Whether one more call is within the limit."""
        while self._let and now - self._let[0] >= _PERIOD:
            self._let.popleft()
        if len(self._let) >= most:
            return False
        self._let.append(now)
        return True
