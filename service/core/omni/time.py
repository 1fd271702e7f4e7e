"""Instants: RFC 3339 with a zone on the way in, the vendor's form on the way out."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from pydantic import AwareDatetime, BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

_WRITTEN: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt]((?:[01]\d|2[0-3]):[0-5]\d):([0-5]\d|60)(?:\.(\d+))?"
    r"(?:[Zz]|([+-](?:[01]\d|2[0-3])):?([0-5]\d))",  # the vendor writes an offset without colon
    re.ASCII,
)
_LEAP: Final = "60"
_SECOND: Final = timedelta(seconds=1)
_MESSAGE: Final = "must be a time with a zone, such as 2026-11-22T10:52:15Z"


def _read(value: object) -> object:
    """Parse RFC 3339 to milliseconds in UTC. Without this, pydantic would also accept seconds since 1970.

    A leap second is read as the second after it, as POSIX counts. RFC 3339 (5.7) allows one at the end of a month.
    """
    if not isinstance(value, str):
        return value
    written = _WRITTEN.fullmatch(value)
    if written is None:
        raise PydanticCustomError("instant", _MESSAGE)
    day, minute, second, fraction, hours, minutes = written.groups()
    milliseconds = (fraction or "")[:3].ljust(3, "0")
    is_leap = second == _LEAP
    local = f"{day}T{minute}:{'59' if is_leap else second}.{milliseconds}"
    try:
        utc = datetime.fromisoformat(f"{local}{hours}:{minutes}" if hours else f"{local}+00:00").astimezone(UTC)
        if not is_leap:
            return utc
        after = utc + _SECOND
    except (ValueError, OverflowError):
        raise PydanticCustomError("instant", _MESSAGE) from None
    if (after.day, after.hour, after.minute) != (1, 0, 0):
        raise PydanticCustomError("instant", _MESSAGE)
    return after


def vendor_time(instant: datetime) -> str:
    """Render an instant as the vendor writes it: `yyyy-MM-dd'T'HH:mm:ss.SSSZ`, in UTC."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "+0000"


Instant = Annotated[AwareDatetime, BeforeValidator(_read)]
VendorTime = Annotated[Instant, PlainSerializer(vendor_time, return_type=str)]
