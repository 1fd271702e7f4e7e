"""How a phone number is read: tables of what is written, what is posted, and the authority for it.

The strings of libphonenumber's own tests are in `libphonenumber.tsv`: a result, the posted digits or `-` for a fault,
the string as JSON, and the test that it comes from (python-phonenumbers 8.13, `phonenumberutiltest.py`,
`phonenumbertest.py` and `shortnumberinfotest.py`; Apache License 2.0, The Libphonenumber Authors).
"""

import json
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Final

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from service.core.omni.destination import To
from service.core.omni.phone import digits
from tests.unit.strategy import law

E123: Final = "ITU-T E.123"
E164: Final = "ITU-T E.164"
VENDOR: Final = "the vendor's request fundamentals: international format, digits only"
UNICODE: Final = "Unicode, Default_Ignorable_Code_Point"
SPACES: Final = "Unicode, general category Zs"
DASHES: Final = "libphonenumber, VALID_PUNCTUATION"
GERMANY: Final = "Bundesnetzagentur, numbering plan: (0) is not a part of the number"
OFCOM: Final = "Ofcom, National Telephone Numbering Plan; drama numbers"
NANPA: Final = "NANPA: 555-01XX is fictitious; no area code begins with 0 or 1"
AGCOM: Final = "AGCOM, Piano di numerazione nazionale: the 0 belongs to the number"
PLAN: Final = "ITU, communications of national numbering plans"
COMMON: Final = "libphonenumber, COUNTRY_CODE_TO_REGION_CODE and metadata"

