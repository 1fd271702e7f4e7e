"""The parts of an SMS text, as a phone receives them (3GPP TS 23.038, 6.2.1; TS 23.040, 9.2.3.24).

A lone part holds 160 septets of the GSM alphabet or 70 UTF-16 code units; each of several holds 153 or 67, since its
header takes the rest. A character of the extension takes two septets, one beyond U+FFFF two code units, and neither is
divided. National tables and transliteration are not simulated: OMNI does not publish how it chooses them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("\f^{}\\[~]|€")

_LARGEST_OF_ONE_UNIT = "\uffff"
_ROOM = {"GSM-7": (160, 153), "UCS-2": (70, 67)}


@dataclass(frozen=True)
class Parts:
    """The parts of one text: joined they are the text. Each has its units and holds at most `room`."""

    encoding: Literal["GSM-7", "UCS-2"]
    room: int
    texts: Sequence[str]
    units: Sequence[int]

    def document(self) -> dict[str, object]:
        """Return it as the page reads it."""
        pairs = zip(self.texts, self.units, strict=True)
        return {
            "encoding": self.encoding,
            "room": self.room,
            "parts": [{"text": text, "units": units} for text, units in pairs],
        }


def parts_of(text: str) -> Parts:
    """Divide a text into its parts."""
    encoding: Literal["GSM-7", "UCS-2"] = "GSM-7" if (GSM | EXTENSION).issuperset(text) else "UCS-2"
    is_gsm = encoding == "GSM-7"
    sizes = [2 if (each in EXTENSION if is_gsm else each > _LARGEST_OF_ONE_UNIT) else 1 for each in text]
    alone, joined = _ROOM[encoding]
    if sum(sizes) <= alone:
        return Parts(encoding, alone, [text], [sum(sizes)])
    texts, units, begin, used = [], [], 0, 0
    for index, size in enumerate(sizes):
        if used + size > joined:
            texts.append(text[begin:index])
            units.append(used)
            begin, used = index, 0
        used += size
    return Parts(encoding, joined, [*texts, text[begin:]], [*units, used])
