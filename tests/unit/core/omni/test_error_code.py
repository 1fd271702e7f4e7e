import pytest

from service.core.omni.error_code import ERRORS, ErrorCode


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode("general", 0, 0, "NO_ERROR", permanent=False),
        ErrorCode("general", 1, 1, "EC_UNKNOWN_SUBSCRIBER", permanent=True),
        ErrorCode("general", 1, 6, "EC_ABSENT_SUBSCRIBER_SM", permanent=False),
        ErrorCode("chat", 1, 7010, "EC_NO_SESSION", permanent=True),
        ErrorCode("chat", 3, 7281, "EC_BAD_ORIGIN", permanent=True),
    ],
)
def test_an_error_is_found_by_its_id(code: ErrorCode) -> None:
    assert ERRORS[code.id] == code


def test_every_error_has_a_name_and_a_group() -> None:
    assert len(ERRORS) > 300
    assert all(id_ == code.id and code.name.isupper() and 0 <= code.group_id <= 3 for id_, code in ERRORS.items())
