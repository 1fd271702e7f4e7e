"""Whether a document is a send request OMNI would take, and if not, every reason by its path.

Stricter than OMNI is known to be, on purpose: it exists to make mistakes visible.

* A key that is not in the tables below is refused, at the top, in a destination and in the sms, viber,
  voice, facebook and email objects. What OMNI does with such keys is not published.
* A validity period outside 30 seconds to 48 hours (viber: 14 days) is refused. OMNI shortens a longer
  one without a word.
* `null` is a value of the wrong type, not an absent field.

The insides of the other channels are not looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.sandbox.field import (
    Check,
    anything,
    at_most,
    flag,
    language_code,
    one_of,
    phone_number,
    send_at,
    string,
    text,
    thing,
)

Faults = dict[str, list[str]]


@dataclass(frozen=True)
class Destination:
    """One recipient; without a message id OMNI makes one up."""

    to: Mapping[str, str]
    message_id: str | None

    @property
    def phone_number(self) -> str | None:
        """The number, where there is one."""
        return self.to.get("phoneNumber")


@dataclass(frozen=True)
class SendRequest:
    """A request OMNI would take."""

    destinations: Sequence[Destination]
    channels: Sequence[str]
    bulk_id: str | None
    send_at: str | None


@dataclass(frozen=True)
class Refusal:
    """An HTTP error and, for a bad request, what is wrong at which path."""

    status: int
    faults: Mapping[str, Sequence[str]]


_NANOSECONDS = {
    "NANOSECONDS": 1,
    "MICROSECONDS": 10**3,
    "MILLISECONDS": 10**6,
    "SECONDS": 10**9,
    "MINUTES": 60 * 10**9,
    "HOURS": 3600 * 10**9,
    "DAYS": 86400 * 10**9,
}
_SHORTEST = 30 * _NANOSECONDS["SECONDS"]
_LONGEST = 48 * _NANOSECONDS["HOURS"]
_LONGEST_VIBER = 14 * _NANOSECONDS["DAYS"]

_OPAQUE_CHANNELS = ("whatsApp", "push", "line", "vKontakte", "kakaoAlim", "kakaoChingu", "parseco")
_VALIDITY: dict[str, Check] = {"validityPeriod": anything, "validityPeriodTimeUnit": one_of(*_NANOSECONDS)}
_CHANNELS: dict[str, dict[str, Check]] = {
    "sms": {
        "text": text,
        "transliteration": one_of(
            "NONE",
            "ALL",
            "BALTIC",
            "CENTRAL_EUROPEAN",
            "COLOMBIAN",
            "CYRILLIC",
            "GREEK",
            "NON_UNICODE",
            "PORTUGUESE",
            "SERBIAN_CYRILLIC",
            "BULGARIAN_CYRILLIC",
            "TURKISH",
        ),
        "language": language_code,
        "regional": thing,
    },
    "viber": {
        "text": text,
        "imageURL": string,
        "buttonText": string,
        "buttonURL": string,
        "isPromotional": flag,
        "fileName": string,
        "fileType": string,
        "fileUrl": string,
        "trackingData": string,
        "forcePrimaryDevice": flag,
    },
    "voice": {"text": text, "language": text},
    "facebook": {"text": text, "type": one_of("TEXT", "IMAGE", "AUDIO", "VIDEO", "FILE"), "url": text},
    "email": {"text": text, "subject": string},
}
# What a channel can say instead of a text.
_INSTEAD_OF_TEXT = {"viber": ("imageURL", "fileUrl"), "facebook": ("url",)}

_TO: dict[str, Check] = {
    "phoneNumber": phone_number,
    "emailAddress": text,
    "pushRegistrationId": text,
    "whatsAppUserId": text,
    "facebookUserKey": text,
    "lineUserKey": text,
}
_SIMPLE: dict[str, Check] = {
    "scenarioKey": text,
    "bulkId": text,
    "destinations": anything,
    "text": text,
    "mailSubject": string,
}
_ADVANCED: dict[str, Check] = {
    "scenarioKey": text,
    "bulkId": text,
    "destinations": anything,
    "notify": flag,
    "intermediateReport": flag,
    "notifyUrl": text,
    "notifyContentType": one_of("application/json", "application/xml"),
    "callbackData": at_most(4000),
    "sendAt": anything,
    **dict.fromkeys((*_CHANNELS, *_OPAQUE_CHANNELS), thing),
}
# The simple form sends one text through all of these.
_SIMPLE_CHANNELS = tuple(_CHANNELS)


def judge_simple(document: Mapping[str, object]) -> SendRequest | Refusal:
    """Judge a body of `POST /omni/1/text`."""
    faults: Faults = {}
    _check(document, _SIMPLE, "", faults)
    if "text" not in document:
        _add(faults, "text", "must be present")
    destinations = _destinations(document.get("destinations"), faults)
    return _verdict(document, destinations, _SIMPLE_CHANNELS, faults)


def judge_advanced(document: Mapping[str, object], now: datetime) -> SendRequest | Refusal:
    """Judge a body of `POST /omni/1/advanced`."""
    faults: Faults = {}
    _check(document, _ADVANCED, "", faults)
    if "sendAt" in document and (wrong := send_at(document["sendAt"], now)):
        _add(faults, "sendAt", wrong)
    for name in _CHANNELS:
        content = document.get(name)
        if isinstance(content, dict):
            _check_channel(name, content, faults)
    destinations = _destinations(document.get("destinations"), faults)
    channels = tuple(name for name in (*_CHANNELS, *_OPAQUE_CHANNELS) if name in document)
    if not channels:
        _add(faults, "", "must have content for at least one channel")
    return _verdict(document, destinations, channels, faults)


def _verdict(
    document: Mapping[str, object],
    destinations: Sequence[Destination],
    channels: Sequence[str],
    faults: Faults,
) -> SendRequest | Refusal:
    if faults:
        return Refusal(400, faults)
    return SendRequest(
        destinations=destinations,
        channels=channels,
        bulk_id=_string_or_none(document.get("bulkId")),
        send_at=_string_or_none(document.get("sendAt")),
    )


def _check_channel(name: str, content: Mapping[str, object], faults: Faults) -> None:
    _check(content, {**_CHANNELS[name], **_VALIDITY}, f"{name}.", faults)
    ways = ("text", *_INSTEAD_OF_TEXT.get(name, ()))
    if not any(way in content for way in ways):
        _add(faults, f"{name}.text", "must be present")
    if "validityPeriod" in content:
        wrong = _validity(content, _LONGEST_VIBER if name == "viber" else _LONGEST)
        if wrong:
            _add(faults, f"{name}.validityPeriod", wrong)


def _validity(content: Mapping[str, object], longest: int) -> str | None:
    period, unit = content["validityPeriod"], content.get("validityPeriodTimeUnit", "MINUTES")
    if isinstance(period, bool) or not isinstance(period, int):
        return "must be an integer"
    if not isinstance(unit, str) or unit not in _NANOSECONDS:
        return None  # told at the unit's own path
    hours = longest // _NANOSECONDS["HOURS"]
    if _SHORTEST <= period * _NANOSECONDS[unit] <= longest:
        return None
    return f"must be between 30 seconds and {hours} hours"


def _destinations(value: object, faults: Faults) -> list[Destination]:
    if not isinstance(value, list) or not value:
        _add(faults, "destinations", "must be a list with at least one destination")
        return []
    return [_destination(item, f"destinations[{index}]", faults) for index, item in enumerate(value)]


def _destination(item: object, path: str, faults: Faults) -> Destination:
    if not isinstance(item, dict):
        _add(faults, path, "must be an object")
        return Destination({}, None)
    _check(item, {"to": thing, "messageId": text}, f"{path}.", faults)
    to = item.get("to")
    if "to" not in item or to == {}:
        _add(faults, f"{path}.to", "must have at least one address")
    if not isinstance(to, dict):
        return Destination({}, None)
    _check(to, _TO, f"{path}.to.", faults)
    return Destination(to, _string_or_none(item.get("messageId")))


def _check(document: Mapping[str, object], table: Mapping[str, Check], prefix: str, faults: Faults) -> None:
    for key, value in document.items():
        check = table.get(key)
        wrong = check(value) if check else "is not a known field"
        if wrong:
            _add(faults, f"{prefix}{key}", wrong)


def _add(faults: Faults, path: str, message: str) -> None:
    faults.setdefault(path or "request", []).append(message)


def _string_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None
