"""Faults: what is wrong with a request, each with its path and what is allowed instead.

No message repeats the offending value: it is personal data, and more people read events than requests.
"""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from pydantic_core import ErrorDetails

from service.words.body import RequestBody
from service.words.event import Fault
from service.words.omni.content import CHANNELS, MAX_DAYS_AHEAD

MAX_FAULTS: Final = 32
"""Faults told of one message: enough to mend it, and a hostile body cannot make its event grow."""

FLAT: Final = ("phoneNumber", "emailAddress")
"""The addresses of the flat shape."""

_MAX_PATH: Final = 200
_NO_CONTENT: Final = "names no content: give text, or at least one of " + ", ".join(CHANNELS.values())
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
"""What people look for in OMNI that it does not have, and where it is."""

_TOLD: Final = {"extra_forbidden": "is not a field of a send request", "missing": "is required"}
_SUBJECT: Final = re.compile(r"^(Input|String|Tuple|Dictionary) ")


def shape_faults(present: set[str]) -> list[Fault]:
    """Tell what no single field can know: shapes mixed, nobody to send to, nothing to say."""
    flat = [name for name in (*FLAT, "messageId") if name in present]
    simple = [name for name in ("text", "mailSubject") if name in present]
    channels = [name for name in CHANNELS.values() if name in present]
    faults = []
    if "destinations" in present:
        faults += [Fault(name, "cannot stand beside destinations") for name in flat]
    elif not present.intersection(FLAT):
        faults.append(Fault("destinations", "is required, unless phoneNumber or emailAddress names one recipient"))
    if channels:
        faults += [Fault(name, f"cannot stand beside {channels[0]}") for name in simple]
    elif "text" not in present:
        faults.append(Fault("$", _NO_CONTENT))
    return faults


def time_faults(body: RequestBody, now: datetime) -> list[Fault]:
    """Tell what a schedule cannot be: too far ahead, or not to be kept before the request expires."""
    faults = []
    if body.send_at is not None and body.send_at - now >= timedelta(days=MAX_DAYS_AHEAD):
        faults.append(Fault("sendAt", f"must be less than {MAX_DAYS_AHEAD} days ahead"))
    if body.expires_at is not None and body.longest:
        start = max(now, body.send_at or now)
        if body.expires_at - start < timedelta(seconds=body.longest):
            message = f"must leave the {body.longest} seconds that the steps' validity periods add up to"
            faults.append(Fault("expiresAt", message))
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
    *above, last = error["loc"] or ("",)
    unknown = error["type"] == "extra_forbidden"
    # A model chosen by its type adds that type to the place (`…contents[0].TEXT.text`), where the body has no name.
    parts = [part for part in above if isinstance(part, int) or not part.isupper()]
    if isinstance(last, int) or not last.isupper() or unknown:
        parts.append(last)
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    message = _TOLD.get(error["type"]) or _SUBJECT.sub("", error["msg"])
    if unknown and last in _ELSEWHERE:
        message = f"is not an option of OMNI: {_ELSEWHERE[str(last)]}"
    return Fault(path[:_MAX_PATH] or "$", message)


def bounded(faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """Keep the first `MAX_FAULTS` and count the rest."""
    if len(faults) <= MAX_FAULTS:
        return faults
    return (*faults[:MAX_FAULTS], Fault("$", f"has {len(faults) - MAX_FAULTS} more faults"))
