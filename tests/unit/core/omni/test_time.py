"""How an instant is read: tables of what is written, what it means, and the authority for it."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from service.core.omni.time import Instant, vendor_time
from tests.unit.strategy import law

RFC: Final = "RFC 3339, 5.6"
LEAP: Final = "RFC 3339, 5.7 and appendix D: a leap second ends a month in UTC"
EXAMPLES: Final = "RFC 3339, 5.8: examples"
SUITE: Final = "JSON-Schema-Test-Suite, optional/format/date-time"
VENDOR: Final = "the vendor's specification: yyyy-MM-dd'T'HH:mm:ss.SSSZ"
CALENDAR: Final = "the years 1 to 9999 of Python's datetime"
ISO: Final = "ISO 8601 allows it, RFC 3339 does not"

READ: Final = [
    # The grammar
    ("2026-11-22T10:52:15Z", "2026-11-22T10:52:15.000+0000", RFC),
    ("2026-11-22t10:52:15z", "2026-11-22T10:52:15.000+0000", RFC + ": T and Z may be lower case"),
    ("2026-11-22T10:52:15+00:00", "2026-11-22T10:52:15.000+0000", RFC),
    ("2026-11-22T10:52:15-00:00", "2026-11-22T10:52:15.000+0000", "RFC 3339, 4.3: the local zone is not known"),
    ("2026-11-22T10:52:15+01:00", "2026-11-22T09:52:15.000+0000", RFC),
    ("2026-11-22T10:52:15-08:00", "2026-11-22T18:52:15.000+0000", RFC),
    ("2026-11-22T10:52:15+05:45", "2026-11-22T05:07:15.000+0000", RFC + ": Nepal"),
    ("2026-11-22T10:52:15+14:00", "2026-11-21T20:52:15.000+0000", RFC + ": Kiribati"),
    ("2026-11-22T10:52:15-12:00", "2026-11-22T22:52:15.000+0000", RFC),
    ("2026-11-22T10:52:15+23:59", "2026-11-21T10:53:15.000+0000", RFC + ": the largest offset"),
    ("2026-11-22T10:52:15-23:59", "2026-11-23T10:51:15.000+0000", RFC + ": the smallest offset"),
    ("2026-11-22T00:00:00Z", "2026-11-22T00:00:00.000+0000", RFC),
    ("2026-11-22T23:59:59Z", "2026-11-22T23:59:59.000+0000", RFC),
    ("2028-02-29T12:00:00Z", "2028-02-29T12:00:00.000+0000", RFC + ", appendix C: a leap year"),
    ("2000-02-29T12:00:00Z", "2000-02-29T12:00:00.000+0000", RFC + ", appendix C: a leap year"),
    ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000+0000", CALENDAR),
    ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000+0000", CALENDAR),
    ("1985-04-12T23:20:50.52Z", "1985-04-12T23:20:50.520+0000", EXAMPLES),
    ("1996-12-19T16:39:57-08:00", "1996-12-20T00:39:57.000+0000", EXAMPLES),
    ("1937-01-01T12:00:27.87+00:20", "1937-01-01T11:40:27.870+0000", EXAMPLES),
    ("1963-06-19T08:30:06.283185Z", "1963-06-19T08:30:06.283+0000", SUITE),
    ("1990-12-31T15:59:50.123-08:00", "1990-12-31T23:59:50.123+0000", SUITE),
    # As the vendor writes it
    ("2016-04-26T10:52:15.000+0100", "2016-04-26T09:52:15.000+0000", VENDOR),
    ("2016-04-26T10:52:15.000-0730", "2016-04-26T18:22:15.000+0000", VENDOR),
    ("2016-04-26T10:52:15.000+0000", "2016-04-26T10:52:15.000+0000", VENDOR),
    # Fractions: what is less than a millisecond is cut off, so that a deadline never moves back
    ("2026-11-22T10:52:15.1Z", "2026-11-22T10:52:15.100+0000", RFC),
    ("2026-11-22T10:52:15.12Z", "2026-11-22T10:52:15.120+0000", RFC),
    ("2026-11-22T10:52:15.123Z", "2026-11-22T10:52:15.123+0000", RFC),
    ("2026-11-22T10:52:15.1239Z", "2026-11-22T10:52:15.123+0000", RFC + "; Go cuts off trailing zeros"),
    ("2026-11-22T10:52:15.123456Z", "2026-11-22T10:52:15.123+0000", RFC + ": microseconds, as Python writes"),
    ("2026-11-22T10:52:15.1234567Z", "2026-11-22T10:52:15.123+0000", RFC + ": seven digits, as .NET writes"),
    ("2026-11-22T10:52:15.123456789Z", "2026-11-22T10:52:15.123+0000", RFC + ": nanoseconds, as Java writes"),
    ("2026-11-22T10:52:15.1234567891Z", "2026-11-22T10:52:15.123+0000", RFC + ": any number of digits"),
    ("2026-11-22T10:52:15.123456789012Z", "2026-11-22T10:52:15.123+0000", RFC + ": picoseconds"),
    ("2026-11-22T10:52:15." + "9" * 100 + "Z", "2026-11-22T10:52:15.999+0000", RFC + ": any number of digits"),
    ("1985-04-12T00:59:59.999999999999999Z", "1985-04-12T00:59:59.999+0000", SUITE),
    ("2026-11-22T10:52:15.000000000000Z", "2026-11-22T10:52:15.000+0000", RFC),
    ("2026-11-22T10:52:15.123456789012+01:00", "2026-11-22T09:52:15.123+0000", RFC),
    # Leap seconds: read as the second after, as POSIX counts
    ("1990-12-31T23:59:60Z", "1991-01-01T00:00:00.000+0000", EXAMPLES),
    ("1990-12-31T15:59:60-08:00", "1991-01-01T00:00:00.000+0000", EXAMPLES),
    ("1998-12-31T23:59:60Z", "1999-01-01T00:00:00.000+0000", SUITE),
    ("1998-12-31T15:59:60.123-08:00", "1999-01-01T00:00:00.123+0000", SUITE),
    ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000+0000", "IERS Bulletin C 52: the last one so far"),
    ("2015-06-30T23:59:60Z", "2015-07-01T00:00:00.000+0000", "IERS Bulletin C 49"),
    ("2017-01-01T05:29:60+05:30", "2017-01-01T00:00:00.000+0000", LEAP),
    ("2017-01-01T08:59:60+0900", "2017-01-01T00:00:00.000+0000", LEAP),
    ("2016-12-31t23:59:60z", "2017-01-01T00:00:00.000+0000", LEAP),
    ("2016-12-31T23:59:60.999999999999Z", "2017-01-01T00:00:00.999+0000", LEAP),
    ("2027-03-31T23:59:60Z", "2027-04-01T00:00:00.000+0000", "ITU-R TF.460: the end of any month may have one"),
    ("2028-02-29T23:59:60Z", "2028-03-01T00:00:00.000+0000", "ITU-R TF.460: the end of any month may have one"),
]

REFUSED: Final = [
    # The zone
    ("2026-11-22T10:52:15", RFC + ": without a zone it is no instant"),
    ("2026-11-22T10:52:15.123", RFC),
    ("2026-11-22T10:52:15+01:60", RFC + ": an offset has minutes 00 to 59"),
    ("2026-11-22T10:52:15+0160", RFC),
    ("2026-11-22T10:52:15+01:99", RFC),
    ("1990-12-31T10:00:00+10:60", SUITE),
    ("2026-11-22T10:52:15+24:00", RFC + ": an offset has hours 00 to 23"),
    ("1990-12-31T15:59:59-24:00", SUITE),
    ("2026-11-22T10:52:15+99:00", RFC),
    ("2026-11-22T10:52:15+01", ISO),
    ("2026-11-22T10:52:15+1:00", RFC),
    ("2026-11-22T10:52:15+01:00:00", RFC),
    ("2026-11-22T10:52:15 +01:00", RFC),
    ("2026-11-22T10:52:15\u221201:00", RFC + ": a minus sign of mathematics"),
    ("1963-06-19T08:30:06.28123+01:00Z", SUITE),
    ("2026-11-22T10:52:15ZZ", RFC),
    ("2026-11-22T10:52:15UTC", RFC),
    ("2026-11-22T10:52:15 CET", RFC),
    ("2026-11-22T10:52:15+01:00[Europe/Zurich]", "RFC 9557: an extension"),
    # Leap seconds elsewhere
    ("1998-12-31T23:59:61Z", SUITE),
    ("1998-12-31T23:58:60Z", SUITE),
    ("1998-12-31T22:59:60Z", SUITE),
    ("2016-12-31T23:59:60+01:00", LEAP),
    ("2016-12-30T23:59:60Z", LEAP),
    ("2026-11-22T23:59:60Z", LEAP),
    ("2016-12-31T23:60:00Z", RFC),
    ("9999-12-31T23:59:60Z", CALENDAR),
    # Hours, minutes, days
    ("2026-11-22T24:00:00Z", RFC + ": hours 00 to 23"),
    ("1990-12-31T24:00:00Z", SUITE),
    ("2026-11-22T25:00:00Z", RFC),
    ("1990-12-31T15:60:00Z", SUITE),
    ("2026-11-22T10:52Z", RFC + ": seconds are required"),
    ("2026-11-22T1:52:15Z", RFC),
    ("1990-02-31T15:59:59.123-08:00", SUITE),
    ("2026-02-29T00:00:00Z", RFC + ", appendix C: no leap year"),
    ("1900-02-29T00:00:00Z", RFC + ", appendix C: no leap year"),
    ("2026-11-31T00:00:00Z", RFC),
    ("2026-00-10T00:00:00Z", RFC),
    ("2026-13-10T00:00:00Z", RFC),
    ("2026-11-00T00:00:00Z", RFC),
    ("1963-6-19T08:30:06.283185Z", SUITE),
    ("1963-06-1T08:30:06.283185Z", SUITE),
    ("26-11-22T10:52:15Z", RFC),
    ("+11963-06-19T08:30:06.283185Z", SUITE),
    ("-0001-01-01T00:00:00Z", RFC),
    ("0000-01-01T00:00:00Z", CALENDAR),
    ("0001-01-01T00:00:00+14:00", CALENDAR),
    ("9999-12-31T23:59:59-14:00", CALENDAR),
    # Other forms
    ("2026-11-22", RFC),
    ("10:52:15Z", RFC),
    ("2026-11-22 10:52:15Z", RFC + ": a space is for people"),
    ("2026-11-22_10:52:15Z", RFC),
    ("2026-11-22T10:52:15,5Z", ISO),
    ("2026-11-22T10:52:15.Z", RFC),
    ("20261122T105215Z", ISO),
    ("2013-350T01:01:01Z", SUITE),
    ("2026-W47-7T10:52:15Z", ISO),
    ("2026/11/22T10:52:15Z", RFC),
    ("22.11.2026 10:52:15", RFC),
    ("06/19/1963 08:30:06 PST", SUITE),
    ("Sun, 22 Nov 2026 10:52:15 GMT", "RFC 9110, 5.6.7: for headers"),
    ("1795344735", "seconds since 1970 are a number of something"),
    ("1795344735000", "milliseconds since 1970 are a number of something"),
    ("now", RFC),
    ("tomorrow", RFC),
    ("", RFC),
    (" 2026-11-22T10:52:15Z", RFC),
    ("2026-11-22T10:52:15Z\n", RFC),
    ("2026-11-22T10:52:15Z\x00", RFC),
    ("1963-06-1\u09eaT00:00:00Z", SUITE),
    ("1963-06-11T0\u09ea:00:00Z", SUITE),
    ("2026-11-22T10:52:15.\u0661Z", RFC + ": ASCII digits"),
]

_INSTANT: Final[TypeAdapter[datetime]] = TypeAdapter(Instant)


def read(written: str) -> str:
    """Give an instant as the vendor writes it, or why there is none."""
    try:
        return vendor_time(_INSTANT.validate_python(written, strict=True))
    except ValidationError as refused:
        return refused.errors()[0]["msg"]


def test_an_instant_is_read_to_the_millisecond_in_utc() -> None:
    assert [(row, read(row[0])) for row in READ if read(row[0]) != row[1]] == []


def test_an_invalid_time_is_refused_with_an_example() -> None:
    reported = "must be a time with a zone, such as 2026-11-22T10:52:15Z"

    assert [(row, read(row[0])) for row in REFUSED if read(row[0]) != reported] == []


@pytest.mark.parametrize("value", [1795344735, 1795344735.5, True, [], {}])
def test_a_number_is_no_instant(value: object) -> None:
    with pytest.raises(ValidationError):
        _INSTANT.validate_python(value, strict=True)


def test_the_tables_are_as_long_as_they_claim() -> None:
    assert len({written for written, *_ in (*READ, *REFUSED)}) >= 60


@law
@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.integers(-1439, 1439))  # noqa: DTZ001 - set below
def test_an_instant_is_read_as_it_was_written_in_any_zone(naive: datetime, offset: int) -> None:
    instant = naive.replace(microsecond=naive.microsecond // 1000 * 1000, tzinfo=UTC)
    sign, (hours, minutes) = "+-"[offset < 0], divmod(abs(offset), 60)
    local = (instant + timedelta(minutes=offset)).replace(tzinfo=None).isoformat(timespec="milliseconds")

    assert _INSTANT.validate_python(f"{local}{sign}{hours:02d}:{minutes:02d}") == instant
