"""Phone numbers as OMNI takes them: a country code and a national number, in digits.

Sources: the vendor's request fundamentals (international format, digits only); ITU-T E.164 (at most 15 digits, no
country code begins with 0) and E.123 (a zero in brackets is dialled within the country only).

Whether a number exists is not asked: the plan of a country changes more often than a relay is updated, so OMNI says
so. One question needs a country's plan: whether a 0 after the country code belongs to the number. The library
phonenumbers, a port of Google's libphonenumber, answers it. It is imported when a number first asks it.
"""

import re
from typing import Final, overload

from pydantic_core import PydanticCustomError

from service.core.printable import name_of

_ZERO_STAYS: Final = "39|378|22[579]|242"
"""Countries whose national numbers begin with 0, and that have no trunk zero: Italy with the Vatican, San Marino,
Ivory Coast, Niger, Benin, Congo."""

_CODE: Final = "[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|[0-9]{3}"
"""Country codes: one is never the beginning of another. Source: ITU-T E.164, list of assigned codes."""

_CLEAR: Final = re.compile(rf"(?:[+]|00(?!11))?((?:(?={_ZERO_STAYS})|(?!(?>{_CODE})0))[1-9][0-9]{{4,14}})")
"""A plain number. The atomic group keeps 49 30… from being read as 493 0…"""

