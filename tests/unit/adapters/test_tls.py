import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.adapters.tls import (
    UntrustedCertificateError,
    client_certificate_fault,
    client_context,
    last_client_context,
    untrusted,
)
from tests.support.tls import certificate


def test_a_refused_certificate_is_found_among_the_causes() -> None:
    refused, wrapped, outer = UntrustedCertificateError("expired"), OSError(), ConnectionError()
    wrapped.__context__ = refused
    outer.__cause__ = wrapped

    assert untrusted(outer) is refused
    assert untrusted(None) is None


def test_causes_that_form_a_circle_have_an_end() -> None:
    first, second = OSError(), ConnectionError()
    first.__cause__, second.__context__ = second, first

    assert untrusted(first) is None


@pytest.mark.parametrize("broken", ["", "hello", "-----BEGIN CERTIFICATE-----\nMIIB", None])
def test_files_that_cannot_be_used_change_nothing_and_are_refused_if_they_never_could(
    tmp_path: Path, broken: str | None
) -> None:
    files, authority, own = certificate(tmp_path), tmp_path / "authorities.pem", tmp_path / "own.pem"

    def write(path: Path, text: str | None) -> None:
        path.unlink() if text is None else path.write_text(text)

    def make() -> ssl.SSLContext:
        return last_client_context(str(authority), None, str(own), str(files[1]))

    for path in (authority, own):
        path.write_text(files[0].read_text())
    for path in (authority, own):
        first = make()
        write(path, broken)
        assert make() is first
        with pytest.raises(OSError):  # noqa: PT011 - any of OpenSSL's or of the system's
            client_context(str(authority), None, str(own), str(files[1]))
        path.write_text(files[0].read_text())
        assert make() is not first
    write(authority, broken)
    with pytest.raises(OSError):  # noqa: PT011 - any of OpenSSL's or of the system's
        last_client_context(str(authority))


def test_a_client_certificate_is_the_cause_if_the_server_says_so_or_if_it_has_ended(tmp_path: Path) -> None:
    (file, _), now = certificate(tmp_path), datetime.now(UTC)
    file.write_bytes(b"A comment\n" + file.read_bytes())
    later, lost = now + timedelta(days=365), ConnectionResetError("reset")
    for alert in ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLSV1_ALERT_UNKNOWN_CA"):
        fault = client_certificate_fault(OSError(f"SSLError(1, '[SSL: {alert}] … (_ssl.c:2580)')"), str(file), now)
        assert str(fault) == f"the server answers {alert.partition('ALERT_')[2].replace('_', ' ').lower()}"
    assert client_certificate_fault(lost, str(file), now) is None
    ended = client_certificate_fault(lost, str(file), later)
    assert str(ended).startswith(f"the client certificate ended at {now.year}")
    for broken in ("", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"):
        file.write_text(broken)
        assert client_certificate_fault(lost, str(file), later) is None
    assert client_certificate_fault(lost, str(tmp_path / "missing"), later) is None
