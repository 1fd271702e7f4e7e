"""SMS. Source: the vendor's specification; limits of a message from its status 25 and its SMS pages."""

from typing import Annotated, Final, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from service.core.omni.channel.sms_parts import LanguageCode, Parts, Size, Transliteration, size_of, split
from service.core.omni.channel.step import Step, Text
from service.core.omni.model import Strict

MAX_PARTS: Final = 25
MAX_BYTES: Final = 4000

FITS_ALWAYS: Final = MAX_PARTS * 33
"""Characters that fit in any encoding: a part holds 33 surrogate pairs at least."""
LONGEST_TEXT: Final = MAX_PARTS * 153
"""Characters of the longest text that fits: a part holds 153 characters at most."""


class Language(Strict):
    """The national language shift."""

    language_code: LanguageCode


class IndiaDlt(Strict):
    """Registration with India's DLT; `telemarketerId` is for aggregators."""

    principal_entity_id: Text
    content_template_id: Text | None = None
    telemarketer_id: Text | None = None


class Korea(Strict):
    """What Korean networks want."""

    title: Annotated[str, Field(max_length=66)] | None = None


class Regional(Strict):
    """Rules of single countries."""

    india_dlt: IndiaDlt | None = None
    korea: Korea | None = None


class Sms(Step):
    """A text message of at most 25 parts and 4000 bytes."""

    text: Text
    language: Language | None = None
    transliteration: Transliteration | None = None
    regional: Regional | None = None

    @property
    def size(self) -> Size:
        """The encoding, and the number of units and parts."""
        language = self.language.language_code if self.language else "NONE"
        return size_of(self.text, language, self.transliteration or "NONE")

    @property
    def parts(self) -> Parts:
        """The text, divided into its parts."""
        language = self.language.language_code if self.language else "NONE"
        return split(self.text, language, self.transliteration or "NONE")

    @model_validator(mode="after")
    def _sendable(self) -> Self:
        if len(self.text) <= FITS_ALWAYS:
            return self
        if len(self.text) <= LONGEST_TEXT:
            size = self.size
            if size.parts <= MAX_PARTS and size.octets <= MAX_BYTES:
                return self
        raise PydanticCustomError("sms_size", "text must fit into 25 SMS parts and 4000 bytes")
