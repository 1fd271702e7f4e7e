"""The two temperaments of a model: strict with what is sent to us, lenient with what OMNI answers.

The vendor may add fields to its answers at any time, so what is unknown there is ignored; in a request
an unknown field is a mistake, and passing it on silently would hide it.
"""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Strict(BaseModel):
    """Refuses unknown fields and wrong types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel, validate_by_name=True)


class Lenient(BaseModel):
    """Ignores unknown fields, and takes a number where a text is due."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, coerce_numbers_to_str=True
    )
