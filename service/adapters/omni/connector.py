"""Opens connections to OMNI: directly, or through a tunnel of an HTTP proxy (CONNECT, RFC 9110, 9.3.6).

Every failure here is a `NotConnectedError`: no byte of a request has left. That holds for each answer of a proxy to
CONNECT. Names are resolved again for each connection, and IPv4 and IPv6 are both tried (RFC 8305).
"""

import asyncio
import base64
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, TypeVar, cast
from urllib.parse import unquote_to_bytes

import httpx

from service.adapters.omni.connection import HttpConnection, NotConnectedCause, NotConnectedError
from service.adapters.tls import UntrustedCertificateError, client_context
from service.core.printable import printable

_MAX_HEAD: Final = 64 * 1024
_LONGEST_DETAIL: Final = 300
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r|$)")
_NEXT_ADDRESS: Final = 0.25
"""Seconds after which the next address of a name is tried beside the first (RFC 8305, section 5)."""

P = TypeVar("P", bound=asyncio.Protocol)


class Connector:
    """The way to one origin. `proxy` is a URL, possibly with user and password; `timeout` is seconds for everything.

    `ca_file` has certificates of authorities that are trusted besides the system's. Reads it: raises `OSError`.
    """

    def __init__(
        self, origin: httpx.URL, timeout: float, *, proxy: str | None = None, ca_file: str | None = None
    ) -> None:
        self._origin = origin
        self._timeout = timeout
        self._proxy = None if proxy is None else httpx.URL(proxy)
        uses_tls = "https" in {origin.scheme, self._proxy and self._proxy.scheme}
        self._tls = client_context(ca_file) if uses_tls else None

    async def open(self, connection: HttpConnection) -> None:
        """Open a connection. Raises `NotConnectedError`."""
        target = self._origin if self._proxy is None else self._proxy
        cause: NotConnectedCause = "no_connection" if self._proxy is None else "proxy_no_connection"
        try:
            async with asyncio.timeout(self._timeout):
                if self._proxy is None:
                    await self._dial(target, lambda: connection)
                else:
                    tunnel = await self._open_tunnel(self._proxy)
                    target, cause = self._origin, "no_connection"
                    await self._enter(tunnel, connection)
        except TimeoutError:
            raise NotConnectedError("connect_timeout", _address(target)) from None
        except UntrustedCertificateError as error:
            raise NotConnectedError("untrusted_certificate", _detail(target, error)) from None
        except (OSError, ValueError) as error:  # a name that cannot be one is a ValueError
            raise NotConnectedError(cause, _detail(target, error)) from None

    async def _dial(self, url: httpx.URL, make: Callable[[], P]) -> P:
        loop, tls = asyncio.get_running_loop(), self._tls if url.scheme == "https" else None
        _, protocol = await loop.create_connection(
            make, url.raw_host.decode(), _port(url), ssl=tls, happy_eyeballs_delay=_NEXT_ADDRESS
        )
        return protocol

    async def _open_tunnel(self, proxy: httpx.URL) -> asyncio.Transport:
        """Connect to the proxy and have it connect to the origin. Returns the transport, which is not read from."""
        request = _connect_request(self._origin, proxy)
        tunnel = await self._dial(proxy, lambda: _Tunnel(request))
        try:
            _require_tunnel(await tunnel.head, proxy, has_more=tunnel.has_more)
        except BaseException:
            tunnel.transport.abort()
            raise
        return tunnel.transport

    async def _enter(self, tunnel: asyncio.Transport, connection: HttpConnection) -> None:
        """Begin to speak with the origin."""
        transport: asyncio.Transport | None = tunnel
        try:
            if self._origin.scheme == "https" and self._tls is not None:
                loop, host = asyncio.get_running_loop(), self._origin.raw_host.decode()
                transport = await loop.start_tls(tunnel, connection, self._tls, server_hostname=host)
            else:
                tunnel.set_protocol(connection)
            if transport is None:  # the tunnel was closed right after the handshake
                raise ConnectionResetError  # noqa: TRY301 - the tunnel is closed below
            connection.connection_made(transport)
            transport.resume_reading()
        except BaseException:
            tunnel.abort()
            raise


class _Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel and reads the head of its answer."""

    transport: asyncio.Transport

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._data = b""
        self.head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.has_more = False
        """Whether bytes came after the head. No server speaks before its client here, so they are not the origin's."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if self.head.done():
            self.has_more = True
        elif end:
            self.has_more = bool(rest)
            self.transport.pause_reading()  # the next bytes are for the protocol that follows
            self.head.set_result(head)
        elif len(self._data) > _MAX_HEAD:
            self.head.set_exception(ConnectionAbortedError("no end of the head"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.head.done():
            self.head.set_exception(exc if isinstance(exc, OSError) else ConnectionResetError("closed by the proxy"))
            self.head.exception()  # the caller may have gone


def _require_tunnel(head: bytes, proxy: httpx.URL, *, has_more: bool) -> None:
    """Raise `NotConnectedError` unless the proxy's answer to CONNECT opens a tunnel."""
    status = int(found[1]) if (found := _STATUS.match(head)) else 0
    if status // 100 == HTTPStatus.OK // 100 and not has_more:
        return
    is_refused = status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
    cause: NotConnectedCause = "proxy_http_407" if is_refused else "proxy_refused"
    raise NotConnectedError(cause, f"{_address(proxy)}: answers {f'HTTP {status}' if status else 'no HTTP'} to CONNECT")


def _connect_request(origin: httpx.URL, proxy: httpx.URL) -> bytes:
    host = _address(origin)
    lines = [f"CONNECT {host} HTTP/1.1", f"Host: {host}"]
    if proxy.userinfo:
        pair = unquote_to_bytes(proxy.userinfo)
        pair = pair if b":" in pair else pair + b":"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair).decode()}")
    return "\r\n".join([*lines, "", ""]).encode()


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _address(url: httpx.URL) -> str:
    """Return host and port. A proxy's URL also holds a password."""
    host = url.raw_host.decode()
    return f"[{host}]:{_port(url)}" if ":" in host else f"{host}:{_port(url)}"


def _detail(url: httpx.URL, error: Exception) -> str:
    """Describe a failure with the system's or OpenSSL's own words, which hold addresses and no secret."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(f"{_address(url)}: {text}")[:_LONGEST_DETAIL]
