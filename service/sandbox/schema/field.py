"""Checks of one value: each returns what is wrong with it, or None.

A check is a plain function, so that the tables in `content` read as the list of fields they are.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta

Check = Callable[[object], str | None]

FARTHEST_SEND_AT = timedelta(days=180)

# Fifteen digits are the most of any real number; the vendor's own examples have one of seventeen.
_PHONE_NUMBER = re.compile(r"(?!00)[0-9]{1,17}")
_WEB_ADDRESS = re.compile(r"https?://.+", re.IGNORECASE)
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


def at_most(limit: int, least: int = 0) -> Check:
    """Ask for a string of no more characters than that, and no fewer than `least`."""

    def check(value: object) -> str | None:
        if not isinstance(value, str):
            return "must be a string"
        return None if least <= len(value) <= limit else f"must have {least} to {limit} characters"

    return check


def whole_in(low: int, high: int) -> Check:
    """Ask for a whole number between two, both allowed."""

    def check(value: object) -> str | None:
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return None if fits else f"must be a whole number from {low} to {high}"

    return check


def number_in(low: float, high: float) -> Check:
    """Ask for a number between two, both allowed."""

    def check(value: object) -> str | None:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        return None if fits else f"must be a number from {low} to {high}"

    return check


def phone_number(value: object) -> str | None:
    """Ask for an international number as OMNI wants it: no plus, no 00, nothing but digits."""
    if isinstance(value, str) and _PHONE_NUMBER.fullmatch(value):
        return None
    return "must be an international number: 1 to 17 digits, without + or 00"


def web_address(value: object) -> str | None:
    """Ask for an address that begins with http:// or https://."""
    known = isinstance(value, str) and _WEB_ADDRESS.fullmatch(value)
    return None if known else "must begin with http:// or https://"


def moment_of(value: object) -> datetime | None:
    """Read a date and time with a zone; None where there is none."""
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def moment(value: object) -> str | None:
    """Ask for a date and time with a zone."""
    known = moment_of(value) is not None
    return None if known else "must be a date and time with a zone, as in 2030-01-31T08:00:00.000+0000"


def send_at(value: object, now: datetime) -> str | None:
    """Ask for a date and time with a zone, less than 180 days ahead; what is past is sent at once."""
    asked = moment_of(value)
    if asked is None:
        return moment(value)
    return None if asked - now < FARTHEST_SEND_AT else "must be less than 180 days ahead"
