"""Where a message goes."""

import re
from typing import Annotated, Final, overload

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from service.words.omni.model import Strict

_DECORATION: Final = str.maketrans("", "", " -.()\u00a0\t")
_NUMBER: Final = re.compile(r"(?!00)[0-9]{5,15}", re.ASCII)

ADDRESSES: Final = ("phoneNumber", "emailAddress", "pushRegistrationId", "whatsAppUserId")
"""Names of the addresses, as OMNI spells them."""

EMAIL: Final = r"^[^\s@]{1,64}@[^\s@.]+(\.[^\s@.]+)+$"
"""Only the shape: whether a mailbox exists is known to nobody before it is tried."""


@overload
def digits(value: str) -> str: ...
@overload
def digits(value: object) -> object: ...
def digits(value: object) -> object:
    """Strip a phone number to the digits OMNI wants: no `+`, `00`, spaces, dashes, dots, parentheses.

    Source: the vendor's request fundamentals (international format, digits only); length by E.164.
    """
    if not isinstance(value, str):
        return value
    bare = value.translate(_DECORATION)
    bare = bare[1:] if bare.startswith("+") else bare.removeprefix("00")
    if not _NUMBER.fullmatch(bare):
        raise PydanticCustomError("phone_number", "must be an international number of 5 to 15 digits")
    return bare


class To(Strict):
    """The addresses of one person; a scenario's steps use whichever they need."""

    phone_number: Annotated[str, BeforeValidator(digits)] | None = None
    email_address: Annotated[str, Field(max_length=254, pattern=EMAIL)] | None = None
    push_registration_id: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    whats_app_user_id: Annotated[str, Field(max_length=150, pattern=r"^[A-Z]{2}\.[A-Za-z0-9]+$")] | None = None
    """The id of a business's user, `CC.…`; where a number is given too, that is used."""

    def written(self) -> dict[str, str]:
        """Give what is known, by OMNI's names."""
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
    """One message of a request: an address, and the id it is known by."""

    to: To
    message_id: MessageId | None = None
