from service.adapters.tls import UntrustedCertificateError, untrusted


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
