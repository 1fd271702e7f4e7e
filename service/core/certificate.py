"""Reads the issuer and the end of a certificate from its bytes (X.509, RFC 5280; DER, X.690), for log lines."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from service.core.printable import printable

_CONTEXT_0: Final = 0xA0
_SIZE_FOLLOWS: Final = 0x80
_BMP_STRING: Final = 0x1E
_UTC_TIME: Final = 0x17
_ATTRIBUTES: Final = {b"\x55\x04\x03": "CN", b"\x55\x04\x0a": "O", b"\x55\x04\x0b": "OU"}
_LONGEST: Final = 200


def read_end(certificate: bytes) -> datetime | None:
    """Return the moment from which a certificate is not valid; None if it cannot be read."""
    try:
        _serial, _algorithm, _issuer, (_, validity), *_ = _parts(certificate)
        (_, _), (tag, end) = _elements(validity)
        text = end.decode("ascii")
        if tag == _UTC_TIME:  # two digits of the year; 50 to 99 are of the last century (RFC 5280, 4.1.2.5.1)
            text = ("19" if text[:2] >= "50" else "20") + text
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except (ValueError, IndexError, StopIteration):
        return None


def read_issuer(certificate: bytes) -> str:
    """Return the issuer as `CN=…, O=…`, at most 200 printable characters; empty if it cannot be read.

    The bytes may come from an attacker, so this is total.
    """
    try:
        _serial, _algorithm, (_, issuer), *_ = _parts(certificate)
        names = [_attribute(pair) for _, group in _elements(issuer) for _, pair in _elements(group)]
    except (ValueError, IndexError, StopIteration):
        return ""
    return printable(", ".join(filter(None, names)))[:_LONGEST]


def _parts(certificate: bytes) -> list[tuple[int, bytes]]:
    """Return what is signed, without the optional version. Raises as `_elements` does."""
    ((_, whole),) = _elements(certificate)
    _, body = next(_elements(whole))
    return [(tag, content) for tag, content in _elements(body) if tag != _CONTEXT_0]


def _attribute(pair: bytes) -> str:
    (_, kind), (tag, value) = _elements(pair)
    encoding = "utf-16-be" if tag == _BMP_STRING else "utf-8"
    return f"{_ATTRIBUTES[kind]}={value.decode(encoding, 'replace')}" if kind in _ATTRIBUTES else ""


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split a sequence into tags and contents. Raises `ValueError` or `IndexError` if it is not DER."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & _SIZE_FOLLOWS:
            size = length ^ _SIZE_FOLLOWS
            length, at = int.from_bytes(data[at : at + size]), at + size
        if at + length > len(data):
            raise ValueError("cut off")
        yield tag, data[at : at + length]
        at += length