POSTED: Final = [
    # Digits
    ("41793026727", "41793026727", VENDOR),
    ("12345", "12345", E164 + ": no shortest length is given; the relay takes five digits"),
    ("123456789012345", "123456789012345", E164 + ", 6.2.1: at most 15 digits"),
    ("385916242493", "385916242493", VENDOR),
    ("10000", "10000", "the relay does not ask whether a number exists"),
    ("100000000000000", "100000000000000", "the relay does not ask whether a number exists"),
    ("999999999999999", "999999999999999", "country code 999 is not assigned: OMNI says so"),
    ("111111111111111", "111111111111111", "the relay does not ask whether a number exists"),
    # The sign of an international number
    ("+41793026727", "41793026727", E123 + ", 7.1: the symbol +"),
    ("0041793026727", "41793026727", E164 + ", annex: 00 is the recommended international prefix"),
    ("+12025550147", "12025550147", NANPA),
    ("0012025550147", "12025550147", NANPA),
    ("(+41) 79 302 67 31", "41793026731", "seen in address books"),
    ("(0041) 79 302 67 31", "41793026731", "seen in address books"),
    (" +41793026727", "41793026727", "pasted from a table"),
    ("0 0 41 79 302 67 31", "41793026731", "punctuation is removed first"),
    # Spaces
    ("+41 79 302 67 31", "41793026731", E123 + ", 8.1: spacing symbols"),
    ("41\u00a079\u00a0302\u00a067\u00a031", "41793026731", SPACES + ": NO-BREAK SPACE"),
    ("+41\u202f79\u202f302\u202f67\u202f31", "41793026731", SPACES + ": NARROW NO-BREAK SPACE, as French text has it"),
    ("+41\u200979\u2009302", "4179302", SPACES + ": THIN SPACE"),
    ("+41\u200a79302", "4179302", SPACES + ": HAIR SPACE"),
    ("+41\u200779302", "4179302", SPACES + ": FIGURE SPACE"),
    ("+41\u200279302", "4179302", SPACES + ": EN SPACE"),
    ("+41\u200379302", "4179302", SPACES + ": EM SPACE"),
    ("+41\u205f79302", "4179302", SPACES + ": MEDIUM MATHEMATICAL SPACE"),
    ("+41\u300079302", "4179302", SPACES + ": IDEOGRAPHIC SPACE"),
    ("+41\u168079302", "4179302", SPACES + ": OGHAM SPACE MARK"),
    ("+41\t79302", "4179302", "pasted from a table"),
    # Dashes
    ("+41-79-302-67-31", "41793026731", DASHES + ": HYPHEN-MINUS"),
    ("41\u201079\u2010302", "4179302", DASHES + ": HYPHEN"),
    ("41\u201179\u2011302", "4179302", DASHES + ": NON-BREAKING HYPHEN, as address books have it"),
    ("41\u201279302", "4179302", DASHES + ": FIGURE DASH"),
    ("41\u201379302", "4179302", DASHES + ": EN DASH"),
    ("41\u201479302", "4179302", DASHES + ": EM DASH"),
    ("41\u201579302", "4179302", DASHES + ": HORIZONTAL BAR"),
    ("41\u221279302", "4179302", DASHES + ": MINUS SIGN"),
    ("81\u30fc90\u30fc1234", "81901234", DASHES + ": KATAKANA-HIRAGANA PROLONGED SOUND MARK"),
    ("81\uff0d90\uff0d1234", "81901234", DASHES + ": FULLWIDTH HYPHEN-MINUS"),
    ("41\ufe6379302", "4179302", "Unicode, general category Pd: SMALL HYPHEN-MINUS"),
    # Dots and parentheses
    ("41.79.302.67.31", "41793026731", DASHES + ": FULL STOP"),
    ("33\uff0e6\uff0e12345678", "33612345678", DASHES + ": FULLWIDTH FULL STOP"),
    ("33\u00b76\u00b712345678", "33612345678", "MIDDLE DOT, seen on business cards"),
    ("+1 (202) 555-0147", "12025550147", E123 + ", 7.2: parentheses"),
    ("+1(202)555.0147", "12025550147", NANPA),
    ("+81\uff0890\uff091234", "81901234", DASHES + ": FULLWIDTH PARENTHESES"),
    ("+41 79 302-67.27", "41793026727", "the contract: they may be mixed"),
    # Invisible characters
    ("\u202a+41 79 302 67 27\u202c", "41793026727", UNICODE + ": U+202A and U+202C, as Windows' Contacts copies"),
    ("\u202d+41793026727\u202c", "41793026727", UNICODE + ": U+202D, as iOS copies"),
    ("\u2066+41793026727\u2069", "41793026727", UNICODE + ": U+2066 and U+2069, isolates"),
    ("\u200e+41793026727", "41793026727", UNICODE + ": LEFT-TO-RIGHT MARK"),
    ("41793026727\u200f", "41793026727", UNICODE + ": RIGHT-TO-LEFT MARK"),
    ("\u061c+966501234567", "966501234567", UNICODE + ": ARABIC LETTER MARK"),
    ("41\u200b79\u200b302", "4179302", UNICODE + ": ZERO WIDTH SPACE"),
    ("41\u200c79302", "4179302", UNICODE + ": ZERO WIDTH NON-JOINER"),
    ("41\u200d79302", "4179302", UNICODE + ": ZERO WIDTH JOINER"),
    ("41\u206079302", "4179302", UNICODE + ": WORD JOINER"),
    ("41\u206479302", "4179302", UNICODE + ": INVISIBLE PLUS"),
    ("\ufeff41793026727", "41793026727", UNICODE + ": ZERO WIDTH NO-BREAK SPACE, a byte order mark"),
    ("41\u00ad79302", "4179302", UNICODE + ": SOFT HYPHEN"),
    ("41\u034f79302", "4179302", UNICODE + ": COMBINING GRAPHEME JOINER"),
    ("41\ufe0f79302", "4179302", UNICODE + ": VARIATION SELECTOR-16"),
    ("41\u180e79302", "4179302", UNICODE + ": MONGOLIAN VOWEL SEPARATOR"),
    ("41\u316479302", "4179302", UNICODE + ": HANGUL FILLER"),
    ("41\U000e002079302", "4179302", UNICODE + ": TAG SPACE"),
    ("\u202a0\u202c041793026727", "41793026727", UNICODE + ": also within the 00"),
    ("+44 (\u200b0) 20 7946 0958", "442079460958", UNICODE + ": also within the (0)"),
    # A trunk zero in brackets
    ("+44 (0)20 7946 0958", "442079460958", OFCOM),
    ("0044 (0)20 7946 0958", "442079460958", OFCOM),
    ("44(0)2079460958", "442079460958", OFCOM),
    ("(+44) (0) 20 7946 0958", "442079460958", OFCOM),
    ("+44 ( 0 ) 20 7946 0958", "442079460958", OFCOM),
    ("+44-(0)-7700-900123", "447700900123", OFCOM),
    ("+44\uff080\uff0920 7946 0958", "442079460958", OFCOM),
    ("+49 (0)151 12345678", "4915112345678", GERMANY),
    ("+49(0)30 12345678", "493012345678", GERMANY),
    ("+41 (0)79 302 67 27", "41793026727", E123 + ", 7.2: what is in brackets is not always dialled"),
    ("+31 (0)6 12345678", "31612345678", E123),
    ("+33 (0)6 12 34 56 78", "33612345678", E123),
    ("+43 (0)664 1234567", "436641234567", E123),
    ("+46 (0)70 123 45 67", "46701234567", E123),
    ("+32 (0)470 12 34 56", "32470123456", E123),
    ("+61 (0)412 345 678", "61412345678", E123),
    ("+27 (0)82 123 4567", "27821234567", E123),
    ("+353 (0)86 123 4567", "353861234567", E123),
    ("+972 (0)50 123 4567", "972501234567", E123),
    ("+90 (0)532 123 45 67", "905321234567", E123),
    ("+351 (0)912 345 678", "351912345678", "Portugal has no trunk zero, and no number that begins with 0"),
    ("+1 (0)202 555 0147", "12025550147", NANPA),
    ("+49 (0)99999", "4999999", "neither number exists, and Germany's numbers do not begin with 0"),
    # Zeros that belong to the number
    ("+39 06 6982 1234", "390669821234", AGCOM),
    ("390669821234", "390669821234", AGCOM),
    ("+39 (0)6 6982 1234", "390669821234", AGCOM),
    ("+39 (06) 6982 1234", "390669821234", AGCOM),
    ("0039 (0)2 1234 5678", "390212345678", AGCOM),
    ("+39 333 123 4567", "393331234567", AGCOM),
    ("+39 (0)333 123 4567", "393331234567", AGCOM + "; of a mobile number it does not"),
    ("+39 (0)99", "39099", AGCOM + "; neither number exists"),
    ("+378 0549 886377", "3780549886377", PLAN + ": San Marino"),
    ("+378 (0549) 886377", "3780549886377", PLAN + ": San Marino"),
    ("+378 (0)549 886377", "3780549886377", PLAN + ": San Marino"),
    ("+378 66 66 12 12", "37866661212", PLAN + ": San Marino"),
    ("+225 01 23 45 67 89", "2250123456789", PLAN + ": Ivory Coast, ten digits since 2021"),
    ("+229 01 95 12 34 56", "2290195123456", PLAN + ": Benin, 01 in front since 2024"),
    ("+242 06 123 4567", "242061234567", PLAN + ": Congo"),
    ("+227 08 12 34 56", "22708123456", PLAN + ": Niger"),
    ("+241 06 03 12 34", "24106031234", PLAN + ": Gabon, since 2019"),
    ("+47 02000", "4702000", PLAN + ": Norway, numbers of five digits"),
    ("+267 0800 012 345", "2670800012345", PLAN + ": Botswana, freephone"),
    ("+501 0 800 1234 123", "50108001234123", PLAN + ": Belize, freephone"),
    ("+853 0800 501", "8530800501", PLAN + ": Macao, freephone"),
    ("+47 (0)2000", "4702000", PLAN + ": Norway; 2000 alone is no number"),
    ("+800 0012 3456", "80000123456", PLAN + ": universal freephone"),
    ("+999 0123456", "9990123456", "country code 999 is not assigned: no plan says what its 0 is"),
    ("+4930 123456", "4930123456", "the 0 is in the area code, not after the country code"),
    ("+7 701 234 56 78", "77012345678", "Kazakhstan; the 0 is not after the country code"),
    # Other digits that are dialled in a country
    ("+7 8 912 345 67 89", "789123456789", "only a trunk zero is judged, not Russia's 8: OMNI refuses it"),
    ("+1 1 202 555 0147", "112025550147", "only a trunk zero is judged, not America's 1: OMNI refuses it"),
    ("793026727", "793026727", "a national number without its zero cannot be distinguished from an international one"),
]

