from collections.abc import Mapping

import pytest
from pydantic import BaseModel

from service.core.attempt.address import is_logged_for, repeats
from service.core.omni.answer import SentTo
from service.core.omni.destination import ADDRESSES, To
from tests.support.builder import EMAIL, OTHER_PHONE, PHONE

PHONE_ONLY = {"phoneNumber": PHONE}
EMAIL_ONLY = {"emailAddress": EMAIL}
BOTH = {"phoneNumber": PHONE, "emailAddress": EMAIL}
DEVICE = {"pushRegistrationId": "device-1"}
USER = {"whatsAppUserId": "US.1"}
PHONE_AND_DEVICE = {"phoneNumber": PHONE, "pushRegistrationId": "device-1"}


@pytest.mark.parametrize(
    ("sent", "to", "same"),
    [
        (SentTo(), PHONE_ONLY, True),
        (SentTo(phone_number=PHONE), PHONE_ONLY, True),
        (SentTo(phone_number=f"00{PHONE}"), PHONE_ONLY, True),
        (SentTo(phone_number=OTHER_PHONE), PHONE_ONLY, False),
        (SentTo(phone_number=PHONE, email_address=EMAIL), PHONE_ONLY, True),
        (SentTo(email_address=EMAIL), PHONE_ONLY, False),
        (SentTo(email_address="Email@Example.com"), EMAIL_ONLY, True),
        (SentTo(push_registration_id="device-1"), DEVICE, True),
        (SentTo(push_registration_id="device-2"), DEVICE, False),
        (SentTo(whats_app_user_id="US.1"), USER, True),
        (SentTo(phone_number=PHONE, email_address="x@example.com"), BOTH, False),
    ],
)
def test_an_answer_repeats_addresses_that_were_posted(sent: SentTo, to: Mapping[str, str], *, same: bool) -> None:
    assert repeats(sent, to) is same


@pytest.mark.parametrize(
    ("logged", "to", "same"),
    [
        (None, PHONE_ONLY, True),
        (" ", PHONE_ONLY, True),
        (PHONE, PHONE_ONLY, True),
        (f"+{PHONE}", PHONE_ONLY, True),
        (OTHER_PHONE, PHONE_ONLY, False),
        (OTHER_PHONE, BOTH, False),
        (EMAIL.upper(), BOTH, True),
        ("x@example.com", BOTH, False),
        (EMAIL, PHONE_ONLY, False),
        (PHONE, EMAIL_ONLY, False),
        (PHONE, USER, True),  # OMNI may know the number of a WhatsApp user
        ("device-1", DEVICE, True),
        ("device-2", DEVICE, False),
        ("a-line-user", PHONE_ONLY, True),
        ("a-line-user", PHONE_AND_DEVICE, True),
    ],
)
def test_a_log_entry_is_about_the_message_unless_its_address_is_another_persons(
    logged: str | None, to: Mapping[str, str], *, same: bool
) -> None:
    assert is_logged_for(logged, to) is same


@pytest.mark.parametrize("model", [To, SentTo])
def test_posted_and_repeated_addresses_have_one_order(model: type[BaseModel]) -> None:
    assert tuple(field.alias for field in model.model_fields.values()) == ADDRESSES
