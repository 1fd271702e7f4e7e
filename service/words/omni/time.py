"""Instants: RFC 3339 with a zone on the way in, the vendor's form on the way out."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AwareDatetime, BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

_WRITTEN: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:?\d\d)",  # the vendor writes an offset without colon
    re.ASCII,
)
_MESSAGE: Final = "must be a time with a zone, such as 2026-11-22T10:52:15Z"


def _read(value: object) -> object:
    """Read one way of writing, to milliseconds in UTC; the parser beneath would also take seconds since 1970."""
    if not isinstance(value, str):
        return value
    if not _WRITTEN.fullmatch(value):
        raise PydanticCustomError("instant", _MESSAGE)
    try:
        utc = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise PydanticCustomError("instant", _MESSAGE) from None
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def vendor_time(instant: datetime) -> str:
    """Render an instant as the vendor writes it: `yyyy-MM-dd'T'HH:mm:ss.SSSZ`, in UTC."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "+0000"


Instant = Annotated[AwareDatetime, BeforeValidator(_read)]
VendorTime = Annotated[Instant, PlainSerializer(vendor_time, return_type=str)]