FORM: Final = "must be an international number of 5 to 15 digits"
NATIONAL: Final = "begins with a country code and never with 0"
TRUNK: Final = "must not have a trunk zero after the country code"
DIALLED: Final = "not with a prefix that some countries dial"
MISPLACED: Final = "immediately after the country code"

REFUSED: Final = [
    # Length
    ("", FORM, E164),
    (" ", FORM, E164),
    ("+", FORM, E164),
    ("00", FORM, E164),
    ("+ ", FORM, E164),
    ("()", FORM, E164),
    ("1234", FORM, E164),
    ("+1234", FORM, E164),
    ("001234", FORM, E164),
    ("1234567890123456", FORM, E164 + ", 6.2.1: at most 15 digits"),
    ("+1234567890123456", FORM, E164 + ", 6.2.1: at most 15 digits"),
    ("+44 (0)1", FORM, E164),
    ("+44 (0)12345678901234", FORM, E164 + ", 6.2.1: at most 15 digits"),
    ("\u200b" * 20, FORM, UNICODE),
    ("41793026727" + " " * 250, FORM, "libphonenumber, MAX_INPUT_STRING_LENGTH: 250 characters"),
    # National numbers
    ("0793026727", NATIONAL, E164 + ": no country code begins with 0"),
    ("07700 900123", NATIONAL, OFCOM),
    ("07700900123", NATIONAL, OFCOM),
    ("(020) 7946 0958", NATIONAL, OFCOM),
    ("(0)20 7946 0958", NATIONAL, OFCOM + "; 20 would be Egypt"),
    ("0(0)20 7946 0958", NATIONAL, E164),
    ("00(0)20 7946 0958", NATIONAL, E164),
    ("0191-650-253-0000", NATIONAL, "libphonenumber, testParseWithInternationalPrefixes: South Korea's prefix"),
    ("06 6982 1234", NATIONAL, AGCOM),
    ("011 44 20 7946 0958", NATIONAL, NANPA + ": 011 is dialled in North America"),
    ("010 44 20 7946 0958", NATIONAL, "010 is dialled in Japan"),
    ("+01164 3 331 6005", NATIONAL, "libphonenumber, testParseNationalNumber"),
    ("+0041793026727", NATIONAL, E164),
    ("+041793026727", NATIONAL, E164),
    ("+00", NATIONAL, E164),
    ("000041793026727", NATIONAL, E164),
    ("00041793026727", NATIONAL, E164),
    ("000012345", NATIONAL, E164),
    ("0000000000", NATIONAL, E164),
    ("00 044 20 7946 0958", NATIONAL, E164),
    ("+ 0 44 20", NATIONAL, E164),
    # Prefixes that are dialled
    ("0011 44 20 7946 0958", DIALLED, "ACMA: 0011 is dialled in Australia; +1 1… does not exist (NANPA)"),
    ("0011442079460958", DIALLED, "ACMA"),
    ("0011 61 (0)412 345 678", DIALLED, "ACMA"),
    # A number that a spreadsheet took for a quantity
    (
        "41793026727.0",
        "without the .0 that a spreadsheet adds",
        "pandas: a column with a gap becomes a column of floats",
    ),
    ("+41793026727.0", "without the .0 that a spreadsheet adds", "pandas"),
    ("41793026727.0\u200b", "without the .0 that a spreadsheet adds", "pandas"),
    # A trunk zero
    ("+44 020 7946 0958", TRUNK, OFCOM),
    ("0044 020 7946 0958", TRUNK, OFCOM),
    ("4402079460958", TRUNK, OFCOM),
    ("+44 (020) 7946 0958", TRUNK, OFCOM),
    ("+44 0(20) 7946 0958", TRUNK, OFCOM),
    ("+44 (0)020 7946 0958", TRUNK, OFCOM),
    ("+44 00 20 7946 0958", TRUNK, OFCOM),
    ("+4407700900123", TRUNK, OFCOM),
    ("440000000000", TRUNK, OFCOM),
    ("+61(043)123-4567", TRUNK, E123),
    ("+49 0151 12345678", TRUNK, GERMANY),
    ("490151 12345678", TRUNK, GERMANY),
    ("410793026727", TRUNK, E123),
    ("+33 06 12 34 56 78", TRUNK, "ARCEP"),
    ("+31 06 12345678", TRUNK, "ACM"),
    ("+36 06 20 123 4567", TRUNK, "NMHH: 06 is dialled in Hungary"),
    ("+90 0532 123 45 67", TRUNK, "BTK"),
    ("+91 09876543210", TRUNK, "DoT: 0 is dialled before mobile numbers"),
    ("+62 0812 3456 7890", TRUNK, "Komdigi"),
    ("+54 011 15 2345 6789", TRUNK, "ENACOM"),
    ("+55 0 11 91234 5678", TRUNK, "Anatel"),
    ("+234 0803 123 4567", TRUNK, "NCC"),
    ("+98 0912 345 6789", TRUNK, "CRA"),
    ("+886 0912 345 678", TRUNK, "NCC of Taiwan"),
    ("+966 050 123 4567", TRUNK, "CST"),
    ("+241 0 11 12 34 56", TRUNK, PLAN + ": Gabon, the form that is dialled in the country"),
    ("+351 0912 345 678", TRUNK, "ANACOM: there is no trunk zero, and without it the number exists"),
    ("+1 0 202 456 1111", TRUNK, NANPA),
    ("+47 0 912 34 567", TRUNK, "Nkom: there is no trunk zero, and without it the number exists"),
    ("+44 0 7700", TRUNK, OFCOM + "; too short for a number, and yet with a trunk zero"),
    ("+44 (0)0 7700", TRUNK, OFCOM),
    ("+44 0 20 7946 0958 12", TRUNK, OFCOM + "; too long for a number"),
    ("+64 03 331 6005", TRUNK, "libphonenumber, testIsNumberMatchMatches"),
    # Zeros in brackets elsewhere
    ("+1 650 (0) 253 0000", MISPLACED, E123),
    ("+44 20 (0) 7946 0958", MISPLACED, E123),
    ("+44 (0)(0)20 7946 0958", MISPLACED, E123),
    ("+44 (0)20 7946 0958 (0)", MISPLACED, E123),
    ("+999 (0)123456", MISPLACED, COMMON + ": not assigned"),
    ("+4 (0)4 20 7946 0958", MISPLACED, COMMON),
    # Other characters
    ("+41793026727\n", "U+000A", "a line break is no space"),
    ("\r41793026727", "U+000D", "a line break is no space"),
    ("41793026727\u2028", "U+2028 LINE SEPARATOR", "a line break is no space"),
    ("41793026727\x00", "U+0000", "Unicode, general category Cc"),
    ("41\x7f793026727", "U+007F", "Unicode, general category Cc"),
    ("call me", "U+0063 LATIN SMALL LETTER C", E164),
    ("41793026727x", "U+0078 LATIN SMALL LETTER X", E164),
    ("+41793026727 ext. 12", "U+0065 LATIN SMALL LETTER E", "no extension can be sent to"),
    ("+41793026727;ext=12", "U+003B SEMICOLON", "RFC 3966, extension"),
    ("+41793026727,12", "U+002C COMMA", "no extension can be sent to"),
    ("41793026727,41793026731", "U+002C COMMA", "one number"),
    ("1-800-FLOWERS", "U+0046 LATIN CAPITAL LETTER F", E123 + ": digits only"),
    ("tel:+41793026727", "U+0074 LATIN SMALL LETTER T", "RFC 3966: a URI is no number"),
    ("41/79/302/67/31", "U+002F SOLIDUS", "the contract does not name it"),
    ("+49 30/123456", "U+002F SOLIDUS", "the contract does not name it"),
    ("++41793026727", "U+002B PLUS SIGN", E123),
    ("41+793026727", "U+002B PLUS SIGN", E123),
    ("+44 (0)20 +7946 0958", "U+002B PLUS SIGN", E123),
    ("00+41793026727", "U+002B PLUS SIGN", E123),
    ("*100#", "U+002A ASTERISK", "3GPP TS 22.030: a code for the network is no number"),
    ("+1 [202] 555 0147", "U+005B LEFT SQUARE BRACKET", E123),
    ("41_79302", "U+005F LOW LINE", E123),
    ("41'79302", "U+0027 APOSTROPHE", E123),
    ("4.1793026727E10", "U+0045 LATIN CAPITAL LETTER E", "as a spreadsheet writes a large number"),
    ("4\ufe0f\u20e31793026727", "U+20E3 COMBINING ENCLOSING KEYCAP", "Unicode, keycap sequences"),
    ("\uff0b41793026727", "U+FF0B FULLWIDTH PLUS SIGN", "the contract: ASCII"),
    # Digits of other scripts
    ("\u0664\u0661\u0667\u0669\u0663\u0660\u0662", "U+0664 ARABIC-INDIC DIGIT FOUR", "the contract: ASCII digits"),
    ("+\u06f9\u06f8\u06f9\u06f1\u06f2", "U+06F9 EXTENDED ARABIC-INDIC DIGIT NINE", "the contract: ASCII digits"),
    ("41793\uff10\uff12", "U+FF10 FULLWIDTH DIGIT ZERO", "the contract: ASCII digits"),
    ("\u0967\u0968\u0969\u096a\u096b", "U+0967 DEVANAGARI DIGIT ONE", "the contract: ASCII digits"),
    ("+44 (0)20 7946 \uff10958", "U+FF10 FULLWIDTH DIGIT ZERO", "the contract: ASCII digits"),
    ("\U0001d7ce41793026727", "U+1D7CE MATHEMATICAL BOLD DIGIT ZERO", "the contract: ASCII digits"),
    ("4179302672\u00b2", "U+00B2 SUPERSCRIPT TWO", "the contract: ASCII digits"),
    ("4179302672\u2460", "U+2460 CIRCLED DIGIT ONE", "the contract: ASCII digits"),
]

