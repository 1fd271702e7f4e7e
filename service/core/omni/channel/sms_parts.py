"""What an SMS text takes on the air: its encoding, its parts and where one ends.

A part holds 140 octets. Octets, and the units that remain for text in one part alone and in each of several:

gsm7      160, 153  septets of the GSM alphabet; a character of its extension takes two: an escape, and itself
national  155, 149  septets with one table of a language; 152, 146 with both its locking and its single-shift table
ucs2       70,  67  UTF-16 code units; a character beyond U+FFFF takes two: a surrogate pair

Neither an escape and its character nor the halves of a surrogate pair stand in different parts. Sources: 3GPP TS 23.038
version 18, 6.2.1 and annex A (alphabets, language tables); TS 23.040, 9.2.3.24 (headers, parts); the vendor's page
"National Language Shift" (155; a shifted character takes one off, a character of a locking table none).

The vendor does not publish which table it uses for a text. So the tables that give the fewest parts are assumed: a text
is refused only if it fits in no way. Nor does it publish into what its transliteration tables turn a character. So each
table holds the letters of the languages that it is named for, and each of them counts as one.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Final, Literal, NamedTuple

from service.core.value import dataclass

Encoding = Literal["gsm7", "national", "ucs2"]
LanguageCode = Literal["NONE", "TR", "ES", "PT", "AUTODETECT"]
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

GSM: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""TS 23.038, 6.2.1."""
EXTENSION: Final = frozenset("\f^{}\\[~]|€")
"""TS 23.038, 6.2.1.1."""
SINGLE_SHIFT: Final[Mapping[str, frozenset[str]]] = {
    "TR": EXTENSION | frozenset("ĞğİıŞşç"),
    "ES": EXTENSION | frozenset("çÁáÍíÓóÚú"),
    "PT": EXTENSION | frozenset("êçÔôÁáΦΓΩΠΨΣΘÊÀÍÓÚÃÕÂíóúãõâ"),
}
"""TS 23.038, A.2.1 to A.2.3. Each holds the extension too, which it takes the place of."""
LOCKING_SHIFT: Final[Mapping[str, frozenset[str]]] = {
    "TR": GSM - frozenset("èìØøÆæ¡¿") | frozenset("€ıĞğŞşİç"),
    "PT": GSM - frozenset("èùìòØøÅåΦΓΛΩΠΨΣΘΞÆæß¤¡ÄÖÑ¿äöñ") | frozenset("êúíóçÔôÁáªÀ∞^\\€Ó|ÂâÊºÍÃÕÚ~ãõ`"),
}
"""TS 23.038, A.3.1 and A.3.3. Spanish has none. Each takes the place of the GSM alphabet."""

_TYPOGRAPHIC: Final = "‘’‚‛“”„‟«»‹›′″`´‐‑‒–—―−…•·\u00a0\u2009\u202f\u200b\t"
_PORTUGUESE: Final = "ÀÁÂÃÉÊÍÓÔÕÚàáâãçéêíóôõúüªº"
_RUSSIAN: Final = "АБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ"
_SERBIAN: Final = "АБВГДЂЕЖЗИЈКЛЉМНЊОПРСТЋУФХЦЧЏШ"
_CYRILLIC: Final = _RUSSIAN + _SERBIAN + "ҐЄІЇЎЃЌЅѐѝ"
_GREEK: Final = "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΆΈΉΊΌΎΏΪΫςΐΰ;·΄΅"
_CENTRAL_EUROPEAN: Final = "ÁÂĂÄĄĆČĎĐÉĘĚËÍÎĹĽŁŃŇÓÔŐÖŔŘŚŠŞȘŤŢȚÚŮŰÜÝŹŽŻß"
_BALTIC: Final = "ĀĄČĒĖĘĢĪĮĶĻŅŌÕŖŠŪŲŽÄÖÜ"


def _both_cases(letters: str) -> frozenset[str]:
    return frozenset(letter for letter in letters + letters.lower() + letters.upper())


_NAMED: Final[Mapping[str, frozenset[str]]] = {
    "BALTIC": _both_cases(_BALTIC),
    "BULGARIAN_CYRILLIC": _both_cases("АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЬЮЯЍЀ"),
    "CENTRAL_EUROPEAN": _both_cases(_CENTRAL_EUROPEAN),
    "COLOMBIAN": _both_cases("ÁÉÍÓÚÜÑ"),
    "CYRILLIC": _both_cases(_CYRILLIC),
    "GREEK": _both_cases(_GREEK),
    "NON_UNICODE": frozenset(_TYPOGRAPHIC)
    | frozenset(chr(code) for code in range(0xC0, 0x180) if chr(code) not in "×÷"),
    "PORTUGUESE": _both_cases(_PORTUGUESE),
    "SERBIAN_CYRILLIC": _both_cases(_SERBIAN),
    "TURKISH": _both_cases("ÂÇĞÎÖŞÛÜ") | frozenset("İı"),
}
TRANSLITERATED: Final[Mapping[str, frozenset[str]]] = {**_NAMED, "ALL": frozenset().union(*_NAMED.values())}
"""The characters that each table turns into the GSM alphabet."""

