"""What an answer of the token server means, for every status, every header and every body.

2xx with a token                       Token
4xx with an error code, and 3xx        Denied       our credentials or our base URL: an operator must correct it
everything else                        Unavailable  no token now; a gateway's page is no answer about credentials

Source: RFC 6749, sections 4.4, 5.1 (the answer) and 5.2 (the error); the vendor's page on authentication.
"""

import math
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final, Literal, assert_never

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
_UNKNOWN_LIFE: Final = 300.0
"""Seconds that a broker's token is taken to live for if the server does not say it."""
_RENEWED_AT: Final = 0.5
"""The share of its life after which a broker's token is renewed. The rest is for a token server that is away."""
_RENEWAL_SPREAD: Final = 0.1
"""The share of that time by which it is renewed earlier: workers that started together do not renew together."""
SHORTEST_RENEWAL: Final = 0.25
"""Seconds between two renewals at least: a token may live for a moment alone."""
_FIRST_RETRY: Final = 0.5
_LONGEST_RETRY: Final = 10.0
_LONGEST_ASKED: Final = 60.0
"""Seconds; the longest `Retry-After` of a token server that is honoured."""

TokenCause = Literal[
    "client_refused",
    "no_token",
    "timeout",
    "no_connection",
    "connect_timeout",
    "untrusted_certificate",
    "proxy_no_connection",
    "proxy_http_407",
    "proxy_refused",
]
"""Why there is no token for the broker. client_refused: the server knows the client or its secret no more."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. `expires_in` is what the server says about its life, whatever that is."""

    value: str
    expires_in: object = None

    @property
    def lifetime(self) -> float:
        """Seconds for which calls to OMNI use it."""
        return lifetime(self.expires_in)


@dataclass(frozen=True, slots=True)
class TokenFailure:
    """There is no token for the broker. `detail` is for a person and holds no secret."""

    cause: TokenCause
    detail: str = ""
    retry_after: float | None = None
    """Seconds that the server asks us to wait."""


class _Answer(BaseModel):
    access_token: Annotated[str, Field(pattern=r"^[\x21-\x7e]+$", max_length=2**14)]
    """It goes into a header, so it must not contain a line end or anything else that HTTP reads."""
    expires_in: object = None


class _Error(BaseModel):
    error: Annotated[str, Field(min_length=1)]


def read_token(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> Token | Denied | Unavailable:
    """Return the token, or why there is none. `headers` has lower-case names."""
    if status in _REDIRECTING or (refuses_request(status) and _has_error(headers, body)):
        return Denied(f"token_http_{status}")
    missing = Unavailable("no_token", retry_after(headers, now))
    if status // 100 != 2 or len(body) > _MAX_BODY:  # noqa: PLR2004 - what HTTP defines
        return missing
    try:
        answer = _Answer.model_validate(from_json(to_utf8(body, headers.get("content-type"))))
    except ValueError:  # pydantic's own error is one
        return missing
    return Token(answer.access_token, answer.expires_in)


def refuses_request(status: int) -> bool:
    """Return whether a status says that the request is wrong, and would be at another time."""
    return status in _REFUSING and status not in _NOT_NOW


def describe_failure(outcome: Denied | Unavailable, status: int) -> TokenFailure:
    """Convert what `read_token` returned for an answer without a token, for a token of the broker."""
    match outcome:
        case Denied() if status in _REFUSING:
            return TokenFailure("client_refused", f"the token server answers HTTP {status}")
        case Denied():
            return TokenFailure("no_token", f"the token server answers HTTP {status}")
        case Unavailable(_, retry_after):
            return TokenFailure("no_token", f"the token server answers HTTP {status} without a token", retry_after)
        case _:
            assert_never(outcome)


def life(token: Token) -> float:
    """Return the seconds for which a broker accepts a token: what the server says, or the token itself, if shorter.

    It is 300 if neither says anything that can be true.
    """
    stated = (_seconds(token.expires_in), _claimed_life(token.value))
    known = [seconds for seconds in stated if seconds is not None and seconds > 0]
    return min(*known, _LONGEST) if known else _UNKNOWN_LIFE


def _claimed_life(token: str) -> float | None:
    """Read the life of a JSON Web Token from its claims `iat` and `exp`, without clocks (RFC 7519, 4.1); else None."""
    try:
        payload = token.split(".")[1]
        claims = from_json(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return _seconds(claims["exp"] - claims["iat"])
    except (ValueError, IndexError, KeyError, TypeError):
        return None


def renewal_wait(seconds: float, jitter: float) -> float:
    """Return the seconds after which a broker's token with that life is renewed. `jitter` is from [0, 1)."""
    return max(seconds * _RENEWED_AT * (1 - _RENEWAL_SPREAD * jitter), SHORTEST_RENEWAL)


def retry_wait(failures: int, jitter: float, asked: float | None = None) -> float:
    """Return the seconds until the token server is asked again, after so many failures in a row (from 1).

    `asked`: the seconds that the server asked for. `jitter` is from [0, 1).
    """
    wait = min(_FIRST_RETRY * 2.0 ** min(failures - 1, 30), _LONGEST_RETRY) * (0.5 + jitter / 2)
    return max(wait, min(asked or 0.0, _LONGEST_ASKED))


def lifetime(expires_in: object) -> float:
    """Return the seconds that a token may be used for: an hour if `expires_in` is no number."""
    seconds = _seconds(expires_in)
    return _USUAL if seconds is None else min(max(seconds, _SHORTEST), _LONGEST)


def _seconds(expires_in: object) -> float | None:
    """Read a number, which may be a text or infinite. None if it is none."""
    if not isinstance(expires_in, int | float | str) or isinstance(expires_in, bool):
        return None
    try:
        seconds = float(expires_in)
    except ValueError:
        return None
    except OverflowError:  # a whole number of more than 308 digits
        return -math.inf if isinstance(expires_in, int) and expires_in < 0 else math.inf
    return None if math.isnan(seconds) else seconds


def _has_error(headers: Mapping[str, str], body: bytes) -> bool:
    if has_envelope(headers, body):
        return True
    try:
        _Error.model_validate_json(to_utf8(body[:_MAX_BODY], headers.get("content-type")))
    except ValidationError:
        return False
    return True
