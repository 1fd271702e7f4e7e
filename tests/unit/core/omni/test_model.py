import pytest
from pydantic import ValidationError

from service.core.omni.answer import SentTo
from service.core.omni.destination import To


def test_a_strict_model_refuses_unknown_fields() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        To.model_validate({"phoneNumber": "41793026727", "faxNumber": "41793026727"})


def test_a_lenient_model_ignores_unknown_fields() -> None:
    assert SentTo.model_validate({"phoneNumber": "41793026727", "faxNumber": "x"}).phone_number == "41793026727"


@pytest.mark.parametrize("model", [To(phone_number="41793026727"), SentTo(phone_number="41793026727")])
def test_neither_can_be_changed(model: To | SentTo) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        model.phone_number = "41793026731"  # type: ignore[misc]  # that it is refused is the point
