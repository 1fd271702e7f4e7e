"""Keeps web pages out: a browser on the same machine reaches a sandbox on loopback for whatever page is open in it.

A page of another site cannot read answers, but for two ways: its own name may lead here (DNS rebinding), then `Host`
has that name; or the request is of a kind that browsers send without asking first, then `Origin` names the site
(Fetch standard; RFC 9110, section 7.4). Both are refused for all paths. Programs send no `Origin`, and a `Host` that
leads here.
"""

import ipaddress
import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.sandbox.wire.format import Format
from service.sandbox.wire.response import failure

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?")
_ORIGIN = re.compile(r"https?://(.+)")


class Guard:
    """An ASGI app that passes on what is meant for this sandbox. `hosts` are names it has besides its addresses."""

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
        if len(hosts) != 1 or not self._leads_here(hosts[0], own):
            fault = {"host": ["is not this sandbox; --allow-host adds a name"]}
            return failure(421, Format.JSON, fault)
        if not all((site := _ORIGIN.fullmatch(origin)) and self._leads_here(site[1], own) for origin in origins):
            return failure(403, Format.JSON, {"origin": ["is another site"]})
        return self._app

    def _leads_here(self, authority: str, own: str) -> bool:
        """Tell whether a host, with or without a port, is this sandbox, which was reached at the address `own`."""
        parts = _AUTHORITY.fullmatch(authority)
        if parts is None:
            return False
        host = parts[1].strip("[]").lower().removesuffix(".")
        return host in {"localhost", own.lower(), *self._hosts} or _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
