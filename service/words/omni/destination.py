"""Where a message goes."""

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from service.words.omni.model import Strict

_DECORATION: Final = str.maketrans("", "", " -.()\u00a0\t")
_NUMBER: Final = re.compile(r"[0-9]{5,15}", re.ASCII)

EMAIL: Final = r"^[^\s@]{1,64}@[^\s@.]+(\.[^\s@.]+)+$"
"""Only the shape: whether a mailbox exists is known to nobody before it is tried."""


def digits(value: object) -> object:
    """Strip a phone number to the digits OMNI wants: no `+`, `00`, spaces, dashes, dots, parentheses.

    Source: the vendor's request fundamentals (international format, digits only); length by E.164.
    """
    if not isinstance(value, str):
        return value
    bare = value.translate(_DECORATION).removeprefix("+").removeprefix("00")
    if not _NUMBER.fullmatch(bare):
        raise PydanticCustomError("phone_number", "must be an international number of 5 to 15 digits")
    return bare


class To(Strict):
    """The addresses of one person; a scenario's steps use whichever they need."""

    phone_number: Annotated[str, BeforeValidator(digits)] | None = None
    email_address: Annotated[str, Field(max_length=254, pattern=EMAIL)] | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> "To":
        if self.phone_number is None and self.email_address is None:
            raise PydanticCustomError("no_address", "needs at least one address: phoneNumber or emailAddress")
        return self


MessageId = Annotated[str, Field(min_length=1, max_length=200)]
"""Unpublished for OMNI; 200 in the vendor's other products."""


class Destination(Strict):
    """One message of a request: an address, and the id it is known by."""

    to: To
    message_id: MessageId | None = None
