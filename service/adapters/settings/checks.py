"""Whether a URL, a host or a file of certificates can be used. No message repeats a value: any may be a secret."""

import ipaddress
import re
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_HOST: Final = re.compile(r"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+", re.ASCII)
_HOST_AND_PORT: Final = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]+)(:[0-9]{1,5})?", re.ASCII)
_MAX_HOST, _MAX_LABEL, _MAX_VHOST = 253, 63, 255
VISIBLE: Final = re.compile(r"[!-~]+")
"""ASCII without spaces: what may stand in a header or a URL."""
_NUMBERS: Final = {"heartbeat": range(65536), "timeout": range(1, 3601)}
FILES: Final = frozenset({"cafile", "capath", "certfile", "keyfile"})
_PARAMETERS: Final = frozenset({*_NUMBERS, *FILES, "auth", "name"})
"""Of a broker's URL. The library's own list has one that switches off the verification of certificates."""
_AUTH: Final = frozenset({"plain", "amqplain", "external"})
_BROKER_URL: Final = (
    "must be amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps://…, several separated by commas; "
    "percent-encode / ? # @ , in user, password and virtual host (%2F %3F %23 %40 %2C)"
)
_PROXY_URL: Final = (
    "must be http://USER:PASSWORD@HOST:PORT or https://…; percent-encode / ? # @ : in user and password "
    "(%2F %3F %23 %40 %3A)"
)

_MEMORY_URL: Final = (
    "must be redis://USER:PASSWORD@HOST:PORT/DATABASE or rediss://…, redis+cluster://…@HOST:PORT,HOST:PORT, or "
    "redis+sentinel://…@HOST:PORT,HOST:PORT/NAME; percent-encode / ? # @ : in user and password (%2F %3F %23 %40 %3A)"
)
_MEMORY_LOGIN: Final = r"(?:[^\s@:/?#\\]*(?::[^\s@:/?#\\]*)?@)?"
_MEMORY_HOST: Final = r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
_MEMORY_OF_SEVERAL: Final = re.compile(
    rf"rediss?\+(?:cluster://{_MEMORY_LOGIN}{_MEMORY_HOST}(?:,{_MEMORY_HOST})*/?"
    rf"|sentinel://{_MEMORY_LOGIN}{_MEMORY_HOST}(?:,{_MEMORY_HOST})*/[\w.-]+)",
    re.ASCII,
)
"""A cluster, by any of its nodes; or a primary that sentinels watch."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~-]{16,200}", re.ASCII)
"""Characters that need no encoding in a path (RFC 3986, 2.3)."""
_MAX_REPORTS_URL: Final = 1800
"""Characters: with the token it is below the 2048 of other products of the vendor."""


def broker_fault(url: str) -> str | None:
    """Return what is wrong with a broker's URL, without repeating any of it."""
    parts = url_parts(url)
    if (
        not parts
        or parts.scheme not in {"amqp", "amqps"}
        or not url.isprintable()
        or " " in url
        or "\\" in parts.netloc
    ):
        return _BROKER_URL
    # An unencoded / ? or # in a password ends the host too early: the rest of it becomes path or query.
    if "@" in parts.path + parts.query or "#" in url or len(unquote(parts.path)) > _MAX_VHOST:
        return _BROKER_URL
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = dict(pairs)
    if len(query) < len(pairs):  # the AMQP library takes the first, and `query` has the last
        return "must have each parameter once"
    faults = filter(None, (_parameter_fault(name, value) for name, value in query.items()))
    return next(faults, None) or certificate_fault({name: value for name, value in query.items() if name in FILES})


def proxy_fault(url: str) -> str | None:
    """Return what is wrong with a proxy's URL, without repeating any of it."""
    parts = url_parts(url)
    if (
        not parts
        or parts.scheme not in {"http", "https"}
        or not VISIBLE.fullmatch(url)
        or any(character in parts.path + parts.netloc for character in "\\ ")
        or parts.path not in {"", "/"}
        or "?" in url
        or "#" in url
    ):
        return _PROXY_URL
    return None