_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Characters that have no shape. Source: Unicode, DerivedCoreProperties, Default_Ignorable_Code_Point."""

_SPACE: Final = "\t \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_PUNCTUATION: Final = re.compile(
    rf"[{_SPACE}"
    "\\-\u2010-\u2015\u2212\u30fc\ufe58\ufe63\uff0d"  # dashes, as libphonenumber lists them
    ".\u00b7\uff0e()\uff08\uff09]"
)
_BRACKETED_ZERO: Final = re.compile(rf"[(\uff08][{_SPACE}]*0[{_SPACE}]*[)\uff09]")
_PREFIX: Final = re.compile("[+]|00")

_DECIMAL: Final = re.compile(r"[+]?[0-9]{6,}\.0", re.ASCII)
"""How spreadsheets write a number that they took for a quantity: the last digit is not a part of it."""

_MAX_WRITTEN: Final = 250
"""Characters, as in libphonenumber."""
_MIN, _MAX = 5, 15

_FORM: Final = f"must be an international number of {_MIN} to {_MAX} digits"
_NATIONAL: Final = (
    "must be an international number, which begins with a country code and never with 0: 41793026727, not 0793026727"
)
_DIALLED: Final = "must begin with a country code, and not with a prefix that some countries dial, such as 011 or 0011"
_TRUNK: Final = (
    "must not have a trunk zero after the country code, since it is dialled within the country only: "
    "442079460958, not 4402079460958"
)
_ROUNDED: Final = f"{_FORM}, without the .0 that a spreadsheet adds"
_MISPLACED: Final = "must have the trunk zero (0) immediately after the country code, or not at all"


def is_plain_number(written: str) -> bool:
    """Return whether a number is checked by its pattern alone."""
    return _CLEAR.fullmatch(written) is not None


@overload
def digits(value: str) -> str: ...
@overload
def digits(value: object) -> object: ...
def digits(value: object) -> object:
    """Return the digits of a phone number as they are posted. Other types are left to the next validator."""
    if not isinstance(value, str):
        return value
    clear = _CLEAR.fullmatch(value)
    return clear[1] if clear else _read(value)


def _read(written: str) -> str:
    """Check a number that is not plain digits, or that may have a trunk zero."""
    if len(written) > _MAX_WRITTEN:
        raise PydanticCustomError("phone_number", _FORM)
    visible = _INVISIBLE.sub("", written)
    if _DECIMAL.fullmatch(visible):
        raise PydanticCustomError("phone_number", _ROUNDED)
    bracketed = _BRACKETED_ZERO.search(visible)
    if bracketed is None:
        return _checked(_international(visible))
    if _BRACKETED_ZERO.search(visible, bracketed.end()):
        raise PydanticCustomError("phone_number", _MISPLACED)
    code = _international(visible[: bracketed.start()])
    rest = _PUNCTUATION.sub("", visible[bracketed.end() :])
    _check_characters(code + rest)
    if not code or code.startswith("0"):
        raise PydanticCustomError("phone_number", _NATIONAL)
    if not _MIN - 1 <= len(code + rest) <= _MAX:
        raise PydanticCustomError("phone_number", _FORM)
    return _checked(code + _zero(code, rest) + rest)


def _international(visible: str) -> str:
    """Remove punctuation, then the sign of an international number."""
    bare = _PUNCTUATION.sub("", visible)
    if bare.startswith("0011"):  # Australia's prefix: in the plan of country code 1 nothing begins with 1
        raise PydanticCustomError("phone_number", _DIALLED)
    prefix = _PREFIX.match(bare)
    return bare[prefix.end() :] if prefix else bare


def _checked(number: str) -> str:
    _check_characters(number)
    if number.startswith("0"):
        raise PydanticCustomError("phone_number", _NATIONAL)
    if not _MIN <= len(number) <= _MAX:
        raise PydanticCustomError("phone_number", _FORM)
    if not _CLEAR.fullmatch(number) and _has_trunk_zero(number):
        raise PydanticCustomError("phone_number", _TRUNK)
    return number


def _check_characters(number: str) -> None:
    for character in number:
        if character.isdecimal() and not character.isascii():
            context = {"form": _FORM, "character": name_of(character)}
            raise PydanticCustomError("phone_number", "{form}, in ASCII: it has a {character}", context)
        if not character.isdecimal():
            context = {"form": _FORM, "character": name_of(character)}
            raise PydanticCustomError("phone_number", "{form} and nothing else: it has a {character}", context)


def _has_trunk_zero(number: str) -> bool:
    """Return whether the 0 after the country code is not a part of the national number.

    The country's plan has no such number, and either a 0 is its trunk prefix, or it has that number without the 0. An
    unassigned country code has no plan, and so no trunk zero.
    """
    code, national, is_assigned = _parse(number)
    if not code:
        return False
    rest = number.removeprefix(code)
    return national != rest or (
        not is_assigned and (_trunk_prefix(code).startswith("0") or _is_assigned(code + rest[1:]))
    )


def _zero(code: str, rest: str) -> str:
    """Return what a zero in brackets stands for: nothing, or in some countries the first digit of the number."""
    with_zero = _parse(f"{code}0{rest}")
    if with_zero[0] != code:
        raise PydanticCustomError("phone_number", _MISPLACED)
    exists_with, exists_without = _is_assigned(f"{code}0{rest}"), _is_assigned(code + rest)
    stays = exists_with or not exists_without if re.fullmatch(_ZERO_STAYS, code) else exists_with > exists_without
    return "0" if stays else ""


def _is_assigned(number: str) -> bool:
    code, national, is_assigned = _parse(number)
    return is_assigned and code + national == number


def _trunk_prefix(code: str) -> str:
    """Return the prefix that is dialled before a national number in the country of a code; empty if there is none."""
    from phonenumbers import ndd_prefix_for_region, region_code_for_country_code  # noqa: PLC0415 - see below

    return ndd_prefix_for_region(region_code_for_country_code(int(code)), True) or ""  # noqa: FBT003 - digits alone


def _parse(number: str) -> tuple[str, str, bool]:
    """Split a number as libphonenumber does: country code, national number, and whether its plan has that number.

    The national number is without its trunk prefix. Everything is empty if the country code is not assigned.
    """
    from phonenumbers import (  # noqa: PLC0415 - takes 80 ms and 2 MiB, and few numbers need it
        NumberParseException,
        is_valid_number,
        national_significant_number,
        parse,
    )

    try:
        read = parse(f"+{number}")
    except NumberParseException:
        return "", "", False
    return str(read.country_code), national_significant_number(read), is_valid_number(read)
