"""Checks of one value: each returns what is wrong with it, or None.

A check is a plain function, so that the tables in `judgement` read as the list of fields they are.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta

Check = Callable[[object], str | None]

FARTHEST_SEND_AT = timedelta(days=180)

_PHONE_NUMBER = re.compile(r"(?!00)[0-9]{1,15}")
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)", re.ASCII)


def anything(_value: object) -> str | None:
    """Accept whatever it is."""
    return None


def text(value: object) -> str | None:
    """Ask for a string with something in it."""
    if not isinstance(value, str):
        return "must be a string"
    return None if value else "must not be empty"


def string(value: object) -> str | None:
    """Ask for a string, be it empty."""
    return None if isinstance(value, str) else "must be a string"


def flag(value: object) -> str | None:
    """Ask for true or false."""
    return None if isinstance(value, bool) else "must be true or false"


def thing(value: object) -> str | None:
    """Ask for an object, whatever is in it."""
    return None if isinstance(value, dict) else "must be an object"


def one_of(*names: str) -> Check:
    """Ask for one of these names."""

    def check(value: object) -> str | None:
        known = isinstance(value, str) and value in names
        return None if known else f"must be one of {', '.join(names)}"

    return check


def at_most(limit: int) -> Check:
    """Ask for a string of no more characters than that."""

    def check(value: object) -> str | None:
        if not isinstance(value, str):
            return "must be a string"
        return None if len(value) <= limit else f"must not be longer than {limit} characters"

    return check


def phone_number(value: object) -> str | None:
    """Ask for an international number as OMNI wants it: no plus, no 00, nothing but digits."""
    if isinstance(value, str) and _PHONE_NUMBER.fullmatch(value):
        return None
    return "must be an international number: 1 to 15 digits, without + or 00"


def language_code(value: object) -> str | None:
    """Ask for an object whose `languageCode`, if it has one, is known to the SMS channel."""
    if not isinstance(value, dict):
        return "must be an object"
    check = one_of("NONE", "TR", "ES", "PT", "AUTODETECT")
    return None if check(value.get("languageCode", "NONE")) is None else "has an unknown languageCode"


def send_at(value: object, now: datetime) -> str | None:
    """Ask for a date and time with a zone, less than 180 days ahead; what is past is sent at once."""
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        return "must be a date and time with a zone, as in 2030-01-31T08:00:00.000+0000"
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return "is no moment that exists"
    return None if moment - now < FARTHEST_SEND_AT else "must be less than 180 days ahead"
