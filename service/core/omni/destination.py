"""The recipient of a message."""

from typing import Annotated, Final

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from service.core.omni.email_address import EmailAddress
from service.core.omni.model import Strict
from service.core.omni.phone import digits

ADDRESSES: Final = ("phoneNumber", "emailAddress", "pushRegistrationId", "whatsAppUserId")
"""Names of the addresses, as OMNI spells them, in the order of `To` and of what OMNI repeats."""

PhoneNumber = Annotated[str, BeforeValidator(digits)]


class To(Strict):
    """The addresses of one person. Each step of a scenario uses the one that it needs."""

    phone_number: PhoneNumber | None = None
    email_address: EmailAddress | None = None
    push_registration_id: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    whats_app_user_id: Annotated[str, Field(max_length=150, pattern=r"^[A-Z]{2}\.[A-Za-z0-9]+$")] | None = None
    """The id of a business's user, `CC.…`. OMNI prefers a phone number if one is given too."""

    def written(self) -> dict[str, str]:
        """Return the addresses that are given, by OMNI's names."""
        fields = vars(self)
        return {alias: value for name, alias in _ALIASES if (value := fields[name]) is not None}

    @model_validator(mode="after")
    def _somewhere(self) -> "To":
        if not any((self.phone_number, self.email_address, self.push_registration_id, self.whats_app_user_id)):
            raise PydanticCustomError(
                "no_address",
                "needs at least one address: phoneNumber, emailAddress, pushRegistrationId, whatsAppUserId",
            )
        return self


_ALIASES: Final = tuple((name, field.alias or name) for name, field in To.model_fields.items())

MessageId = Annotated[str, Field(min_length=1, max_length=200)]
"""Unpublished for OMNI; 200 in the vendor's other products."""


class Destination(Strict):
    """One message of a request: its recipient, and its id."""

    to: To
    message_id: MessageId | None = None
