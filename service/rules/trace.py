"""Trace context in a message's headers. Anyone may write any header, so what is not well-formed is not there.

Source: W3C Trace Context (2021), 3.2.
"""

import re
from collections.abc import Mapping
from typing import Final

from service.words.delivery import Header

TRACEPARENT: Final = "traceparent"
_WELL_FORMED: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def read_trace(headers: Mapping[str, Header]) -> str | None:
    """Give the `traceparent`, if it is one."""
    given = headers.get(TRACEPARENT)
    return given if isinstance(given, str) and _WELL_FORMED.fullmatch(given) else None


def trace_id(traceparent: str) -> str:
    """Give the id by which a trace is found."""
    return traceparent[3:35]


def is_sampled(traceparent: str) -> bool:
    """Tell whether somebody keeps the trace."""
    return bool(int(traceparent[53:], 16) & 1)