DIFFERENCES: Final = {
    "extension": "libphonenumber takes an extension apart; no message can be sent to one, so the number is refused",
    "letters": "libphonenumber reads letters as on a telephone's keys; they are as likely to be a mistake",
    "uri": "libphonenumber reads tel: URIs and finds numbers in text; a field for a number holds a number",
    "punctuation": "libphonenumber skips / * ~ [ ] and a second +; the contract does not name them",
    "script": "libphonenumber reads the digits of all scripts; the contract asks for ASCII, and the fault names it",
    "length": "libphonenumber reads numbers of two digits; the contract asks for five",
    "trunk-zero": "libphonenumber drops a trunk zero; without brackets it is as likely to be a wrong digit",
    "prefix": "0011 is a prefix to libphonenumber only if it knows that the caller is in Australia",
    "plan": "libphonenumber knows the plan of the country, or that there is none; it is not asked about plain digits",
}
"""Where the relay differs from libphonenumber on purpose."""

_ROWS: Final = [line.split("\t") for line in Path(__file__).with_name("libphonenumber.tsv").read_text().splitlines()]
RESULTS: Final = sorted({result for result, *_ in _ROWS})


def read(written: str) -> str:
    try:
        return digits(written)
    except PydanticCustomError:
        return "-"


def cause(written: str) -> str:
    """Give the only fault of a number; nothing if it is posted."""
    try:
        To.model_validate({"phoneNumber": written})
    except ValidationError as refused:
        (error,) = refused.errors()
        return error["msg"]
    return ""


