"""The OMNI API over HTTP; the only room that knows httpx.

`client` makes calls, `token` keeps an OAuth token fresh, `transport` moves the bytes.
"""

from service.edges.omni.client import Deprecation, OmniAccess, OmniClient, read_failure
from service.edges.omni.token import Credentials
from service.edges.omni.transport import BrokenAnswerError, NotConnectedError

__all__ = [
    "BrokenAnswerError",
    "Credentials",
    "Deprecation",
    "NotConnectedError",
    "OmniAccess",
    "OmniClient",
    "read_failure",
]
