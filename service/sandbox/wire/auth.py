"""Who may call.

`App <key>`, `Basic <base64 of user:password>` and `Bearer <token>` are known, spelled exactly so: whether
OMNI minds the case is not published, and a sandbox is there to be particular.

With a key of its own the sandbox lets in that `App` key alone. Without one it lets in anybody who brings
a credential, except those it was told to refuse.
"""

import base64
import binascii
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

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
