"""The OMNI API over HTTP; the only room that knows httpx. `client` makes calls, `token` keeps an OAuth token fresh."""

from service.edges.omni.client import Deprecation, OmniAccess, OmniClient, read_failure
from service.edges.omni.token import Credentials

__all__ = ["Credentials", "Deprecation", "OmniAccess", "OmniClient", "read_failure"]
