"""Whether a document is a send request OMNI would take, and if not, every reason by its path.

Stricter than OMNI is known to be, on purpose: it exists to make mistakes visible.

* A key that is not in the tables of `content` or below is refused. What OMNI does with such keys is not
  published. Free are only a push's `customPayload` and the `templateData` of vKontakte.
* A validity period outside 30 seconds to 48 hours (viber: 35 seconds to 14 days) is refused. OMNI shortens
  a longer one without a word.
* `null` is a value of the wrong type, not an absent field.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service.sandbox.schema.channel import CHANNELS, UNITS, Channel
from service.sandbox.schema.check import Shape, Wrong, wrongs
from service.sandbox.schema.field import (
    anything,
    at_most,
    flag,
    moment_of,
    one_of,
    phone_number,
    send_at,
    string,
    text,
    web_address,
)

DEFAULT_VALIDITY = timedelta(hours=48)  # of a channel that names none; not published, so the longest of all


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
class Content:
    """What one channel is to say, and for how long before the next one is tried."""

    text: str
    validity: timedelta = DEFAULT_VALIDITY


@dataclass(frozen=True)
class Notice:
    """Which reports the caller wants, and where."""

    wanted: bool = True
    intermediate: bool = False
    url: str | None = None
    content_type: str = "application/json"
    callback_data: str | None = None


@dataclass(frozen=True)
class SendRequest:
    """A request OMNI would take; `contents` has what each of the channels says."""

    destinations: Sequence[Destination]
    channels: Sequence[str]
    bulk_id: str | None
    send_at: str | None
    scenario_key: str | None = None
    contents: Mapping[str, Content] = field(default_factory=dict)
    notice: Notice = Notice()

    @property
    def starts_at(self) -> datetime | None:
        """The moment of `send_at`."""
        return moment_of(self.send_at)


@dataclass(frozen=True)
class Refusal:
    """An HTTP error and, for a bad request, what is wrong at which path."""

    status: int
    faults: Mapping[str, Sequence[str]]


_TO = Shape(
    {
        "phoneNumber": phone_number,
        "emailAddress": text,
        "pushRegistrationId": text,
        "whatsAppUserId": at_most(150, least=1),
        "facebookUserKey": text,  # these two from the older description
        "lineUserKey": text,
    }
)
_DESTINATION = Shape({"to": _TO, "messageId": text})
_SIMPLE = Shape(
    {"scenarioKey": text, "bulkId": text, "destinations": anything, "text": text, "mailSubject": string}, ("text",)
)
_ADVANCED = Shape(
    {
        "scenarioKey": text,
        "bulkId": text,
        "destinations": anything,
        "notify": flag,
        "intermediateReport": flag,
        "notifyUrl": web_address,
        "notifyContentType": one_of("application/json", "application/xml"),
        "callbackData": at_most(4000),
        "sendAt": anything,
        **{name: channel.rule for name, channel in CHANNELS.items()},
    }
)
# The simple form sends one text through all of these.
_SIMPLE_CHANNELS = ("sms", "viber", "voice", "facebook", "email")


def judge_simple(document: Mapping[str, object]) -> SendRequest | Refusal:
    """Judge a body of `POST /omni/1/text`."""
    found = [*wrongs(document, _SIMPLE, ""), *_wrong_destinations(document.get("destinations"))]
    content = Content(str(document.get("text")))
    return _verdict(document, dict.fromkeys(_SIMPLE_CHANNELS, content), found)


def judge_advanced(document: Mapping[str, object], now: datetime) -> SendRequest | Refusal:
    """Judge a body of `POST /omni/1/advanced`."""
    found = [*wrongs(document, _ADVANCED, ""), *_wrong_destinations(document.get("destinations"))]
    if "sendAt" in document and (wrong := send_at(document["sendAt"], now)):
        found.append(("sendAt", wrong))
    contents: dict[str, Content] = {}
    for name, channel in CHANNELS.items():
        content = document.get(name)
        if isinstance(content, dict):
            found += _wrong_ways(name, channel, content)
            validity = _validity(channel, content)
            if isinstance(validity, str):
                found.append((f"{name}.validityPeriod", validity))
            else:
                contents[name] = Content(str(content.get("text", "")), validity)
    if not any(name in document for name in CHANNELS):
        found.append(("", "must have content for at least one channel"))
    return _verdict(document, contents, found)


def _verdict(
    document: Mapping[str, object], contents: Mapping[str, Content], found: Sequence[Wrong]
) -> SendRequest | Refusal:
    if found:
        faults: dict[str, list[str]] = {}
        for path, message in found:
            faults.setdefault(path or "request", []).append(message)
        return Refusal(400, faults)
    return SendRequest(
        destinations=[_destination(item) for item in _items(document["destinations"])],
        channels=tuple(contents),
        bulk_id=_string_or_none(document.get("bulkId")),
        send_at=_string_or_none(document.get("sendAt")),
        scenario_key=_string_or_none(document.get("scenarioKey")),
        contents=contents,
        notice=Notice(
            wanted=document.get("notify") is not False,
            intermediate=document.get("intermediateReport") is True,
            url=_string_or_none(document.get("notifyUrl")),
            content_type=str(document.get("notifyContentType", "application/json")),
            callback_data=_string_or_none(document.get("callbackData")),
        ),
    )


def _wrong_ways(name: str, channel: Channel, content: Mapping[str, object]) -> list[Wrong]:
    said = content.keys()
    if channel.ways and not any(way <= said for way in map(set, channel.ways)):
        return [(f"{name}.text", f"must be present, or instead {_listed(channel)}")]
    if channel.exact and not any(said & set(channel.exact) == set(way) for way in channel.ways):
        return [(name, f"must be exactly one of: text, {_listed(channel)}")]
    return []


def _listed(channel: Channel) -> str:
    return ", ".join(" with ".join(sorted(way)) for way in channel.ways if set(way) != {"text"})


def _validity(channel: Channel, content: Mapping[str, object]) -> timedelta | str:
    """Read a validity period, or say what is wrong with it."""
    if "validityPeriod" not in content:
        return DEFAULT_VALIDITY
    period, unit = content["validityPeriod"], content.get("validityPeriodTimeUnit", "MINUTES")
    if isinstance(period, bool) or not isinstance(period, int):
        return "must be an integer"
    if not isinstance(unit, str) or unit not in UNITS:
        return DEFAULT_VALIDITY  # told at the unit's own path
    nanoseconds, second = period * UNITS[unit], UNITS["SECONDS"]
    shortest, longest = (int(bound.total_seconds()) for bound in (channel.shortest, channel.longest))
    if shortest * second <= nanoseconds <= longest * second:
        return timedelta(microseconds=nanoseconds // 1000)
    return f"must be between {shortest} seconds and {longest // 3600} hours"


def _wrong_destinations(value: object) -> list[Wrong]:
    if not isinstance(value, list) or not value:
        return [("destinations", "must be a list with at least one destination")]
    found: list[Wrong] = []
    for index, item in enumerate(value):
        path = f"destinations[{index}]"
        found += wrongs(item, _DESTINATION, path)
        if isinstance(item, dict) and item.get("to", {}) == {}:
            found.append((f"{path}.to", "must have at least one address"))
    return found


def _items(value: object) -> list[dict[str, object]]:
    return value if isinstance(value, list) else []


def _destination(item: Mapping[str, object]) -> Destination:
    to = item["to"]
    return Destination(to if isinstance(to, dict) else {}, _string_or_none(item.get("messageId")))


def _string_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None
