"""What a message says, channel by channel. Source: the OMNI advanced request.

`validityPeriod` is how long a step may try before the scenario goes on to the next; the vendor allows
30 seconds to 48 hours and counts in minutes unless told otherwise.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, PlainSerializer, model_validator
from pydantic_core import PydanticCustomError

from service.words.omni.model import Strict

Text = Annotated[str, Field(min_length=1)]

MIN_VALIDITY: Final = 30
MAX_VALIDITY: Final = 48 * 3600
_UNITS: Final[Mapping[str, int]] = {"SECONDS": 1, "MINUTES": 60, "HOURS": 3600}


def _number(value: object) -> object:
    """Read a whole number that came as text: one of the vendor's pages calls `validityPeriod` a string."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def vendor_time(instant: datetime) -> str:
    """Render an instant as the vendor writes it: `yyyy-MM-dd'T'HH:mm:ss.SSSZ`, in UTC."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "+0000"


VendorTime = Annotated[AwareDatetime, PlainSerializer(vendor_time, return_type=str)]


class Channel(Strict):
    """What every channel's content has."""

    text: Text
    validity_period: Annotated[int, BeforeValidator(_number)] | None = None
    validity_period_time_unit: Literal["SECONDS", "MINUTES", "HOURS"] | None = None

    @model_validator(mode="after")
    def _within_limits(self) -> "Channel":
        if self.validity_period is not None:
            seconds = self.validity_period * _UNITS[self.validity_period_time_unit or "MINUTES"]
            if not MIN_VALIDITY <= seconds <= MAX_VALIDITY:
                raise PydanticCustomError("validity", "validityPeriod must be from 30 seconds to 48 hours")
        return self


class Language(Strict):
    """The national language shift of an SMS."""

    language_code: Literal["NONE", "TR", "ES", "PT", "AUTODETECT"]


class Sms(Channel):
    """A text message."""

    language: Language | None = None
    transliteration: (
        Literal[
            "NONE",
            "ALL",
            "BALTIC",
            "BULGARIAN_CYRILLIC",
            "CENTRAL_EUROPEAN",
            "COLOMBIAN",
            "CYRILLIC",
            "GREEK",
            "NON_UNICODE",
            "PORTUGUESE",
            "SERBIAN_CYRILLIC",
            "TURKISH",
        ]
        | None
    ) = None


class Viber(Channel):
    """A Viber message."""


class Voice(Channel):
    """A call that reads the text out."""


class Facebook(Channel):
    """A Messenger message. Legacy: absent from the vendor's current specification."""


class Email(Channel):
    """An e-mail in plain text."""

    subject: Text | None = None


class Content(Strict):
    """Everything an advanced request says, apart from to whom."""

    bulk_id: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    scenario_key: Text | None = None
    sms: Sms | None = None
    viber: Viber | None = None
    voice: Voice | None = None
    facebook: Facebook | None = None
    email: Email | None = None
    send_at: VendorTime | None = None


CHANNELS: Final = ("sms", "viber", "voice", "facebook", "email")
"""Names of the channel objects of a `Content`, as OMNI spells them."""
