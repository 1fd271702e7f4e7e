"""W3C trace context in a message's headers. Any producer may write any header: one that is not well-formed is ignored.

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

_MEMBER: Final = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
"""A key and a value without `,` and `=`."""

_MAX_MEMBERS: Final = 32


def read_trace(headers: Mapping[str, Header]) -> str | None:
    """Return a well-formed `traceparent`. One of a future version is read by the rules of version 00."""
    given = headers.get(TRACEPARENT)
    return given if isinstance(given, str) and _WELL_FORMED.fullmatch(given) else None


def read_state(headers: Mapping[str, Header]) -> str | None:
    """Return a well-formed `tracestate` with at least one member. It has no meaning without a valid `traceparent`."""
    given = headers.get(TRACESTATE)
    if not isinstance(given, str) or "=" not in given or given.count("=") > _MAX_MEMBERS:
        return None
    members = {member.strip(" \t") for member in set(given.split(","))}
    return given if all(_MEMBER.fullmatch(member) for member in members if member) else None


def trace_headers(headers: Mapping[str, Header]) -> dict[str, str]:
    """Return the valid part of the trace context. An event carries no other header of a producer."""
    if (parent := read_trace(headers)) is None:
        return {}
    state = read_state(headers)
    return {TRACEPARENT: parent} if state is None else {TRACEPARENT: parent, TRACESTATE: state}


def trace_id(traceparent: str) -> str:
    """Return the trace id of a valid `traceparent`."""
    return traceparent[3:35]


def is_sampled(traceparent: str) -> bool:
    """Return whether the sampled flag of a valid `traceparent` is set."""
    return bool(int(traceparent[53:55], 16) & 1)
