"""The proxy that the usual environment variables name for an address: HTTPS_PROXY, HTTP_PROXY, NO_PROXY.

There is no standard. The meaning of `NO_PROXY` is that of curl 7.86 and of Go, where they agree.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from service.adapters.settings.checks import is_loopback

_SEPARATORS: Final = re.compile(r"[\s,]+")
_WITH_PORT: Final = re.compile(r"(.+):([0-9]{1,5})", re.ASCII)
_PORTS: Final = {"https": 443, "http": 80}


def usual_proxy(environ: Mapping[str, str], base_url: str) -> tuple[str, str] | None:
    """Return the variable and the URL of the proxy that every program uses for this address, if there is one.

    The lower-case name wins, also if it is empty. `HTTP_PROXY` is ignored in a CGI script, where a client can set it.
    No proxy is used for this machine itself.
    """
    url = urlsplit(base_url)
    lower = f"{url.scheme}_proxy"
    name = lower if lower in environ or (lower == "http_proxy" and "REQUEST_METHOD" in environ) else lower.upper()
    bypassed = environ.get("no_proxy", environ.get("NO_PROXY", ""))
    proxy, host = environ.get(name, "").strip(), url.hostname or ""
    if not proxy or is_loopback(host) or is_bypassed(bypassed, host, url.port or _PORTS.get(url.scheme, 0)):
        return None
    return name, proxy


def is_bypassed(no_proxy: str, host: str, port: int) -> bool:
    """Return whether `NO_PROXY` lists a host.

    An entry is `*`, a name (which stands for all names below it, with or without a leading `.` or `*.`), an address, or
    a range of addresses such as `10.0.0.0/8`. Names and addresses may have a port. Names are not resolved.
    """
    return any(_matches(entry, host.lower().rstrip("."), port) for entry in _SEPARATORS.split(no_proxy.lower()))


def _matches(entry: str, host: str, port: int) -> bool:
    address, network = _address(host), _network(entry)
    if network is None and (found := _WITH_PORT.fullmatch(entry)):
        entry, network = found[1], _network(found[1])
        if int(found[2]) != port:
            return False
    if address is not None or network is not None:
        return entry == "*" or (address is not None and network is not None and address in network)
    name = entry.removeprefix("*").strip(".")
    return entry == "*" or (bool(name) and f".{host}".endswith(f".{name}"))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
