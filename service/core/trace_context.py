"""Trace context in a message's headers. Anyone may write any header, so what is not well-formed is not there.

Source: W3C Trace Context (2021), 3.2 (`traceparent`), 3.3 (`tracestate`), 4 (processing) and its test suite; for the
keys of `tracestate` also Level 2 (2024), which allows more of them.
"""

import re
from collections.abc import Mapping
from typing import Final

from service.core.delivery import Header

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
_IDS: Final = "(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_WELL_FORMED: Final = re.compile(f"00-{_IDS}|(?!00|ff)[0-9a-f]{{2}}-{_IDS}(?:-[ -~]{{0,256}})?")
"""A later version than 00 may have more fields after the flags; every event repeats them, so they are bounded here.
Version ff is forbidden."""

_MEMBER: Final = r"(?:[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~])?+"
"""A key and a value without `,` and `=`, or nothing: a member may be empty."""

_STATE: Final = re.compile(rf"[ \t]*+{_MEMBER}[ \t]*+(?:,[ \t]*+{_MEMBER}[ \t]*+)*+")
"""Possessive throughout, or long blanks would take quadratic time."""

_MAX_MEMBERS: Final = 32


def read_trace(headers: Mapping[str, Header]) -> str | None:
    """Give the `traceparent`, if it is one. One of a future version is read by the rules of version 00."""
    given = headers.get(TRACEPARENT)
    return given if isinstance(given, str) and _WELL_FORMED.fullmatch(given) else None


def read_state(headers: Mapping[str, Header]) -> str | None:
    """Give the `tracestate`, if it is one and says something. It means nothing without a valid `traceparent`."""
    given = headers.get(TRACESTATE)
    if not isinstance(given, str) or "=" not in given or given.count("=") > _MAX_MEMBERS:
        return None
    return given if _STATE.fullmatch(given) else None


def trace_id(traceparent: str) -> str:
    """Give the id by which a trace is found."""
    return traceparent[3:35]


def is_sampled(traceparent: str) -> bool:
    """Tell whether somebody keeps the trace."""
    return bool(int(traceparent[53:55], 16) & 1)
