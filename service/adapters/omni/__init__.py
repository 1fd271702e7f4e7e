"""The OMNI API over HTTP; the only package that imports httpx.

`client` makes calls, `oauth` fetches tokens (also those for RabbitMQ), `transport` keeps connections, `connector` opens
them (also through a proxy), `connection` moves the bytes of one.
"""

from service.adapters.omni.client import Deprecation, NoAnswer, OmniAccess, OmniClient, read_failure
from service.adapters.omni.connection import BrokenAnswerError, NotConnectedError
from service.adapters.omni.oauth import Credentials, TokenServer

__all__ = [
    "BrokenAnswerError",
    "Credentials",
    "Deprecation",
    "NoAnswer",
    "NotConnectedError",
    "OmniAccess",
    "OmniClient",
    "TokenServer",
    "read_failure",
]
