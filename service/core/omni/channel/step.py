"""What every channel's content has: how long its step of the scenario may try.

Source: the vendor's specification for the units, the OMNI pages for the limits. The pages know seconds, minutes
and hours only, so other units are turned into those; minutes where none is given.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from service.core.omni.model import Strict

Text = Annotated[str, Field(min_length=1)]
Url = Annotated[str, Field(pattern=r"^(?i:https?)://[^\s/?#]+[^\s]*$")]
"""An address on the web; each field adds its own length. The case of a scheme does not count: RFC 3986, 3.1."""


def _finite(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise PydanticCustomError("not_json", "must hold only what JSON can say: no NaN, no infinite number") from None
    return value


FreeObject = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
"""An object of any keys."""

MIN_VALIDITY: Final = 30
MAX_VALIDITY: Final = 48 * 3600

Unit = Literal["NANOSECONDS", "MICROSECONDS", "MILLISECONDS", "SECONDS", "MINUTES", "HOURS", "DAYS"]
NANOSECONDS: Final[Mapping[Unit, int]] = {
    "NANOSECONDS": 1,
    "MICROSECONDS": 10**3,
    "MILLISECONDS": 10**6,
    "SECONDS": 10**9,
    "MINUTES": 60 * 10**9,
    "HOURS": 3600 * 10**9,
    "DAYS": 86400 * 10**9,
}
_SPOKEN: Final = frozenset({"SECONDS", "MINUTES", "HOURS"})


_DIGITS: Final = re.compile(r"[0-9]{1,19}", re.ASCII)


def _number(value: object) -> object:
    """Read a whole number that came as text: one of the vendor's pages calls `validityPeriod` a string."""
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value


class Step(Strict):
    """The content of one channel. `validityPeriod` is how long it may try before the scenario goes on."""

    min_validity: ClassVar[int] = MIN_VALIDITY
    max_validity: ClassVar[int] = MAX_VALIDITY
    """Seconds. The vendor shortens a longer period without a word, so it is refused here."""

    validity_period: Annotated[int, BeforeValidator(_number)] | None = None
    validity_period_time_unit: Unit | None = None

    @model_validator(mode="after")
    def _valid_for(self) -> Self:
        if self.validity_period is None:
            return self
        unit = self.validity_period_time_unit or "MINUTES"
        nanoseconds = self.validity_period * NANOSECONDS[unit]
        if not self.min_validity * 10**9 <= nanoseconds <= self.max_validity * 10**9:
            bounds = {"seconds": self.min_validity, "hours": self.max_validity // 3600}
            raise PydanticCustomError("validity", "validityPeriod must be {seconds} seconds to {hours} hours", bounds)
        if unit in _SPOKEN:
            return self
        seconds = -(-nanoseconds // 10**9)  # part of one counts as a whole
        return self.model_copy(update={"validity_period": seconds, "validity_period_time_unit": "SECONDS"})