def memory_fault(url: str) -> str | None:
    """Return what is wrong with the URL of the shared memory, without repeating any of it."""
    if _MEMORY_OF_SEVERAL.fullmatch(url):
        return None
    parts = url_parts(url)
    if (
        not parts
        or parts.scheme not in {"redis", "rediss"}
        or not VISIBLE.fullmatch(url)
        or "\\" in url
        or "?" in url
        or "#" in url
        or not re.fullmatch(r"/?|/[0-9]{1,5}", parts.path, re.ASCII)
    ):
        return _MEMORY_URL
    return None


def reports_url_fault(url: str) -> str | None:
    """Return what is wrong with the address for reports, without repeating any of it."""
    parts = url_parts(url)
    if (
        not VISIBLE.fullmatch(url)
        or any(character in url for character in '@?#\\"<>')
        or len(url) > _MAX_REPORTS_URL
        or not parts
        or parts.scheme not in {"http", "https"}
    ):
        return "must be https://HOST/PATH, with nothing behind it"
    return None


def token_url_fault(url: str) -> str | None:
    """Return what is wrong with the address of a token server, without repeating any of it."""
    parts = url_parts(url)
    if (
        not VISIBLE.fullmatch(url)
        or any(character in url for character in '@#\\"<>')
        or not parts
        or parts.scheme not in {"http", "https"}
    ):
        return "must be https://HOST/PATH, without user and password"
    return None


def reports_token_fault(tokens: str) -> str | None:
    """Return what is wrong with the tokens for reports, without repeating any of them."""
    if all(_TOKEN.fullmatch(token.strip()) for token in tokens.split(",")):
        return None
    return "must be 16 to 200 characters of A-Z a-z 0-9 - . _ ~; several, separated by commas, to change it"


def _parameter_fault(name: str, value: str) -> str | None:
    if name == "no_verify_ssl":
        return "must not have no_verify_ssl: certificates are always verified; RELAY_CA_FILE adds an authority"
    if name not in _PARAMETERS:
        return f"may have only these parameters: {', '.join(sorted(_PARAMETERS))}"
    if name in _NUMBERS and not (value.isascii() and value.isdigit() and _number(value) in _NUMBERS[name]):
        return f"must have a number from {_NUMBERS[name][0]} to {_NUMBERS[name][-1]} as {name}"
    if name == "auth" and value.lower() not in _AUTH:
        return f"must have one of these as auth: {', '.join(sorted(_AUTH))}"
    return None


def _number(digits: str) -> int:
    """Read a number, cut to six digits: more are too large in any case, and Python refuses very long ones."""
    return int(digits.lstrip("0")[:6] or "0")


def certificate_fault(files: Mapping[str, str]) -> str | None:
    """Return which files of a broker's URL cannot be used, so that no connection is tried for ever with them."""
    if not files:
        return None
    try:
        context = ssl.create_default_context(cafile=files.get("cafile"), capath=files.get("capath"))
        if "certfile" in files:  # without a password, OpenSSL would ask on the terminal
            context.load_cert_chain(files["certfile"], files.get("keyfile"), password=lambda: "")
        elif "keyfile" in files:
            return "must have certfile beside keyfile"
    except (OSError, ValueError):
        return f"cannot use the files that it names as {', '.join(sorted(files))}"
    return None


def url_parts(url: str) -> SplitResult | None:
    """Split a URL; None if it is none. The library's own error would repeat it, with its password."""
    try:
        parts = urlsplit(url)
        user, _, host_and_port = parts.netloc.rpartition("@")
        usable = (  # the other libraries take less than urlsplit does
            _HOST_AND_PORT.fullmatch(host_and_port)
            and not {"[", "]"} & set(user)
            and parts.hostname
            and is_host(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        return None
    return parts if usable else None


def is_host(text: str) -> bool:
    """Whether it is a name that a resolver takes, or an address. Resolvers and HTTP clients raise for others."""
    if not _HOST.fullmatch(text) or len(text) > _MAX_HOST:
        return False
    if ":" in text or not text.strip("0123456789."):
        return _is_address(text)
    return all(0 < len(label) <= _MAX_LABEL for label in text.removesuffix(".").split("."))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    return ipaddress.ip_address(host).is_loopback if _is_address(host) else host == "localhost"
