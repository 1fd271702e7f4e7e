import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.certificate import read_end, read_issuer

# Made by: openssl req -x509 … -subj '/O=Example Corp/OU=Web gateway/CN=Inspection CA'
CERTIFICATE = base64.b64decode(
    "MIIB+zCCAaGgAwIBAgIUVFZy2ZVK4ZDvkY1x9cfc9mLY24kwCgYIKoZIzj0EAwIwUjELMAkGA1UEBhMCQ0gxFTATBgNVBAoMDEV4"
    "YW1wbGUgQ29ycDEUMBIGA1UECwwLV2ViIGdhdGV3YXkxFjAUBgNVBAMMDUluc3BlY3Rpb24gQ0EwIBcNMjYxMTI2MDEyMzAyWhgP"
    "MjEyNjExMDIwMTIzMDJaMFIxCzAJBgNVBAYTAkNIMRUwEwYDVQQKDAxFeGFtcGxlIENvcnAxFDASBgNVBAsMC1dlYiBnYXRld2F5"
    "MRYwFAYDVQQDDA1JbnNwZWN0aW9uIENBMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAErGyJopmPXcvbJYPVnbi4iL1vcqCaz14q"
    "ZUh746ZN+Qs3igVuRi2sdrRoLRl6fldcKDNVeTGMy2Bw+D6mbEnwpaNTMFEwHQYDVR0OBBYEFP63IxSavPpQIudUnnIQ6BAoFn2l"
    "MB8GA1UdIwQYMBaAFP63IxSavPpQIudUnnIQ6BAoFn2lMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAJlIH8E8"
    "GuAdxTTwwVQ2yKQ/HfCiw5NO6xxpXNZrta3KAiAVMLkAEkigL2JVEnSsnNpnreReExTosd8Dv935BdphLA=="
)


def test_the_issuer_is_read_from_a_certificate() -> None:
    assert read_issuer(CERTIFICATE) == "O=Example Corp, OU=Web gateway, CN=Inspection CA"


def test_names_of_two_bytes_a_character_are_read_and_controls_are_not_shown() -> None:
    def tagged(tag: int, *parts: bytes) -> bytes:
        return bytes([tag, len(content := b"".join(parts))]) + content

    name = tagged(0x30, tagged(0x06, b"\x55\x04\x03"), tagged(0x1E, "Zürich\n".encode("utf-16-be")))
    issuer = tagged(0x30, tagged(0x31, name))
    whole = tagged(0x30, tagged(0x30, tagged(0x02, b"\1"), tagged(0x30), issuer))
    assert read_issuer(whole) == "CN=Zürich "


@pytest.mark.parametrize("length", range(len(CERTIFICATE)))
def test_a_part_of_a_certificate_has_no_issuer(length: int) -> None:
    assert read_issuer(CERTIFICATE[:length]) == ""


@given(st.binary(max_size=200), st.integers(0, len(CERTIFICATE) - 1), st.integers(0, 255))
def test_no_bytes_raise(data: bytes, at: int, byte: int) -> None:
    read_issuer(data)
    read_issuer(CERTIFICATE[:at] + bytes([byte]) + CERTIFICATE[at + 1 :])


def test_the_end_is_read_from_both_kinds_of_times_and_from_no_part_of_a_certificate() -> None:
    assert read_end(CERTIFICATE) == datetime(2126, 11, 2, 1, 23, 2, tzinfo=UTC)
    generalized, utc = b"\x18\x0f21261102012302Z", b"\x17\x0d%s1102012302Z"
    assert generalized in CERTIFICATE
    for year, read in ((b"49", 2049), (b"50", 1950)):
        shorter = CERTIFICATE.replace(generalized, utc % year)
        at = shorter.index(b"\x30\x20\x17\x0d")
        whole = shorter[:at] + b"\x30\x1e" + shorter[at + 2 :]
        whole = whole[:2] + (len(whole) - 4).to_bytes(2) + whole[4:]
        body = int.from_bytes(whole[6:8]) - 2
        assert read_end(whole[:6] + body.to_bytes(2) + whole[8:]) == datetime(read, 11, 2, 1, 23, 2, tzinfo=UTC)
    for length in range(len(CERTIFICATE)):
        assert read_end(CERTIFICATE[:length]) is None


@given(st.binary(max_size=200), st.integers(0, len(CERTIFICATE) - 1), st.integers(0, 255))
def test_any_bytes_have_an_end_or_none(data: bytes, at: int, byte: int) -> None:
    changed = bytearray(CERTIFICATE)
    changed[at] = byte
    for one in (data, bytes(changed)):
        assert read_end(one) is None or isinstance(read_end(one), datetime)