def as_libphonenumber_reads(written: str) -> str:
    """Give the digits that libphonenumber reads without knowing where the caller is, as the relay does not."""
    marked = written if "+" in written or "\uff0b" in written else "+" + written.lstrip(" (").removeprefix("00")
    try:
        number = phonenumbers.parse(marked, None)
    except phonenumbers.NumberParseException:
        return "-"
    return f"{number.country_code}{phonenumbers.national_significant_number(number)}"


def test_a_number_is_posted_as_digits() -> None:
    assert [row for row in POSTED if read(row[0]) != row[1]] == []
    assert [row for row in POSTED if read(row[1]) != row[1]] == [], "a retry reads what was posted"


def test_a_number_is_refused_with_its_cause() -> None:
    assert [(row, cause(row[0])) for row in REFUSED if not cause(row[0]) or row[1] not in cause(row[0])] == []


@pytest.mark.parametrize("result", RESULTS)
def test_a_string_of_libphonenumbers_tests_is_read_alike_or_differs_on_purpose(result: str) -> None:
    rows = [(test, json.loads(written), posted) for reported, posted, written, test in _ROWS if reported == result]

    assert [row for row in rows if read(row[1]) != row[2]] == []
    agreeing = [row for row in rows if as_libphonenumber_reads(row[1]) == row[2]]
    assert agreeing == (rows if result == "agrees" else [])


