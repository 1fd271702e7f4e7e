"""TLS towards servers: the system's certificate authorities and one's own, and the issuer of a certificate not trusted.

The only adapter module that other adapters import: OMNI, its proxy and the broker are verified alike.
"""

import re
import ssl
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from service.core.certificate import read_end, read_issuer


class UntrustedCertificateError(ssl.SSLCertVerificationError):
    """A server's certificate was refused. The text has the reason and the issuer, and no secret."""

    def __init__(self, text: str) -> None:
        super().__init__(1, text)


_ALERT: Final = re.compile(r"ALERT_(\w*CERTIFICATE\w*|UNKNOWN_CA)")
"""In the names of OpenSSL's errors."""

_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[\sA-Za-z0-9+/=]+-----END CERTIFICATE-----")

_usable: Final[dict[tuple[str | None, ...], ssl.SSLContext]] = {}
"""The last contexts, by the names of their files. One for the process, as the files are."""


class ClientCertificateError(ConnectionError):
    """A server did not take our certificate. The text says why, and has no secret."""


def client_certificate_fault(error: BaseException, certificate: str, now: datetime) -> ClientCertificateError | None:
    """Return why a connection with the certificate of that file (PEM) failed, if the certificate was the cause.

    A server says so by an alert (RFC 8446, 6.2), which may be lost with the connection. Then an end in the past counts.
    """
    text = str(error)
    if alert := _ALERT.search(text):
        return ClientCertificateError(f"the server answers {alert[1].replace('_', ' ').lower()}")
    try:
        first = _PEM.search(Path(certificate).read_bytes())  # the client's own; authorities follow
        end = read_end(ssl.PEM_cert_to_DER_cert(first[0].decode())) if first else None
    except (OSError, ValueError):
        return None
    return ClientCertificateError(f"the client certificate ended at {end.isoformat()}") if end and end <= now else None


def client_context(
    ca_file: str | None = None, ca_path: str | None = None, certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """Make a context that trusts the system's authorities and those of `ca_file` (PEM) and `ca_path` (a directory).

    `certificate` and `key` are the client's own. A handshake raises `UntrustedCertificateError`. Reads files, for some
    30 ms. Raises `OSError` if they cannot be used.
    """
    context = ssl.create_default_context()
    if ca_file is not None or ca_path is not None:
        context.load_verify_locations(ca_file, ca_path)
    if certificate is not None:
        context.load_cert_chain(certificate, key, password=lambda: "")  # else OpenSSL would ask on the terminal
    context.sslobject_class = _VerifyingObject
    _usable[ca_file, ca_path, certificate, key] = context
    return context


def last_client_context(
    ca_file: str | None = None, ca_path: str | None = None, certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """Make a context for a connection that is opened again and again, with the last files that could be used.

    The files may be in the middle of a rotation. Raises `OSError` if they never could be used.
    """
    try:
        return client_context(ca_file, ca_path, certificate, key)
    except OSError:
        if context := _usable.get((ca_file, ca_path, certificate, key)):
            return context
        raise


def untrusted(error: BaseException | None) -> UntrustedCertificateError | None:
    """Find a refused certificate among the causes of an exception: libraries wrap it.

    The causes may form a circle: a library that keeps an exception and raises it again adds itself to its own causes.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, UntrustedCertificateError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


class _VerifyingObject(ssl.SSLObject):
    """Names the issuer when the verification fails: OpenSSL's own error gives only the reason."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            reason = str(error.verify_message).rstrip(".")
            raise UntrustedCertificateError(f"{reason}; issuer: {self._issuer() or 'not known'}") from None

    def _issuer(self) -> str:
        # The chain is there although the handshake failed. Python 3.13 has a public method for it.
        try:
            if hasattr(self, "get_unverified_chain"):
                chain = cast("Iterable[bytes]", self.get_unverified_chain())
            else:
                inner = cast("Any", self)._sslobj  # noqa: SLF001 - see above
                chain = [one.public_bytes(2) for one in inner.get_unverified_chain()]  # 2: DER
            return read_issuer(next(iter(chain), b""))
        except (AttributeError, TypeError, ssl.SSLError):
            return ""
