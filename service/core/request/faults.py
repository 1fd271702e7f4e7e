"""The faults of a request: each has its path, and says what is allowed instead.

No text repeats the invalid value: it is personal data, and more people read events than requests.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Final

from pydantic_core import ErrorDetails

from service.core.omni.content import MAX_DAYS_AHEAD
from service.core.request.request import Fault
from service.core.request.spelling import spelling

MAX_FAULTS: Final = 32
"""Faults reported of one message: enough to correct it, and a hostile body cannot make its event grow."""

MAX_TEXT: Final = 4096
"""Characters of the faults reported of one message, in paths and texts. The first one is reported in any case."""

MAX_PATH: Final = 200
_SENDER: Final = "the sender stands in the scenario's step"
_ELSEWHERE: Final = {
    "from": _SENDER,
    "sender": _SENDER,
    "replyTo": "OMNI sends plain text; use the e-mail API",
    "cc": "OMNI sends plain text; use the e-mail API",
    "bcc": "OMNI sends plain text; use the e-mail API",
    "html": "OMNI sends plain text; use the e-mail API",
    "attachment": "OMNI sends plain text; use the e-mail API",
    "attachments": "OMNI sends plain text; use the e-mail API",
    "tracking": "links are not tracked by OMNI; use the channel's own API",
    "flash": "use the SMS API",
    "deliveryTimeWindow": "use the channel's own API, or sendAt",
    "sendingSpeedLimit": "use the channel's own API",
    "speechRate": "use the voice API",
    "audioFileUrl": "use the voice API",
    "machineDetection": "use the voice API",
    "applicationId": "use the Messages API",
    "entityId": "use the Messages API",
    "telegram": "not a channel of OMNI",
    "rcs": "not a channel of OMNI; use the Messages API",
    "mms": "not a channel of OMNI; use the Messages API",
    "scenarios": "a scenario is stored with the account, and named by scenarioKey",
}
"""Options that OMNI does not have, and where they are."""

_TEXTS: Final = {
    "extra_forbidden": "is not a field of a send request",
    "missing": "is required",
    "union_tag_not_found": "needs a type, and a box a layout",
}
_FORMS: Final = {
    "whatsAppUserId": "must be a country code, a dot, letters and digits, such as US.13491208655302741918",
    "language": "must be the code of a language, such as en",
    "text": "must hold more than punctuation",
    "buttonURL": "must be a web address, or tel: and a number",
}
"""The forms of fields that have a pattern. All others with a pattern are web addresses."""

_SUBJECT: Final = re.compile(r"^(Input|String|Tuple|Dictionary) ")


def time_faults(send_at: datetime, now: datetime) -> list[Fault]:
    """Return the fault of a schedule: too far ahead. A deadline has none: it limits the relay's attempts alone."""
    if send_at - now >= timedelta(days=MAX_DAYS_AHEAD):
        return [Fault("sendAt", f"must be less than {MAX_DAYS_AHEAD} days ahead")]
    return []


def by_destination(errors: list[ErrorDetails]) -> tuple[list[Fault], dict[int, list[Fault]]]:
    """Divide errors into those that all messages share, and those of each destination by position."""
    shared: list[Fault] = []
    own: dict[int, list[Fault]] = {}
    faulty = {error["loc"][:depth] for error in errors for depth in range(len(error["loc"]))}
    for error in errors:
        if error["type"] == "too_short" and error["loc"] in faulty:
            continue  # it has items, and each has faults of its own
        match error["loc"]:
            case ("destinations", int(position), *_):
                own.setdefault(position, []).append(_fault(error))
            case _:
                shared.append(_fault(error))
    return shared, own


def repeated_faults(paths: Sequence[tuple[str | int, ...]]) -> tuple[list[Fault], dict[int, list[Fault]]]:
    """Build the faults of names that are given twice, divided as in `by_destination`."""
    shared: list[Fault] = []
    own: dict[int, list[Fault]] = {}
    for path in paths:
        match path:
            case ("destinations", int(position), *_):
                faults = own.setdefault(position, [])
            case _:
                faults = shared
        faults.append(Fault(_written(path), "is given twice"))
    return shared, own


def _fault(error: ErrorDetails) -> Fault:
    loc = error["loc"]
    unknown = error["type"] == "extra_forbidden"
    if loc[:2] == ("line", "contents"):
        # A component chosen by its type adds that type (`….contents[0].TEXT.text`); the body has no such name.
        last = len(loc) - 1
        loc = tuple(
            part
            for at, part in enumerate(loc)
            if isinstance(part, int) or not part.isupper() or (unknown and at == last)
        )
    return Fault(_written(loc), _describe(error))


def _written(path: Sequence[str | int]) -> str:
    written = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:MAX_PATH]}" for part in path)
    return written.lstrip(".")[:MAX_PATH] or "$"


def _describe(error: ErrorDetails) -> str:
    """Describe what is allowed. A text from outside is never repeated."""
    last = str(error["loc"][-1]) if error["loc"] else ""
    match error["type"]:
        case "extra_forbidden" if last in _ELSEWHERE:
            return f"is not an option of OMNI: {_ELSEWHERE[last]}"
        case "extra_forbidden" if (name := spelling(error["loc"])) is not None:
            return f"is not a field of a send request: write {name}"
        case "union_tag_invalid":
            return f"must be one of {error['ctx']['expected_tags']}"
        case "string_pattern_mismatch":
            return _FORMS.get(last, "must be a web address, with http:// or https://")
        case type_:
            return _TEXTS.get(type_) or _SUBJECT.sub("", error["msg"])


def bounded(
    shared: Sequence[Fault], own: Sequence[Fault] = (), unmade: int = 0, most: int = MAX_FAULTS
) -> tuple[Fault, ...]:
    """Keep the first few, by number and characters, and count the others. `unmade`: faults that were only counted."""
    kept: list[Fault] = []
    room = MAX_TEXT
    for fault in islice(chain(shared, own), most):
        room -= len(fault.path) + len(fault.message)
        if kept and room < 0:
            break
        kept.append(fault)
    left = len(shared) + len(own) + unmade - len(kept)
    return (*kept, Fault("$", f"has {left} more fault{'s' if left > 1 else ''}")) if left else tuple(kept)
