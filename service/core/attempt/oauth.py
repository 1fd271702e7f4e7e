"""What an answer of the token server means, for every status, every header and every body.

2xx with a token                       Token
4xx with an error code, and 3xx        Denied       our credentials or our base URL: an operator must correct it
everything else                        Unavailable  no token now; a gateway's page is no answer about credentials

Source: RFC 6749, sections 4.4, 5.1 (the answer) and 5.2 (the error); the vendor's page on authentication.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json

from service.core.attempt.answer import retry_after
from service.core.attempt.error_body import has_envelope
from service.core.attempt.outcome import Denied, Unavailable
from service.core.omni.charset import to_utf8
from service.core.value import dataclass

_USUAL: Final = 3600.0
_SHORTEST: Final = 30.0
"""Seconds that any token is used for. One that has expired by then is refused, and another one fetched."""
_LONGEST: Final = 86400.0
_MAX_BODY: Final = 2**16
_REFUSING: Final = range(400, 500)
_REDIRECTING: Final = range(300, 400)
_NOT_NOW: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. `lifetime` is in seconds."""

    value: str
    lifetime: float


class _Answer(BaseModel):
    access_token: Annotated[str, Field(pattern=r"^[\x21-\x7e]+$", max_length=2**14)]
    """It goes into a header, so it must not contain a line end or anything else that HTTP reads."""
    expires_in: object = None


class _Error(BaseModel):
    error: Annotated[str, Field(min_length=1)]


def read_token(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> Token | Denied | Unavailable:
    """Return the token, or why there is none. `headers` has lower-case names."""
    if status in _REDIRECTING or (status in _REFUSING and status not in _NOT_NOW and _has_error(headers, body)):
        return Denied(f"token_http_{status}")
    missing = Unavailable("no_token", retry_after(headers, now))
    if status // 100 != 2 or len(body) > _MAX_BODY:  # noqa: PLR2004 - what HTTP defines
        return missing
    try:
        answer = _Answer.model_validate(from_json(to_utf8(body, headers.get("content-type"))))
    except ValueError:  # pydantic's own error is one
        return missing
    return Token(answer.access_token, lifetime(answer.expires_in))


def lifetime(expires_in: object) -> float:
    """Return the seconds that a token may be used for: an hour if `expires_in` is no number."""
    seconds = _USUAL
    if isinstance(expires_in, int | float | str) and not isinstance(expires_in, bool):
        try:
            seconds = float(expires_in)
        except ValueError:
            pass
        except OverflowError:  # a whole number of more than 308 digits
            seconds = math.inf
    return _USUAL if math.isnan(seconds) else min(max(seconds, _SHORTEST), _LONGEST)


def _has_error(headers: Mapping[str, str], body: bytes) -> bool:
    if has_envelope(headers, body):
        return True
    try:
        _Error.model_validate_json(to_utf8(body[:_MAX_BODY], headers.get("content-type")))
    except ValidationError:
        return False
    return True