def test_every_purpose_of_a_difference_has_an_example() -> None:
    assert set(RESULTS) == {"agrees", *DIFFERENCES}


def test_the_tables_are_as_long_as_they_claim() -> None:
    assert len({written for written, *_ in (*POSTED, *REFUSED)}) >= 200
    assert len(_ROWS) == 550


def test_no_fault_repeats_the_number() -> None:
    for written in ("+44 020 7946 0958", "07700 900123", "+44 20 (0) 7946 0958", "41793026727x", "0011442079460958"):
        with pytest.raises(PydanticCustomError) as refused:
            digits(written)
        assert "7946 0958" not in str(refused.value).replace("44207946", "")
        assert "900123" not in str(refused.value)


@pytest.mark.parametrize("value", [41793026727, 41793026727.0, True, ["41793026727"], {}])
def test_a_number_is_a_string(value: object) -> None:
    with pytest.raises(ValidationError):
        To.model_validate({"phoneNumber": value})


@pytest.mark.no_cover
def test_the_example_numbers_of_a_country_are_posted_and_refused_with_its_trunk_zero() -> None:
    """The pattern of plain numbers knows the country codes. libphonenumber's list says whether it knows all."""
    wrong: list[str] = []
    for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items():
        for region in regions:
            plan = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(code, region)
            assert plan is not None
            kinds = (
                plan.fixed_line,
                plan.mobile,
                plan.toll_free,
                plan.premium_rate,
                plan.voip,
                plan.shared_cost,
                plan.uan,
            )
            examples = [kind.example_number for kind in kinds if kind is not None and kind.example_number]
            assert examples, code
            for example in examples:
                read_as = {f"{code}{example}": f"{code}{example}"}
                if plan.national_prefix == "0" and len(f"{code}0{example}") <= 15:
                    read_as |= {f"{code}0{example}": "-", f"+{code} (0){example}": f"{code}{example}"}
                wrong += [written for written, posted in read_as.items() if read(written) != posted]
    assert wrong == []


