import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.attempt.oauth import (
    Token,
    TokenFailure,
    describe_failure,
    life,
    lifetime,
    read_token,
    renewal_wait,
    retry_wait,
)
from service.core.attempt.outcome import Denied, Unavailable
from tests.support.builder import NOW
from tests.unit.strategy import law, nonsense

GOOD = b'{"access_token":"t","expires_in":100}'
ENVELOPE = b'{"requestError":{"serviceException":{"messageId":"UNAUTHORIZED"}}}'


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (100, 100),
        (99.5, 99.5),
        ("100", 100),
        (None, 3600),
        ("soon", 3600),
        (True, 3600),
        ([], 3600),
        (float("nan"), 3600),
        ("nan", 3600),
        (0, 30),
        (-5, 30),
        (float("-inf"), 30),
        (9223372036854775807, 86400),
        (10**400, 86400),
        (-(10**400), 30),
        (float("inf"), 86400),
        ("1e999", 86400),
    ],
)
def test_a_token_is_used_for_as_long_as_makes_sense(expires_in: object, seconds: float) -> None:
    assert lifetime(expires_in) == seconds


def test_a_token_is_read_from_a_success_alone() -> None:
    assert read_token(200, {}, GOOD, NOW) == Token("t", 100)
    assert Token("t", 100).lifetime == 100
    for status in (100, 401, 403, 404, 429, 500, 503, 999):
        assert read_token(status, {}, GOOD, NOW) == Unavailable("no_token")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_token_may_come_in_any_unicode_encoding(encoding: str) -> None:
    assert read_token(200, {}, GOOD.decode().encode(encoding), NOW) == Token("t", 100)
    assert read_token(401, {}, '{"error":"x"}'.encode(encoding), NOW) == Denied("token_http_401")


@pytest.mark.parametrize("body", [b'{"error":"invalid_client"}', ENVELOPE])
def test_credentials_are_refused_if_the_server_says_so(body: bytes) -> None:
    for status in (400, 401, 403, 404):
        assert read_token(status, {}, body, NOW) == Denied(f"token_http_{status}")
    for status in (200, 408, 425, 429, 500, 503):
        assert read_token(status, {"retry-after": "7"}, body, NOW) == Unavailable("no_token", 7.0)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"error":""}', b'{"error":{}}', b"{}", b'{"error":"x"}' + b" " * 2**16]
)
def test_a_page_refuses_nothing(body: bytes) -> None:
    meant = read_token(403, {}, body, NOW)

    assert meant == (Denied("token_http_403") if body.strip() == b'{"error":"x"}' else Unavailable("no_token"))


def test_a_redirect_is_for_a_person_to_mend() -> None:
    assert read_token(302, {}, GOOD, NOW) == Denied("token_http_302")


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (1, 1),
        (0.2, 0.2),
        ("7", 7),
        (3600, 3600),
        (None, 300),
        ("soon", 300),
        (True, 300),
        ([], 300),
        ("nan", 300),
        (0, 300),
        (-5, 300),
        (float("-inf"), 300),
        (-(10**400), 300),
        (10**400, 86400),
        ("1e999", 86400),
        (2**63, 86400),
    ],
)
def test_a_brokers_token_lives_for_as_long_as_the_server_says(expires_in: object, seconds: float) -> None:
    assert life(Token("opaque", expires_in)) == seconds


@pytest.mark.parametrize(
    ("claims", "expires_in", "seconds"),
    [
        ({"iat": 1_700_000_000, "exp": 1_700_000_060}, None, 60),
        ({"iat": 1_700_000_000, "exp": 1_700_000_060}, 10**400, 60),
        ({"iat": 1_700_000_000, "exp": 1_700_000_060}, -5, 60),
        ({"iat": 1_700_000_000, "exp": 1_700_000_060}, 20, 20),
        ({"iat": 60, "exp": 0}, 20, 20),
        ({"exp": 1_700_000_060}, 20, 20),
        ({"iat": "a", "exp": "b"}, None, 300),
        ({"iat": [], "exp": None}, None, 300),
        ([], None, 300),
    ],
)
def test_a_json_web_token_says_itself_how_long_it_lives(claims: object, expires_in: object, seconds: float) -> None:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    assert life(Token(f"head.{payload}.signature", expires_in)) == seconds


@pytest.mark.parametrize("token", ["", ".", "a.b.c", "a.é.c", "a.eyJ.c", "a.bm90IEpTT04.c"])
def test_a_token_that_cannot_be_read_lives_as_long_as_an_unknown_one(token: str) -> None:
    assert life(Token(token)) == 300


def test_a_brokers_token_is_renewed_about_half_of_its_life_before_it_ends() -> None:
    assert renewal_wait(3600, 0.0) == 1800
    assert 1620 < renewal_wait(3600, 0.999) < 1800
    assert renewal_wait(1, 0.0) == 0.5
    assert renewal_wait(0.001, 0.0) == 0.25


def test_the_token_server_is_asked_again_after_growing_pauses() -> None:
    assert [retry_wait(failures, 1.0) for failures in (1, 2, 3, 6, 10**6)] == [0.5, 1, 2, 10, 10]
    assert retry_wait(1, 0.0) == 0.25
    assert [retry_wait(1, 1.0, asked) for asked in (0.0, 7.0, 3600.0)] == [0.5, 7, 60]


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (401, b'{"error":"invalid_client"}', TokenFailure("client_refused", "the token server answers HTTP 401")),
        (302, GOOD, TokenFailure("no_token", "the token server answers HTTP 302")),
        (200, b"<html>", TokenFailure("no_token", "the token server answers HTTP 200 without a token", 7.0)),
        (503, b"", TokenFailure("no_token", "the token server answers HTTP 503 without a token", 7.0)),
    ],
)
def test_an_answer_without_a_token_has_a_cause(status: int, body: bytes, failure: TokenFailure) -> None:
    found = read_token(status, {"retry-after": "7"}, body, NOW)

    assert not isinstance(found, Token)
    assert describe_failure(found, status) == failure


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | nonsense
bodies = st.one_of(
    st.binary(max_size=80),
    nonsense.map(lambda value: json.dumps(value).encode()),
    st.builds(lambda token, life: json.dumps({"access_token": token, "expires_in": life}).encode(), values, values),
    st.builds(lambda error: json.dumps({"error": error}).encode(), values),
    st.sampled_from([GOOD, ENVELOPE, b"<ApiException/>", b"\xef\xbb\xbf{}"]),
)


@law
@given(status=st.integers(0, 999), retry_after=st.text(max_size=30), body=bodies)
def test_any_answer_is_a_token_or_a_reason(status: int, retry_after: str, body: bytes) -> None:
    meant = read_token(status, {"retry-after": retry_after}, body, NOW)

    match meant:
        case Token(value) as token:
            assert 200 <= status <= 299
            assert value.isascii()
            assert value.isprintable()
            assert 30 <= token.lifetime <= 86400
        case Denied(cause):
            assert 300 <= status <= 499
            assert cause == f"token_http_{status}"
        case Unavailable(cause):
            assert cause == "no_token"
