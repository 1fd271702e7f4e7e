"""A request's past, in headers. Anyone may publish any header, so nonsense there counts as absent."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from service.words.delivery import Header, History

ATTEMPT: Final = "omni-attempt"
FIRST_SEEN: Final = "omni-first-seen"
AMBIGUOUS: Final = "omni-ambiguous"

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_END_OF_TIME: Final = 253_402_300_799_000  # ms; the last second of year 9999
_MOST_ATTEMPTS: Final = 1_000_000


def _whole(value: Header, most: int) -> int | None:
    return value if type(value) is int and 0 <= value <= most else None


def read_history(headers: Mapping[str, Header], now: datetime) -> History:
    """Read what the relay wrote when it put the request aside; a request never seen is seen now."""
    seen = _whole(headers.get(FIRST_SEEN), _END_OF_TIME)
    return History(
        first_seen=now if seen is None else _EPOCH + timedelta(milliseconds=seen),
        attempts=_whole(headers.get(ATTEMPT), _MOST_ATTEMPTS) or 0,
        ambiguous=headers.get(AMBIGUOUS) is True,
    )


def is_returning(headers: Mapping[str, Header]) -> bool:
    """Tell whether the relay has put this request aside before."""
    return _whole(headers.get(FIRST_SEEN), _END_OF_TIME) is not None


def write_history(history: History) -> dict[str, Header]:
    """Write it for the next reader; `omni-first-seen` in milliseconds since 1970."""
    return {
        ATTEMPT: history.attempts,
        FIRST_SEEN: (history.first_seen - _EPOCH) // timedelta(milliseconds=1),
        AMBIGUOUS: history.ambiguous,
    }
