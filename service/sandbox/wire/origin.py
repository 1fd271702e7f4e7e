"""Refuse requests from web pages: a browser on the same machine can reach a sandbox on loopback for any open page.

A page of another site has two ways:

* Its own name resolves to this address (DNS rebinding). Then `Host` has that name.
* It sends a request for which browsers need no preflight. Then `Origin` names the site (Fetch standard; RFC 9110,
  section 7.4), or `Sec-Fetch-Site` says that it is another one (Fetch Metadata), also where there is no `Origin`.

Both are refused for all paths; only a link of another site to the page is followed. Programs send neither `Origin` nor
`Sec-Fetch-Site`, and a `Host` that names this sandbox.
"""

import ipaddress
import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.sandbox.wire.format import Format
from service.sandbox.wire.response import failure

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?")
_OWN_SITES = frozenset({"same-origin", "none"})  # none: the person entered the address
_ORIGIN = re.compile(r"https?://(.+)")


class Guard:
    """An ASGI app that passes on requests to this sandbox; `hosts` are its names besides its addresses."""

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(map(str.lower, hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        app = self._app if scope["type"] != "http" else self._chosen(scope)
        await app(scope, receive, send)

    def _chosen(self, scope: Scope) -> ASGIApp:
        headers = Headers(scope=scope)
        own = (scope.get("server") or ("",))[0]
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._is_this_sandbox(hosts[0], own):
            fault = {"host": ["is not this sandbox; --allow-host adds a name"]}
            return failure(421, Format.JSON, fault)
        if headers.get("sec-fetch-site", "none") not in _OWN_SITES and not _is_link_to_page(scope, headers):
            return failure(403, Format.JSON, {"sec-fetch-site": ["is another site"]})
        if not all((site := _ORIGIN.fullmatch(origin)) and self._is_this_sandbox(site[1], own) for origin in origins):
            return failure(403, Format.JSON, {"origin": ["is another site"]})
        return self._app

    def _is_this_sandbox(self, authority: str, own: str) -> bool:
        """Whether a host, with or without a port, is this sandbox, which was reached at the address `own`."""
        parts = _AUTHORITY.fullmatch(authority)
        if parts is None:
            return False
        host = parts[1].strip("[]").lower().removesuffix(".")
        return host in {"localhost", own.lower(), *self._hosts} or _is_loopback(host)


def _is_link_to_page(scope: Scope, headers: Headers) -> bool:
    return bool(scope["method"] == "GET" and scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
