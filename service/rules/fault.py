"""Faults: what is wrong with a request, each with its path and what is allowed instead.

No message repeats the offending value: it is personal data, and more people read events than requests.
"""

import re
from collections.abc import Iterable
from typing import Final

from pydantic_core import ErrorDetails

from service.words.event import Fault
from service.words.omni.content import CHANNELS

MAX_FAULTS: Final = 32
"""Faults told of one message: enough to mend it, and a hostile body cannot make its event grow."""

ADDRESSES: Final = ("phoneNumber", "emailAddress")

_MAX_PATH: Final = 200
_NO_CONTENT: Final = "names no content: give text, or at least one of " + ", ".join(CHANNELS)
_TOLD: Final = {"extra_forbidden": "is not a field of a send request", "missing": "is required"}
_SUBJECT: Final = re.compile(r"^(Input|String|Tuple|Dictionary) ")


def shape_faults(present: set[str]) -> list[Fault]:
    """Tell what no single field can know: shapes mixed, nobody to send to, nothing to say."""
    flat = [name for name in (*ADDRESSES, "messageId") if name in present]
    simple = [name for name in ("text", "mailSubject") if name in present]
    channels = [name for name in CHANNELS if name in present]
    faults = []
    if "destinations" in present:
        faults += [Fault(name, "cannot stand beside destinations") for name in flat]
    elif not present.intersection(ADDRESSES):
        faults.append(Fault("destinations", "is required, unless phoneNumber or emailAddress names one recipient"))
    if channels:
        faults += [Fault(name, f"cannot stand beside {channels[0]}") for name in simple]
    elif "text" not in present:
        faults.append(Fault("$", _NO_CONTENT))
    return faults


def by_destination(errors: Iterable[ErrorDetails]) -> tuple[list[Fault], dict[int, list[Fault]]]:
    """Sort errors into those that all messages share and those of one destination."""
    shared: list[Fault] = []
    own: dict[int, list[Fault]] = {}
    for error in errors:
        match error["loc"]:
            case ("destinations", int(position), *_):
                own.setdefault(position, []).append(_fault(error))
            case _:
                shared.append(_fault(error))
    return shared, own


def _fault(error: ErrorDetails) -> Fault:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    message = _TOLD.get(error["type"]) or _SUBJECT.sub("", error["msg"])
    return Fault(path[:_MAX_PATH] or "$", message)


def bounded(faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """Keep the first `MAX_FAULTS` and count the rest."""
    if len(faults) <= MAX_FAULTS:
        return faults
    return (*faults[:MAX_FAULTS], Fault("$", f"has {len(faults) - MAX_FAULTS} more faults"))
