"""SMS. Source: the vendor's specification; limits of a message from its status 25 and its SMS pages."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from service.words.omni.channel.step import Step, Text
from service.words.omni.model import Strict

MAX_PARTS: Final = 25
MAX_BYTES: Final = 4000

_SHORT: Final = MAX_PARTS * 67 // 2
"""Characters that fit in any encoding: each takes two units at most, and a part holds 67 at least."""

Encoding = Literal["gsm7", "national", "ucs2"]
"""gsm7: the GSM alphabet. national: the same with a language's shift. ucs2: everything else, two bytes a unit."""

_BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED: Final = frozenset("\f^{}\\[~]|€")
_NATIONAL: Final[Mapping[str, frozenset[str]]] = {
    "TR": frozenset("ĞğİıŞşçÇ"),
    "ES": frozenset("ÁáÍíÓóÚúç"),
    "PT": frozenset("êçÔôÁáÊÍíÓóÚúÃãÕõâÂÀªº∞"),
}
_LIMITS: Final[Mapping[Encoding, tuple[int, int]]] = {"gsm7": (160, 153), "national": (155, 149), "ucs2": (70, 67)}
"""Units in a lone part, and in each of several."""


class Size(NamedTuple):
    """What a text comes to on the air."""

    encoding: Encoding
    units: int
    parts: int

    @property
    def octets(self) -> int:
        """Bytes of text, without headers."""
        return self.units * (2 if self.encoding == "ucs2" else 1)


class Language(Strict):
    """The national language shift."""

    language_code: Literal["NONE", "TR", "ES", "PT", "AUTODETECT"]


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


Transliteration = Literal[
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


class Sms(Step):
    """A text message of at most 25 parts and 4000 bytes."""

    text: Text
    language: Language | None = None
    transliteration: Transliteration | None = None
    regional: Regional | None = None

    @property
    def size(self) -> Size:
        """Tell encoding and parts. A transliterated text is taken for the GSM alphabet, which it is turned into."""
        code = self.language.language_code if self.language else "NONE"
        if self.transliteration not in {None, "NONE"}:
            return _sized("gsm7", len(self.text))
        if _BASIC.issuperset(self.text):
            return _sized("gsm7", len(self.text))
        foreign = frozenset(self.text) - _BASIC - _EXTENDED
        if not foreign:
            return _sized("gsm7", len(self.text) + sum(map(self.text.count, _EXTENDED)))
        shifts = _NATIONAL.values() if code == "AUTODETECT" else [_NATIONAL.get(code, frozenset())]
        if any(shift >= foreign for shift in shifts):
            return _sized("national", len(self.text) * 2)  # the most it can come to: each shifted one takes two
        return _sized("ucs2", len(self.text.encode("utf-16-be", "surrogatepass")) // 2)

    @model_validator(mode="after")
    def _sendable(self) -> Self:
        if len(self.text) <= _SHORT:
            return self
        size = self.size
        if size.parts > MAX_PARTS or size.octets > MAX_BYTES:
            raise PydanticCustomError("sms_size", "text must fit into 25 SMS parts and 4000 bytes")
        return self


def _sized(encoding: Encoding, units: int) -> Size:
    alone, joined = _LIMITS[encoding]
    return Size(encoding, units, 1 if units <= alone else -(-units // joined))
