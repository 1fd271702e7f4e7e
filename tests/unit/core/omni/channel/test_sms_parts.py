"""What an SMS takes on the air: a table of texts, each with the source of its right value.

Sources by their short names:

23.038      3GPP TS 23.038 version 18: alphabets (6.2.1), language tables (annex A)
23.040      3GPP TS 23.040: 140 octets a part; 6 of them for the header of several parts, 3 for each language table
Infobip     the vendor's pages "National Language Shift" and "Language"
status 25   the vendor's REJECTED_MESSAGE_TOO_LONG: above 25 parts
phlib       github.com/phlib/sms-length, tests and issue 1
Twilio      github.com/TwilioDevEd/message-segment-calculator, tests and issue 39
gammu       github.com/gammu/gammu, issue 95 and pull request 104
split-sms   github.com/Codesleuth/split-sms, test data
relay       what this relay assumes where the vendor says nothing; see the docstring of `sms_parts`
"""

from collections.abc import Iterator
from typing import Final, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.omni.channel.sms import MAX_PARTS, Language, Sms
from service.core.omni.channel.sms_parts import (
    EXTENSION,
    GSM,
    LOCKING_SHIFT,
    SINGLE_SHIFT,
    TRANSLITERATED,
    Encoding,
    LanguageCode,
    Parts,
    Transliteration,
    size_of,
    split,
)
from tests.support.builder import a_body, parsed
from tests.unit.strategy import law

BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""23.038, 6.2.1, by code. 0x1B is the escape."""
TURKISH: Final = (
    "@£$¥€éùıòÇ\nĞğ\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bŞşßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "İABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§çabcdefghijklmnopqrstuvwxyzäöñüà"
)
"""23.038, A.3.1, by code."""
PORTUGUESE: Final = (
    "@£$¥êéúíóç\nÔô\rÁáΔ_ªÇÀ∞^\\€Ó|\x1bÂâÊÉ !\"#º%&'()*+,-./0123456789:;<=>?"
    "ÍABCDEFGHIJKLMNOPQRSTUVWXYZÃÕÚÜ§~abcdefghijklmnopqrstuvwxyzãõ`üà"
)
"""23.038, A.3.3, by code."""
EXTENDED: Final = "\f^{}\\[~]|€"
"""23.038, 6.2.1.1: 0x0A, 0x14, 0x28, 0x29, 0x2F, 0x3C, 0x3D, 0x3E, 0x40, 0x65."""
SHIFTED: Final = {"TR": "ĞİŞçğış", "ES": "çÁÍÓÚáíóú", "PT": "êçÔôÁáΦΓΩΠΨΣΘÊÀÍÓÚÃÕÂíóúãõâ"}
"""23.038, A.2.1 to A.2.3: what each table holds besides the extension."""

PANGRAM: Final = "The quick brown fox jumps over the lazy dog. "
MARKED: Final = PANGRAM * 3 + "The quick brown f[x jumps over the lazy dog. " + PANGRAM * 2 + PANGRAM[:35] + "the."
LONG_TURKISH: Final = ("ğ" + "a" * 18) * 100
GREETING: Final = (
    "Sayın müşterimiz, siparişiniz yola çıktı. Kargo takip numaranız 1234567890. İyi günler dileriz. "
    "Teşekkür ederiz, şimdi."
)
RUSSIAN: Final = "Съешь же ещё этих мягких французских булок, да выпей чаю. "

Row = tuple[str, str, str, int, int, str]
"""A text, a language and a transliteration or "-" for none, encoding, units, parts, source."""

# fmt: off
GSM_ROWS: Final[list[Row]] = [
    ("a", "-", "gsm7", 1, 1, "23.038"),
    ("a" * 159, "-", "gsm7", 159, 1, "23.040"),
    ("a" * 160, "-", "gsm7", 160, 1, "23.040"),
    ("a" * 161, "-", "gsm7", 161, 2, "23.040"),
    ("a" * 305, "-", "gsm7", 305, 2, "23.040"),
    ("a" * 306, "-", "gsm7", 306, 2, "23.040"),
    ("a" * 307, "-", "gsm7", 307, 3, "23.040"),
    ("a" * 459, "-", "gsm7", 459, 3, "23.040"),
    ("a" * 460, "-", "gsm7", 460, 4, "23.040"),
    ("a" * 3825, "-", "gsm7", 3825, 25, "status 25"),
    (BASIC.replace("\x1b", ""), "-", "gsm7", 127, 1, "23.038, phlib gsm-basic"),
    ("simple msg", "-", "gsm7", 10, 1, "phlib simple-basic"),
    ("simple msg" * 50, "-", "gsm7", 500, 4, "phlib long-gsm-simple"),
    ("exact max" * 153, "-", "gsm7", 1377, 9, "phlib long-gsm-exact"),
    ("line\r\nline\n", "-", "gsm7", 11, 1, "23.038"),
    ("à la carte: déjà vu, mañana, Ärger, ß", "-", "gsm7", 37, 1, "23.038"),
    ("ΔΦΓΛΩΠΨΣΘΞ", "-", "gsm7", 10, 1, "23.038"),
    ("@£$¥§¿¡¤", "-", "gsm7", 8, 1, "23.038"),
    ("Ç", "-", "gsm7", 1, 1, "23.038: the capital is in the alphabet"),
    ("ç", "-", "ucs2", 1, 1, "23.038: the small letter is not"),
    ("`", "-", "ucs2", 1, 1, "23.038: no backtick"),
    ("\t", "-", "ucs2", 1, 1, "23.038: no tab"),
    ("\x1b", "-", "ucs2", 1, 1, "23.038: the escape is no character"),
    ("Α", "-", "ucs2", 1, 1, "23.038: a Greek capital that is not a Latin A"),
    ("’", "-", "ucs2", 1, 1, "23.038: a typographic apostrophe"),
    ("\u00a0", "-", "ucs2", 1, 1, "23.038: a space that does not break"),
    ("e\u0301", "-", "ucs2", 2, 1, "23.038: no combining characters"),
]
EXTENSION_ROWS: Final[list[Row]] = [
    *((one, "-", "gsm7", 2, 1, "23.038, 6.2.1.1") for one in EXTENDED),
    (EXTENDED[1:], "-", "gsm7", 18, 1, "phlib gsm-extended"),
    ("simple msg plus € extended char", "-", "gsm7", 32, 1, "phlib simple-extended"),
    ("€" * 80, "-", "gsm7", 160, 1, "23.040"),
    ("€" * 80 + "a", "-", "gsm7", 161, 2, "23.040"),
    ("€" * 81, "-", "gsm7", 162, 2, "23.040"),
    ("{" + "2" * 158, "-", "gsm7", 160, 1, "Twilio, escape characters in one segment"),
    ("{" + "2" * 159, "-", "gsm7", 161, 2, "Twilio, escape characters in two segments"),
    (EXTENDED[1:] * 40, "-", "gsm7", 720, 5, "phlib long-gsm-ex-1"),
    (EXTENDED[1:] * 76, "-", "gsm7", 1368, 9, "phlib long-gsm-ex-2"),
    # An escape and its character never stand in two parts
    ("a" * 152 + "€" + "a" * 152, "-", "gsm7", 306, 3, "phlib issue 1, Twilio issue 39"),
    ("a" * 151 + "€" + "a" * 153, "-", "gsm7", 306, 2, "23.040: it ends with the part"),
    ("a" * 153 + "€" + "a" * 151, "-", "gsm7", 306, 2, "23.040: it begins the next"),
    ("a" * 152 + "€" + "a" * 151, "-", "gsm7", 305, 2, "23.040: one septet stays empty"),
    (MARKED, "-", "gsm7", len(MARKED) + 1, 3, "phlib issue 1"),
    ("]" * 76, "-", "gsm7", 152, 1, "23.040"),
    ("]" * 152, "-", "gsm7", 304, 2, "gammu issue 95: 76 a part"),
    ("]" * 153, "-", "gsm7", 306, 3, "gammu issue 95, pull request 104"),
    ("]" * 229, "-", "gsm7", 458, 4, "gammu issue 95"),
    ("a" + "]" * 152, "-", "gsm7", 305, 2, "23.040: 153 and 152"),
    ("a" + "]" * 153, "-", "gsm7", 307, 3, "23.040"),
    ("€" * 1900, "-", "gsm7", 3800, 25, "status 25: 76 a part"),
    ("a" * 152 + "\f" + "a" * 152, "-", "gsm7", 306, 3, "split-sms, gsm"),
    ("a" * 152 + "\\" + "a" * 152 + "~" + "a", "-", "gsm7", 309, 3, "split-sms, gsm"),
]
UCS2_ROWS: Final[list[Row]] = [
    ("ж", "-", "ucs2", 1, 1, "23.038, 6.2.3"),
    ("ş" * 70, "-", "ucs2", 70, 1, "23.040"),
    ("ş" * 71, "-", "ucs2", 71, 2, "23.040"),
    ("ş" * 134, "-", "ucs2", 134, 2, "23.040"),
    ("ş" * 135, "-", "ucs2", 135, 3, "23.040"),
    ("ş" * 1675, "-", "ucs2", 1675, 25, "status 25"),
    ("a" * 70 + "ж", "-", "ucs2", 71, 2, "Infobip: one character is enough"),
    ("漢" * 70, "-", "ucs2", 70, 1, "Infobip"),
    ("simple msg plus • 1 UTF-16 code unit char", "-", "ucs2", 41, 1, "phlib utf16-1"),
    ("simple msg plus 📱 2 UTF-16 code unit char", "-", "ucs2", 42, 1, "phlib utf16-2"),
    ("simple msg plus •" * 20, "-", "ucs2", 340, 6, "phlib long-ucs-1"),
    ("exact•max" * 67, "-", "ucs2", 603, 9, "phlib long-ucs-exact"),
    ("😜" + "2" * 68, "-", "ucs2", 70, 1, "Twilio, UCS-2 message in one segment"),
    ("😜" + "2" * 69, "-", "ucs2", 71, 2, "Twilio, UCS-2 message in two segments"),
    ("😀" * 35, "-", "ucs2", 70, 1, "23.040"),
    ("😀" * 36, "-", "ucs2", 72, 2, "23.040"),
    # The halves of a surrogate pair never stand in two parts
    ("a" * 66 + "😹" + "a" * 66, "-", "ucs2", 134, 3, "Twilio issue 39"),
    ("a" * 65 + "😹" + "a" * 67, "-", "ucs2", 134, 2, "23.040: it ends with the part"),
    ("a" * 67 + "😹" + "a" * 65, "-", "ucs2", 134, 2, "23.040: it begins the next"),
    ("a" * 66 + "😹" + "a" * 65, "-", "ucs2", 133, 2, "23.040: one unit stays empty"),
    ("🌐" * 67, "-", "ucs2", 134, 3, "phlib issue 1"),
    ("🌐" * 66, "-", "ucs2", 132, 2, "23.040: 33 a part"),
    ("😀" * 825, "-", "ucs2", 1650, 25, "status 25: 33 a part"),
    ("simple msg plus 📱" * 20, "-", "ucs2", 360, 6, "phlib long-ucs-2"),
    ("👩\u200d🚀" * 14, "-", "ucs2", 70, 1, "23.040: joined pictures may be cut, a pair may not"),
    ("👩\u200d🚀" * 27, "-", "ucs2", 135, 3, "23.040"),
    ("€" * 70 + "ж", "-", "ucs2", 71, 2, "23.038: in UCS-2 the euro sign takes one unit"),
]
NATIONAL_ROWS: Final[list[Row]] = [
    # Spanish has a single-shift table alone: 155, and one off for each shifted character
    ("Ú" * 3 + "a" * 149, "ES", "national", 155, 1, "Infobip: 3 of them leave 152"),
    ("Ú" * 3 + "a" * 150, "ES", "national", 156, 2, "Infobip"),
    ("á" + "a" * 153, "ES", "national", 155, 1, "Infobip"),
    ("á" + "a" * 154, "ES", "national", 156, 2, "Infobip"),
    ("í" * 77, "ES", "national", 154, 1, "23.038, A.2.2"),
    ("í" * 78, "ES", "national", 156, 2, "23.038, A.2.2"),
    *((one, "ES", "national", 2, 1, "23.038, A.2.2") for one in SHIFTED["ES"]),
    ("á" + "[" + "a" * 151, "ES", "national", 155, 1, "23.038, A.2.2 holds the extension"),
    ("a" * 148 + "á" + "a" * 148, "ES", "national", 298, 3, "23.038: an escape and its character"),
    ("a" * 147 + "á" + "a" * 149, "ES", "national", 298, 2, "23.040"),
    ("¿Qué tal, señor Peña? Él llegó a Bogotá.", "ES", "national", 42, 1, "23.038, A.2.2: ó and á"),
    ("ñÑüÜ¿¡é", "ES", "gsm7", 7, 1, "23.038: all in the alphabet"),
    ("ê", "ES", "ucs2", 1, 1, "23.038: not in A.2.2"),
    ("ş" * 70, "ES", "ucs2", 70, 1, "23.038: not in A.2.2"),
    # Turkish has a locking-shift table too, from which a character costs nothing extra
    (GREETING, "TR", "national", len(GREETING), 1, "Infobip"),
    (LONG_TURKISH, "TR", "national", 1900, 13, "Infobip: locking shift"),
    ("ğ" * 155, "TR", "national", 155, 1, "Infobip: locking shift, 155"),
    ("ğ" * 156, "TR", "national", 156, 2, "23.040: 149 a part"),
    ("ğ" * 298, "TR", "national", 298, 2, "23.040"),
    ("ğ" * 299, "TR", "national", 299, 3, "23.040"),
    ("ğ" * 3725, "TR", "national", 3725, 25, "status 25"),
    *((one, "TR", "national", 1, 1, "23.038, A.3.1") for one in SHIFTED["TR"]),
    ("ğ€", "TR", "national", 2, 1, "23.038, A.3.1 holds the euro sign"),
    ("ğ[", "TR", "national", 3, 1, "23.038, A.3.1 with the extension"),
    ("ğè", "TR", "national", 3, 1, "23.038: è is not in A.3.1, so ğ is shifted by A.2.1"),
    ("ğ" * 77 + "è", "TR", "national", 155, 1, "23.038, A.2.1"),
    ("â", "TR", "ucs2", 1, 1, "23.038: in neither table"),
    ("a" * 160, "TR", "gsm7", 160, 1, "23.038: it needs no table"),
    ("ğж", "TR", "ucs2", 2, 1, "23.038"),
    # Portuguese
    ("`ã", "PT", "national", 2, 1, "23.038, A.3.3 holds the backtick"),
    ("ã" * 155, "PT", "national", 155, 1, "23.038, A.3.3"),
    ("ã" * 156, "PT", "national", 156, 2, "23.038, A.3.3"),
    ("ªº∞", "PT", "national", 3, 1, "23.038, A.3.3"),
    ("Não, obrigação! Você também é útil às vezes.", "PT", "national", 44, 1, "23.038, A.3.3"),
    ("ãΦ", "PT", "national", 3, 1, "23.038: Φ is not in A.3.3, so ã is shifted by A.2.3"),
    ("∞Φ" + "a" * 149, "PT", "national", 152, 1, "23.040: two tables leave 152"),
    ("∞Φ" + "a" * 150, "PT", "national", 153, 2, "23.040: and 146 of several"),
    ("ã[]{}", "PT", "national", 9, 1, "23.038, A.3.3 with the extension"),
    ("ã^\\|~", "PT", "national", 5, 1, "23.038, A.3.3 holds these"),
    ("ãñ", "PT", "national", 3, 1, "23.038: ñ is not in A.3.3, so ã is shifted by A.2.3"),
    # Any of them
    ("ş" * 155, "AUTODETECT", "national", 155, 1, "Infobip"),
    ("Ú" * 77, "AUTODETECT", "national", 77, 1, "23.038, A.3.3: Portuguese has it unshifted"),
    ("ğã", "AUTODETECT", "ucs2", 2, 1, "23.038: no language has both"),
    ("ж", "AUTODETECT", "ucs2", 1, 1, "23.038"),
    ("ş" * 71, "NONE", "ucs2", 71, 2, "Infobip"),
]
TRANSLITERATED_ROWS: Final[list[Row]] = [
    ("漢" * 2000, "GREEK", "ucs2", 2000, 30, "relay: no Greek letter"),
    ("€" * 153, "NON_UNICODE", "gsm7", 306, 3, "23.038: the euro sign is in the extension"),
    ("😀" * 1000, "TURKISH", "ucs2", 2000, 31, "relay: no Turkish letter; 33 a part"),
    (GREETING, "TURKISH", "gsm7", len(GREETING), 1, "Infobip"),
    ("ж" * 160, "CYRILLIC", "gsm7", 160, 1, "relay"),
    ("ж" * 161, "CYRILLIC", "gsm7", 161, 2, "relay"),
    (RUSSIAN, "CYRILLIC", "gsm7", len(RUSSIAN), 1, "relay"),
    (RUSSIAN, "GREEK", "ucs2", len(RUSSIAN), 1, "relay"),
    (RUSSIAN, "ALL", "gsm7", len(RUSSIAN), 1, "relay"),
    (RUSSIAN, "NONE", "ucs2", len(RUSSIAN), 1, "Infobip"),
    ("Љубав, Ђорђе, џак, њива", "SERBIAN_CYRILLIC", "gsm7", 23, 1, "relay"),
    ("ы", "SERBIAN_CYRILLIC", "ucs2", 1, 1, "relay: no Serbian letter"),
    ("Ще дойда във вторник", "BULGARIAN_CYRILLIC", "gsm7", 20, 1, "relay"),
    ("ђ", "BULGARIAN_CYRILLIC", "ucs2", 1, 1, "relay: no Bulgarian letter"),
    ("Καλημέρα κόσμε", "GREEK", "gsm7", 14, 1, "relay"),
    ("Příliš žluťoučký kůň, Żółć, Ő, ș", "CENTRAL_EUROPEAN", "gsm7", 32, 1, "relay"),
    ("ğ", "CENTRAL_EUROPEAN", "ucs2", 1, 1, "relay: no letter of theirs"),
    ("Õhtu, žāvēt, Ąžuolas", "BALTIC", "gsm7", 20, 1, "relay"),
    ("Bogotá, miércoles", "COLOMBIAN", "gsm7", 17, 1, "relay"),
    ("Não, obrigação", "PORTUGUESE", "gsm7", 14, 1, "relay"),
    ("“It’s” – fine…", "NON_UNICODE", "gsm7", 14, 1, "relay"),
    ("“It’s” – fine…", "TURKISH", "ucs2", 14, 1, "relay: no Turkish letters"),
    ("漢", "ALL", "ucs2", 1, 1, "relay: no table has it"),
    ("ж€" * 53, "CYRILLIC", "gsm7", 159, 1, "23.038: the euro sign takes two"),
    ("a" * 160, "GREEK", "gsm7", 160, 1, "23.038: nothing to be turned"),
    ("[" * 81, "ALL", "gsm7", 162, 2, "23.038: the extension stays"),
]
# fmt: on

ROWS: Final = [*GSM_ROWS, *EXTENSION_ROWS, *UCS2_ROWS, *NATIONAL_ROWS, *TRANSLITERATED_ROWS]
LANGUAGES: Final[tuple[LanguageCode, ...]] = get_args(LanguageCode)
TABLES: Final[tuple[Transliteration, ...]] = get_args(Transliteration)


def options(named: str) -> tuple[LanguageCode, Transliteration]:
    """Distinguish a language from a transliteration."""
    for language in LANGUAGES:
        if language == named:
            return language, "NONE"
    return "NONE", next((table for table in TABLES if table == named), "NONE")


SECTIONS: Final = {
    "GSM": GSM_ROWS,
    "extension": EXTENSION_ROWS,
    "UCS-2": UCS2_ROWS,
    "national": NATIONAL_ROWS,
    "transliterated": TRANSLITERATED_ROWS,
}
in_each_section = pytest.mark.parametrize("rows", SECTIONS.values(), ids=SECTIONS.keys())


def an_sms(text: str, language: LanguageCode, table: Transliteration) -> Sms:
    """Return an SMS of any length, which may be longer than one may be."""
    return Sms.model_construct(text=text, language=Language(language_code=language), transliteration=table)


@in_each_section
def test_a_text_takes_as_many_units_and_parts_as_the_source_says(rows: list[Row]) -> None:
    assert [row for row in rows if size_of(row[0], *options(row[1])) != row[2:5]] == []
    assert [row for row in rows if an_sms(row[0], *options(row[1])).size != row[2:5]] == []


@in_each_section
def test_the_parts_of_each_text_are_as_many_and_joined_they_are_the_text(rows: list[Row]) -> None:
    made = [split(text, *options(named)) for text, named, *_ in rows]

    assert [(one.encoding, sum(one.units), len(one.texts)) for one in made] == [row[2:5] for row in rows]
    assert ["".join(one.texts) for one in made] == [row[0] for row in rows]


def test_the_table_is_long_enough() -> None:
    assert len(ROWS) >= 120


@pytest.mark.parametrize(
    ("text", "encoding", "texts", "units"),
    [
        ("a" * 152 + "€" + "b" * 152, "gsm7", ("a" * 152, "€" + "b" * 151, "b"), (152, 153, 1)),
        ("a" * 66 + "😹" + "b" * 66, "ucs2", ("a" * 66, "😹" + "b" * 65, "b"), (66, 67, 1)),
        ("a" * 160, "gsm7", ("a" * 160,), (160,)),
        ("", "gsm7", ("",), (0,)),
    ],
)
def test_a_part_never_ends_within_a_character(
    text: str, encoding: Encoding, texts: tuple[str, ...], units: tuple[int, ...]
) -> None:
    assert split(text) == Parts(encoding, texts, units)


# Of up to 25 parts, whatever the encoding


def is_posted(row: Row) -> bool:
    language, table = options(row[1])
    sms = {"text": row[0], "language": {"languageCode": language}, "transliteration": table}
    return parsed(a_body(sms=sms)).request is not None


@in_each_section
def test_a_text_is_refused_if_it_takes_more_than_25_parts(rows: list[Row]) -> None:
    assert [row for row in rows if row[0] and is_posted(row) is not (row[4] <= MAX_PARTS)] == []


@pytest.mark.parametrize(
    ("text", "language", "source"),
    [
        ("a" * 3826, "NONE", "153 a part"),
        ("€" * 1901, "NONE", "76 a part"),
        ("€" * 1912, "NONE", "26 parts"),
        ("ж" * 1676, "NONE", "67 a part"),
        ("😀" * 826, "NONE", "33 a part"),
        ("ğ" * 3726, "TR", "149 a part"),
        ("á" * 1851, "ES", "74 a part"),
        ("a" * 2**20, "NONE", "far more"),
        ("😀" * 2**18, "AUTODETECT", "far more"),
    ],
)
def test_one_character_more_is_a_fault(text: str, language: str, source: str) -> None:
    sms = {"text": text, "language": {"languageCode": language}}

    (rejection,) = parsed(a_body(sms=sms)).rejections

    assert [(fault.path, fault.message) for fault in rejection.faults] == [
        ("sms", "text must fit into 25 SMS parts and 4000 bytes")
    ], source


def test_a_turkish_text_of_1900_characters_is_posted() -> None:
    assert parsed(a_body(sms={"text": LONG_TURKISH, "language": {"languageCode": "TR"}})).request


def test_an_sms_is_explained_by_its_parts() -> None:
    sms = Sms.model_validate({"text": "Ú" * 78, "language": {"languageCode": "ES"}})

    assert sms.parts == Parts("national", ("Ú" * 74, "Ú" * 4), (148, 8))
    assert sms.size == ("national", 156, 2)
    assert sms.size.octets == 156
    assert Sms(text="ж" * 71).size.octets == 142


# The tables, against those above, which are written by code


def test_the_alphabets_are_those_of_the_specification() -> None:
    assert set(BASIC) - {"\x1b"} == GSM
    assert set(EXTENDED) == EXTENSION
    assert {"TR": set(TURKISH) - {"\x1b"}, "PT": set(PORTUGUESE) - {"\x1b"}} == LOCKING_SHIFT
    assert {code: set(EXTENDED + dead_letters) for code, dead_letters in SHIFTED.items()} == SINGLE_SHIFT
    assert {len(BASIC), len(TURKISH), len(PORTUGUESE)} == {128}


@pytest.mark.parametrize("table", sorted(TRANSLITERATED))
def test_no_table_turns_a_character_that_the_gsm_alphabet_extends_to(table: str) -> None:
    assert TRANSLITERATED[table].isdisjoint(EXTENSION)
    assert all(len(one.encode("utf-16-le")) == 2 for one in TRANSLITERATED[table])


# Against another splitter, which writes out septets and code units


def septets(character: str, locking: str, shifted: str) -> list[int]:
    """Encode a character; raises `ValueError` where that cannot be done."""
    if character != "\x1b" and character in locking:
        return [locking.index(character)]
    return [0x1B, 256 + shifted.index(character)]


def ways(language: LanguageCode, turned: frozenset[str]) -> Iterator[tuple[str, int, int, str, str]]:
    """List encodings: name, units alone and joined, locking table and shifted characters."""
    more = "".join(sorted(turned))
    yield "gsm7", 160, 153, BASIC + more, EXTENDED
    for code in SHIFTED if language == "AUTODETECT" else [language]:
        if code in SHIFTED:
            header = 1 + 3
            alone, joined = (140 - header) * 8 // 7, (140 - header - 5) * 8 // 7
            yield "national", alone, joined, BASIC + more, EXTENDED + SHIFTED[code]
            if code != "ES":
                locking = {"TR": TURKISH, "PT": PORTUGUESE}[code] + more
                yield "national", alone, joined, locking, EXTENDED
                yield "national", (140 - 7) * 8 // 7, (140 - 12) * 8 // 7, locking, EXTENDED + SHIFTED[code]


def cut(characters: list[tuple[str, int]], alone: int, joined: int) -> list[str]:
    """Fill parts with characters, each of which takes so many units."""
    if sum(units for _, units in characters) <= alone:
        return ["".join(character for character, _ in characters)]
    parts, delay_seconds = [""], joined
    for character, units in characters:
        if units > delay_seconds:
            parts.append("")
            delay_seconds = joined
        parts[-1] += character
        delay_seconds -= units
    return parts


def split_otherwise(text: str, language: LanguageCode, turned: frozenset[str]) -> tuple[str, list[str]]:
    found: list[tuple[int, int, str, list[str]]] = []
    for encoding, alone, joined, locking, shifted in ways(language, turned):
        try:
            encoded = [(one, len(septets(one, locking, shifted))) for one in text]
        except ValueError:
            continue
        found.append((len(parts := cut(encoded, alone, joined)), sum(units for _, units in encoded), encoding, parts))
        if encoding == "gsm7":
            break
    if found:
        return min(found, key=lambda way: way[:2])[2:]
    return "ucs2", cut([(one, len(one.encode("utf-16-le")) // 2) for one in text], 70, 67)


characters = st.sampled_from([*"aab zÇñè", *EXTENDED, *SHIFTED["TR"], *SHIFTED["PT"], *"`ª∞жщΩß漢😀’"])
texts = st.one_of(
    st.lists(st.tuples(characters | st.characters(codec="utf-8"), st.integers(1, 160)), min_size=1, max_size=9)
    .map(lambda runs: "".join(one * times for one, times in runs)),
    st.text(st.sampled_from("a[é"), max_size=700),
    st.text(st.sampled_from("aş[€"), max_size=700),
    st.text(st.sampled_from("aж😀"), max_size=300),
)  # fmt: skip


@law
@given(text=texts, language=st.sampled_from(LANGUAGES), table=st.sampled_from(TABLES))
def test_any_text_is_cut_as_by_a_splitter_that_is_written_otherwise(
    text: str, language: LanguageCode, table: Transliteration
) -> None:
    encoding, parts = split_otherwise(text, language, TRANSLITERATED.get(table, frozenset()))

    size, made = size_of(text, language, table), split(text, language, table)

    assert size == an_sms(text, language, table).size
    assert (size.encoding, size.parts) == (encoding, len(parts))
    assert (made.encoding, list(made.texts)) == (encoding, parts)
    assert (sum(made.units), "".join(made.texts)) == (size.units, text)
