"""The OMNI API over HTTP; the only room that knows httpx.

`client` makes calls, `token` keeps an OAuth token fresh, `transport` moves the bytes.
"""

from service.adapters.omni.client import Deprecation, OmniAccess, OmniClient, read_failure
from service.adapters.omni.oauth import Credentials
from service.adapters.omni.transport import BrokenAnswerError, NotConnectedError

__all__ = [
    "BrokenAnswerError",
    "Credentials",
    "Deprecation",
    "NotConnectedError",
    "OmniAccess",
    "OmniClient",
    "read_failure",
]
