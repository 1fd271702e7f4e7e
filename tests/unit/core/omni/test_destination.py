import pytest
from hypothesis import given
from pydantic import ValidationError

from service.core.omni.destination import Destination, To
from tests.unit.strategy import law, written_phones


@law
@given(written=written_phones)
def test_a_posted_number_is_read_again_as_it_is(written: str) -> None:
    posted = To.model_validate({"phoneNumber": written}).phone_number

    assert posted is not None
    assert posted in "".join(character for character in written if character.isdigit())
    assert To.model_validate({"phoneNumber": posted}).phone_number == posted


@pytest.mark.parametrize("to", [{}, {"phoneNumber": None}, {"phoneNumber": None, "emailAddress": None}])
def test_a_person_needs_at_least_one_address(to: object) -> None:
    with pytest.raises(ValidationError, match="needs at least one address"):
        To.model_validate(to)


@pytest.mark.parametrize("message_id", ["", "x" * 201, 5, ["m"]])
def test_a_message_id_has_1_to_200_characters(message_id: object) -> None:
    with pytest.raises(ValidationError):
        Destination.model_validate({"to": {"phoneNumber": "41793026727"}, "messageId": message_id})


def test_a_message_id_of_200_characters_fits() -> None:
    given = Destination.model_validate({"to": {"phoneNumber": "41793026727"}, "messageId": "x" * 200})

    assert given.message_id == "x" * 200
