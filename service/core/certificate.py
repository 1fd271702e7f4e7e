"""Who issued a certificate: read from its bytes (X.509, RFC 5280; DER, X.690), for a log line about one not trusted."""

from collections.abc import Iterator
from typing import Final

from service.core.printable import printable

_CONTEXT_0: Final = 0xA0
_SIZE_FOLLOWS: Final = 0x80
_BMP_STRING: Final = 0x1E
_ATTRIBUTES: Final = {b"\x55\x04\x03": "CN", b"\x55\x04\x0a": "O", b"\x55\x04\x0b": "OU"}
_LONGEST: Final = 200


def read_issuer(certificate: bytes) -> str:
    """Return the issuer as `CN=…, O=…`, at most 200 printable characters; empty if it cannot be read.

    The bytes may come from an attacker, so this is total.
    """
    try:
        ((_, whole),) = _elements(certificate)
        _, body = next(_elements(whole))
        parts = [content for tag, content in _elements(body) if tag != _CONTEXT_0]  # without the optional version
        _serial, _algorithm, issuer, *_ = parts
        names = [_attribute(pair) for _, group in _elements(issuer) for _, pair in _elements(group)]
    except (ValueError, IndexError, StopIteration):
        return ""
    return printable(", ".join(filter(None, names)))[:_LONGEST]


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
