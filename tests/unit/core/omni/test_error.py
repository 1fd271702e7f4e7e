import json

import pytest
from pydantic import ValidationError

from service.core.omni.error import ApiError, LegacyError


def test_the_legacy_envelope_is_read() -> None:
    body = {
        "requestError": {
            "serviceException": {
                "messageId": "BAD_REQUEST",
                "text": "Bad request",
                "validationErrors": {"content.text": ["must not be blank"], "to": "must not be null"},
            }
        }
    }

    error = LegacyError.model_validate_json(json.dumps(body)).request_error.service_exception

    assert (error.message_id, error.text) == ("BAD_REQUEST", "Bad request")
    assert error.validation_errors == {"content.text": ["must not be blank"], "to": "must not be null"}


def test_the_new_envelope_is_read() -> None:
    body = {
        "errorCode": "E400",
        "description": "Bad request",
        "action": "Check it",
        "violations": [{"property": "to", "violation": "must not be null"}],
        "resources": [{"name": "x", "url": "https://example.com"}],
    }

    error = ApiError.model_validate_json(json.dumps(body))

    assert (error.error_code, error.description) == ("E400", "Bad request")
    assert [(fault.property, fault.violation) for fault in error.violations or ()] == [("to", "must not be null")]


@pytest.mark.parametrize("body", [{}, {"requestError": {}}, {"requestError": None}, {"error": "x"}, [], "x", None])
def test_anything_else_is_neither(body: object) -> None:
    for envelope in (LegacyError, ApiError):
        with pytest.raises(ValidationError):
            envelope.model_validate_json(json.dumps(body))
