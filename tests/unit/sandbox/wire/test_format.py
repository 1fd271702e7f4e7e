import pytest

from service.sandbox.wire.format import Format, answer_format, body_format


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("application/json", Format.JSON),
        ("Application/JSON ; charset=utf-8", Format.JSON),
        ("application/xml", Format.XML),
        ("text/xml", None),
        ("application/jsonp", None),
        ("", None),
    ],
)
def test_the_format_of_a_body_is_its_media_type(content_type: str, form: Format | None) -> None:
    assert body_format(content_type) is form


@pytest.mark.parametrize(
    ("accept", "content_type", "form"),
    [
        ("", "application/xml", Format.XML),
        ("*/*", "application/xml", Format.XML),
        ("*/*", "application/json", Format.JSON),
        ("application/json", "application/xml", Format.JSON),
        ("application/xml", "application/json", Format.XML),
        ("application/xml;q=0.4, application/json;q=0.5", "application/xml", Format.JSON),
        ("application/json, application/xml", "application/xml", Format.XML),
        ("application/xml;q=0", "application/json", Format.JSON),
        ("text/html", "application/xml", Format.XML),
        ("application/xml;q=nan", "application/json", Format.XML),
        ("", "", Format.JSON),
    ],
)
def test_a_response_has_the_format_of_its_request_unless_accept_prefers_the_other(
    accept: str, content_type: str, form: Format
) -> None:
    assert answer_format(accept, content_type) is form
