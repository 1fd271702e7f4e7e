import pytest
from hypothesis import given
from pydantic import ValidationError

from service.words.omni.destination import Destination, To
from tests.unit.strategy import law, written_phones


@pytest.mark.parametrize(
    ("written", "posted"),
    [
        ("41793026727", "41793026727"),
        ("+41793026727", "41793026727"),
        ("0041793026727", "41793026727"),
        ("+41 79 302 67 31", "41793026731"),
        ("+41-79-302-67-31", "41793026731"),
        ("41.79.302.67.31", "41793026731"),
        ("+1 (202) 555-0147", "12025550147"),
        ("(+41) 79 302 67 31", "41793026731"),
        ("+41\u00a079\t302 67 31", "41793026731"),
        ("12345", "12345"),
        ("123456789012345", "123456789012345"),
    ],
)
def test_a_phone_number_is_posted_as_digits(written: str, posted: str) -> None:
    assert To.model_validate({"phoneNumber": written}).phone_number == posted


@pytest.mark.parametrize(
    "written",
    [
        "",
        "+",
        "00",
        "1234",
        "1234567890123456",
        "000012345",
        "+0041793026727",
        "000041793026727",
        "call me",
        "41793026727x",
        "41793026727\n",
        "٤١٧٩٣٠٢٦٧٢٧",
        "41/79/302/67/31",
        "++41793026727",
        "41793026727,41793026731",
        41793026727,
        41793026727.0,
        True,
        ["41793026727"],
        {},
    ],
)
def test_what_is_then_not_5_to_15_ascii_digits_is_a_fault(written: object) -> None:
    with pytest.raises(ValidationError):
        To.model_validate({"phoneNumber": written})


@law
@given(written=written_phones)
def test_a_posted_number_is_read_again_as_it_is(written: str) -> None:
    posted = To.model_validate({"phoneNumber": written}).phone_number

    assert posted is not None
    assert posted in "".join(character for character in written if character.isdigit())
    assert To.model_validate({"phoneNumber": posted}).phone_number == posted


@pytest.mark.parametrize(
    "address",
    ["email@example.com", "a@b.c", "first.last+tag@mail.example.co.uk", "ümläut@exämple.ch", "x" * 64 + "@b.c"],
)
def test_an_email_address_needs_only_the_shape_of_one(address: str) -> None:
    assert To.model_validate({"emailAddress": address}).email_address == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "email",
        "@example.com",
        "email@",
        "email@example",
        "email@.com",
        "email@example.",
        "email@example..com",
        "e mail@example.com",
        "email@example.com\n",
        "a@b@example.com",
        "x" * 65 + "@example.com",
        "email@" + "x" * 250 + ".com",
        5,
    ],
)
def test_what_no_mail_could_reach_is_a_fault(address: object) -> None:
    with pytest.raises(ValidationError):
        To.model_validate({"emailAddress": address})


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