@pytest.mark.parametrize("code", [39, 225, 227, 229, 242, 378])
def test_where_numbers_begin_with_a_zero_there_is_no_trunk_zero(code: int) -> None:
    for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code]:
        plan = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(code, region)
        assert plan is not None
        assert plan.national_prefix is None


@pytest.mark.no_cover
def test_every_character_without_a_shape_is_removed() -> None:
    """Unicode's format characters, but for those that are drawn: signs before Arabic, Syriac, Kaithi numbers."""
    drawn = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13456)}
    formats = [chr(one) for one in range(0x110000) if unicodedata.category(chr(one)) == "Cf" and one not in drawn]

    assert len(formats) > 100
    assert [one for one in formats if read(f"4179{one}302") != "4179302"] == []
    assert [chr(one) for one in drawn if read(f"4179{chr(one)}302") != "-"] == []


@law
@given(st.text("+0123456789() -.\u200b\u202a\u2011\uff10x", max_size=25))
def test_a_posted_number_has_five_to_fifteen_digits_and_is_read_as_itself(written: str) -> None:
    posted = read(written)

    if posted != "-":
        assert posted.isascii()
        assert posted.isdecimal()
        assert 5 <= len(posted) <= 15
        assert not posted.startswith("0")
        assert posted in "".join(one for one in written if one.isdecimal()) or "(" in written
        assert read(posted) == posted


@pytest.mark.no_cover
def test_the_libraries_are_not_imported_for_plain_addresses() -> None:
    """They take 2 MiB and 140 ms, which only those pay who send an address that asks for it."""
    program = """
import sys
import service.worker.app
from service.core.omni.phone import digits
from service.core.omni.email_address import email_address
for number in ("41793026727", "+41793026727", "0041793026727", "+41 79 302-67.27", "390669821234"):
    digits(number)
digits("\\u202a+4179302\\u202c")
email_address("first.last+tag@mail.example.com")
plain = {"phonenumbers", "email_validator", "dns"} & set(sys.modules)
digits("+44 (0)20 7946 0958")
email_address("j\\u00f6rg@example.com")
print(sorted(plain), sorted({"phonenumbers", "email_validator", "dns"} & set(sys.modules)))
"""
    reported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert reported.stdout.strip() == "[] ['email_validator', 'phonenumbers']"