_NOT_LAST: Final = "\ud800"
"""Stands for a unit that cannot be the last of a part: an escape, or the first half of a surrogate pair."""
_BEYOND: Final = re.compile("[\U00010000-\U0010ffff]")
_HALF: Final = re.compile("[\ud800-\udfff]")


class Size(NamedTuple):
    """The size of a text on the air. `units` are septets, or UTF-16 code units for `ucs2`."""

    encoding: Encoding
    units: int
    parts: int

    @property
    def octets(self) -> int:
        """Bytes of text, without headers."""
        return self.units * (2 if self.encoding == "ucs2" else 1)


class Parts(NamedTuple):
    """The parts of a text; joined they are the text."""

    encoding: Encoding
    texts: tuple[str, ...]
    units: tuple[int, ...]
    """For each part, the units that its text takes."""


@dataclass(frozen=True, slots=True)
class _Alphabet:
    """One way to encode a text."""

    encoding: Encoding
    alone: int
    """Units in a lone part."""
    joined: int
    """Units in each of several."""
    single: frozenset[str] = frozenset()
    """Characters of one unit."""
    double: frozenset[str] = frozenset()
    """Characters of two units, as far as they are not among those of one."""

    def holds(self, characters: frozenset[str]) -> bool:
        """Return whether a text of these characters can be encoded in it."""
        return self.encoding == "ucs2" or characters <= self.single | self.double

    def units(self, text: str, characters: frozenset[str]) -> str:
        """Return a text with one character for each unit."""
        if self.encoding == "ucs2":
            return _BEYOND.sub(_NOT_LAST + "x", _HALF.sub("x", text))
        for character in characters & self.double - self.single:
            text = text.replace(character, _NOT_LAST + "x")
        return text

    def ends(self, units: str) -> list[int]:
        """Return the end of each part."""
        if len(units) <= self.alone:
            return [len(units)]
        ends = [0]
        while ends[-1] < len(units):
            end = min(ends[-1] + self.joined, len(units))
            ends.append(end - (units[end - 1] == _NOT_LAST))
        return ends[1:]


_UCS2: Final = _Alphabet("ucs2", 70, 67)
_GSM_ALONE: Final = 160
_GSM_JOINED: Final = 153


def size_of(text: str, language: LanguageCode = "NONE", transliteration: Transliteration = "NONE") -> Size:
    """Return encoding, units and parts of a text. Most texts are in the GSM alphabet, and take a tenth of the time."""
    if GSM.issuperset(text):
        return Size("gsm7", len(text), 1 if len(text) <= _GSM_ALONE else -(-len(text) // _GSM_JOINED))
    alphabet, units, ends = _best(text, language, transliteration)
    return Size(alphabet.encoding, len(units), len(ends))


def split(text: str, language: LanguageCode = "NONE", transliteration: Transliteration = "NONE") -> Parts:
    """Divide a text into its parts, each as long as possible."""
    alphabet, units, ends = _best(text, language, transliteration)
    texts, sizes, at, begin = [], [], 0, 0
    for end in ends:
        part = units[begin:end]
        characters = len(part) - part.count(_NOT_LAST)
        texts.append(text[at : at + characters])
        sizes.append(len(part))
        at, begin = at + characters, end
    return Parts(alphabet.encoding, tuple(texts), tuple(sizes))


def _best(text: str, language: LanguageCode, transliteration: Transliteration) -> tuple[_Alphabet, str, list[int]]:
    """Choose the alphabet of a text: GSM, else the national one with the fewest parts, else UCS-2."""
    characters = frozenset(text)
    gsm, *national = _alphabets(language, transliteration)
    possible = [gsm] if gsm.holds(characters) else [one for one in national if one.holds(characters)]
    ways = []
    for alphabet in possible or [_UCS2]:
        units = alphabet.units(text, characters)
        ways.append((alphabet, units, alphabet.ends(units)))
    return min(ways, key=lambda way: (len(way[2]), len(way[1])))


@cache
def _alphabets(language: LanguageCode, transliteration: Transliteration) -> tuple[_Alphabet, ...]:
    """Return the GSM alphabet, then each national one that the language allows."""
    added = TRANSLITERATED.get(transliteration, frozenset())
    found = [_Alphabet("gsm7", _GSM_ALONE, _GSM_JOINED, GSM | added, EXTENSION)]
    for code, shifted in SINGLE_SHIFT.items():
        if language in {code, "AUTODETECT"}:
            found.append(_Alphabet("national", 155, 149, GSM | added, shifted))
            if locking := LOCKING_SHIFT.get(code):
                found.append(_Alphabet("national", 155, 149, locking | added, EXTENSION))
                found.append(_Alphabet("national", 152, 146, locking | added, shifted))
    return tuple(found)
