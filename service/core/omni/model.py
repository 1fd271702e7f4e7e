"""Two bases of models: strict for requests, lenient for OMNI's answers.

The vendor may add fields to its answers at any time, so unknown ones are ignored there. In a request an unknown field
is a mistake, which would be hidden if it were passed on silently.
"""

from pydantic import BaseModel, ConfigDict, ValidationError, ValidatorFunctionWrapHandler
from pydantic.alias_generators import to_camel


class Strict(BaseModel):
    """Refuses unknown fields and wrong types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel, validate_by_name=True)


class Lenient(BaseModel):
    """Ignores unknown fields, and accepts a number for a text."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, coerce_numbers_to_str=True
    )


def or_none(value: object, read: ValidatorFunctionWrapHandler) -> object:
    """Validate a part; None if it is invalid, so that the rest can be read."""
    try:
        return read(value)
    except ValidationError:
        return None
